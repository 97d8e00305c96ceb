"""The engine on JAX; on_tensorflow.py documents the functions of the same names.

A training step on JAX is a function of the values of all variables. A `keras.StatelessScope` holds
these values; reading or assigning a variable reads or changes them there. The step is that of the
global batch, and so are its random numbers and gradients.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np

from lib.engine.one_device import (
    Pullback,
    Tensor,
    apply,
    build_metrics,
    draw,
    replicas,
    speed_up_batch_normalization,
)
from lib.engine.processes import process, processes


class StepModel(keras.Model):
    """A model whose `fit` calls `run_step` on the arrays of each batch, see one_device.py."""

    def train_step(self, state: Any, data: Any) -> tuple[dict[str, Tensor], tuple]:
        of_model = self.trainable_variables, self.non_trainable_variables
        groups = (*of_model, self.optimizer.variables, self.metrics_variables)
        mapping: list[Any] = []
        for variables, values in zip(groups, state, strict=True):
            mapping += zip(variables, values, strict=True)
        with keras.StatelessScope(mapping) as self.scope:
            logs = self.run_step(data[0])
        return logs, tuple(
            [self.scope.get_current_value(v) for v in variables] for variables in groups
        )


class _Pass(keras.StatelessScope):
    """The values of all variables in one pass, which is differentiated.

    A layer may assign a variable that is being optimized, as spectral normalization does. The
    gradient is then that of the assigned value, as on TensorFlow and PyTorch.
    """

    state_mapping: dict[int, Tensor]  # {id of a variable: its value}

    def __init__(self, scope, variables, values):
        super().__init__(list(zip(variables, values, strict=True)))
        self.optimized = {id(v): self.state_mapping[id(v)] for v in variables}
        self.state_mapping = scope.state_mapping | self.state_mapping
        self.assigned: set[int] = set()
        self.reached = False

    def get_current_value(self, variable):
        self.reached |= id(variable) in self.optimized
        return super().get_current_value(variable)

    def add_update(self, update):
        variable, value = update
        own = self.optimized.get(id(variable))
        if own is not None:
            value = jax.lax.stop_gradient(value) + (own - jax.lax.stop_gradient(own))
        self.assigned.add(id(variable))
        super().add_update((variable, value))


def vjp(
    model: StepModel,
    function: Callable[..., tuple[Tensor, Any]],
    variables: Sequence[keras.Variable],
    tensors: Sequence[Tensor] = (),
) -> tuple[Tensor, Any, Pullback]:
    """Runs a function and returns its output with the way back to variables and tensors."""
    reached = False

    def pure(values, tensors):
        nonlocal reached
        with _Pass(model.scope, variables, values) as inner:
            output, aux = function(*tensors)
        reached = inner.reached
        # The pass also changes moving averages and seeds, which are returned with the output.
        return output, (aux, {key: inner.state_mapping[key] for key in inner.assigned})

    values = [model.scope.get_current_value(v) for v in variables]
    output, pull, (aux, assigned) = jax.vjp(pure, values, list(tensors), has_aux=True)
    model.scope.state_mapping.update(assigned)

    def pullback(gradient, indices):
        # The compiler drops the gradients that are not used.
        of_variables, of_tensors = pull(gradient)
        of_variables = of_variables if reached else [None] * len(variables)
        everything = [*of_variables, *of_tensors]
        return [everything[i] for i in indices]

    return output, aux, pullback


def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Gradient of the summed outputs with respect to the inputs, differentiable once more."""
    return jax.grad(lambda tensor: function(tensor).sum())(inputs)


def feed(arrays: dict[str, Any], batch_size: int, parts: int = 1) -> dict[str, Any]:
    """What `fit` takes to run once through `arrays`; each process gets its share of a batch."""

    def share(array):
        batches = (array[i : i + batch_size] for i in range(0, len(array), batch_size))
        return np.concatenate([np.array_split(b, processes())[process()] for b in batches])

    if processes() > 1:
        arrays, batch_size = keras.tree.map_structure(share, arrays), batch_size // processes()
    return {**arrays, "batch_size": batch_size, "shuffle": False}


def has_accelerator() -> bool:
    """Whether there is a GPU or TPU."""
    return jax.default_backend() != "cpu"


def devices(count: int) -> list[str]:
    """The names of all GPUs; without GPUs, of `count` parts of the processor."""
    if not _gpus():
        jax.config.update("jax_num_cpu_devices", count // processes())
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if processes() > 1:
        keras.distribution.initialize()
    return keras.distribution.list_devices()


def _gpus():
    plugins = [f"jax_cuda{version}_plugin" for version in (12, 13)]
    return any(importlib.util.find_spec(plugin) for plugin in plugins)


def distribute(names: Sequence[str]) -> None:
    """Spreads each batch of `fit` over these devices, for this process."""
    parallel = keras.distribution.DataParallel(devices=list(names), auto_shard_dataset=False)
    keras.distribution.set_distribution(parallel)
    if processes() > 1:
        keras.Model.predict = _predict


def _predict(model, x, batch_size=32, verbose=0):
    """`keras.Model.predict`, where each process computes all outputs: Keras returns shares."""
    outputs = []
    for start in range(0, len(keras.tree.flatten(x)[0]), batch_size):
        part = keras.tree.map_structure(lambda a, s=start: a[s : s + batch_size], x)
        found = model(part, training=False)
        outputs.append(keras.tree.map_structure(keras.ops.convert_to_numpy, found))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *outputs)
