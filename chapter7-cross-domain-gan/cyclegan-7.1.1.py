"""CycleGAN: translates between two kinds of images, having seen no pair of them.

A generator turns source images into target images, another one target into source; each is judged
by a discriminator that knows real images of its kind. What ties the translation to what was
translated is the cycle: there and back again has to return the image that one began with.

Realizes listing 7.1.1 of "Advanced Deep Learning with Keras" (R. Atienza), and the listings of
chapter 7 that train it on CIFAR-10 and on MNIST and SVHN.
Paper: Zhu, Park, Isola, Efros, Unpaired Image-to-Image Translation using Cycle-Consistent
Adversarial Networks (2017), arXiv:1703.10593.

    python3 cyclegan-7.1.1.py --cifar10                       gray <-> colour, 100,000 steps
    python3 cyclegan-7.1.1.py --cifar10 --patchgan            the same, judged by patches
    python3 cyclegan-7.1.1.py --mnist-svhn                    MNIST <-> SVHN
    python3 cyclegan-7.1.1.py --mnist-svhn --target mnist-m   MNIST <-> digits on photographs
    python3 cyclegan-7.1.1.py --cifar10 --resume              go on after an interruption

With trained generators, of which the flags name the task (--mnist_svhn_g_source and
--mnist_svhn_g_target are the other task's):

    python3 cyclegan-7.1.1.py --cifar10_g_source=cyclegan_cifar10-g_source.h5 \\
        --cifar10_g_target=cyclegan_cifar10-g_target.h5 --evaluate

Result to expect of 50,000 steps of --cifar10 --mixed-precision, seed 0, after three hours on one to
two CPU cores with bfloat16: 22.1 dB, and 0.112 as the mean colourfulness of the test images, of
which the true ones have 0.132; the reverse direction is off the exact gray by 0.019. After 12,000
steps in float32 it was 21.1 dB, 0.139 and 0.025. With --patchgan, 12,000 steps, 47 minutes on one
core: 21.2 dB, 0.130 and 0.026. Of 3,000 steps of --mnist-svhn --target mnist-m, 51 minutes on two
cores: of the digits on photographs 21 % are other digits once they are MNIST. The 100,000 steps and
SVHN have not been run here yet. Of the seeds 0 to 4 of --cifar10 three learn negatives, dark for
bright, which no loss forbids: the script says so after 500 steps, and it is time then to start anew
with another --seed or with --identity, with which these three do not.

Departures from the printed listing, and why:
 1. The image itself is not normalized, and what is normalized is each channel by itself, as in the
    paper. The listing's first layer normalizes the image, which throws away how bright and how rich
    in contrast it was: nothing behind it can know. `--normalization book` does so, and normalizes
    all channels together, as the layer that it imports does by default.
 2. One batch of fakes serves all three turns; the listing makes another one for the generators'.
 3. With `--identity` source images are given as three equal channels. A generator has to take
    images of the other kind then, which with one channel of gray and three of colour it cannot.
 4. Figures are drawn every 500 steps and in one picture; the book's four, of 100 images each, come
    at the end.
 5. `--target mnist-m` is none of the book's tasks: digits that are blended with photographs, as
    Ganin et al., Domain-Adversarial Training of Neural Networks (2016), arXiv:1505.07818, blend
    them. Like SVHN they have colours and clutter, and they can be made wherever MNIST and CIFAR-10
    are.
 6. The engine is that of dcgan-mnist-4.2.1.py, see its departures.
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import cli

IMAGE_SIZE = 32
ENCODER_FILTERS = (32, 64, 128, 256)
DECODER_FILTERS = (128, 64, 32)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
LEAKY_SLOPE = 0.2
LOSS_WEIGHTS = (1.0, 10.0, 0.5)  # of the adversarial, the cycle and the identity loss
BATCH_SIZE = 32
TRAIN_STEPS = 100_000
LEARNING_RATE = 2e-4
DECAY = 6e-8
PHOTOGRAPHS = 10_000  # that training digits are blended with; more would take memory
SHOWN = 100  # test images in a figure of the book
EVALUATED = 10_000
# A task is named after its target.
MODEL_NAMES = {
    "cifar10": "cyclegan_cifar10",
    "svhn": "cyclegan_mnist_svhn",
    "mnist-m": "cyclegan_mnist_m",
}
DOMAINS = {
    "cifar10": ("gray", "colour"),
    "svhn": ("MNIST", "SVHN"),
    "mnist-m": ("MNIST", "MNIST-M"),
}
KERNEL_SIZES = {"cifar10": 3, "svhn": 5, "mnist-m": 5}
# The axis of InstanceNormalization, and whether the image itself is normalized, too.
NORMALIZATIONS = {"channel": (-1, False), "channel-and-image": (-1, True), "book": (None, True)}
AUTOENCODER_FILE = "chapter3-autoencoders/weights/colorized_ae.h5"


def parse_args():
    parser = cli.training_parser(__doc__, train_steps=TRAIN_STEPS, batch_size=BATCH_SIZE)
    parser.add_argument("-c", "--cifar10", action="store_true", help="gray <-> colour CIFAR-10")
    parser.add_argument("-m", "--mnist-svhn", action="store_true", help="MNIST <-> SVHN")
    parser.add_argument(
        "--target", choices=("svhn", "mnist-m"), help="of --mnist-svhn (default: svhn)"
    )
    for task in ("cifar10", "mnist_svhn"):
        for domain in ("source", "target"):
            parser.add_argument(
                f"--{task}_g_{domain}",
                metavar="FILE",
                help=f"translate to the {domain} with these weights, do not train",
            )
    parser.add_argument(
        "--patchgan",
        action="store_true",
        help="the discriminators judge 2x2 patches (of trained generators: judged them)",
    )
    parser.add_argument(
        "--identity",
        action="store_true",
        help="an image that is of the kind asked for already has to stay as it is",
    )
    parser.add_argument(
        "--loss-weights",
        type=cli.reader(
            cli.floats,
            lambda values: len(values) == 3 and all(0 <= value < math.inf for value in values),
            "three numbers of at least 0, as in 1,10,0.5",
        ),
        default=LOSS_WEIGHTS,
        help="of adversarial, cycle and identity loss (default: 1,10,0.5)",
    )
    parser.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        default="channel",
        help="(default: channel; of trained generators their file tells)",
    )
    return parser.parse_args(check=lambda args: choose_task(parser, args))


def choose_task(parser, args):
    """Sets args.task, and args.generators: the two files to load, None where there are none."""
    wanted = []
    for task, flag in (("cifar10", args.cifar10), ("mnist_svhn", args.mnist_svhn)):
        files = [getattr(args, f"{task}_g_{domain}") for domain in ("source", "target")]
        if any(files) and not all(files):
            parser.error(f"expected both --{task}_g_source and --{task}_g_target, found one")
        if flag or any(files):
            wanted.append((task, files if all(files) else None))
    if len(wanted) != 1:
        found = "both" if wanted else "none"
        parser.error(f"expected one task, --cifar10 or --mnist-svhn, found {found}")
    [(task, args.generators)] = wanted
    if task == "cifar10" and args.target:
        parser.error("--target goes with --mnist-svhn")
    args.task = task if task == "cifar10" else args.target or "svhn"


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import itertools
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from lib import datasets, gan, image_quality, metrics, plots, results, weights
from lib.alternating import AlternatingModel, Turn
from lib.cli import UserError
from lib.instance_normalization import InstanceNormalization


def encoder_layer(x, filters, kernel_size, strides=2, normalize=None):
    """IN - leaky ReLU - Conv2D; `normalize` makes the IN layer, if there is to be one."""
    if normalize is not None:
        x = normalize()(x)
    x = layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)
    return layers.Conv2D(filters, kernel_size, strides=strides, padding="same")(x)


def decoder_layer(x, paired, filters, kernel_size, normalize):
    """IN - ReLU - Conv2DTranspose, and beside it the output of the encoder layer of that size."""
    x = normalize()(x)
    x = layers.ReLU()(x)
    x = layers.Conv2DTranspose(filters, kernel_size, strides=2, padding="same")(x)
    return layers.Concatenate()([x, paired])


def build_generator(input_channels, output_channels, kernel_size, normalization, name):
    """A U-net: images (batch, 32, 32, input_channels) -> images (batch, 32, 32, output_channels).

    Args:
        input_channels, output_channels: of the images.
        kernel_size: of all convolutions.
        normalization: a key of NORMALIZATIONS.
        name: of the model.
    """
    axis, of_the_image = NORMALIZATIONS[normalization]

    def normalize():
        return InstanceNormalization(axis)

    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE, input_channels), name="images")
    x = images
    encoded = []
    for i, filters in enumerate(ENCODER_FILTERS):
        normalized = of_the_image or i > 0
        x = encoder_layer(x, filters, kernel_size, 2 if i else 1, normalize if normalized else None)
        encoded.append(x)
    for filters, paired in zip(DECODER_FILTERS, encoded[-2::-1]):
        x = decoder_layer(x, paired, filters, kernel_size, normalize)
    x = layers.Conv2DTranspose(output_channels, kernel_size, padding="same")(x)
    translated = layers.Activation("sigmoid", dtype="float32", name="translated")(x)
    return keras.Model(images, translated, name=name)


def build_generators(task, normalization="channel", identity=False):
    """(g_source, g_target): from target images to source images, and the other way."""
    source, target = 3 if identity else 1, 3
    kernel_size = KERNEL_SIZES[task]
    return (
        build_generator(target, source, kernel_size, normalization, "g_source"),
        build_generator(source, target, kernel_size, normalization, "g_target"),
    )


def build_discriminator(channels, kernel_size, patchgan, name):
    """Images (batch, 32, 32, channels) -> how real they are, near 1, or how fake, near 0.

    Of the whole image (batch, 1), or, as a PatchGAN, of its quarters (batch, 2, 2, 1), each with
    what the convolutions see around it.
    """
    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE, channels), name="images")
    x = images
    for filters, strides in zip(DISCRIMINATOR_FILTERS, (2, 2, 2, 1)):
        x = encoder_layer(x, filters, kernel_size, strides)
    if patchgan:
        x = encoder_layer(x, 1, kernel_size)
    else:
        x = layers.Dense(1)(layers.Flatten()(x))
    real = layers.Activation("linear", dtype="float32", name="real")(x)
    return keras.Model(images, real, name=name)


class CycleGAN(AlternatingModel):
    """Two generators and two discriminators.

    A batch is (source images, target images), which have nothing to do with each other.
    """

    def __init__(self, task, patchgan, normalization, identity, loss_weights):
        super().__init__(name=MODEL_NAMES[task])
        self.g_source, self.g_target = build_generators(task, normalization, identity)
        kernel_size = KERNEL_SIZES[task]
        for name in ("source", "target"):
            channels = getattr(self, f"g_{name}").output_shape[-1]
            discriminator = build_discriminator(channels, kernel_size, patchgan, f"d_{name}")
            setattr(self, f"d_{name}", discriminator)
        self.adversarial_weight, self.cycle_weight, self.identity_weight = loss_weights
        self.identity = identity

    def fakes(self, source, target):
        """Each image translated: one pass of each generator for all turns."""
        return self.g_target(source), self.g_source(target)

    def d_target_loss(self, source, target, fake_target, fake_source):
        return adversary_loss(self.d_target, target, fake_target)

    def d_source_loss(self, source, target, fake_target, fake_source):
        return adversary_loss(self.d_source, source, fake_source)

    def generators_loss(self, source, target, fake_target, fake_source):
        """Fakes that pass for real, and that turn back into what they were made of."""
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


def squared_error(true, found):
    return ops.mean((true - found) ** 2)


def absolute_error(true, found):
    return ops.mean(ops.abs(true - found))


def adversary_loss(discriminator, reals, fakes):
    """Squared error over real images (1) and as many fakes (0), as in listing 5.2.1."""
    real = discriminator(ops.concatenate([reals, fakes]))
    size = ops.shape(reals)[0]
    return (squared_error(1, real[:size]) + squared_error(0, real[size:])) / 2


def build_cyclegan(
    task, patchgan=False, normalization="channel", identity=False, loss_weights=LOSS_WEIGHTS
):
    """The model ready to train: the turns of the two discriminators, then that of the generators.

    Args:
        task: a key of MODEL_NAMES.
        patchgan: see `build_discriminator`.
        normalization: a key of NORMALIZATIONS.
        identity: whether the identity loss is asked for.
        loss_weights: see LOSS_WEIGHTS.
    """
    model = CycleGAN(task, patchgan, normalization, identity, loss_weights)
    generators = [*model.g_source.trainable_variables, *model.g_target.trainable_variables]
    model.compile(
        turns=[
            Turn(
                "d_target",
                model.d_target.trainable_variables,
                gan.optimizer(LEARNING_RATE, DECAY),
                model.d_target_loss,
            ),
            Turn(
                "d_source",
                model.d_source.trainable_variables,
                gan.optimizer(LEARNING_RATE, DECAY),
                model.d_source_loss,
            ),
            Turn(
                "generators",
                generators,
                gan.optimizer(LEARNING_RATE / 2, DECAY / 2),
                model.generators_loss,
                metrics=("adversarial", "cycle", *(["identity"] if identity else [])),
                through_shared=True,
            ),
        ],
        share=model.fakes,
    )
    return model


@dataclass
class Test:
    """Test images (n, 32, 32, channels) in [0, 1], and the digits (n,) that they show, if any."""

    source: np.ndarray
    target: np.ndarray
    source_digits: np.ndarray | None = None
    target_digits: np.ndarray | None = None


class MnistM:
    """Digits on photographs, blended when they are asked for: all of them would not fit well.

    Args:
        digits: array (n, 32, 32, 1).
        photographs: array (m, 32, 32, 3).
        seed: of which photograph a digit gets.
    """

    def __init__(self, digits, photographs, seed):
        self.digits, self.photographs = digits, photographs
        self.chosen = np.random.default_rng(seed).integers(0, len(photographs), len(digits))

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        return np.abs(self.photographs[self.chosen[index]] - self.digits[index])


def load_data(args):
    """The images of the task, at most EVALUATED of them for the test.

    Returns:
        (source, target), the training images, arrays (n, 32, 32, channels) or a `MnistM`; and the
        `Test` images. The source has three equal channels for `--identity`, and else one.
    """
    if args.task == "cifar10":
        (target, _), (test_target, _) = datasets.cifar10()
        source, test_source = datasets.rgb_to_gray(target), datasets.rgb_to_gray(test_target)
        digits = (None, None)
    else:
        (source, _), (test_source, y_test) = datasets.mnist()
        source, test_source = (
            np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))) for x in (source, test_source)
        )
        if args.task == "svhn":
            (target, _), (test_target, target_digits) = datasets.svhn()
            test_target = test_target[:EVALUATED].copy()  # which lets go of the others
        else:
            (photographs, _), (test_photographs, _) = datasets.cifar10()
            target = MnistM(source, photographs[:PHOTOGRAPHS].copy(), seed=0)
            test_target = MnistM(test_source, test_photographs, seed=1)
            target_digits = y_test
        digits = (y_test[:EVALUATED], target_digits[:EVALUATED])
    if args.identity:
        # Three views of the one channel, which take no memory.
        source, test_source = as_colour(source), as_colour(test_source)
    return (source, target), Test(test_source[:EVALUATED], test_target[:EVALUATED], *digits)


def as_colour(images):
    """Images of one or three channels -> of three."""
    return np.broadcast_to(images, (*images.shape[:3], 3))


def batches(source, target, args):
    """Training batches as a function of the step: source and target drawn without regard."""

    def batch(step):
        rng = np.random.default_rng((args.seed, step))
        size = args.batch_size
        source_index = rng.integers(0, len(source), size)
        target_index = rng.integers(0, len(target), size)
        return {"x": (source[source_index], target[target_index])}

    return batch


def predict(network, images):
    """What a network makes of images, in batches of one size: TensorFlow compiles for each size."""
    return network.predict(images, batch_size=SHOWN, verbose=0)


def translate(generators, source, target):
    """What the generators (g_source, g_target) make of images, there and back.

    Returns:
        A dict of arrays: predicted_target and reconstructed_source of the source images,
        predicted_source and reconstructed_target of the target images.
    """
    g_source, g_target = generators
    predicted_target, predicted_source = predict(g_target, source), predict(g_source, target)
    return {
        "predicted_target": predicted_target,
        "reconstructed_source": predict(g_source, predicted_target),
        "predicted_source": predicted_source,
        "reconstructed_target": predict(g_target, predicted_source),
    }


def are_negatives(gray, coloured):
    """Whether what is bright in gray images is dark in the coloured ones that were made of them."""
    brightness = [images.mean(axis=-1).ravel() for images in (gray, coloured)]
    return np.corrcoef(brightness)[0, 1] < 0


def draw_cycles(generators, test, args, path, columns=8):
    """Draws test images in rows: source, there, and back; target, there, and back.

    Says so if gray images have become negatives, before more time goes into them.
    """
    source, target = test.source[:SHOWN], test.target[:SHOWN]
    made = translate(generators, source, target)
    a, b = DOMAINS[args.task]
    rows = (
        (a, source),
        (f"→ {b}", made["predicted_target"]),
        (f"→ {a}", made["reconstructed_source"]),
        (b, target),
        (f"→ {a}", made["predicted_source"]),
        (f"→ {b}", made["reconstructed_target"]),
    )
    plots.image_grid(
        np.concatenate([as_colour(images[:columns]) for _, images in rows]),
        path,
        columns=columns,
        row_titles=[title for title, _ in rows],
    )
    if args.task == "cifar10" and are_negatives(source, made["predicted_target"]):
        print("It learns negatives, dark for bright: start anew with --identity or another --seed.")


def draw_grids(generators, test, args, folder):
    """Draws the first SHOWN test images, translated, and there and back: the book's figures."""
    source, target = test.source[:SHOWN], test.target[:SHOWN]
    grids = {"test_source": source, "test_target": target}
    for name, images in {**grids, **translate(generators, source, target)}.items():
        plots.image_grid(images, folder / f"{name}.png", show=args.show)


