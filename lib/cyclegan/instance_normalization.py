"""Instance normalization, for which Keras 3 has no layer of this name.

Source: Ulyanov, Vedaldi, Lempitsky, Instance Normalization: The Missing Ingredient for Fast
Stylization (2016), arXiv:1607.08022.
"""

from typing import Any, Self

import keras
from keras import layers, ops

from lib.engine.backends import Tensor


@keras.saving.register_keras_serializable("adlk")
class InstanceNormalization(layers.Layer):
    """Normalizes each image to mean 0 and variance 1, then applies a learned gain and offset.

    Images (batch, height, width, channels) -> the same shape.

    Args:
        axis: -1 normalizes each channel of each image separately, with one gain and one offset per
            channel. This is the form of the paper, of `GroupNormalization(groups=-1)` and of
            TensorFlow Addons. None normalizes all values of an image together, with one gain and
            one offset. This is the default of the layer in keras-contrib, which the book uses.
        epsilon: added to the variance, as in the paper. Keras-contrib adds it to the standard
            deviation.
        kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, axis: int | None = -1, epsilon: float = 1e-3, **kwargs: Any) -> None:
        if axis not in (-1, None):
            raise ValueError(f"expected axis -1 or None, found {axis}")
        super().__init__(**kwargs)
        self.axis = axis
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        size = 1 if self.axis is None else input_shape[-1]
        # In mixed precision, the statistics, the gain and the offset are also float32.
        self.gamma = self.add_weight((size,), "ones", name="gamma", autocast=False)
        self.beta = self.add_weight((size,), "zeros", name="beta", autocast=False)

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, "float32")
        axes = (1, 2, 3) if self.axis is None else (1, 2)
        mean, variance = ops.moments(x, axes, keepdims=True)
        scale = self.gamma * ops.rsqrt(variance + self.epsilon)
        return ops.cast(x * scale + (self.beta - mean * scale), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        # Keras omits an axis that is None when it opens an .h5 file.
        return cls(**{"axis": None, **config})
