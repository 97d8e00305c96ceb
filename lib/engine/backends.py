"""Chooses the file of the backend: on_tensorflow.py, on_jax.py or on_torch.py.

No other module asks which backend is loaded. Keras reads it from KERAS_BACKEND.
"""

from typing import TYPE_CHECKING

import keras

BACKEND = keras.backend.backend()

if TYPE_CHECKING or BACKEND == "tensorflow":
    from lib.engine import on_tensorflow as backend
elif BACKEND == "jax":
    from lib.engine import on_jax as backend
elif BACKEND == "torch":
    from lib.engine import on_torch as backend
else:
    raise ImportError("expected tensorflow, jax or torch in KERAS_BACKEND")

Tensor = backend.Tensor
StepModel = backend.StepModel
apply = backend.apply
build_metrics = backend.build_metrics
draw = backend.draw
feed = backend.feed
input_gradient = backend.input_gradient
replicas = backend.replicas
speed_up_batch_normalization = backend.speed_up_batch_normalization
vjp = backend.vjp


def build_optimizer(model: keras.Model) -> None:
    """Makes the averages of a compiled model's optimizer now instead of in its first update.

    A checkpoint needs them. And TensorFlow traces a step in which variables are made twice.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
