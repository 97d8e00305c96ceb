"""The code that differs between TensorFlow, JAX and PyTorch; no other module imports one of them.

- `vjp` computes gradients, `apply` updates variables by them, `replicas` is the number of devices
  that compute them, and `input_gradient` computes a gradient inside a loss;
- `PlayedModel` is a model with its own train step under `keras.Model.fit`;
- `feed` returns the arguments of `fit` for arrays;
- `use_devices` spreads each batch over several devices, also of several machines, and `draw` draws
  random numbers for it;
- `speed_up_batch_normalization` installs a faster kernel on TensorFlow.
"""

import operator
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from lib.files.errors import UserError

BACKEND = keras.backend.backend()

STEPS_ON_ACCELERATORS = 8

Tensor = Any  # of the backend
Tensors = tuple[Tensor, ...]
Scope = Any  # a `keras.StatelessScope` under JAX, else None
Pullback = Callable[..., list[Tensor | None]]


def steps_per_execution(requested: int | None = None) -> int:
    """Training steps in one call of the compiled function: as requested, or what suits the device.

    A GPU waits for Python between two calls. A processor gains nothing.

    Args:
        requested: a number, or None for 1 on a processor and STEPS_ON_ACCELERATORS elsewhere.

    Raises:
        UserError: if more than 1 are requested with PyTorch, where Keras has no such call.
    """
    if BACKEND == "torch" and (requested or 1) > 1:
        raise UserError(
            f"--steps-per-execution {requested}: expected 1 with the backend PyTorch; use "
            "TensorFlow or JAX"
        )
    if requested or BACKEND == "torch":
        return requested or 1
    return STEPS_ON_ACCELERATORS if _has_accelerator() else 1


