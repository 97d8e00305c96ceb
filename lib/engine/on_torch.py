"""The engine on PyTorch; on_tensorflow.py documents the functions of the same names."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch

from lib.engine.one_device import (
    Pullback,
    StepModel,
    Tensor,
    build_metrics,
    draw,
    feed,
    replicas,
    speed_up_batch_normalization,
)
from lib.files.errors import UserError


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
        wanted = [inputs[i] for i in indices]
        keep = {"retain_graph": True, "allow_unused": True}
        return list(torch.autograd.grad(output, wanted, gradient, **keep))

    return output, aux, pullback


def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Gradient of the summed outputs with respect to the inputs, differentiable once more."""
    inputs = inputs.detach().requires_grad_()
    return torch.autograd.grad(function(inputs).sum(), inputs, create_graph=True)[0]


def apply(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Tensor], variables: Sequence
) -> None:
    """One update of the variables by their optimizer."""
    with torch.no_grad():
        optimizer.apply(gradients, variables)


def has_accelerator() -> bool:
    """Returns False: several steps in one call are not possible, see `steps_per_execution`."""
    return False


def devices(count: int) -> list[str]:
    """Refuses several devices.

    Raises a UserError always.
    """
    raise UserError("--devices needs the backend TensorFlow or JAX, found PyTorch")


def distribute(names: Sequence[str]) -> None:
    """Does nothing: there is one device."""
