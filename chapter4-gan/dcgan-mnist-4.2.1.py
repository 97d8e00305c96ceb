"""DCGAN on MNIST: two convolutional networks learn to draw digits by playing against each other.

The generator turns 100 random numbers into an image; the discriminator tells the images of MNIST
from those of the generator. Each learns from the other's success, and in the end the generator's
digits look written by hand.

Realizes listing 4.2.1 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Radford, Metz, Chintala, Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks (2016), arXiv:1511.06434.

    python3 dcgan-mnist-4.2.1.py                              train, 40,000 steps
    python3 dcgan-mnist-4.2.1.py --train-steps 5000           train, digits are recognizable
    python3 dcgan-mnist-4.2.1.py --bn                         see how batch normalization fails
    python3 dcgan-mnist-4.2.1.py --resume                     go on after an interruption
    python3 dcgan-mnist-4.2.1.py --generator=dcgan_mnist.h5   draw digits from trained weights
    python3 dcgan-mnist-4.2.1.py --generator=dcgan_mnist.h5 --evaluate

Result to expect: FID-MNIST 27.3, where real images have 6.5, after 40,000 steps with
--mixed-precision, two hours on one CPU core with bfloat16; 26.6 after 10,000.

Departures from the printed listing, and why:
 1. The two networks are updated by one engine (lib/alternating.py) that takes each one's gradients
    by itself. The listing freezes the discriminator after compiling it, which Keras 3 does not
    honour: there it would never learn.
 2. The fake images for the discriminator are drawn with the batch statistics that the generator
    trains with; the listing's predict() uses moving averages.
 3. RMSprop's decay, an argument of Keras 2, is an explicit learning rate schedule.
 4. One batch of fakes serves both turns; the listing draws a second one for the generator's. That
    saves a fifth of the arithmetic.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import cli

LATENT_SIZE = 100
BATCH_SIZE = 64
TRAIN_STEPS = 40_000
SAVE_INTERVAL = 500
LEARNING_RATE = 2e-4
DECAY = 6e-8
KERNEL_SIZE = 5
GENERATOR_FILTERS = (128, 64, 32, 1)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
LEAKY_SLOPE = 0.2
MODEL_NAME = "dcgan_mnist"


def parse_args():
    parser = cli.training_parser(__doc__, train_steps=TRAIN_STEPS, batch_size=BATCH_SIZE)
    parser.add_argument("--generator", metavar="FILE", help="draw with these weights, do not train")
    parser.add_argument(
        "--bn", action="store_true", help="batch normalization in the discriminator, too"
    )
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
import numpy as np
from keras import layers, ops

from lib import datasets, metrics, plots, results, training, weights
from lib.alternating import AlternatingModel, Turn


def build_generator():
    """Noise (batch, 100) -> images (batch, 28, 28, 1) in [0, 1]."""
    noise = keras.Input((LATENT_SIZE,), name="noise")
    x = layers.Dense(7 * 7 * GENERATOR_FILTERS[0])(noise)
    x = layers.Reshape((7, 7, GENERATOR_FILTERS[0]))(x)
    for filters, strides in zip(GENERATOR_FILTERS, (2, 2, 1, 1)):
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Conv2DTranspose(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    images = layers.Activation("sigmoid", dtype="float32", name="images")(x)
    return keras.Model(noise, images, name="generator")


def build_discriminator(batch_norm=False):
    """Images (batch, 28, 28, 1) -> probability (batch, 1) that each is real.

    Batch normalization, which the book warns of, comes before each leaky ReLU but the first.
    """
    images = keras.Input((28, 28, 1), name="images")
    x = images
    for i, (filters, strides) in enumerate(zip(DISCRIMINATOR_FILTERS, (2, 2, 2, 1))):
        if batch_norm and i > 0:
            x = layers.BatchNormalization()(x)
        x = layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(1)(x)
    real = layers.Activation("sigmoid", dtype="float32", name="real")(x)
    return keras.Model(images, real, name="discriminator")


class DCGAN(AlternatingModel):
    """The two networks and what each of them tries to make small."""

    def __init__(self, seed, batch_norm=False):
        super().__init__(name=MODEL_NAME)
        self.generator = build_generator()
        self.discriminator = build_discriminator(batch_norm)
        self.noise_seed = keras.random.SeedGenerator(seed)

    def fakes(self, images):
        """As many fresh fakes as there are images: one pass of the generator for both turns."""
        size = ops.shape(images)[0]
        noise = keras.random.uniform((size, LATENT_SIZE), -1, 1, seed=self.noise_seed)
        return self.generator(noise, training=True)

    def discriminator_loss(self, images, fakes):
        """Binary cross-entropy over real images (target 1) and as many fakes (target 0)."""
        size = ops.shape(images)[0]
        real = self.discriminator(ops.concatenate([images, fakes]), training=True)
        target = ops.concatenate([ops.ones((size, 1)), ops.zeros((size, 1))])
        accuracy = ops.mean(ops.cast((real > 0.5) == (target > 0.5), "float32"))
        return ops.mean(ops.binary_crossentropy(target, real)), accuracy

    def generator_loss(self, images, fakes):
        """Binary cross-entropy of fakes that pretend to be real (target 1)."""
        real = self.discriminator(fakes, training=True)
        return ops.mean(ops.binary_crossentropy(ops.ones_like(real), real))


def build_optimizer(learning_rate, decay):
    """RMSprop whose rate falls as learning_rate / (1 + decay * step), as Keras 2's `decay` did."""
    schedule = keras.optimizers.schedules.InverseTimeDecay(learning_rate, 1, decay)
    return keras.optimizers.RMSprop(schedule)


