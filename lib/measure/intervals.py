"""Means with intervals, and tests of differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns the mean and half the width of its 95 % confidence interval (Student's t).

    The half width is None for a single value.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    from scipy import stats

    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return mean, float(error * stats.t.ppf(0.975, len(values) - 1))


def with_interval(values: Sequence[float], digits: int = 2) -> dict[str, Any]:
    """Returns {"mean", "interval", "least"} of the values, rounded for a record."""
    mean, half = interval(values)
    half = None if half is None else round(half, digits)
    return {"mean": round(mean, digits), "interval": half, "least": round(min(values), digits)}


def format_interval(numbers: dict[str, Any], form: str = ".1f") -> str:
    """Returns the numbers of `with_interval` as text: "93.4 ± 0.2", or "93.4"."""
    half = numbers["interval"]
    return f"{numbers['mean']:{form}}" + ("" if half is None else f" ± {half:{form}}")
