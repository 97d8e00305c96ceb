"""DCGAN on MNIST: two convolutional networks learn to draw digits by playing against each other.

The generator maps 100 random numbers to an image. The discriminator distinguishes
real images from generated ones, and each network learns from the other's mistakes.

Realizes listings 4.2.1 to 4.2.4 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Radford, Metz, Chintala, Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks (2016), arXiv:1511.06434.

    python3 dcgan-mnist-4.2.1.py                              # train, 40,000 steps
    python3 dcgan-mnist-4.2.1.py --train-steps 5000           # a shorter run
    python3 dcgan-mnist-4.2.1.py --resume                     # continue from the last checkpoint
    python3 dcgan-mnist-4.2.1.py --resume --train-steps 60000  # continue a finished run
    python3 dcgan-mnist-4.2.1.py --bn                         # see how batch normalization fails
    python3 dcgan-mnist-4.2.1.py --bn=separate                # see how batch normalization helps
    python3 dcgan-mnist-4.2.1.py --r1 1                       # penalize gradients on real images
    python3 dcgan-mnist-4.2.1.py --images photos --color      # train on your own images
    python3 dcgan-mnist-4.2.1.py --generator=dcgan_mnist.h5   # draw digits with trained weights
    python3 dcgan-mnist-4.2.1.py --generator=dcgan_mnist.h5 --evaluate

Result to expect: FID-MNIST 24.6 after 40,000 steps with --mixed-precision; real images have 6.5.
The run took 6 minutes on an H200 that nine other trainings shared. One CPU core with bfloat16 needs
two hours.

Departures from the printed listing:
 1. `step` has one line for each update, which changes the variables of its own optimizer only, see
    lib/engine/step.py. The listing freezes the discriminator after compiling it; Keras 3 then never
    trains it.
 2. The discriminator sees fakes made with the batch statistics that the generator trains with. The
    listing's predict() uses moving averages.
 3. RMSprop is that of Keras 2 (lib/engine/optimizers.py): its decay is a learning rate schedule,
    and its epsilon is 1e-14 in the terms of Keras 3. With Keras 3's default, most gradients of the
    discriminator are below epsilon, and its steps are much shorter.
 4. One batch of fakes serves both updates; the listing draws a second one for the generator. That
    saves a fifth of the arithmetic.
 5. The discriminator returns a logit, and the loss takes it. The listing's sigmoid rounds to 0 or 1
    and then has no gradient.
 6. Samples and saved weights are a moving average of the generator (--ema). FID-MNIST is 32.5
    without it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, kinds, program

IMAGE_SHAPE = (28, 28, 1)
LATENT_SIZE = 100
BATCH_SIZE = 64
TRAIN_STEPS = 40_000
LEARNING_RATE = 2e-4
DECAY = 6e-8
EMA = 0.999
R1 = 0.0
KERNEL_SIZE = 5
GENERATOR_FILTERS = (128, 64, 32)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
LEAKY_SLOPE = 0.2
MODEL_NAME = "dcgan_mnist"


def parse_args():
    parser = flags.gan_parser(__doc__, train_steps=TRAIN_STEPS, batch_size=BATCH_SIZE, ema=EMA)
    parser.add_argument("--generator", metavar="FILE", help="draw with these weights, do not train")
    flags.add_images(parser, IMAGE_SHAPE[0], multiple=4)
    parser.add_setting(
        "--bn",
        nargs="?",
        choices=("joint", "separate"),
        const="joint",
        help="batch normalization in the discriminator, over real and fake images in one batch "
        "(joint, as the listing would) or in two (separate)",
    )
    parser.add_setting(
        "--r1",
        type=kinds.not_negative,
        default=R1,
        metavar="WEIGHT",
        help=f"weight of the squared gradient of D on real images (default {R1:g})",
    )
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers, ops

from lib import gan_training
from lib.engine.backends import input_gradient
from lib.engine.optimizers import rmsprop
from lib.engine.step import AlternatingModel
from lib.run.images import Source


def build_generator(image_shape=IMAGE_SHAPE):
    """Noise (batch, 100) -> images (batch, *image_shape) in [0, 1]."""
    noise = keras.Input((LATENT_SIZE,), name="noise")
    start = image_shape[0] // 4
    x = layers.Dense(start * start * GENERATOR_FILTERS[0])(noise)
    x = layers.Reshape((start, start, GENERATOR_FILTERS[0]))(x)
    for i, filters in enumerate((*GENERATOR_FILTERS, image_shape[-1])):
        strides = 2 if i < 2 else 1
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Conv2DTranspose(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    images = layers.Activation("sigmoid", dtype="float32", name="images")(x)
    return keras.Model(noise, images, name="generator")


def build_discriminator(batch_norm=False, image_shape=IMAGE_SHAPE):
    """Images (batch, *image_shape) -> logit (batch, 1): above 0 for an image taken for real.

    Batch normalization, which the book warns of, comes before each leaky ReLU but the first.
    """
    images = keras.Input(image_shape, name="images")
    x = images
    for i, filters in enumerate(DISCRIMINATOR_FILTERS):
        strides = 2 if i < 3 else 1
        if batch_norm and i > 0:
            x = layers.BatchNormalization()(x)
        x = layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    x = layers.Flatten()(x)
    logit = layers.Dense(1)(x)
    logit = layers.Activation("linear", dtype="float32", name="source")(logit)
    return keras.Model(images, logit, name="discriminator")


class DCGAN(AlternatingModel):
    """The two networks, their losses and the training step."""

    def __init__(self, seed, bn=None, ema=EMA, image_shape=IMAGE_SHAPE, r1=R1):
        super().__init__(MODEL_NAME, seed)
        self.generator = build_generator(image_shape)
        self.discriminator = build_discriminator(bn is not None, image_shape)
        self.separate = bn == "separate"
        self.r1 = r1
        self.d_optimizer = self.bind(rmsprop(LEARNING_RATE, DECAY), self.discriminator)
        self.g_optimizer = self.bind(rmsprop(LEARNING_RATE / 2, DECAY / 2), self.generator)
        self.sampler = self.average(self.generator, ema)  # the network to draw with

    def step(self, images):
        """One update of each network on a batch of real images."""
        fakes = self.follow(self.generator, self.noise(images))
        d_loss, accuracy = self.minimize(self.d_optimizer, self.discriminator_loss, images, fakes)
        g_loss = self.minimize(self.g_optimizer, self.generator_loss, fakes)
        self.update_average()
        self.log(discriminator=d_loss, accuracy=accuracy, adversarial=g_loss)

    def noise(self, images):
        """Noise for as many fakes as there are images, uniform in [-1, 1]."""
        return self.uniform((ops.shape(images)[0], LATENT_SIZE), -1, 1)

    def discriminator_loss(self, images, fakes):
        """Binary cross-entropy over real images (target 1) and as many fakes (target 0)."""
        if self.separate:
            logits = [self.discriminator(batch, training=True) for batch in (images, fakes)]
            logits = ops.concatenate(logits)
        else:
            logits = self.discriminator(ops.concatenate([images, fakes]), training=True)
        ones = ops.ones((ops.shape(images)[0], 1))
        target = ops.concatenate([ones, ops.zeros_like(ones)])
        accuracy = ops.mean(ops.cast((logits > 0) == (target > 0.5), "float32"))
        loss = ops.mean(ops.binary_crossentropy(target, logits, from_logits=True))
        if self.r1:
            loss += self.r1 / 2 * self.gradient_penalty(images)
        return loss, accuracy

    def gradient_penalty(self, images):
        """Mean squared norm of the gradient of the logit with respect to real images (R1).

        Source: Mescheder et al., Which Training Methods for GANs do actually Converge? (2018),
        arXiv:1801.04406, equation 9.
        """
        gradient = input_gradient(lambda x: self.discriminator(x, training=True), images)
        return ops.mean(ops.sum(gradient**2, axis=(1, 2, 3)))

    def generator_loss(self, fakes):
        """Binary cross-entropy of fakes that pretend to be real (target 1)."""
        logits = self.discriminator(fakes, training=True)
        target = ops.ones_like(logits)
        return ops.mean(ops.binary_crossentropy(target, logits, from_logits=True))


def main(args):
    images = Source(args, IMAGE_SHAPE, __file__)
    # --bn and --r1 do not overwrite the files of the usual DCGAN.
    name = images.name(MODEL_NAME) + (f"_bn-{args.bn}" if args.bn else "")
    name += f"_r1-{args.r1:g}" if args.r1 != R1 else ""
    run = program.start(args, name, __file__)
    gan_training.draw_or_train(
        run,
        build_generator=lambda: build_generator(images.shape),
        build_model=lambda: DCGAN(args.seed, args.bn, args.ema, images.shape, args.r1),
        batches=lambda: gan_training.mnist_batches(run, images),
        inputs=lambda digits: gan_training.sample_noise(args.seed, len(digits), LATENT_SIZE),
        file=run.to_load(args.generator, f"{MODEL_NAME}.h5"),
        source=images,
    )


if __name__ == "__main__":
    program.run(main, args)