def build_optimizer(model: keras.Model) -> None:
    """Makes the averages of a compiled model's optimizer now instead of in its first update.

    A checkpoint needs them. And TensorFlow traces a step in which variables are made twice.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def build_metrics(model: keras.Model, x: Any, y: Any) -> None:
    """Makes the metrics of a compiled model now, as JAX and PyTorch do, not in its first step.

    TensorFlow would trace the first step twice, which takes seconds with a deep network.

    Args:
        model: with one output.
        x: array, or tuple of arrays; the metrics do not look at it.
        y: array of at least one example.
    """
    if BACKEND == "tensorflow" and replicas() == 1:  # Keras does it on several devices
        (output,) = model.outputs
        y_pred = keras.ops.zeros((1, *output.shape[1:]))
        model.compute_metrics(x, keras.ops.convert_to_tensor(y[:1]), y_pred)
        model.reset_metrics()


_entered: list[Any] = []  # the scope of the distribution strategy, which must not be collected


def use_devices(count: int) -> None:
    """Spreads each batch of `fit` over `count` devices; to be called before a network is built.

    These are the GPUs. On a machine without GPUs, the processor is split into `count` devices,
    which is not faster. The batch size is that of the global batch, for which batch statistics are
    computed and random numbers are drawn (see `draw`). The results for different numbers of devices
    differ only by rounding.

    Only JAX supports several machines. Each runs one process with the environment variables of
    `keras.distribution.initialize`, and `count` is the number of all their devices.

    Raises:
        UserError: if there are fewer GPUs, the processes do not divide `count`, or the backend
            cannot do it.
    """
    if count % processes():
        raise UserError(
            f"--devices {count}: expected a multiple of the {processes()} processes; count the "
            "devices of all machines"
        )
    devices = _devices(count)
    if len(devices) < count:
        raise UserError(f"--devices {count}: found {len(devices)} GPUs; use at most that many")
    if BACKEND == "tensorflow":
        _entered.append(tf.distribute.MirroredStrategy(devices[:count]).scope())
        _entered[-1].__enter__()
    else:
        parallel = keras.distribution.DataParallel(
            devices=devices[:count], auto_shard_dataset=False
        )
        keras.distribution.set_distribution(parallel)
        if processes() > 1:
            keras.Model.predict = _predict


def processes() -> int:
    """Number of processes that train together, one on each machine."""
    return int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", 1))


def process() -> int:
    """Number of this process, from 0; only process 0 writes files that stay."""
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0)) if processes() > 1 else 0


def _predict(model, x, batch_size=32, verbose=0):
    """`keras.Model.predict`, where each process computes all outputs: Keras returns shares."""
    outputs = []
    for start in range(0, len(keras.tree.flatten(x)[0]), batch_size):
        rows = slice(start, start + batch_size)
        part = keras.tree.map_structure(operator.itemgetter(rows), x)
        found = model(part, training=False)
        outputs.append(keras.tree.map_structure(keras.ops.convert_to_numpy, found))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *outputs)


class PlayedModel(keras.Model):
    """A model whose subclass defines the train step in `play`.

    `play(batch, scope)` gets the arrays of the batch, updates the variables, and returns a dict of
    what to log. Under JAX, where a step is a function of the values of all variables, `scope` is
    the `keras.StatelessScope` that holds these; else it is None.
    """

    if BACKEND == "jax":

        def train_step(self, state: Any, data: Any) -> tuple[dict[str, Tensor], tuple]:
            groups = (
                self.trainable_variables,
                self.non_trainable_variables,
                self.optimizer.variables,
                self.metrics_variables,
            )
            mapping = [
                pair
                for variables, values in zip(groups, state, strict=True)
                for pair in zip(variables, values, strict=True)
            ]
            with keras.StatelessScope(mapping) as scope:
                logs = self.play(data[0], scope)
            return logs, tuple(
                [scope.get_current_value(v) for v in variables] for variables in groups
            )

    else:
        # Keras calls it with other arguments than under JAX.
        def train_step(self, data: Any) -> dict[str, Tensor]:  # type: ignore[misc]
            return self.play(data[0])


if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
elif BACKEND == "torch":
    import torch
else:
    raise ImportError("expected tensorflow, jax or torch in KERAS_BACKEND")


# vjp(function, variables, tensors, scope) -> outputs, aux, pullback
#
# Runs a function and returns its outputs with the pullback that carries gradients with respect to
# these back to variables and tensors. `function(*tensors)` returns (outputs, aux), two tuples.
# `pullback(gradients, only)` takes one gradient or None for each output. It returns a list with one
# gradient for each variable, then one for each tensor, or only those with the indices in `only`.
# `scope` is the argument of `PlayedModel.play`.

if BACKEND == "tensorflow":

    def vjp(
        function: Callable[..., tuple[Tensors, Tensors]],
        variables: Sequence[keras.Variable],
        tensors: Sequence[Tensor],
        scope: Scope,
    ) -> tuple[Tensors, Tensors, Pullback]:
        """Runs a function; returns outputs, aux and the pullback, see above."""
        inputs = [*(v.value for v in variables), *(tf.stop_gradient(t) for t in tensors)]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs, aux = function(*inputs[len(variables) :])

        def pullback(gradients, only=None):
            reached = [i for i, gradient in enumerate(gradients) if gradient is not None]
            return tape.gradient(
                [outputs[i] for i in reached],
                inputs if only is None else [inputs[i] for i in only],
                output_gradients=[gradients[i] for i in reached],
            )

        return outputs, aux, pullback

elif BACKEND == "torch":

    def vjp(
        function: Callable[..., tuple[Tensors, Tensors]],
        variables: Sequence[keras.Variable],
        tensors: Sequence[Tensor],
        scope: Scope,
    ) -> tuple[Tensors, Tensors, Pullback]:
        """Runs a function; returns outputs, aux and the pullback, see above."""
        tensors = [t.detach().requires_grad_() for t in tensors]
        inputs = [*(v.value for v in variables), *tensors]
        outputs, aux = function(*tensors)

        def pullback(gradients, only=None):
            reached = [i for i, gradient in enumerate(gradients) if gradient is not None]
            return list(
                torch.autograd.grad(
                    [outputs[i] for i in reached],
                    inputs if only is None else [inputs[i] for i in only],
                    [gradients[i] for i in reached],
                    retain_graph=True,
                    allow_unused=True,
                )
            )

        return outputs, aux, pullback

else:

    def vjp(
        function: Callable[..., tuple[Tensors, Tensors]],
        variables: Sequence[keras.Variable],
        tensors: Sequence[Tensor],
        scope: Scope,
    ) -> tuple[Tensors, Tensors, Pullback]:
        """Runs a function; returns outputs, aux and the pullback, see above."""
        own = {id(v) for v in variables}

        def pure(values, tensors):
            inner = keras.StatelessScope(list(zip(variables, values, strict=True)))
            inner.state_mapping = scope.state_mapping | inner.state_mapping
            with inner:
                outputs, aux = function(*tensors)
            # The pass also changes moving averages and seeds, which are returned with the outputs.
            moved = {
                key: value
                for key, value in inner.state_mapping.items()
                if key not in own and value is not scope.state_mapping.get(key)
            }
            return outputs, (aux, moved)

        values = [scope.get_current_value(v) for v in variables]
        outputs, pull, (aux, moved) = jax.vjp(pure, values, list(tensors), has_aux=True)
        scope.state_mapping.update(moved)

        def pullback(gradients, only=None):
            # The compiler drops the gradients that are not used.
            everything = [g for group in pull(tuple(gradients)) for g in group]
            return everything if only is None else [everything[i] for i in only]

        return outputs, aux, pullback


if BACKEND == "tensorflow":

    def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Gradient of the summed outputs with respect to the inputs, differentiable once more.

        Args:
            function: maps the inputs to a tensor, and updates no variable.
            inputs: a tensor.

        Returns:
            A tensor of the shape of the inputs.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs = function(inputs)
        return tape.gradient(outputs, inputs)

elif BACKEND == "torch":

    def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Gradient of the summed outputs with respect to the inputs, differentiable once more."""
        inputs = inputs.detach().requires_grad_()
        return torch.autograd.grad(function(inputs).sum(), inputs, create_graph=True)[0]

