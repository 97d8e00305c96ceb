"""Measures of generated digits: quality and variety.

The *judge* is the network of listing 1.4.1, a classifier of MNIST that took no part in training any
generator. The measures compare its 576 features, the inputs of its last layer, between real and
generated images. Published values use the features of an Inception network. Compare the values here
only with each other and with the floor, which is the value of real training images.

- FID: Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
  Equilibrium (2017), arXiv:1706.08500, equation 6.
- KID: Binkowski et al., Demystifying MMD GANs (2018), arXiv:1801.01401.
- Precision and recall: Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing
  Generative Models (2019), arXiv:1904.06991.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from lib.data import datasets
from lib.files import weights

JUDGE_FILE = Path(__file__).resolve().parents[1] / "weights" / "mnist_judge.h5"
CONFIDENT = 0.9
NEIGHBORS = 3  # of precision and recall, as in the paper
KID_BLOCKS = 10
ROWS = 500  # of a distance matrix that are in memory at a time


def build_judge() -> keras.Model:
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


@cache
def judge() -> keras.Model:
    """The judge with its weights, built once per process."""
    model = build_judge()
    weights.load(model, JUDGE_FILE)
    return model


def judge_outputs(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 576) and class probabilities (n, 10) of images (n, 28, 28, 1) in [0, 1]."""
    return judge().predict(images, batch_size=500, verbose=0)


@lru_cache(maxsize=4)
def real_features(size: int, part: str = "test") -> np.ndarray:
    """Features (size, 576) of a random subset of MNIST's "test" or "train" images.

    It is the same subset in each call; all images of the part if it has fewer.
    """
    (x_train, _), (x_test, _) = datasets.mnist()
    images = {"train": x_train, "test": x_test}[part]
    index = np.random.default_rng(0).permutation(len(images))[:size]
    return judge_outputs(images[index])[0]


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """FID: the Frechet distance of Gaussians fitted to features a (n, d) and b (m, d), n, m > 1."""
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # With r = cov_a^(1/2), the trace of (cov_a cov_b)^(1/2) equals the trace of (r cov_b r)^(1/2).
    # That matrix is symmetric, so its eigenvalues are real; rounding may make some negative.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_b @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    difference = a.mean(axis=0) - b.mean(axis=0)
    return float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def kernel_distance(a: np.ndarray, b: np.ndarray, blocks: int = KID_BLOCKS) -> tuple[float, float]:
    """KID: the squared maximum mean discrepancy of features a (n, d) and b (m, d), and its error.

    The kernel is (x . y / d + 1)^3. The unbiased estimate is computed on disjoint blocks of a and
    b, and averaged; the spread of the blocks gives the standard error. It is 0 on average for equal
    distributions, so a single estimate can be negative.

    Args:
        a, b: arrays of at least 4 features each; shuffle them first if their order has a meaning.
        blocks: number of blocks; fewer if a block would have less than 2 features.
    """
    size = min(len(a), len(b))
    if size < 4:
        raise ValueError(f"KID needs at least 4 features of each kind, found {size}")
    blocks = min(blocks, size // 2)
    size //= blocks
    values = []

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    for i in range(blocks):
        x, y = (np.asarray(f[i * size : (i + 1) * size], "float64") for f in (a, b))
        # An image compared with itself would bias the mean over pairs.
        within = sum((k.sum() - k.trace()) for k in (kernel(x, x), kernel(y, y)))
        values.append(within / (size * (size - 1)) - 2 * kernel(x, y).mean())
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(blocks))


