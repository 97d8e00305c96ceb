"""The engine on PyTorch; on_tensorflow.py documents the functions of the same names."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch

from lib.files.errors import UserError

Tensor = Any
Pullback = Callable[[Sequence[Tensor | None], Sequence[int]], list[Tensor | None]]


class StepModel(keras.Model):
    """A model whose `fit` calls `run_step` on the arrays of each batch."""

    def train_step(self, data: Any) -> dict[str, Tensor]:
        return self.run_step(data[0])


def vjp(
    model: StepModel,
    function: Callable[..., tuple[Tensor, Any]],
    variables: Sequence[keras.Variable],
    tensors: Sequence[Tensor] = (),
) -> tuple[Tensor, Any, Pullback]:
    """Runs a function and returns its output with the way back to variables and tensors."""
    tensors = [t.detach().requires_grad_() for t in tensors]
    inputs = [*(v.value for v in variables), *tensors]
    output, aux = function(*tensors)

    def pullback(gradient, indices):
        if not output.requires_grad:
            return [None] * len(indices)
        return list(
            torch.autograd.grad(
                output,
                [inputs[i] for i in indices],
                gradient,
                retain_graph=True,
                allow_unused=True,
            )
        )

    return output, aux, pullback


def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Gradient of the summed outputs with respect to the inputs, differentiable once more."""
    inputs = inputs.detach().requires_grad_()
    return torch.autograd.grad(function(inputs).sum(), inputs, create_graph=True)[0]


def apply(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Tensor],
    variables: Sequence[keras.Variable],
) -> None:
    """One update of the variables by their optimizer."""
    with torch.no_grad():
        optimizer.apply(gradients, variables)


def build_metrics(model: keras.Model, x: Any, y: Any) -> None:
    """Does nothing: Keras makes the metrics before the first step."""


def feed(arrays: dict[str, Any], batch_size: int, parts: int = 1) -> dict[str, Any]:
    """What `fit` takes to run once through `arrays`, in order."""
    return {**arrays, "batch_size": batch_size, "shuffle": False}


def has_accelerator() -> bool:
    """Returns False: several steps in one call are not possible, see `steps_per_execution`."""
    return False


def devices(count: int) -> list[str]:
    """Refuses several devices.

    Raises:
        UserError: always.
    """
    raise UserError("--devices needs the backend TensorFlow or JAX, found PyTorch")


def distribute(names: Sequence[str]) -> None:
    """Does nothing: there is one device."""


def replicas() -> int:
    """Returns 1: there is one device."""
    return 1


def draw(random: Callable[..., Tensor], shape: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    """Calls `random`: there is one device."""
    return random(shape, *args, **kwargs)


def speed_up_batch_normalization() -> None:
    """Does nothing: Keras' own code is fast on PyTorch."""