else:

    def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Gradient of the summed outputs with respect to the inputs, differentiable once more."""
        return jax.grad(lambda tensor: function(tensor).sum())(inputs)


if BACKEND == "torch":

    def apply(
        optimizer: keras.optimizers.Optimizer,
        gradients: Sequence[Tensor],
        variables: Sequence[keras.Variable],
    ) -> None:
        """One update of the variables by their optimizer."""
        with torch.no_grad():
            optimizer.apply(gradients, variables)

else:

    def apply(
        optimizer: keras.optimizers.Optimizer,
        gradients: Sequence[Tensor],
        variables: Sequence[keras.Variable],
    ) -> None:
        """One update of the variables by their optimizer."""
        optimizer.apply(gradients, variables)


if BACKEND == "tensorflow":

    def _devices(count):
        if processes() > 1:
            raise UserError(
                "several machines need the backend JAX, found TensorFlow; set KERAS_BACKEND=jax"
            )
        if not tf.config.list_physical_devices("GPU"):
            (processor,) = tf.config.list_physical_devices("CPU")
            parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
            tf.config.set_logical_device_configuration(processor, parts)
        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        return [device.name for device in tf.config.list_logical_devices(kind)]

    def _has_accelerator():
        return any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU"))

    def replicas() -> int:
        """Number of devices that share a batch inside a training step.

        Optimizers add up the gradients of all devices, so each is divided by this number.
        """
        return tf.distribute.get_strategy().num_replicas_in_sync

    def draw(
        random: Callable[..., Tensor], shape: Sequence[int], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Draws numbers for the global batch and returns this device's rows.

        The same call on each device would draw the same numbers on each.

        Args:
            random: a function of `keras.random`.
            shape: of this device's rows.
            args, kwargs: further arguments of `random`, with a `keras.random.SeedGenerator` as
                `seed`.
        """
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return random(shape, *args, **kwargs)
        rows, *rest = shape
        numbers = random((rows * context.num_replicas_in_sync, *rest), *args, **kwargs)
        first = context.replica_id_in_sync_group * rows
        return numbers[first : first + rows]