def neighbor_scores(
    real: np.ndarray, fake: np.ndarray, neighbors: int = NEIGHBORS
) -> dict[str, float]:
    """Precision and recall of generated features (m, d) against real ones (n, d).

    The ball of a feature reaches to its k-th nearest neighbor of the same kind.

    Returns:
        A dict of floats:
        `sample_precision`: share of the fake features inside the ball of a real one: quality.
        `sample_recall`: share of the real features inside the ball of a fake one: variety.
    """
    # Distances do not change when both are shifted; small numbers keep float32 exact enough.
    center = real.mean(axis=0)
    real, fake = (np.asarray(f - center, "float32") for f in (real, fake))
    real_radii, fake_radii = (_neighbor_distances(f, neighbors) for f in (real, fake))
    precise, recalled = 0, np.zeros(len(real), bool)
    for start in range(0, len(fake), ROWS):
        rows = slice(start, start + ROWS)
        distances = _squared_distances(fake[rows], real)
        precise += int((distances <= real_radii).any(axis=1).sum())
        recalled |= (distances <= fake_radii[rows, None]).any(axis=0)
    return {
        "sample_precision": float(precise / len(fake)),
        "sample_recall": float(recalled.mean()),
    }


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (n, m) of features a (n, d) and b (m, d)."""
    distances = a @ (-2 * b.T)
    distances += (a * a).sum(axis=1)[:, None]
    distances += (b * b).sum(axis=1)
    return np.maximum(distances, 0, out=distances)


def _neighbor_distances(features: np.ndarray, k: int) -> np.ndarray:
    """Squared distances (n,) to the k-th nearest other feature."""
    k = min(k, len(features) - 1)
    found = np.empty(len(features), "float32")
    for start in range(0, len(features), ROWS):
        rows = np.arange(start, min(start + ROWS, len(features)))
        distances = _squared_distances(features[rows], features)
        # A feature is its own nearest neighbor, at position 0; rounding must not change that.
        distances[rows - start, rows] = -1
        distances.partition(k, axis=1)
        found[rows] = distances[:, k]
    return found


def entropy(histogram: np.ndarray | Sequence[int]) -> float:
    """Entropy of a histogram of counts in nats; the maximum of ten classes is ln 10 = 2.303."""
    p = np.asarray(histogram, "float64")
    p = p[p > 0] / p.sum()
    return float((p * np.log(1 / p)).sum())


def predicted_digits(images: np.ndarray) -> np.ndarray:
    """The digits (n,) that the judge predicts for images (n, 28, 28, 1)."""
    return judge_outputs(images)[1].argmax(axis=1)


def judge_digits(images: np.ndarray, digits: np.ndarray | None = None) -> dict[str, Any]:
    """Measures generated digits.

    Args:
        images: array (n, 28, 28, 1) in [0, 1], n at least 4.
        digits: array (n,) of the digits that were requested, if any.

    Returns:
        A dict. The real images are a random subset of n test images, or all if there are fewer.
        `samples`: n.
        `fid_mnist`: FID against the real images.
        `fid_mnist_floor`: FID of n random training images against the real images.
        `kid`, `kid_error`: see `kernel_distance`.
        `sample_precision`, `sample_recall`: see `neighbor_scores`.
        `class_histogram`, `class_entropy`: the judge's predictions, the entropy in nats.
        `low_confidence`: share of images whose largest class probability is below 0.9.
        `conditional_accuracy`: with `digits`, share of images for which the judge predicts them.
    """
    features, probabilities = judge_outputs(images)
    real = real_features(len(images))
    predicted = probabilities.argmax(axis=1)
    histogram = np.bincount(predicted, minlength=10)
    floor = frechet_distance(real_features(len(images), "train"), real)
    numbers = {
        "samples": len(images),
        "fid_mnist_floor": round(floor, 3),
        **_distances(features),
        **{name: round(value, 4) for name, value in neighbor_scores(real, features).items()},
        "class_histogram": histogram.tolist(),
        "class_entropy": round(entropy(histogram), 4),
        "low_confidence": round(float((probabilities.max(axis=1) < CONFIDENT).mean()), 4),
    }
    if digits is not None:
        numbers["conditional_accuracy"] = round(float((predicted == digits).mean()), 4)
    return numbers


def quick_scores(images: np.ndarray) -> dict[str, float]:
    """FID and KID of a few generated images, for use during training.

    2,000 images take about two seconds on one CPU core; features of real images are kept.

    Args:
        images: array (n, 28, 28, 1) in [0, 1], n at least 4. FID depends on n: compare only values
            of the same n.

    Returns:
        {"fid_mnist": ..., "kid": ..., "kid_error": ...}, see `judge_digits`.
    """
    return _distances(judge_outputs(images)[0])


def _distances(features: np.ndarray) -> dict[str, float]:
    """FID and KID of features (n, 576) against those of n test images."""
    real = real_features(len(features))
    # Generators often draw the digits in order, and the blocks of KID must be random.
    shuffled = features[np.random.default_rng(1).permutation(len(features))]
    kid, error = kernel_distance(shuffled, real)
    return {
        "fid_mnist": round(frechet_distance(features, real), 3),
        "kid": round(kid, 6),
        "kid_error": round(error, 6),
    }
