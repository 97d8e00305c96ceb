"""Numbers for what a picture cannot prove.

The judge is the network of listing 1.4.1, trained on MNIST apart from every generator. FID-MNIST is
the Frechet distance of Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a
Local Nash Equilibrium (2017), equation 6, over the judge's 576 features before its last layer
instead of those of the Inception network: it compares runs on MNIST with each other and with its
own floor, and with no FID published elsewhere.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from lib import datasets, weights

JUDGE_FILE = Path(__file__).parent / "weights" / "mnist_judge.h5"


def build_judge():
    """Images (n, 28, 28, 1) in [0, 1] -> features (n, 576) and probabilities (n, 10)."""
    images = keras.Input((28, 28, 1))
    x = images
    for pool in (True, True, False):
        x = layers.Conv2D(64, 3, activation="relu", dtype="float32")(x)
        if pool:
            x = layers.MaxPooling2D(2)(x)
    features = layers.Flatten(dtype="float32")(x)
    x = layers.Dense(10, activation="softmax", dtype="float32")(features)
    return keras.Model(images, [features, x], name="mnist_judge")


def judge():
    """The judge with its weights."""
    model = build_judge()
    weights.load(model, JUDGE_FILE)
    return model


def frechet_distance(a, b):
    """Frechet distance of two Gaussians fitted to features a (n, d) and b (m, d), n and m > 1."""
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of (cov_a cov_b)^(1/2) is that of (r cov_b r)^(1/2) with r = cov_a^(1/2): symmetric
    # matrices, whose eigenvalues are real and not negative but for rounding.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_b @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    difference = a.mean(axis=0) - b.mean(axis=0)
    return float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def entropy(histogram):
    """Entropy of a histogram of counts in nats; ln 10 = 2.303 is the most that ten classes have."""
    p = np.asarray(histogram, "float64")
    p = p[p > 0] / p.sum()
    return float((p * np.log(1 / p)).sum())


def judged_digits(images):
    """The digits (n,) that the judge sees in images (n, 28, 28, 1)."""
    _, probabilities = judge().predict(images, batch_size=500, verbose=0)
    return probabilities.argmax(axis=1)


def judge_digits(images, digits=None):
    """Measures generated digits.

    Args:
        images: array (n, 28, 28, 1) in [0, 1].
        digits: array (n,) of the digits that the images were asked to be, if any.

    Returns:
        A dict: `samples` n; `fid_mnist` against n real test images (as many as there are) and
        `fid_mnist_floor`, the same of n real training images; the judge's `class_histogram` and its
        `class_entropy` in nats; with `digits` the share `conditional_accuracy` of images that the
        judge takes for the digit asked for.
    """
    (x_train, _), (x_test, _) = datasets.mnist()
    model = judge()
    features, probabilities = model.predict(images, batch_size=500, verbose=0)
    real, _ = model.predict(x_test[: len(images)], batch_size=500, verbose=0)
    index = np.random.default_rng(0).permutation(len(x_train))[: len(images)]
    other, _ = model.predict(x_train[index], batch_size=500, verbose=0)
    judged = probabilities.argmax(axis=1)
    histogram = np.bincount(judged, minlength=10)
    numbers = {
        "samples": len(images),
        "fid_mnist": round(frechet_distance(features, real), 3),
        "fid_mnist_floor": round(frechet_distance(other, real), 3),
        "class_histogram": histogram.tolist(),
        "class_entropy": round(entropy(histogram), 4),
    }
    if digits is not None:
        numbers["conditional_accuracy"] = round(float((judged == digits).mean()), 4)
    return numbers


def show(numbers):
    """Prints what `judge_digits` measured."""
    print(
        f"FID-MNIST {numbers['fid_mnist']} over {numbers['samples']:,} samples "
        f"(real against real: {numbers['fid_mnist_floor']})"
    )
    print(f"judged 0..9: {' '.join(map(str, numbers['class_histogram']))}")
    print(f"entropy of the classes: {numbers['class_entropy']} nats (most: {np.log(10):.4f})")
    if "conditional_accuracy" in numbers:
        print(f"judged as the digit asked for: {100 * numbers['conditional_accuracy']:.2f} %")


def stroke_thickness(images):
    """Mean thickness of the strokes in images (n, 28, 28, 1), in pixels.

    A long stroke of thickness t has the area t times its length and a border of twice its length;
    the border's length is the sum of the gradient's magnitude (coarea formula).
    """
    ink = np.pad(np.asarray(images, "float64")[..., 0], ((0, 0), (1, 1), (1, 1)))
    dy, dx = np.diff(ink, axis=1)[:, :, 1:], np.diff(ink, axis=2)[:, 1:]
    border = np.hypot(dx, dy).sum(axis=(1, 2))
    return 2 * ink.sum(axis=(1, 2)) / np.maximum(border, 1e-6)


def slant(images):
    """Slant of the digits in images (n, 28, 28, 1): columns to the right for a row upwards.

    The covariance of column and height over the variance of the height (second image moments).
    """
    _, covariance, of_height = _second_moments(images)
    return covariance / np.maximum(of_height, 1e-6)


def width(images):
    """Width of the digits in images (n, 28, 28, 1), in pixels, whatever their slant.

    The standard deviation of the column that the slant leaves over (second image moments).
    """
    of_column, covariance, of_height = _second_moments(images)
    rest = of_column - covariance**2 / np.maximum(of_height, 1e-6)
    return np.sqrt(np.maximum(rest, 0))


def _second_moments(images):
    """Variance of the ink's column, covariance of column and height, variance of the height."""
    ink = np.asarray(images, "float64")[..., 0]
    ink = ink / np.maximum(ink.sum(axis=(1, 2), keepdims=True), 1e-6)
    height, column = np.mgrid[ink.shape[1] : 0 : -1, 0 : ink.shape[2]]
    dy = height - (ink * height).sum(axis=(1, 2), keepdims=True)
    dx = column - (ink * column).sum(axis=(1, 2), keepdims=True)
    return tuple((ink * product).sum(axis=(1, 2)) for product in (dx * dx, dx * dy, dy * dy))


