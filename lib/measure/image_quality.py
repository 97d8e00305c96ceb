"""Errors of images against the true ones (MSE, MAE and PSNR), and colorfulness.

`mse`, `mae` and `psnr` compare the true images with their copies, two arrays of shape
(n, height, width, channels) in [0, 1]. They return one float64 value for each image, shape (n,).
"""

import numpy as np

from lib.data import datasets

# Mean squared error of rounding to 256 levels, whose errors are uniform over one level.
ROUNDING_MSE = 1 / (12 * 255**2)


def mse(images: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """The mean squared error of each image, in squared units of the range [0, 1]."""
    return np.mean((images - copies) ** 2, axis=(1, 2, 3), dtype="float64")


def mae(images: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """The mean absolute error of each image, in units of the range [0, 1]."""
    return np.mean(np.abs(images - copies), axis=(1, 2, 3), dtype="float64")


def psnr(images: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """The peak signal-to-noise ratio of each image in decibels: 10 log10(1 / its MSE).

    The true images have 8 bits. An error below that of rounding to 8 bits counts as 58.9 dB, the
    rounding error. The mean is thus finite if a copy is perfect.
    Source: Huynh-Thu, Ghanbari, Scope of validity of PSNR in image/video quality assessment (2008).
    """
    return 10 * np.log10(1 / np.maximum(mse(images, copies), ROUNDING_MSE))


def luminance_and_chroma_mse(images: np.ndarray, copies: np.ndarray) -> tuple[float, float]:
    """Mean squared errors of the luminance, and of what it leaves of the colors.

    The luminance is that of `datasets.rgb_to_gray`. Images are (n, height, width, 3) in [0, 1].
    """
    error = copies - images
    luminance = datasets.rgb_to_gray(error)
    of_luminance, of_chroma = (np.mean(part**2) for part in (luminance, error - luminance))
    return round(float(of_luminance), 6), round(float(of_chroma), 6)


def colorfulness(images: np.ndarray) -> np.ndarray:
    """Colorfulness (n,) of images (n, height, width, 3) in [0, 1]; it is 0 for gray images.

    Source: Hasler, Suesstrunk, Measuring colourfulness in natural images (2003), equation for M3,
    there of values up to 255.
    """
    red, green, blue = np.moveaxis(images.reshape(len(images), -1, 3), -1, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    deviation = np.hypot(*opponents.std(axis=-1))
    return deviation + 0.3 * np.hypot(*opponents.mean(axis=-1))


def compare(images: np.ndarray, copies: np.ndarray) -> dict[str, float]:
    """Means over the images, ready for a record: a dict with mse, mae and psnr."""
    return {
        "mse": round(mse(images, copies).mean(), 6),
        "mae": round(mae(images, copies).mean(), 5),
        "psnr": round(psnr(images, copies).mean(), 3),
    }


def compare_colors(images: np.ndarray, copies: np.ndarray) -> dict[str, float]:
    """`compare` with luminance_mse and chroma_mse, colorfulness and colorfulness_distance.

    The distance is the earth mover's between the histograms of `colorfulness`. Unlike the errors,
    it does not reward dull colors, which are never far off.
    """
    true, found = (np.sort(colorfulness(x)) for x in (images, copies))
    luminance, chroma = luminance_and_chroma_mse(images, copies)
    return {
        **compare(images, copies),
        "luminance_mse": luminance,
        "chroma_mse": chroma,
        "colorfulness": round(float(found.mean()), 4),
        "colorfulness_distance": round(float(np.abs(true - found).mean()), 4),
    }
