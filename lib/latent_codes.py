"""Sweeps and measures of what a code or a noise vector controls, for chapter 6."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from lib.gan_training import NUM_LABELS, Inputs
from lib.measure import digit_attributes, plots

SWEEP_STEPS = 15
SAMPLES = 3000
Stack = Sequence[keras.Model]  # those of layer 0 and layer 1 of a StackedGAN
Arrays = Sequence[np.ndarray]


def sweep(
    generator: keras.Model, inputs: Sequence[np.ndarray], which: int, values: np.ndarray
) -> np.ndarray:
    """Generates rows of images (n, steps, height, width, channels), with one input swept.

    Args:
        generator: the network.
        inputs: list of arrays, what the network takes for each of n rows.
        which: index of the input to sweep. All of its numbers get the same value.
        values: array (steps,).
    """
    rows, steps = len(inputs[0]), len(values)
    inputs = [np.repeat(array, steps, axis=0) for array in inputs]
    inputs[which] = np.broadcast_to(np.tile(values, rows)[:, None], inputs[which].shape)
    inputs[which] = inputs[which].astype("float32")
    images = generator.predict(inputs, batch_size=500, verbose=0)
    return images.reshape(rows, steps, *images.shape[1:])


def draw_sweep(
    generator: keras.Model,
    inputs: Inputs,
    which: int,
    bound: float,
    trained: float,
    std: float,
    path: Path,
    digit: int | None = None,
    show: bool = False,
) -> None:
    """Draws a row for each digit, or for one; one input takes SWEEP_STEPS values up to `bound`.

    Args:
        generator, which: see `sweep`.
        inputs: function of digits (n,) that returns what the network takes.
        bound: the last value; the first is -bound.
        trained: values up to this one are common in training; the figure marks them.
        std: standard deviation of the input in training. The titles are in units of it.
        path: the PNG file.
        digit: the digit of the only row, None for all.
        show: also open a window.
    """
    digits = np.arange(NUM_LABELS) if digit is None else np.array([digit])
    values = np.linspace(-bound, bound, SWEEP_STEPS)
    images = sweep(generator, inputs(digits), which, values)
    inside = np.flatnonzero(np.abs(values) <= trained)
    plots.image_grid(
        images.reshape(-1, *images.shape[2:]),
        path,
        columns=SWEEP_STEPS,
        titles=[f"{value:.1f}σ" for value in values / std],
        row_titles=[str(digit) for digit in digits],
        marked=(inside[0], inside[-1], f"trained range: ±{trained / std:.1f}σ"),
        show=show,
    )


def digits_to_measure() -> np.ndarray:
    """SAMPLES digits, all equally often."""
    return np.arange(SAMPLES) % NUM_LABELS


def constant_noise_effect(
    generator: keras.Model, inputs: Inputs, which: int, bound: float, seed: int
) -> dict[str, list[float]]:
    """How strongly a constant noise vector orders the images while everything else is random.

    The arguments are those of `draw_sweep`. The constants are uniform in [-bound, bound].

    Returns:
        The dict of `digit_attributes.attribute_correlations`, of one number each.
    """
    digits = digits_to_measure()
    given = list(inputs(digits))
    constants = np.random.default_rng((seed, 4)).uniform(-bound, bound, (len(digits), 1))
    given[which] = np.repeat(constants, given[which].shape[1], axis=1).astype("float32")
    images = generator.predict(given, batch_size=500, verbose=0)
    return digit_attributes.attribute_correlations(images, constants, digits)


def recovery(codes: np.ndarray, recovered: np.ndarray) -> float:
    """Pearson correlation of codes with the codes that a discriminator recovered, rounded."""
    return round(float(np.corrcoef(np.ravel(codes), np.ravel(recovered))[0, 1]), 4)


def measure_stack(generators: Stack, encoders: Stack, given: Arrays) -> dict[str, float]:
    """Measures how well encoders 0 and 1 of a StackedGAN recover the inputs of its generators.

    `given` are labels (n, 10), z1 and z0.

    Returns:
        A dict: `conditional0`, the mean squared error of encoder 0's features of the images;
        `conditional1`, the share of fake features whose digit encoder 1 predicts.
    """
    features, images = _stack(generators, given)
    encoded = encoders[0].predict(images, batch_size=500, verbose=0)
    predicted = encoders[1].predict(features, batch_size=500, verbose=0)
    same = predicted.argmax(axis=1) == given[0].argmax(axis=1)
    return {
        "conditional0": round(float(np.mean((encoded - features) ** 2)), 4),
        "conditional1": round(float(np.mean(same)), 4),
    }


def recovered_noise(
    generators: Stack, discriminators: Stack, given: Arrays
) -> dict[str, dict[str, float]]:
    """Correlation of the noise with the noise that discriminators 0 and 1 of a StackedGAN recover.

    Returns {"noise_recovery": {"z0": r, "z1": r}}; the arguments are those of `measure_stack`.
    """
    features, images = _stack(generators, given)
    _, z1 = discriminators[1].predict(features, batch_size=500, verbose=0)
    _, z0 = discriminators[0].predict(images, batch_size=500, verbose=0)
    return {"noise_recovery": {"z0": recovery(given[2], z0), "z1": recovery(given[1], z1)}}


def _stack(generators: Stack, given: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The features and the images that two stacked generators draw from labels, z1 and z0."""
    labels, z1, z0 = given
    features = generators[1].predict([labels, z1], batch_size=500, verbose=0)
    return features, generators[0].predict([features, z0], batch_size=500, verbose=0)