ATTRIBUTES = {"thickness": stroke_thickness, "slant": slant, "width": width}


def code_attributes(images, codes):
    """How well a code orders what it draws: rank correlations with thickness, slant and width.

    Args:
        images: array (series, steps, 28, 28, 1); in each series the code alone changes.
        codes: array (steps,), its values.

    Returns:
        {"thickness": r, "slant": r, "width": r}, the mean over the series of Spearman's rank
        correlation.
    """
    series, steps = images.shape[:2]
    flat = images.reshape(-1, *images.shape[2:])
    correlations = {}
    for name, attribute in ATTRIBUTES.items():
        values = attribute(flat).reshape(series, steps)
        correlations[name] = round(float(np.mean([_spearman(codes, r) for r in values])), 4)
    return correlations


def _spearman(codes, values):
    """Spearman's rank correlation; 0 where the values are all the same and have no ranks."""
    from scipy.stats import spearmanr  # a second to import, which every start would pay

    return spearmanr(codes, values).statistic if np.ptp(values) else 0.0


def attribute_correlations(images, codes, digits):
    """How far each number of a code decides an attribute while all numbers vary.

    In a sweep with everything else held, the slightest effect may order an attribute perfectly;
    here a number has to prevail over the others.

    Args:
        images: array (n, 28, 28, 1), drawn from the codes.
        codes: array (n, d) of random codes.
        digits: array (n,) of what the images show; each digit is looked at by itself.

    Returns:
        {"thickness": [...], "slant": [...], "width": [...]}, for each number of the code the mean
        over the digits of the size of Spearman's rank correlation, from 0 to 1.
    """
    found = {}
    for name, attribute in ATTRIBUTES.items():
        values = attribute(images)
        each = [
            [abs(_spearman(number, values[of])) for number in codes[of].T]
            for of in (digits == digit for digit in np.unique(digits))
        ]
        found[name] = [round(float(size), 4) for size in np.mean(each, axis=0)]
    return found
