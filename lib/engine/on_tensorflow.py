"""The engine on TensorFlow; on_jax.py and on_torch.py have the same names.

one_device.py and here are the descriptions of all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from lib.engine.one_device import Pullback, StepModel, Tensor, apply
from lib.engine.processes import processes
from lib.files.errors import UserError


def vjp(
    model: StepModel,
    function: Callable[..., tuple[Tensor, Any]],
    variables: Sequence[keras.Variable],
    tensors: Sequence[Tensor] = (),
) -> tuple[Tensor, Any, Pullback]:
    """Runs a function and returns its output with the way back to variables and tensors.

    Args:
        model: whose step is running.
        function: `function(*tensors)` returns (output, aux). Gradients are those of the output.
        variables: trainable variables.
        tensors: further inputs to differentiate with respect to.

    Returns:
        (output, aux, pullback). `pullback(gradient, indices)` maps a gradient with respect to the
        output to gradients with respect to inputs, counted through variables, then tensors. A
        gradient is None if no path leads to its input.
    """
    inputs = [*(v.value for v in variables), *(tf.stop_gradient(t) for t in tensors)]
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        output, aux = function(*inputs[len(variables) :])

    def pullback(gradient, indices):
        return tape.gradient(output, [inputs[i] for i in indices], output_gradients=gradient)

    return output, aux, pullback


def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Gradient of the summed outputs with respect to the inputs, differentiable once more.

    The function maps the inputs to a tensor, and updates no variable.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs = function(inputs)
    return tape.gradient(outputs, inputs)


def build_metrics(model: keras.Model, x: Any, y: Any) -> None:
    """Makes the metrics of a compiled model with one output now, not in its first step.

    TensorFlow would trace the first step twice, which takes seconds with a deep network.
    """
    if replicas() == 1:  # Keras does it on several devices
        (output,) = model.outputs
        y_pred = keras.ops.zeros((1, *output.shape[1:]))
        model.compute_metrics(x, keras.ops.convert_to_tensor(y[:1]), y_pred)
        model.reset_metrics()


def feed(arrays: dict[str, Any], batch_size: int, parts: int = 1) -> dict[str, Any]:
    """What `fit` takes to run once through `arrays`, see one_device.py.

    Keras would make a data set with an autotuner and wait for it at the end. The autotuner sleeps
    for 10 ms, 20 ms, 40 ms and so on, so the wait can be as long as the epoch.
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
    # until the garbage collector runs. On a GPU machine, TensorFlow would put the arrays on the GPU
    # first, and the data set would bring them back, batch by batch.
    with tf.device("CPU:0"):
        batches = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(cut, x_and_y))
        if rest:
            last = keras.tree.map_structure(lambda array: array[-rest:], x_and_y)
            batches = batches.concatenate(tf.data.Dataset.from_tensors(last))
    options = tf.data.Options()
    options.autotune.enabled = False
    return {"x": batches.prefetch(2).with_options(options), "shuffle": False}


# Devices

_entered: list[Any] = []  # the scope of the distribution strategy, which must not be collected


def has_accelerator() -> bool:
    """Whether there is a GPU or TPU."""
    return any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU"))


def devices(count: int) -> list[str]:
    """The names of all GPUs; without GPUs, of `count` parts of the processor.

    Raises a UserError if several machines train together.
    """
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


def distribute(names: Sequence[str]) -> None:
    """Spreads each batch of `fit` over these devices, for this process."""
    _entered.append(tf.distribute.MirroredStrategy(names).scope())
    _entered[-1].__enter__()


def replicas() -> int:
    """Number of devices that share a batch, see one_device.py."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def draw(random: Callable[..., Tensor], shape: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    """`one_device.draw`: the same call on each device would draw the same numbers on each."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return random(shape, *args, **kwargs)
    rows, *rest = shape
    numbers = random((rows * context.num_replicas_in_sync, *rest), *args, **kwargs)
    first = context.replica_id_in_sync_group * rows
    return numbers[first : first + rows]


# Keras writes batch normalization as a dozen passes over its input. For images TensorFlow has a
# kernel that needs two or three, and half of the time of a ResNet is spent here.


def speed_up_batch_normalization() -> None:
    """Makes `keras.layers.BatchNormalization` faster, see one_device.py."""
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
    none = tf.zeros(0)
    given = {"x": inputs, "scale": gamma, "offset": beta, "mean": none, "variance": none}
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        **given, epsilon=epsilon, is_training=True
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
        return tf.slice(images, [0, 0, 0, 0], size), lambda upstream: _with_zeros(upstream, count)

    return cut(images)