def load_generator(domain, path, args, either_identity=False):
    """The generator in a file, in the form of normalization that it was made in.

    Args:
        domain: "source" or "target", to which it translates.
        path: the file.
        args: the parsed flags.
        either_identity: whether it may have been trained without `--identity`, too, where this is
            given, and with it where it is not.

    Raises:
        UserError: if it is in no form there; the message is that of the form asked for.
    """
    forms = sorted(NORMALIZATIONS, key=lambda form: form != args.normalization)
    identities = (args.identity, not args.identity) if either_identity else (args.identity,)
    errors = []
    for identity, normalization in itertools.product(identities, forms):
        generators = build_generators(args.task, normalization, identity)
        generator = generators[("source", "target").index(domain)]
        try:
            weights.load(generator, path)
            return generator
        except UserError as error:
            errors.append(error)
    raise errors[0]


def build_autoencoder():
    """That of listing 3.4.1: gray images (batch, 32, 32, 1) -> colour images (batch, 32, 32, 3)."""
    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="images")
    x = images
    for filters in (64, 128, 256):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Dense(256)(layers.Flatten()(x))
    x = layers.Reshape((4, 4, 256))(layers.Dense(4 * 4 * 256)(x))
    for filters in (256, 128, 64):
        x = layers.Conv2DTranspose(filters, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(3, 3, padding="same", activation="sigmoid", dtype="float32")(x)
    return keras.Model(images, x, name="autoencoder")


def load_autoencoder():
    """The autoencoder of chapter 3 with its weights, or None where these are not."""
    path = Path(__file__).resolve().parents[1] / AUTOENCODER_FILE
    if not path.exists():
        print(f"The autoencoder is left out: no {AUTOENCODER_FILE}")
        return None
    autoencoder = build_autoencoder()
    weights.load(autoencoder, path)
    return autoencoder


def model_name(args, patchgan):
    """The name of the folder and of the weight files."""
    return MODEL_NAMES[args.task] + ("_patchgan" if patchgan else "")


def load_other_variant(args):
    """The generator to colour that was judged the other way, or None where there is no file."""
    name = f"{model_name(args, not args.patchgan)}-g_target.h5"
    for path in (args.output_dir / name, Path(__file__).parent / "weights" / name):
        if path.exists():
            return load_generator("target", path, args, either_identity=True)
    print(f"Only one kind of discriminator is shown: no {name}")
    return None


def draw_comparison(g_target, autoencoder, test, args, folder, columns=20):
    """Draws true colours and those that each method gives (figures 7.1.9 and 7.1.10)."""
    gray = test.source[:SHOWN]
    networks = {"autoencoder": autoencoder}
    for patchgan, name in ((False, "CycleGAN"), (True, "CycleGAN, PatchGAN")):
        networks[name] = g_target if patchgan == args.patchgan else load_other_variant(args)
    rows = {"ground truth": test.target, "gray": as_colour(gray)}
    for name, network in networks.items():
        if network is not None:
            channels = network.input_shape[-1]
            rows[name] = predict(network, as_colour(gray)[..., :channels])
    plots.image_grid(
        np.concatenate([images[:columns] for images in rows.values()]),
        folder / "comparison.png",
        columns=columns,
        row_titles=list(rows),
        show=args.show,
    )


def colourfulness(images):
    """How colourful images (n, 32, 32, 3) in [0, 1] are, array (n,): gray ones are 0.

    Source: Hasler, Suesstrunk, Measuring colourfulness in natural images (2003), equation for M3.
    """
    red, green, blue = np.moveaxis(images.reshape(len(images), -1, 3), -1, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    deviation = np.hypot(*opponents.std(axis=-1))
    return deviation + 0.3 * np.hypot(*opponents.mean(axis=-1))


def compare_colours(colour, copies):
    """Mean errors of colour images, and how far their colourfulness is from the true one's.

    `colourfulness_distance` is the earth mover's distance between the histograms of the two: by how
    much the colourfulness of an image has to change on average to turn one into the other. Unlike
    the errors it does not reward dull colours for being wrong by less.
    """
    true, found = np.sort(colourfulness(colour)), np.sort(colourfulness(copies))
    return {
        **image_quality.compare(colour, copies),
        "colourfulness": round(float(found.mean()), 4),
        "colourfulness_distance": round(float(np.abs(true - found).mean()), 4),
    }


def measure_colours(made, autoencoder, test):
    """Numbers of the gray <-> colour task, of the translated test images `made`."""
    numbers = {
        "true_colourfulness": round(float(colourfulness(test.target).mean()), 4),
        "cyclegan": compare_colours(test.target, made["predicted_target"]),
    }
    if autoencoder is not None:
        colorized = predict(autoencoder, test.source[..., :1])
        numbers["autoencoder"] = compare_colours(test.target, colorized)
    numbers["gray_copy"] = compare_colours(test.target, as_colour(test.source))
    to_gray = image_quality.mae(test.source, made["predicted_source"]).mean()
    return {**numbers, "to_gray_mae": round(to_gray, 5)}


def judged_digits(images):
    """The digits (n,) that the judge, who knows MNIST alone, sees in source images."""
    return metrics.judged_digits(images.mean(axis=-1, keepdims=True)[:, 2:-2, 2:-2])


def measure_digits(made, test, args, folder):
    """Numbers of a task with digits: do translated images show the digit that they did before?

    The judge reads the source images that the target ones were turned into, where another digit
    than before is a flipped label, and those that went there and came back. Draws which digits
    turned into which.
    """
    translated = judged_digits(made["predicted_source"])
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (test.target_digits, translated), 1)
    plots.confusion_matrix(counts, folder / "label_flips.png", show=args.show)
    shares = {
        "judge_accuracy": judged_digits(test.source) == test.source_digits,
        "label_flip_rate": translated != test.target_digits,
        "kept_there_and_back": judged_digits(made["reconstructed_source"]) == test.source_digits,
    }
    return {name: round(float(share.mean()), 4) for name, share in shares.items()}


def evaluate(generators, autoencoder, test, args, folder):
    """Measures the translated test images and writes evaluation.json."""
    made = translate(generators, test.source, test.target)
    if args.task == "cifar10":
        numbers = measure_colours(made, autoencoder, test)
    else:
        numbers = measure_digits(made, test, args, folder)
    for domain, images in (("source", test.source), ("target", test.target)):
        error = image_quality.mae(images, made[f"reconstructed_{domain}"]).mean()
        numbers[f"cycle_mae_{domain}"] = round(error, 5)
    for name, value in numbers.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        print(f"{name}: {value}".replace("_", " "))
    results.record(
        folder / "evaluation.json",
        args,
        weights=args.generators,
        test_images=[len(test.source), len(test.target)],
        **numbers,
    )


def train(source, target, test, args, folder):
    """Trains on the images and returns the generators (g_source, g_target)."""
    settings = {
        "patchgan": args.patchgan,
        "normalization": args.normalization,
        "identity": args.identity,
        "loss_weights": list(args.loss_weights),
    }
    model = build_cyclegan(args.task, **settings)
    generators = model.g_source, model.g_target
    name = model_name(args, args.patchgan)
    args.generators = [f"{name}-g_source.h5", f"{name}-g_target.h5"]
    gan.train(
        model,
        batches(source, target, args),
        args,
        folder,
        save=dict(zip(args.generators, generators)),
        sample=lambda path: draw_cycles(generators, test, args, path),
        settings=settings,
        half=True,
    )
    return generators


def main(args):
    folder = cli.prepare(args, model_name(args, args.patchgan))
    training_images, test = load_data(args)
    if args.generators:
        paths = [weights.find(file, __file__) for file in args.generators]
        generators = [load_generator(*each, args) for each in zip(("source", "target"), paths)]
    else:
        generators = train(*training_images, test, args, folder)
    del training_images  # the evaluation needs the memory
    draw_grids(generators, test, args, folder)
    autoencoder = None
    if args.task == "cifar10":
        autoencoder = load_autoencoder()
        draw_comparison(generators[1], autoencoder, test, args, folder)
    if args.evaluate:
        evaluate(generators, autoencoder, test, args, folder)


if __name__ == "__main__":
    cli.run(main, args)
