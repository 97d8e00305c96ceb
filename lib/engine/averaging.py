"""An exponential moving average of a network's weights.

The two players of a GAN circle around their equilibrium, and the average is closer to it than
any single step. Source: Yazici et al., The Unusual Effectiveness of Averaging in GAN Training
(2019), arXiv:1806.04498.
"""

import keras
import numpy as np
from keras import ops


class MovingAverage(keras.layers.Layer):
    """A copy of a network with the moving average of its weights.

    After update t the copy is `d * copy + (1 - d) * network` with `d = min(decay, t / (t + 9))`.
    The random weights of the first steps are thus soon forgotten. The decay is from 0 to below 1.
    Only trainable weights are averaged: call `estimate_batch_statistics` before you use a copy with
    batch normalization. As an attribute of the model that trains, it is in its checkpoints.
    """

    def __init__(self, network: keras.Model, decay: float) -> None:
        super().__init__(name=f"{network.name}_average", dtype="float32")
        self.source = network
        self.network = keras.models.clone_model(network)
        self.network.set_weights(network.get_weights())
        self.network.trainable = False
        self.decay = decay
        self.updates = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="updates"
        )
        self.built = True

    def update(self) -> None:
        """Moves the copy toward the network, after an update of the network."""
        self.updates.assign_add(1)
        t = ops.cast(self.updates.value, "float32")
        share = ops.maximum(1 - self.decay, 9 / (t + 9))
        for average, variable in zip(self.network.weights, self.source.weights, strict=True):
            if variable.trainable:
                average.assign(average + share * (variable - average))


def estimate_batch_statistics(
    network: keras.Model, inputs: np.ndarray | list[np.ndarray], batch_size: int = 500
) -> None:
    """Sets the moving averages of batch normalization to the statistics of the given inputs.

    The moving averages of a training run belong to the weights of that run, not to their average.
    The statistics are the means over forward passes of `batch_size` inputs.
    """
    kind = keras.layers.BatchNormalization
    normalizations = [layer for layer in network._flatten_layers() if isinstance(layer, kind)]
    if not normalizations:
        return
    momenta = [layer.momentum for layer in normalizations]
    trainable = [layer.trainable for layer in normalizations]
    size = len(keras.tree.flatten(inputs)[0])
    try:
        for count, start in enumerate(range(0, size, batch_size)):
            for layer in normalizations:
                # A running mean over the passes: the first one replaces the old statistics.
                layer.momentum = count / (count + 1)
                layer.trainable = True
            part = keras.tree.map_structure(lambda a, s=start: a[s : s + batch_size], inputs)
            network(part, training=True)
    finally:
        for layer, momentum, flag in zip(normalizations, momenta, trainable, strict=True):
            layer.momentum = momentum
            layer.trainable = flag
