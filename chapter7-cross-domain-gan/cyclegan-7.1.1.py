r"""CycleGAN: translates images between two domains without a single pair of examples.

One generator translates source images to target images, the other one translates back. Two
discriminators compare the translations with real images of each domain, and the cycle loss demands
that an image translated to the other domain and back is unchanged.

Realizes listings 7.1.1 to 7.1.7 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Zhu, Park, Isola, Efros, Unpaired Image-to-Image Translation using Cycle-Consistent
Adversarial Networks (2017), arXiv:1703.10593.

    python3 cyclegan-7.1.1.py --cifar10                       gray <-> color, 100,000 steps
    python3 cyclegan-7.1.1.py --cifar10 --no-patchgan         plain discriminators
    python3 cyclegan-7.1.1.py --mnist-svhn                    MNIST <-> SVHN
    python3 cyclegan-7.1.1.py --mnist-svhn --target mnist-m   MNIST <-> digits on photographs
    python3 cyclegan-7.1.1.py --images horses zebras --color  your own two folders of images
    python3 cyclegan-7.1.1.py --cifar10 --resume              continue an interrupted run

Translate with trained generators (--mnist_svhn_g_source and --mnist_svhn_g_target for digits):

    python3 cyclegan-7.1.1.py --cifar10_g_source=cyclegan_cifar10-g_source.h5 \
        --cifar10_g_target=cyclegan_cifar10-g_target.h5 --evaluate

Result to expect of seed 0 with --mixed-precision, on the 10,000 test images. --cifar10: 22.8 dB,
mean colorfulness 0.100 (true: 0.132), and gray images that are off by 0.018, in 22 minutes on an
H200 that trained up to ten other networks. 12,000 steps take 47 minutes on one CPU core and reach
21.2 dB. --mnist-svhn --target mnist-m --no-patchgan, 20,000 steps: 7.8 % of the digits become other
digits. SVHN was not available for training.

Departures from the printed listing:
 1. The listing normalizes the input image, which removes its brightness and contrast, and it
    normalizes all channels together. Here the first normalization is left out, and each channel is
    normalized by itself, as in the paper. `--normalization book` restores the listing.
 2. The untrained generators decide whether a run learns an inverted mapping, dark for bright: no
    loss forbids it. The script negates the last kernel of a generator whose untrained outputs
    correlate negatively with its inputs. The initial distribution is symmetric and stays the same.
    After 200 steps of --cifar10, seeds 0 to 4 have gray images that are off by 0.08 to 0.11. With
    `--no-orientation`, seeds 2, 3 and 4 invert, and theirs are off by 0.37.
 3. One batch of fakes serves all three updates of a training step. The listing generates another
    batch for the generators.
 4. `--identity` gives gray images three channels: a generator then accepts both domains.
 5. Figures show moving averages of the generators' weights, which are also saved. `--ema 0`
    shows and saves the weights of the last step.
 6. RMSprop has Keras 2's epsilon, see lib/optimizers.py. Keras 3 adds its epsilon in another place.
 7. `--target mnist-m` is not in the book: MNIST digits blended with photographs, which replace
    SVHN where it is not available.
 8. The updates run in one compiled step, see departure 1 of dcgan-mnist-4.2.1.py.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.cyclegan import domains
from lib.run import console, flags, program

IMAGE_SIZE = 32
ENCODER_FILTERS = (32, 64, 128, 256)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
KERNEL_SIZES = {"cifar10": 3, "svhn": 5, "mnist-m": 5, "images": 3}
LEAKY_SLOPE = 0.2
LOSS_WEIGHTS = (1.0, 10.0, 0.5)  # of the adversarial, the cycle and the identity loss
BATCH_SIZE = 32
TRAIN_STEPS = 100_000
FIGURE_INTERVAL = 1_000
LEARNING_RATE = 2e-4
DECAY = 6e-8
EMA = 0.999
ORIENTATION_IMAGES = 100
# The axis of InstanceNormalization, and whether the input image is normalized.
NORMALIZATIONS = {"channel": (-1, False), "channel-and-image": (-1, True), "book": (None, True)}


def parse_args():
    parser = flags.gan_parser(__doc__, train_steps=TRAIN_STEPS, batch_size=BATCH_SIZE, ema=EMA)
    domains.add_task_flags(parser)
    flags.add_images(parser, IMAGE_SIZE, multiple=2 ** (len(ENCODER_FILTERS) - 1), folders=2)
    parser.add_argument(
        "--patchgan",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="discriminators with an output for each of 2x2 patches (default), or one per image",
    )
    parser.add_argument(
        "--identity",
        action="store_true",
        help="also demand that an image of a generator's own output domain stays unchanged",
    )
    parser.add_argument(
        "--loss-weights",
        type=flags.three_weights,
        default=LOSS_WEIGHTS,
        help="of adversarial, cycle and identity loss (default: 1,10,0.5)",
    )
    parser.add_argument("--normalization", choices=NORMALIZATIONS, default="channel")
    parser.add_argument(
        "--orientation",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="start with generators that keep bright pixels bright (default)",
    )
    return parser.parse_args(check=lambda args: domains.choose_task(parser, args))


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers, ops

from lib.cyclegan import translation
from lib.files import records
from lib.measure import plots
from lib.run import training
from lib.engine.alternating import AlternatingModel, Turn
from lib.engine.averaging import MovingAverage
from lib.cyclegan.instance_normalization import InstanceNormalization
from lib.engine.optimizers import rmsprop


def encoder_layer(x, filters, kernel_size, strides=2, normalize=None):
    """IN - leaky ReLU - Conv2D; without IN if `normalize`, which makes that layer, is None."""
    if normalize is not None:
        x = normalize()(x)
    x = layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)
    return layers.Conv2D(filters, kernel_size, strides=strides, padding="same")(x)


def decoder_layer(x, paired, filters, kernel_size, normalize):
    """IN - ReLU - Conv2DTranspose, concatenated with the encoder output of the same size."""
    x = normalize()(x)
    x = layers.ReLU()(x)
    x = layers.Conv2DTranspose(filters, kernel_size, strides=2, padding="same")(x)
    return layers.Concatenate()([x, paired])


def build_generator(
    input_channels, output_channels, kernel_size, normalization, name, size=IMAGE_SIZE
):
    """A U-net: images (batch, 32, 32, input_channels) -> images (batch, 32, 32, output_channels).

    Args:
        input_channels, output_channels: channels of the images.
        kernel_size: kernel size of all convolutions.
        normalization: a key of NORMALIZATIONS.
        name: name of the model.
        size: height and width of the images, a multiple of 8 with four filters in the encoder.
    """
    axis, of_the_image = NORMALIZATIONS[normalization]

    def normalize():
        return InstanceNormalization(axis)

    images = keras.Input((size, size, input_channels), name="images")
    x = images
    encoded = []
    for i, filters in enumerate(ENCODER_FILTERS):
        normalized = of_the_image or i > 0
        x = encoder_layer(x, filters, kernel_size, 2 if i else 1, normalize if normalized else None)
        encoded.append(x)
    for filters, paired in zip(ENCODER_FILTERS[-2::-1], encoded[-2::-1]):
        x = decoder_layer(x, paired, filters, kernel_size, normalize)
    x = layers.Conv2DTranspose(output_channels, kernel_size, padding="same", name="logits")(x)
    translated = layers.Activation("sigmoid", dtype="float32", name="translated")(x)
    return keras.Model(images, translated, name=name)


def build_generators(task, normalization="channel", identity=False, size=IMAGE_SIZE, channels=None):
    """(g_source, g_target): from target images to source images, and the other way.

    Without `channels`, source images are gray and target images are in color.
    """
    source, target = channels or (3 if identity else 1), channels or 3
    kernel_size = KERNEL_SIZES[task]
    return (
        build_generator(target, source, kernel_size, normalization, "g_source", size),
        build_generator(source, target, kernel_size, normalization, "g_target", size),
    )


def orient(generator, images):
    """Negates the last kernel of an untrained generator if its outputs invert the brightness."""
    outputs = ops.convert_to_numpy(generator(images))
    if translation.brightness_correlation(images, outputs) < 0:
        kernel = generator.get_layer("logits").kernel
        kernel.assign(-kernel)


def build_discriminator(channels, kernel_size, patchgan, name, size=IMAGE_SIZE):
    """Images (batch, 32, 32, channels) -> scores, trained toward 1 for real and 0 for fake images.

    A PatchGAN has a score for each quarter of the image, (batch, 2, 2, 1); the plain discriminator
    has one score, (batch, 1).
    """
    images = keras.Input((size, size, channels), name="images")
    x = images
    for i, filters in enumerate(DISCRIMINATOR_FILTERS):
        x = encoder_layer(x, filters, kernel_size, 2 if i < 3 else 1)
    if patchgan:
        x = encoder_layer(x, 1, kernel_size)
    else:
        x = layers.Dense(1)(layers.Flatten()(x))
    real = layers.Activation("linear", dtype="float32", name="real")(x)
    return keras.Model(images, real, name=name)


class CycleGAN(AlternatingModel):
    """Two generators, two discriminators and their losses.

    A batch is (source images, target images), which are not paired.
    """

    def __init__(self, generators, discriminators, identity, loss_weights, ema):
        super().__init__(name="cyclegan")
        self.g_source, self.g_target = generators
        self.d_source, self.d_target = discriminators
        self.identity = identity
        self.adversarial_weight, self.cycle_weight, self.identity_weight = loss_weights
        self.averages = [MovingAverage(generator, ema) for generator in generators if ema]

    def translators(self):
        """The generators to draw and save: (to the source, to the target)."""
        return tuple(a.network for a in self.averages) or (self.g_source, self.g_target)

    def update_averages(self):
        for average in self.averages:
            average.update()

    def fakes(self, source, target):
        """The translations: one pass of each generator for all updates of a step."""
        return self.g_target(source), self.g_source(target)

    def d_target_loss(self, source, target, fake_target, fake_source):
        return discriminator_loss(self.d_target, target, fake_target)

    def d_source_loss(self, source, target, fake_target, fake_source):
        return discriminator_loss(self.d_source, source, fake_source)

    def generators_loss(self, source, target, fake_target, fake_source):
        """Adversarial loss of the fakes, cycle loss, and identity loss if switched on."""
        adversarial = squared_error(1, self.d_target(fake_target)) + squared_error(
            1, self.d_source(fake_source)
        )
        cycle = absolute_error(source, self.g_source(fake_target)) + absolute_error(
            target, self.g_target(fake_source)
        )
        loss = self.adversarial_weight * adversarial + self.cycle_weight * cycle
        if not self.identity:
            return loss, adversarial, cycle
        identity = absolute_error(source, self.g_source(source)) + absolute_error(
            target, self.g_target(target)
        )
        return loss + self.identity_weight * identity, adversarial, cycle, identity


def squared_error(true, predicted):
    return ops.mean((true - predicted) ** 2)


def absolute_error(true, predicted):
    return ops.mean(ops.abs(true - predicted))


def discriminator_loss(discriminator, reals, fakes):
    """Squared error over real images (1) and as many fakes (0), as in listing 5.2.1."""
    scores = discriminator(ops.concatenate([reals, fakes]))
    size = ops.shape(reals)[0]
    return (squared_error(1, scores[:size]) + squared_error(0, scores[size:])) / 2


def build_cyclegan(
    task,
    patchgan=True,
    normalization="channel",
    identity=False,
    loss_weights=LOSS_WEIGHTS,
    ema=0.0,
    images=None,
    **shape,
):
    """The model ready to train: updates of the two discriminators, then of the generators.

    Args:
        task: a key of KERNEL_SIZES.
        patchgan: see `build_discriminator`.
        normalization: a key of NORMALIZATIONS.
        identity: add the identity loss.
        loss_weights: see LOSS_WEIGHTS.
        ema: decay of the moving averages, 0 for none.
        images: (source, target) training images to orient the generators with, None to leave them.
        shape: size and channels, see `build_generators`.
    """
    generators = build_generators(task, normalization, identity, **shape)
    if images is not None:
        for generator, inputs in zip(generators, reversed(images)):
            orient(generator, inputs)
    discriminators = [
        build_discriminator(g.output_shape[-1], KERNEL_SIZES[task], patchgan, d, g.output_shape[1])
        for g, d in zip(generators, ("d_source", "d_target"))
    ]
    model = CycleGAN(generators, discriminators, identity, loss_weights, ema)
    model.compile(
        turns=[
            Turn(
                "d_target",
                model.d_target.trainable_variables,
                rmsprop(LEARNING_RATE, DECAY),
                model.d_target_loss,
            ),
            Turn(
                "d_source",
                model.d_source.trainable_variables,
                rmsprop(LEARNING_RATE, DECAY),
                model.d_source_loss,
            ),
            Turn(
                "generators",
                [*model.g_source.trainable_variables, *model.g_target.trainable_variables],
                rmsprop(LEARNING_RATE / 2, DECAY / 2),
                model.generators_loss,
                metrics=("adversarial", "cycle", *(["identity"] if identity else [])),
                through_shared=True,
                after=model.update_averages,
            ),
        ],
        share=model.fakes,
    )
    return model


def train(source, target, held_out, args, folder):
    """Trains on the images and returns the model."""
    settings = {
        "patchgan": args.patchgan,
        "normalization": args.normalization,
        "identity": args.identity,
        "loss_weights": list(args.loss_weights),
        "ema": args.ema,
    }
    images = [x[:ORIENTATION_IMAGES] for x in (source, target)] if args.orientation else None
    model = build_cyclegan(args.task, **settings, images=images, **domains.own_shape(args))
    settings |= held_out.record
    generators = model.translators()
    console.introduce(args, folder, "CycleGAN", args.task, *generators, model.d_target)
    args.generators = [f"{folder.name}-{generator.name}.h5" for generator in generators]

    def draw_and_measure(step, losses):
        translation.draw_cycles(generators, held_out, args.task, folder / f"{step:05d}.png")
        return translation.quick_measures(generators, held_out, args)

    minutes, losses = training.train(
        model,
        domains.batches(source, target, args.batch_size, args.seed),
        steps=args.train_steps,
        interval=FIGURE_INTERVAL,
        restart=folder / "restart.npz",
        settings={"seed": args.seed, "batch size": args.batch_size, **settings},
        after_interval=draw_and_measure,
        save=lambda: translation.save_generators(generators, args, settings),
        keep=True,
        **training.flags(args, folder),
    )
    plots.evolution(folder, folder / "evolution.png", last=args.train_steps, show=args.show)
    records.record(
        folder / "metrics.json",
        args,
        train_steps=args.train_steps,
        batch_size=args.batch_size,
        minutes=round(minutes, 1),
        losses=losses,
        orientation=args.orientation,
        **settings,
    )
    return model


def main(args):
    if args.generators:
        translation.adopt_settings(args, __file__)
    folder = program.prepare(args, domains.model_name(args.task, args.patchgan, args.images))
    if args.generators:
        generators = translation.load_generators(build_generators, args, __file__)
    training_images, held_out = domains.load(args.task, args.identity, args)
    unaveraged = None
    if not args.generators:
        model = train(*training_images, held_out, args, folder)
        generators = model.translators()
        unaveraged = (model.g_source, model.g_target) if args.ema else None
    del training_images  # the evaluation needs the memory
    translation.draw_grids(generators, held_out, args.task, folder, args.show)
    autoencoder = None
    if args.task == "cifar10":
        autoencoder = translation.load_autoencoder()
        translation.compare_methods(
            build_generators, generators[1], autoencoder, held_out, args, folder, __file__
        )
    if args.evaluate:
        translation.evaluate(generators, unaveraged, autoencoder, held_out, args, folder)


if __name__ == "__main__":
    program.run(main, args)