def build_dcgan(seed, batch_norm=False):
    """The model ready to train: the discriminator's turn, then the generator's."""
    gan = DCGAN(seed, batch_norm)
    gan.compile(
        turns=[
            Turn(
                "discriminator",
                gan.discriminator.trainable_variables,
                build_optimizer(LEARNING_RATE, DECAY),
                gan.discriminator_loss,
                metrics=("accuracy",),
            ),
            Turn(
                "adversarial",
                gan.generator.trainable_variables,
                build_optimizer(LEARNING_RATE / 2, DECAY / 2),
                gan.generator_loss,
                through_shared=True,
            ),
        ],
        share=gan.fakes,
    )
    return gan


def sample_noise(seed, size):
    """Noise (size, 100), the same for the same seed."""
    return np.random.default_rng(seed).uniform(-1, 1, (size, LATENT_SIZE)).astype("float32")


def train(args, folder, name):
    """Trains on MNIST and returns the generator; draws the same noise every SAVE_INTERVAL steps."""
    (x_train, _), _ = datasets.mnist()
    gan = build_dcgan(args.seed, args.bn)
    gan.generator.summary()
    gan.discriminator.summary()

    def batch(step):
        rng = np.random.default_rng((args.seed, step))
        return {"x": (x_train[rng.integers(0, len(x_train), args.batch_size)],)}

    noise = sample_noise(args.seed, 16)

    def draw(step, losses):
        images = gan.generator.predict(noise, verbose=0)
        plots.image_grid(images, folder / f"{step:05d}.png")

    minutes, losses = training.train(
        gan,
        batch,
        steps=args.train_steps,
        interval=SAVE_INTERVAL,
        restart=folder / "restart.npz",
        settings={"seed": args.seed, "batch size": args.batch_size},
        resume=args.resume,
        after_interval=draw,
        save=lambda: weights.save(gan.generator, args.output_dir / f"{name}.h5"),
    )
    plots.evolution(folder, folder / "evolution.png", last=args.train_steps, show=args.show)
    results.record(
        folder / "metrics.json",
        args,
        train_images=len(x_train),
        train_steps=args.train_steps,
        batch_size=args.batch_size,
        bn=args.bn,
        minutes=round(minutes, 1),
        losses=losses,
    )
    return gan.generator


def draw_digits(generator, args, folder):
    """Draws 16 images."""
    images = generator.predict(sample_noise(args.seed, 16), verbose=0)
    plots.image_grid(images, folder / "generated.png", show=args.show)
    print(f"16 digits: {folder / 'generated.png'}")


def evaluate(generator, args, folder, name):
    """Measures as many images as MNIST has for test, 10,000, and writes evaluation.json."""
    _, (x_test, _) = datasets.mnist()
    images = generator.predict(sample_noise(args.seed, len(x_test)), batch_size=500, verbose=0)
    numbers = metrics.judge_digits(images)
    metrics.show(numbers)
    weights_file = args.generator or f"{name}.h5"
    results.record(folder / "evaluation.json", args, weights=weights_file, **numbers)


def main(args):
    # --bn leaves the files of the usual DCGAN alone.
    name = MODEL_NAME + ("_bn" if args.bn else "")
    folder = cli.prepare(args, name)
    if args.generator:
        generator = build_generator()
        weights.load(generator, weights.find(args.generator, __file__))
        draw_digits(generator, args, folder)
    else:
        generator = train(args, folder, name)
    if args.evaluate:
        evaluate(generator, args, folder, name)


if __name__ == "__main__":
    cli.run(main, args)
