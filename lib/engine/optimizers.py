"""The book's RMSprop, in the terms of Keras 3."""

import keras

# Keras 2 adds 1e-7 to the root of the mean squared gradient, Keras 3 adds its epsilon under the
# root. The square keeps the book's step wherever the gradient is much larger than 1e-7.
RMSPROP_EPSILON = 1e-14


def rmsprop(learning_rate: float, decay: float = 0.0) -> keras.optimizers.RMSprop:
    """RMSprop as Keras 2 computed it, which every GAN of the book uses.

    Source: Keras 2's `keras.optimizers.RMSprop(lr, decay)`; listings 4.2.1 to 7.1.1.

    Args:
        learning_rate: rate of the first step.
        decay: the rate of step s is `learning_rate / (1 + decay * s)`.

    Returns:
        A `keras.optimizers.RMSprop`.
    """
    schedule = keras.optimizers.schedules.InverseTimeDecay(learning_rate, 1, decay)
    return keras.optimizers.RMSprop(schedule, epsilon=RMSPROP_EPSILON)
