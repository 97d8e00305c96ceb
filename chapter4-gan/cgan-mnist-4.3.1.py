"""CGAN on MNIST: a DCGAN that is told which digit to draw.

Generator and discriminator of dcgan-mnist-4.2.1.py get the digit's label as a second input. After
training, you choose the digit.

Realizes listings 4.3.1 to 4.3.3 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Mirza, Osindero, Conditional Generative Adversarial Nets (2014), arXiv:1411.1784.

    python3 cgan-mnist-4.3.1.py                                        # train, 40,000 steps
    python3 cgan-mnist-4.3.1.py --resume                               # continue from a checkpoint
    python3 cgan-mnist-4.3.1.py --generator=cgan_mnist.h5              # draw random digits
    python3 cgan-mnist-4.3.1.py --generator=cgan_mnist.h5 --digit=8    # draw eights
    python3 cgan-mnist-4.3.1.py --generator=cgan_mnist.h5 --evaluate

Result to expect: FID-MNIST 9.3 after 40,000 steps with --mixed-precision; real images have 6.5. A
classifier predicts the requested digit for 99.5 % of the samples. The run took 6 minutes on an
H200 that nine other trainings shared. One CPU core with bfloat16 needs two hours.

Departures from the printed listing are those of dcgan-mnist-4.2.1.py. Without the moving average
FID-MNIST is 12.8.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, kinds, program

IMAGE_SHAPE = (28, 28, 1)
LATENT_SIZE = 100
NUM_LABELS = 10
BATCH_SIZE = 64
TRAIN_STEPS = 40_000
LEARNING_RATE = 2e-4
DECAY = 6e-8
EMA = 0.999
KERNEL_SIZE = 5
GENERATOR_FILTERS = (128, 64, 32)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
LEAKY_SLOPE = 0.2
MODEL_NAME = "cgan_mnist"


def parse_args():
    parser = flags.gan_parser(__doc__, train_steps=TRAIN_STEPS, batch_size=BATCH_SIZE, ema=EMA)
    parser.add_argument("--generator", metavar="FILE", help="draw with these weights, do not train")
    flags.add_images(parser, IMAGE_SHAPE[0], multiple=4, classes=True)
    parser.add_argument(
        "--digit", type=kinds.digit, help="the digit to draw (default: random ones)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers, ops

from lib import gan_training
from lib.engine.optimizers import rmsprop
from lib.engine.step import AlternatingModel
from lib.run.images import Source


def build_generator(image_shape=IMAGE_SHAPE, num_labels=NUM_LABELS):
    """Noise (batch, 100), one-hot labels (batch, 10) -> images (batch, *image_shape) in [0, 1]."""
    noise = keras.Input((LATENT_SIZE,), name="noise")
    labels = keras.Input((num_labels,), name="labels")
    x = layers.Concatenate()([noise, labels])
    start = image_shape[0] // 4
    x = layers.Dense(start * start * GENERATOR_FILTERS[0])(x)
    x = layers.Reshape((start, start, GENERATOR_FILTERS[0]))(x)
    for i, filters in enumerate((*GENERATOR_FILTERS, image_shape[-1])):
        strides = 2 if i < 2 else 1
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Conv2DTranspose(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    images = layers.Activation("sigmoid", dtype="float32", name="images")(x)
    return keras.Model([noise, labels], images, name="generator")


def build_discriminator(image_shape=IMAGE_SHAPE, num_labels=NUM_LABELS):
    """Images (batch, *image_shape), labels (batch, 10) -> logit (batch, 1), above 0 for real.

    The one-hot label becomes a further channel of the image.
    """
    images = keras.Input(image_shape, name="images")
    labels = keras.Input((num_labels,), name="labels")
    height, width, _ = image_shape
    y = layers.Dense(height * width)(labels)
    y = layers.Reshape((height, width, 1))(y)
    x = layers.Concatenate()([images, y])
    for i, filters in enumerate(DISCRIMINATOR_FILTERS):
        strides = 2 if i < 3 else 1
        x = layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    x = layers.Flatten()(x)
    logit = layers.Dense(1)(x)
    logit = layers.Activation("linear", dtype="float32", name="source")(logit)
    return keras.Model([images, labels], logit, name="discriminator")


class CGAN(AlternatingModel):
    """The two networks, their losses and the training step."""

    def __init__(self, seed, ema=EMA, image_shape=IMAGE_SHAPE, num_labels=NUM_LABELS):
        super().__init__(MODEL_NAME, seed)
        self.generator = build_generator(image_shape, num_labels)
        self.discriminator = build_discriminator(image_shape, num_labels)
        self.d_optimizer = self.bind(rmsprop(LEARNING_RATE, DECAY), self.discriminator)
        self.g_optimizer = self.bind(rmsprop(LEARNING_RATE / 2, DECAY / 2), self.generator)
        self.sampler = self.average(self.generator, ema)  # the network to draw with

    def step(self, images, labels, fake_labels):
        """One update of each network on a batch of real images; labels are one-hot."""
        fakes = self.follow(self.generator, [self.noise(images), fake_labels])
        d_loss, accuracy = self.minimize(
            self.d_optimizer, self.discriminator_loss, images, labels, fakes, fake_labels
        )
        g_loss = self.minimize(self.g_optimizer, self.generator_loss, fakes, fake_labels)
        self.update_average()
        self.log(discriminator=d_loss, accuracy=accuracy, adversarial=g_loss)

    def noise(self, images):
        """Noise for as many fakes as there are images, uniform in [-1, 1]."""
        return self.uniform((ops.shape(images)[0], LATENT_SIZE), -1, 1)

    def discriminator_loss(self, images, labels, fakes, fake_labels):
        """Binary cross-entropy over real images (target 1) and as many fakes (target 0)."""
        logits = self.discriminator(
            [ops.concatenate([images, fakes]), ops.concatenate([labels, fake_labels])],
            training=True,
        )
        ones = ops.ones((ops.shape(images)[0], 1))
        target = ops.concatenate([ones, ops.zeros_like(ones)])
        accuracy = ops.mean(ops.cast((logits > 0) == (target > 0.5), "float32"))
        return ops.mean(ops.binary_crossentropy(target, logits, from_logits=True)), accuracy

    def generator_loss(self, fakes, fake_labels):
        """Binary cross-entropy of fakes that pretend to be real (target 1)."""
        logits = self.discriminator([fakes, fake_labels], training=True)
        target = ops.ones_like(logits)
        return ops.mean(ops.binary_crossentropy(target, logits, from_logits=True))


def main(args):
    images = Source(args, IMAGE_SHAPE, __file__, labels=True)
    run = program.start(args, images.name(MODEL_NAME), __file__)

    def inputs(digits):
        labels = gan_training.one_hot(digits, len(images.classes))
        return [gan_training.sample_noise(args.seed, len(digits), LATENT_SIZE), labels]

    gan_training.draw_or_train(
        run,
        build_generator=lambda: build_generator(images.shape, len(images.classes)),
        build_model=lambda: CGAN(args.seed, args.ema, images.shape, len(images.classes)),
        batches=lambda: gan_training.mnist_batches(run, images, conditional=True),
        inputs=inputs,
        file=run.to_load(args.generator, f"{MODEL_NAME}.h5"),
        wanted=args.class_name or args.digit,
        conditional=True,
        source=images,
    )


if __name__ == "__main__":
    program.run(main, args)
