"""Attributes of digits (thickness, slant, width), and how far a latent code controls them."""

from collections.abc import Iterable

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


def gap(correlations: dict[str, list[float]], attributes: Iterable[str] = ATTRIBUTES) -> float:
    """How much better the best code orders the images than the second best code, from 0 to 1.

    The mean over the attributes of the largest correlation less the second largest: 1 if each
    attribute follows one code and no other, 0 if two codes move it alike. The correlations are
    those of `attribute_correlations`. It is the mutual information gap of Chen et al. (2018,
    arXiv:1802.04942) with rank correlation instead of mutual information.
    """
    gaps = []
    for name in attributes:
        second, largest = sorted([0.0, *correlations[name]])[-2:]
        gaps.append(largest - second)
    return round(float(np.mean(gaps)), 4)
