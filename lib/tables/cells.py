"""Records of runs, and the cells and lines of tables made from them."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "results"


def record(name: str) -> dict[str, Any]:
    """The record NAME.json."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def recorded(names: Iterable[str]) -> list[dict[str, Any]]:
    """The records of those names that have one."""
    return [record(name) for name in names if (RESULTS / f"{name}.json").exists()]


def records(name: str, kind: str = "evaluate", seeds: int = 1) -> list[dict[str, Any]]:
    """The records of a run: NAME-KIND.json for seed 0, NAME-seedN-KIND.json for further seeds."""
    suffixes = ["", *(f"-seed{seed}" for seed in range(1, seeds))]
    return [record(f"{name}{suffix}-{kind}") for suffix in suffixes]


def spread(found: Sequence[dict[str, Any]], key: str, form: str = ".1f", scale: float = 1) -> str:
    """Mean and standard deviation of a value over records, or the value of a single record.

    Args:
        found: the records.
        key: name of the value; levels are separated by slashes.
        form: format of the numbers.
        scale: factor of the numbers.

    Returns:
        "12.3 ± 0.4", "12.3", or "-" where the records do not have the value.
    """
    values = []
    for each in found:
        value: Any = each
        for part in key.split("/"):
            value = value[int(part)] if isinstance(value, list) else value.get(part)
            if value is None:
                return "-"
        values.append(scale * value)
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown lines of a table whose cells are padded, so that its source reads well."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
