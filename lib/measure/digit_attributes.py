"""Attributes of digits (thickness, slant, width), and how far a latent code controls them.

- MIG: Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders (2018),
  arXiv:1802.04942, equation 6.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def stroke_thickness(images: np.ndarray) -> np.ndarray:
    """Mean thickness of the strokes in images (n, 28, 28, 1), in pixels.

    A long stroke has the area thickness * length and a border of 2 * length. The border's length is
    the sum of the gradient's magnitude (coarea formula).
    """
    ink = np.pad(np.asarray(images, "float64")[..., 0], ((0, 0), (1, 1), (1, 1)))
    dy, dx = np.diff(ink, axis=1)[:, :, 1:], np.diff(ink, axis=2)[:, 1:]
    border = np.hypot(dx, dy).sum(axis=(1, 2))
    return 2 * ink.sum(axis=(1, 2)) / np.maximum(border, 1e-6)


def slant(images: np.ndarray) -> np.ndarray:
    """Slant of the digits in images (n, 28, 28, 1): columns to the right per row upward.

    It is the covariance of column and height divided by the variance of the height.
    """
    _, covariance, of_height = _second_moments(images)
    return covariance / np.maximum(of_height, 1e-6)


def width(images: np.ndarray) -> np.ndarray:
    """Width of the digits in images (n, 28, 28, 1) after removing their slant, in pixels.

    It is the standard deviation of the column that the height does not explain.
    """
    of_column, covariance, of_height = _second_moments(images)
    rest = of_column - covariance**2 / np.maximum(of_height, 1e-6)
    return np.sqrt(np.maximum(rest, 0))


def _second_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance of the ink's column, covariance of column and height, variance of the height."""
    ink = np.asarray(images, "float64")[..., 0]
    ink = ink / np.maximum(ink.sum(axis=(1, 2), keepdims=True), 1e-6)
    height, column = np.mgrid[ink.shape[1] : 0 : -1, 0 : ink.shape[2]]
    dy = height - (ink * height).sum(axis=(1, 2), keepdims=True)
    dx = column - (ink * column).sum(axis=(1, 2), keepdims=True)
    return tuple((ink * product).sum(axis=(1, 2)) for product in (dx * dx, dx * dy, dy * dy))


ATTRIBUTES = {"thickness": stroke_thickness, "slant": slant, "width": width}
CONTROLLED = ("thickness", "slant")  # the attributes that the book's two codes control


def _spearman(codes: np.ndarray, values: np.ndarray) -> float:
    """Spearman's rank correlation; 0 if all values are equal and have no ranks."""
    from scipy.stats import spearmanr  # a second to import, which every start would pay

    return spearmanr(codes, values).statistic if np.ptp(values) else 0.0


def attribute_correlations(
    images: np.ndarray, codes: np.ndarray, digits: np.ndarray
) -> dict[str, list[float]]:
    """Rank correlations of each code with thickness, slant and width while all codes vary.

    Args:
        images: array (n, 28, 28, 1), generated from the codes.
        codes: array (n, d), drawn at random and independently.
        digits: array (n,) of the digits shown; the correlations are computed per digit.

    Returns:
        {"thickness": [...], "slant": [...], "width": [...]}: for each of the d codes the mean over
        the digits of the absolute value of Spearman's rank correlation, from 0 to 1.
    """
    found = {}
    for name, attribute in ATTRIBUTES.items():
        values = attribute(images)
        each = [
            [abs(_spearman(code, values[of])) for code in codes[of].T]
            for of in (digits == digit for digit in np.unique(digits))
        ]
        found[name] = [round(float(size), 4) for size in np.mean(each, axis=0)]
    return found


def disentanglement(images: np.ndarray, codes: np.ndarray, digits: np.ndarray) -> dict[str, Any]:
    """Measures whether one code controls thickness and one code controls slant.

    The arguments are those of `attribute_correlations`. Its dict is returned with two numbers from
    0 to 1 about thickness and slant: `gap`, see there, and `mig`, the `mutual_information_gap` of
    the codes and the ranks among the images of the same digit.
    """
    found = attribute_correlations(images, codes, digits)
    factors = np.empty((len(images), len(CONTROLLED)))
    for column, name in enumerate(CONTROLLED):
        values = ATTRIBUTES[name](images)
        for of in (digits == digit for digit in np.unique(digits)):
            factors[of, column] = values[of].argsort().argsort() / of.sum()
    return {
        **found,
        "gap": gap(found, CONTROLLED),
        "mig": round(mutual_information_gap(codes, factors), 4),
    }


def gap(correlations: dict[str, list[float]], attributes: Iterable[str] = ATTRIBUTES) -> float:
    """The mutual information gap with rank correlation instead of mutual information, from 0 to 1.

    The mean over the attributes of the largest correlation less the second largest: 1 if each
    attribute follows one code and no other, 0 if two codes move it alike. The correlations are
    those of `attribute_correlations`.
    """
    gaps = [_largest_minus_second(correlations[name]) for name in attributes]
    return round(float(np.mean(gaps)), 4)


def mutual_information_gap(codes: np.ndarray, factors: np.ndarray, bins: int = 20) -> float:
    """MIG: how much more the best code says about a factor than the second best code.

    Codes (n, d) and factors (n, f) are discretized into bins of equally many samples. A column with
    at most `bins` distinct values is used as it is. With a single code, the second best says 0.

    Returns:
        The mean over the factors of (largest - second largest mutual information) / entropy of the
        factor, from 0 to 1.
    """
    binned = [_binned(column, bins) for column in np.asarray(codes).T]
    gaps = []
    for factor in (_binned(column, bins) for column in np.asarray(factors).T):
        information = [mutual_information(code, factor) for code in binned]
        gaps.append(_largest_minus_second(information) / mutual_information(factor, factor))
    return float(np.mean(gaps))


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information in nats of discrete a (n,) and b (n,), integers from 0."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / independent[some])).sum())


def _binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Values (n,) -> integers (n,) from 0: the bins of equal counts, or the distinct values."""
    distinct, index = np.unique(values, return_inverse=True)
    if len(distinct) <= bins:
        return index
    edges = np.quantile(values, np.arange(1, bins) / bins)
    return np.searchsorted(edges, values, side="right")


def _largest_minus_second(values: Sequence[float]) -> float:
    second, largest = sorted([0.0, *values])[-2:]
    return largest - second
