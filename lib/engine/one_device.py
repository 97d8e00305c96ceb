"""The engine where a backend has nothing of its own to add: one device, and Keras' own ways.

on_tensorflow.py, on_jax.py and on_torch.py import these names, or define their own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

Tensor = Any
Pullback = Callable[[Sequence[Tensor | None], Sequence[int]], list[Tensor | None]]


class StepModel(keras.Model):
    """A model whose `fit` calls `run_step` on the arrays of each batch."""

    def train_step(self, data: Any) -> dict[str, Tensor]:
        return self.run_step(data[0])


def apply(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Tensor], variables: Sequence
) -> None:
    """One update of the variables by their optimizer."""
    optimizer.apply(gradients, variables)


def build_metrics(model: keras.Model, x: Any, y: Any) -> None:
    """Does nothing: Keras makes the metrics before the first step."""


def feed(arrays: dict[str, Any], batch_size: int, parts: int = 1) -> dict[str, Any]:
    """What `fit` takes to run once through `arrays`, a dict of x and, if any, y, in order.

    With several devices, each gets its share of each of the `parts` of a batch.
    """
    return {**arrays, "batch_size": batch_size, "shuffle": False}


def replicas() -> int:
    """Number of devices that share a batch inside a training step.

    Optimizers add up the gradients of all devices, so each is divided by this number.
    """
    return 1


def draw(random: Callable[..., Tensor], shape: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    """Draws numbers for the global batch and returns this device's rows.

    Args:
        random: a function of `keras.random`.
        shape: of this device's rows.
        args, kwargs: further arguments of `random`, with a `keras.random.SeedGenerator` as `seed`.
    """
    return random(shape, *args, **kwargs)


def speed_up_batch_normalization() -> None:
    """Makes `keras.layers.BatchNormalization` faster on images, for this process.

    The results stay the same up to rounding. A script calls this at its start; a second call
    changes nothing. Layers with `synchronized=True` keep Keras' own code, as do JAX and PyTorch,
    where it is fast.
    """
