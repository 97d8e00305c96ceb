r"""CycleGAN: translates images between two domains without a single pair of examples.

One generator translates source images to target images, the other one translates back. Two
discriminators compare the translations with real images of each domain, and the cycle loss demands
that an image translated to the other domain and back is unchanged.

Realizes listings 7.1.1 to 7.1.7 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Zhu, Park, Isola, Efros, Unpaired Image-to-Image Translation using Cycle-Consistent
Adversarial Networks (2017), arXiv:1703.10593.

    python3 cyclegan-7.1.1.py --cifar10                       # gray <-> color, 100,000 steps
    python3 cyclegan-7.1.1.py --cifar10 --no-patchgan         # plain discriminators
    python3 cyclegan-7.1.1.py --mnist-svhn                    # MNIST <-> SVHN
    python3 cyclegan-7.1.1.py --mnist-svhn --target mnist-m   # MNIST <-> digits on photographs
    python3 cyclegan-7.1.1.py --images horses zebras --color  # your own two folders of images
    python3 cyclegan-7.1.1.py --cifar10 --resume              # continue an interrupted run

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
 6. RMSprop has Keras 2's epsilon, see lib/engine/optimizers.py. Keras 3 adds its epsilon in another
    place.
 7. `--target mnist-m` is not in the book: MNIST digits blended with photographs, which replace
    SVHN where it is not available.
 8. The updates run in one compiled step, see departure 1 of dcgan-mnist-4.2.1.py.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.cyclegan import tasks
from lib.run import flags, kinds, program

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
    tasks.add_flags(parser)
    flags.add_images(parser, IMAGE_SIZE, multiple=2 ** (len(ENCODER_FILTERS) - 1), folders=2)
    parser.add_setting(
        "--patchgan",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="discriminators with an output for each of 2x2 patches (default), or one per image",
    )
    parser.add_setting(
        "--identity",
        action="store_true",
        help="also demand that an image of a generator's own output domain stays unchanged",
    )
    parser.add_setting(
        "--loss-weights",
        type=kinds.reader(
            kinds.floats,
            lambda values: len(values) == 3 and 0 <= min(values) <= max(values) < float("inf"),
            "three numbers of at least 0, as in 1,10,0.5",
        ),
        default=list(LOSS_WEIGHTS),
        help="of adversarial, cycle and identity loss (default: 1,10,0.5)",
    )
    parser.add_setting("--normalization", choices=NORMALIZATIONS, default="channel")
    parser.add_argument(
        "--orientation",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="start with generators that keep bright pixels bright (default)",
    )

    def check(args):
        args.task = tasks.choose(parser, args)

    return parser.parse_args(check=check)


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

from dataclasses import replace

import keras
from keras import layers, ops

from lib import gan, gan_training
from lib.cyclegan import domains, translation
from lib.cyclegan.instance_normalization import InstanceNormalization
from lib.data import image_folders
from lib.engine.optimizers import rmsprop
from lib.engine.step import AlternatingModel
from lib.files import weights


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


def build_generators(task):
    """(g_source, g_target): from target images to source images, and the other way.

    The source images of the book's tasks are gray, the target images are in color.
    """
    source, target = task.channels or (3 if task.identity else 1), task.channels or 3
    kernel_size = KERNEL_SIZES[task.name]
    return (
        build_generator(target, source, kernel_size, task.normalization, "g_source", task.size),
        build_generator(source, target, kernel_size, task.normalization, "g_target", task.size),
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
    """Two generators, two discriminators, their losses and the training step."""

    def __init__(
        self, generators, discriminators, identity=False, loss_weights=LOSS_WEIGHTS, ema=0
    ):
        super().__init__("cyclegan")
        self.g_source, self.g_target = generators
        self.d_source, self.d_target = discriminators
        self.identity = identity
        self.adversarial_weight, self.cycle_weight, self.identity_weight = loss_weights
        self.t_optimizer = self.bind(rmsprop(LEARNING_RATE, DECAY), self.d_target)
        self.s_optimizer = self.bind(rmsprop(LEARNING_RATE, DECAY), self.d_source)
        self.g_optimizer = self.bind(
            rmsprop(LEARNING_RATE / 2, DECAY / 2), self.g_source, self.g_target
        )
        # The networks to draw with and to save.
        self.samplers = [self.average(generator, ema) for generator in generators]

    def step(self, source, target):
        """One update of each discriminator and one of both generators, on unpaired images."""
        fake_target = self.follow(self.g_target, source)
        fake_source = self.follow(self.g_source, target)
        t_loss = self.minimize(
            self.t_optimizer, discriminator_loss, self.d_target, target, fake_target
        )
        s_loss = self.minimize(
            self.s_optimizer, discriminator_loss, self.d_source, source, fake_source
        )
        g_loss, parts = self.minimize(
            self.g_optimizer, self.generators_loss, source, target, fake_target, fake_source
        )
        self.update_average()
        self.log(d_target=t_loss, d_source=s_loss, generators=g_loss, **parts)

    def generators_loss(self, source, target, fake_target, fake_source):
        """Adversarial loss of the fakes, cycle loss, and identity loss if switched on."""
        adversarial = squared_error(1.0, self.d_target(fake_target)) + squared_error(
            1.0, self.d_source(fake_source)
        )
        cycle = absolute_error(source, self.g_source(fake_target)) + absolute_error(
            target, self.g_target(fake_source)
        )
        loss = self.adversarial_weight * adversarial + self.cycle_weight * cycle
        if not self.identity:
            return loss, {"adversarial": adversarial, "cycle": cycle}
        identity = absolute_error(source, self.g_source(source)) + absolute_error(
            target, self.g_target(target)
        )
        loss += self.identity_weight * identity
        return loss, {"adversarial": adversarial, "cycle": cycle, "identity": identity}


def squared_error(true, scores):
    return gan.least_squares_loss(true, scores)[0]


def absolute_error(true, predicted):
    return ops.mean(ops.abs(true - predicted))


def discriminator_loss(discriminator, reals, fakes):
    """Squared error over real images (1) and as many fakes (0), as in listing 5.2.1."""
    scores = discriminator(ops.concatenate([reals, fakes]))
    size = ops.shape(reals)[0]
    return (squared_error(1.0, scores[:size]) + squared_error(0.0, scores[size:])) / 2


def build_cyclegan(task, loss_weights=LOSS_WEIGHTS, ema=0.0, images=None):
    """The model ready to train.

    Args:
        task: a `tasks.Task`.
        loss_weights: see LOSS_WEIGHTS.
        ema: decay of the moving averages, 0 for none.
        images: (source, target) training images to orient the generators with, None to leave them.
    """
    generators = build_generators(task)
    if images is not None:
        for generator, inputs in zip(generators, reversed(images)):
            orient(generator, inputs)
    kernel_size = KERNEL_SIZES[task.name]
    discriminators = [
        build_discriminator(g.output_shape[-1], kernel_size, task.patchgan, name, task.size)
        for g, name in zip(generators, ("d_source", "d_target"))
    ]
    return CycleGAN(generators, discriminators, task.identity, loss_weights, ema)


def train(source, target, held_out, task, args, run):
    """Trains on the images and returns the model."""
    images = [x[:ORIENTATION_IMAGES] for x in (source, target)] if args.orientation else None
    model = build_cyclegan(task, args.loss_weights, args.ema, images)
    run.settings |= {"task": task.name, **held_out.record}
    run.introduce("CycleGAN", task.name, *model.samplers, model.d_target)
    gan_training.train(
        model,
        run,
        domains.batches(source, target, run.batch_size, run.seed),
        save={f"{run.name}-{generator.name}.h5": generator for generator in model.samplers},
        draw=lambda path: translation.draw_cycles(model.samplers, held_out, task, path),
        measure=lambda step: translation.quick_measures(model.samplers, held_out, task),
        interval=FIGURE_INTERVAL,
        half=True,
        facts=lambda: {"orientation": args.orientation},
    )
    return model


def main(args):
    task = args.task
    if args.export and not task.files:
        name = task.model_name
        task = replace(task, files=(f"{name}-g_source.h5", f"{name}-g_target.h5"))
    if task.files:
        task = task.with_recorded(weights.find(task.files[0], __file__))
    run = program.start(args, task.model_name, __file__)
    if task.files:
        generators = translation.load_generators(build_generators, task, run)
        if run.exported({f"-{generator.name}": generator for generator in generators}):
            return
    for folder in task.folders:
        image_folders.check_folder(folder)
    training_images, held_out = domains.load(task, run.batch_size)
    unaveraged, files = None, task.files
    if not task.files:
        model = train(*training_images, held_out, task, args, run)
        generators = model.samplers
        files = [f"{run.name}-{generator.name}.h5" for generator in generators]
        unaveraged = (model.g_source, model.g_target) if args.ema else None
    del training_images  # the evaluation needs the memory
    translation.draw_grids(generators, held_out, task, run)
    if args.evaluate:
        translation.evaluate(generators, unaveraged, held_out, task, run, files)


if __name__ == "__main__":
    program.run(main, args)
