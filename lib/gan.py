"""What the GANs of chapters 5 to 7 share: one pair of builders, losses, and a model with its noise.

The networks are those of the DCGAN in chapter 4, listing 4.2.1. Methods that need them add inputs
(labels, codes) and outputs (heads), as in the book's builders of listings 5.3.1 and 5.3.2. Training
loop and drawing are in gan_training.py.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from lib.engine.backends import input_gradient
from lib.engine.step import AlternatingModel, Tensor

KERNEL_SIZE = 5
GENERATOR_FILTERS = (128, 64, 32)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
LEAKY_SLOPE = 0.2


def generator(
    inputs: Tensor,
    image_size: int,
    labels: Tensor | None = None,
    codes: Tensor | Sequence[Tensor] | None = None,
    channels: int = 1,
) -> keras.Model:
    """Builds a generator: [inputs, labels, *codes], as far as given, -> images in [0, 1], float32.

    Args:
        inputs: `keras.Input` of noise, shape (batch, n).
        image_size: height and width, a multiple of 4.
        labels: `keras.Input` of one-hot labels, for a conditional generator.
        codes: further `keras.Input`s, a list of them or one.
        channels: of the images.
    """
    codes = [] if codes is None else codes if isinstance(codes, (list, tuple)) else [codes]
    given = [inputs, *([] if labels is None else [labels]), *codes]
    x = layers.Concatenate()(given) if len(given) > 1 else inputs
    start = image_size // 4
    x = layers.Dense(start * start * GENERATOR_FILTERS[0])(x)
    x = layers.Reshape((start, start, GENERATOR_FILTERS[0]))(x)
    for i, filters in enumerate((*GENERATOR_FILTERS, channels)):
        strides = 2 if i < 2 else 1
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Conv2DTranspose(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    images = layers.Activation("sigmoid", dtype="float32", name="images")(x)
    return keras.Model(given if len(given) > 1 else inputs, images, name="generator")


def discriminator(
    inputs: Tensor,
    activation: str | None = "sigmoid",
    num_labels: int | None = None,
    num_codes: int | None = None,
    code_activation: str | None = None,
    batch_norm: bool = False,
) -> keras.Model:
    """Builds a discriminator: images -> [source, label, code1, ...] or [source, z0], all float32.

    Args:
        inputs: `keras.Input` of images.
        activation: of the head "source", which says how real an image is.
        num_labels: with it a head "label" of class probabilities, over a Dense layer of 128.
        num_codes: with labels, heads "code1", "code2", ... of one number each, over the same layer;
            without labels, one head "z0" of `num_codes` numbers.
        code_activation: of the heads of the codes; without it a sigmoid for "code1", "code2", ...
            and tanh for "z0", as in the book.
        batch_norm: normalize before each leaky ReLU but the first, which sees the image itself.
    """
    x = inputs
    for i, filters in enumerate(DISCRIMINATOR_FILTERS):
        strides = 2 if i < 3 else 1
        if batch_norm and i > 0:
            x = layers.BatchNormalization()(x)
        x = layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    x = layers.Flatten()(x)

    def head(x, size, activation, name):
        return layers.Activation(activation, dtype="float32", name=name)(layers.Dense(size)(x))

    outputs = [head(x, 1, activation, "source")]
    if num_labels:
        x = layers.Dense(128)(x)
        outputs.append(head(x, num_labels, "softmax", "label"))
        for i in range(num_codes or 0):
            outputs.append(head(x, 1, code_activation or "sigmoid", f"code{i + 1}"))
    elif num_codes:
        outputs.append(head(x, num_codes, code_activation or "tanh", "z0"))
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name="discriminator")


def real_then_fake(images: Tensor) -> Tensor:
    """Targets (2n, 1) of a batch of n real images (1) and n fakes (0)."""
    ones = ops.ones((ops.shape(images)[0], 1))
    return ops.concatenate([ones, ops.zeros_like(ones)])


def source_loss(target: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of the head "source", as in listing 4.2.1, and its accuracy.

    The targets (n, 1) are 1 for real and 0 for fake. Logits (n, 1) are taken, because the logarithm
    of a rounded probability loses the gradient of a confident discriminator. Returns the mean loss
    in nats, and the share of targets that the sign of the logits predicts.
    """
    loss = ops.mean(ops.binary_crossentropy(target, logits, from_logits=True))
    return loss, ops.mean(ops.cast((logits > 0) == (target > 0.5), "float32"))


def least_squares_loss(target: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of the head "source" (Mao et al., 2016, equation 9), and its accuracy.

    The targets (n, 1) are 1 for real and 0 for fake; the outputs (n, 1) are any numbers.
    """
    accuracy = ops.mean(ops.cast((output > 0.5) == (target > 0.5), "float32"))
    return ops.mean((target - output) ** 2), accuracy


def gradient_penalty(discriminator: keras.Model, images: Tensor) -> Tensor:
    """Mean squared norm of the gradient of the output "source" on real images (R1).

    Source: Mescheder et al., Which Training Methods for GANs do actually Converge? (2018),
    arXiv:1801.04406, equation 9.
    """
    gradient = input_gradient(lambda x: discriminator(x, training=True), images)
    return ops.mean(ops.sum(gradient**2, axis=(1, 2, 3)))


def label_loss(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Categorical cross-entropy in nats of one-hot labels and predicted probabilities (n, 10)."""
    return ops.mean(ops.categorical_crossentropy(labels, probabilities))


class GAN(AlternatingModel):
    """A generator, a discriminator and the noise between them; a script writes losses and step.

    Args:
        generator, discriminator: the networks.
        optimizers: that of the discriminator, then that of the generator.
        latent_size: length of the noise.
        seed: of the noise.
        name: of the model.
        ema: decay of the generator's moving average, 0 for none.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        optimizers: tuple[keras.optimizers.Optimizer, keras.optimizers.Optimizer],
        latent_size: int,
        seed: int,
        name: str,
        ema: float = 0.0,
    ) -> None:
        super().__init__(name, seed)
        self.generator = generator
        self.discriminator = discriminator
        self.latent_size = latent_size
        self.d_optimizer = self.bind(optimizers[0], discriminator)
        self.g_optimizer = self.bind(optimizers[1], generator)
        self.sampler = self.average(generator, ema)  # the network to draw with

    def noise(self, images: Tensor) -> Tensor:
        """Noise (n, latent_size) for as many fakes as there are images, uniform in [-1, 1]."""
        return self.uniform((ops.shape(images)[0], self.latent_size), -1, 1)