else:

    def _devices(count):
        if BACKEND == "torch":
            raise UserError("--devices needs the backend TensorFlow or JAX, found PyTorch")
        if not _gpus_of_jax():
            jax.config.update("jax_num_cpu_devices", count // processes())
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        if processes() > 1:
            keras.distribution.initialize()
        return keras.distribution.list_devices()

    def _has_accelerator():
        return BACKEND == "jax" and jax.default_backend() != "cpu"

    def _gpus_of_jax():
        import importlib.util

        plugins = [f"jax_cuda{version}_plugin" for version in (12, 13)]
        return any(importlib.util.find_spec(plugin) for plugin in plugins)

    def replicas() -> int:
        """Returns 1, because the gradients are already those of the global batch."""
        return 1

    def draw(
        random: Callable[..., Tensor], shape: Sequence[int], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Calls `random`: a training step draws for the global batch."""
        return random(shape, *args, **kwargs)


if BACKEND == "tensorflow":

    def feed(arrays: dict[str, Any], batch_size: int, parts: int = 1) -> dict[str, Any]:
        """What `fit` takes to run once through `arrays`, a dict of x and, if any, y, in order.

        With several devices, each gets its share of each of the `parts` of a batch.

        Keras would make a data set with an autotuner and wait for it at the end. The autotuner
        sleeps for 10 ms, 20 ms, 40 ms and so on, so the wait can be as long as the epoch.
        """
        x_and_y = tuple(arrays.values())
        full, rest = divmod(len(keras.tree.flatten(x_and_y)[0]), batch_size)

        def cut(array):
            batches = array[: full * batch_size].reshape(full, batch_size, *array.shape[1:])
            if parts > 1 and replicas() > 1:
                split = batches.reshape(full, parts, replicas(), -1, *array.shape[1:])
                batches = split.swapaxes(1, 2).reshape(batches.shape)
            return batches

        # An element is a whole batch. A function that cuts batches out would hold on to the arrays
        # until the garbage collector runs. On a GPU machine, TensorFlow would put the arrays on the
        # GPU first, and the data set would bring them back, batch by batch.
        with tf.device("CPU:0"):
            batches = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(cut, x_and_y))
            if rest:
                last = keras.tree.map_structure(lambda array: array[-rest:], x_and_y)
                batches = batches.concatenate(tf.data.Dataset.from_tensors(last))
        options = tf.data.Options()
        options.autotune.enabled = False
        batches = batches.prefetch(2).with_options(options)
        return {"x": batches, "shuffle": False}

else:

    def feed(arrays: dict[str, Any], batch_size: int, parts: int = 1) -> dict[str, Any]:
        """What `fit` takes to run once through `arrays`, a dict of x and, if any, y, in order.

        With several processes, each gets its share of each batch.
        """

        def share(array):
            batches = (array[i : i + batch_size] for i in range(0, len(array), batch_size))
            return np.concatenate([np.array_split(b, processes())[process()] for b in batches])

        if processes() > 1:
            arrays, batch_size = keras.tree.map_structure(share, arrays), batch_size // processes()
        return {**arrays, "batch_size": batch_size, "shuffle": False}


if BACKEND == "tensorflow":
    # Keras writes batch normalization as a dozen passes over its input. For images TensorFlow has a
    # kernel that needs two or three, and half of the time of a ResNet is spent here.

    def speed_up_batch_normalization() -> None:
        """Makes `keras.layers.BatchNormalization` faster on images, for this process.

        The results stay the same up to rounding. A script calls this at its start; a second call
        changes nothing. Layers with `synchronized=True` keep Keras' own code.
        """
        call = keras.layers.BatchNormalization.call
        _faster.plain = getattr(call, "plain", call)
        keras.layers.BatchNormalization.call = _faster

    def _batch_normalization(layer, inputs, training=None, mask=None):
        """`keras.layers.BatchNormalization.call`, with fewer passes where that is possible."""
        fits = (
            len(inputs.shape) == 4
            and layer.axis in (-1, 3)
            and inputs.dtype in (tf.float32, tf.bfloat16)
            and layer.scale
            and layer.center
            and mask is None
            and not (layer.synchronized or layer.renorm)
        )
        if replicas() > 1 or not (training and layer.trainable and fits):
            return _synchronized(layer, inputs, training, mask)
        gamma, beta = tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
        outputs, mean, variance = _normalize(inputs, gamma, beta, layer.epsilon)
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
        return outputs

    # Any, because its attribute `plain` has Keras' own code.
    _faster: Any = _batch_normalization

    def _synchronized(layer, inputs, training, mask):
        """Keras' own code, with the statistics of the global batch where devices share it."""
        flag = layer.synchronized
        layer.synchronized = flag or replicas() > 1
        try:
            return _faster.plain(layer, inputs, training=training, mask=mask)
        finally:
            layer.synchronized = flag

    def _normalize(inputs, gamma, beta, epsilon):
        """Normalized images, and the mean and variance of each channel, by TensorFlow's kernel."""
        channels = inputs.shape[-1]
        # On CPUs the kernel takes 16 channels at once, and is many times slower where some are left
        # over, as in a DenseNet. Zeros fill these up.
        missing = 0 if tf.config.list_physical_devices("GPU") else -channels % 16
        if missing:
            inputs = _with_zeros(inputs, missing)
            gamma, beta = tf.pad(gamma, [[0, missing]]), tf.pad(beta, [[0, missing]])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=epsilon,
            is_training=True,
        )
        if missing:
            outputs = _without_last(outputs, missing)
        # The kernel returns the variance of the population that the batch was drawn from; Keras
        # averages that of the batch.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        return outputs, mean[:channels], variance[:channels] * (count - 1) / count

    def _with_zeros(images, count):
        """The images with `count` more channels, of zeros; tf.pad takes ten times as long."""
        zeros = tf.zeros(tf.concat([tf.shape(images)[:-1], [count]], 0), images.dtype)
        return tf.concat([images, zeros], -1)

    def _without_last(images, count):
        """The images without their last `count` channels."""

        @tf.custom_gradient
        def cut(images):
            size = [-1, -1, -1, images.shape[-1] - count]
            # TensorFlow's own gradient of this is tf.pad.
            return tf.slice(images, [0, 0, 0, 0], size), lambda upstream: _with_zeros(
                upstream, count
            )

        return cut(images)

else:

    def speed_up_batch_normalization() -> None:
        """Does nothing: Keras' own code is fast on JAX and PyTorch."""
