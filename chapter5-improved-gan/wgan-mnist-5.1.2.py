"""WGAN on MNIST: a critic that measures how far apart real and fake images are.

The discriminator becomes a critic without a last sigmoid: it gives real images a high number and
fakes a low one, and the difference of the two means estimates the Wasserstein distance of the two
distributions, as long as the critic is no steeper than a constant. Clipping its weights sees to
that. The distance has a gradient also where a discriminator would be sure of its case.

Realizes listing 5.1.2 of "Advanced Deep Learning with Keras" (R. Atienza); compare with
dcgan-mnist-4.2.1.py, whose two networks these are.
Paper: Arjovsky, Chintala, Bottou, Wasserstein GAN (2017), arXiv:1701.07875, algorithm 1.

    python3 wgan-mnist-5.1.2.py                             train, 40,000 steps
    python3 wgan-mnist-5.1.2.py --bn                        batch normalization in the critic, too
    python3 wgan-mnist-5.1.2.py --generator=wgan_mnist.h5   draw digits from trained weights
    python3 wgan-mnist-5.1.2.py --generator=wgan_mnist.h5 --evaluate

Result to expect with --mixed-precision: FID-MNIST 150, where real images have 6.5, after 10,000
steps, an hour and a half on one CPU core with bfloat16; 72 after 40,000, for which a GPU that three
other trainings shared took eight minutes.

Departures from the printed listing, and why:
 1. Fakes carry the label -1. The listing prints +1 for them, and its loss could not tell them
    from real images.
 2. The critic's turn is one update on real images and fakes together, as in the paper's algorithm;
    the listing makes two, one on each. RMSprop divides a gradient by its size, and the difference
    of two such updates is not the gradient of the difference.
 3. The engine and the fakes are those of dcgan-mnist-4.2.1.py, see its departures.
 4. RMSprop's epsilon, which Keras 3 adds under the root, is the square of the 1e-7 that Keras 2
    added to the root. With 1e-7 under it gradients below 0.0003 hardly move a weight, and a clipped
    critic with batch normalization has no larger ones: with --bn nothing was learned.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import cli

IMAGE_SIZE = 28
LATENT_SIZE = 100
BATCH_SIZE = 64
TRAIN_STEPS = 40_000
N_CRITIC = 5
CLIP_VALUE = 0.01
LEARNING_RATE = 5e-5
EPSILON = 1e-14  # RMSprop's, see departure 4
MODEL_NAME = "wgan_mnist"


def parse_args():
    parser = cli.training_parser(__doc__, train_steps=TRAIN_STEPS, batch_size=BATCH_SIZE)
    parser.add_argument("--generator", metavar="FILE", help="draw with these weights, do not train")
    parser.add_argument("--bn", action="store_true", help="batch normalization in the critic, too")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import ops

from lib import gan, weights


class WGAN(gan.GAN):
    """Real images have the label +1, fakes -1; both losses are Wasserstein losses."""

    def discriminator_loss(self, images, fakes):
        """Over real images and over as many fakes, each a batch of its own for the critic."""
        real = self.discriminator(images, training=True)
        fake = self.discriminator(fakes, training=True)
        return (wasserstein_loss(1.0, real) + wasserstein_loss(-1.0, fake)) / 2

    def generator_loss(self, images, fakes):
        """Of fakes that pretend to be real."""
        return wasserstein_loss(1.0, self.discriminator(fakes, training=True))

    def clip_weights(self):
        """Puts the critic's weights back into [-CLIP_VALUE, CLIP_VALUE]."""
        for variable in self.discriminator.trainable_variables:
            variable.assign(ops.clip(variable, -CLIP_VALUE, CLIP_VALUE))


def wasserstein_loss(label, prediction):
    """-mean(label * prediction)."""
    return -ops.mean(label * prediction)


def build_generator():
    return gan.generator(keras.Input((LATENT_SIZE,), name="noise"), IMAGE_SIZE)


def build_wgan(seed, batch_norm=False):
    """The model ready to train: N_CRITIC clipped turns of the critic, one of the generator."""
    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="images")
    critic = gan.discriminator(images, activation="linear", batch_norm=batch_norm)
    model = WGAN(build_generator(), critic, LATENT_SIZE, seed, MODEL_NAME)
    model.compile_turns(
        gan.optimizer(LEARNING_RATE, epsilon=EPSILON),
        gan.optimizer(LEARNING_RATE, epsilon=EPSILON),
        n_critic=N_CRITIC,
        after_critic=model.clip_weights,
    )
    return model


def main(args):
    # --bn leaves the files of the usual WGAN alone.
    name = MODEL_NAME + ("_bn" if args.bn else "")
    folder = cli.prepare(args, name)

    def inputs(size):
        return gan.sample_noise(args.seed, size, LATENT_SIZE)

    if args.generator:
        generator = build_generator()
        weights.load(generator, weights.find(args.generator, __file__))
        gan.test_generator(generator, inputs, args, folder)
    else:
        model = build_wgan(args.seed, args.bn)
        generator = model.generator
        gan.train(
            model,
            gan.mnist_batches(args, conditional=False, n_critic=N_CRITIC),
            args,
            folder,
            save={f"{name}.h5": generator},
            sample=lambda path: gan.plot_images(generator, inputs(16), path),
            settings={"bn": args.bn},
        )
    if args.evaluate:
        weights_file = args.generator or f"{name}.h5"
        gan.evaluate(generator, inputs, args, folder, weights_file, conditional=False)


if __name__ == "__main__":
    cli.run(main, args)
