"""Colorization autoencoder on CIFAR-10: maps a gray photograph to a colored one.

The input of the autoencoder is the gray version of its target. A gray image does not determine the
colors, so the network learns which ones are likely: blue skies, green grass.

Realizes listing 3.4.1 of "Advanced Deep Learning with Keras" (R. Atienza).

    python3 colorization-autoencoder-cifar10-3.4.1.py                            # train, 30 epochs
    python3 colorization-autoencoder-cifar10-3.4.1.py --chroma                  # add colors to gray
    python3 colorization-autoencoder-cifar10-3.4.1.py --resume                   # continue a run
    python3 colorization-autoencoder-cifar10-3.4.1.py --weights=colorized_ae.h5  # measure and draw
    python3 colorization-autoencoder-cifar10-3.4.1.py --chroma --weights=colorized_ae_chroma.h5

MSE and MAE are the mean squared and the mean absolute error over the pixels and channels of the
test images, in [0, 1]. PSNR is the mean over the images of 10 log10(1 / the image's MSE), in
decibels. The baseline is the gray image itself, with three equal channels: it is sharp and has no
color. The network's image is blurred, because 256 numbers cannot describe more. "Colors on gray"
combines the network's colors with the given gray image.

Result to expect after 30 epochs: PSNR 22.6 dB and MSE 0.0071 on the test images. Colors on gray
have 24.3 dB and 0.0055, the gray image has 24.6 dB and 0.0066. With --chroma: 25.1 dB and 0.0050.

Departures from the printed listing:
 1. The sigmoid is a layer of type float32, so that `--mixed-precision` does not round the image.
 2. The learning rate decreases on a plateau, as in the listing. The script computes it instead of
    a callback, so that a checkpoint keeps the state of the rule.
 3. The listing keeps the weights of each epoch with a new lowest test loss. Here only the lowest is
    kept. colorized_ae.h5 has the weights of the last epoch, because a choice by the test set is
    optimistic.
 4. Half of the training images are mirrored at random. Without this (`--no-augmentation`) the
    network overfits more: 22.0 dB and 0.0080, colors on gray 23.7 dB and 0.0063.
 5. `--chroma` is not in the book: the network predicts the difference of red, green and blue from
    the gray value, and adds the given gray image. The code then describes colors only; in the
    printed form it mostly describes brightness. The learning rate starts lower, and training drops
    30 % of the encoder's features. The result has smaller errors than the gray image.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import one_cycle
from lib.run import flags, kinds, program
from lib.files.errors import UserError

BATCH_SIZE = 32
EPOCHS = 30
LEARNING_RATE = 1e-3
DROPOUT = 0.0
# Of --chroma. With a learning rate of 1e-3 and dropout, its ReLU units die.
CHROMA_LEARNING_RATE = 1e-4
CHROMA_DROPOUT = 0.3
IMAGE_SHAPE = (32, 32, 3)
LATENT_SIZE = 256
KERNEL_SIZE = 3
FILTERS = (64, 128, 256)
# The learning rate times RATE_FACTOR where the test loss has not fallen by MIN_DELTA (Keras'
# default) for PATIENCE epochs, down to MIN_LEARNING_RATE.
RATE_FACTOR = 0.1**0.5
PATIENCE = 5
MIN_DELTA = 1e-4
MIN_LEARNING_RATE = 0.5e-6
SHOWN = 100
MODEL_NAME = "colorized_ae"


def parse_args():
    parser = flags.training_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--weights", metavar="FILE", help="test these weights, do not train")
    parser.add_setting(
        "--chroma",
        action="store_true",
        help="predict color differences and add them to the gray image, see departure 5",
    )
    parser.add_setting(
        "--dropout",
        type=kinds.dropout_rate,
        help="share of the encoder's features that training drops "
        f"({DROPOUT:g}, {CHROMA_DROPOUT} with --chroma)",
    )
    parser.add_setting(
        "--learning-rate",
        type=kinds.positive,
        help=f"of Adam at the start ({LEARNING_RATE}, {CHROMA_LEARNING_RATE} with --chroma)",
    )
    one_cycle.add_hold_out(parser)
    flags.add_images(parser, IMAGE_SHAPE[0], multiple=2 ** len(FILTERS), color=False)
    parser.add_setting(
        "--no-augmentation", dest="augmentation", action="store_false", help="see departure 4"
    )
    return parser.parse_args(check=complete)


def complete(args):
    """Sets the flags whose defaults depend on --chroma."""
    if args.learning_rate is None:
        args.learning_rate = CHROMA_LEARNING_RATE if args.chroma else LEARNING_RATE
    if args.dropout is None:
        args.dropout = CHROMA_DROPOUT if args.chroma else DROPOUT


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import math

import keras
import numpy as np
from keras import layers

from lib import autoencoder as shared
from lib.data import datasets
from lib.files import weights
from lib.measure import image_quality, plots
from lib.run.images import Source


def build_encoder(dropout=0, image_size=IMAGE_SHAPE[0]):
    """Gray images (batch, 32, 32, 1) -> codes (batch, 256); training drops features of the code."""
    images = keras.Input((image_size, image_size, 1), name="encoder_input")
    x = images
    for filters in FILTERS:
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=2, activation="relu", padding="same")(x)
    x = layers.Flatten()(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    codes = layers.Dense(LATENT_SIZE, name="latent_vector")(x)
    return keras.Model(images, codes, name="encoder")


def build_decoder(activation="sigmoid", image_size=IMAGE_SHAPE[0]):
    """Codes (batch, 256) -> color images (batch, 32, 32, 3).

    The values are in [0, 1]; with the activation "tanh", of color differences, in [-1, 1].
    """
    codes = keras.Input((LATENT_SIZE,), name="decoder_input")
    start = image_size // 2 ** len(FILTERS)
    x = layers.Dense(start * start * FILTERS[-1])(codes)
    x = layers.Reshape((start, start, FILTERS[-1]))(x)
    for filters in reversed(FILTERS):
        x = layers.Conv2DTranspose(
            filters, KERNEL_SIZE, strides=2, activation="relu", padding="same"
        )(x)
    x = layers.Conv2DTranspose(3, KERNEL_SIZE, padding="same")(x)
    images = layers.Activation(activation, dtype="float32", name="decoder_output")(x)
    return keras.Model(codes, images, name="decoder")


def build_autoencoder(encoder, decoder, chroma=False, rate=LEARNING_RATE):
    """Gray images (batch, 32, 32, 1) -> color images (batch, 32, 32, 3); compiled.

    With `chroma` the decoder returns how far red, green and blue are from the gray value. The sum
    may leave [0, 1] a little.
    """
    inputs = keras.Input(encoder.input_shape[1:], name="images")
    outputs = decoder(encoder(inputs))
    if chroma:
        outputs = layers.Add(dtype="float32", name="gray_plus_chroma")([inputs, outputs])
    autoencoder = keras.Model(inputs, outputs, name="autoencoder")
    autoencoder.compile(loss="mse", optimizer=keras.optimizers.Adam(rate))
    return autoencoder


def lower_rate_on_plateau(optimizer, loss, memory):
    """After each epoch: lowers the learning rate when the test loss has stopped falling.

    `memory` holds plateau_loss, the lowest loss so far, and waited, the epochs since then.
    """
    if loss < memory["plateau_loss"] - MIN_DELTA:
        memory.update(plateau_loss=loss, waited=0)
        return
    memory["waited"] += 1
    if memory["waited"] >= PATIENCE:
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        optimizer.learning_rate = max(rate * RATE_FACTOR, MIN_LEARNING_RATE)
        memory["waited"] = 0


def mirror(gray, color, rng):
    """Mirrors half of the images from left to right, each gray image together with its colors."""
    mirrored = rng.random(len(gray))[:, None, None, None] < 0.5
    return tuple(np.where(mirrored, images[:, :, ::-1], images) for images in (gray, color))


def train(autoencoder, data, test_data, augmentation, run, images=None):
    """Trains the autoencoder to return color images for gray ones, and saves it."""
    optimizer = autoencoder.optimizer
    memory = {
        "plateau_loss": math.inf,
        "waited": 0,
        "best_test_loss": math.inf,
        "best_epoch": 0,
    }

    def after_test(epoch, loss):
        lower_rate_on_plateau(optimizer, loss, memory)
        if loss < memory["best_test_loss"]:
            memory.update(best_test_loss=loss, best_epoch=epoch)
            run.save_best(autoencoder, epoch, half=True)
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        return f", next rate {rate:.2g}"

    def facts():
        best = round(memory["best_test_loss"], 6)
        return {"best_test_loss": best, "best_epoch": memory["best_epoch"]}

    shared.train(
        run,
        autoencoder,
        data,
        test_data,
        images,
        after_test,
        memory,
        augment=mirror if augmentation else None,
        half=True,
        facts=facts,
    )


def load(autoencoder, path, chroma):
    """Loads weights of the requested form; both forms have the same shapes.

    Raises:
        cli.UserError: if the file is of the other form or of another network.
    """
    weights.load(autoencoder, path)
    if weights.about(path).get("chroma", False) != chroma:
        how = "with --chroma, give" if not chroma else "without --chroma, leave out"
        raise UserError(f"'{path}' was trained {how} this flag")


def draw(autoencoder, gray_test, x_test, run):
    """Draws the first test images in gray, colorized, and in their true colors."""
    gray, truth = gray_test[:SHOWN], x_test[:SHOWN]
    colorized = np.clip(autoencoder.predict(gray, verbose=0), 0, 1)
    grids = {"gray (input)": gray, "colorized": colorized, "true colors": truth}
    plots.grids_side_by_side(grids, run.folder / "colorized.png", show=run.show)
    grids["colors on the gray"] = color_gray(gray, colorized)
    for title, images in grids.items():
        name = title.split(" (")[0].replace(" ", "_")
        plots.image_grid(images, run.folder / "saved_images" / f"{name}.png", show=run.show)


def color_gray(gray, colorized):
    """The gray images in the colors of the colorized ones, whose own gray is dropped."""
    return np.clip(gray + colorized - datasets.rgb_to_gray(colorized), 0, 1)


def evaluate(autoencoder, gray_test, x_test, run, file):
    """Measures the colorized test images and the gray ones, and writes evaluation.json."""
    colorized = np.clip(autoencoder.predict(gray_test, batch_size=1000, verbose=0), 0, 1)
    numbers = {}
    for name, images in (
        ("colorized", colorized),
        ("colors on gray", color_gray(gray_test, colorized)),
        ("gray copy", gray_test.repeat(3, axis=-1)),
        ("true colors", x_test),
    ):
        numbers[name] = image_quality.compare_colors(x_test, images)
    run.evaluated(
        file,
        parameters=autoencoder.count_params(),
        test_images=len(x_test),
        **numbers["colorized"],
        colors_on_gray=numbers["colors on gray"],
        gray_copy=numbers["gray copy"],
        true_colorfulness=numbers["true colors"]["colorfulness"],
    )


def main(args):
    source = Source(args, IMAGE_SHAPE, __file__)
    name = f"{MODEL_NAME}_chroma" if args.chroma else MODEL_NAME
    run = program.start(args, source.name(name), __file__)
    encoder = build_encoder(args.dropout, source.shape[0])
    decoder = build_decoder("tanh" if args.chroma else "sigmoid", source.shape[0])
    autoencoder = build_autoencoder(encoder, decoder, args.chroma, args.learning_rate)
    run.introduce("colorization autoencoder", "CIFAR-10", encoder, decoder, autoencoder)
    file = run.to_load(args.weights, f"{name}.h5")
    if file:
        load(autoencoder, weights.find(file, __file__), args.chroma)
    if run.exported({"": autoencoder}):
        return
    (x_train, _), (x_test, _) = one_cycle.hold_out(source.split(datasets.cifar10), args.hold_out)
    gray_test = datasets.rgb_to_gray(x_test)
    if not file:
        data, test_data = (datasets.rgb_to_gray(x_train), x_train), (gray_test, x_test)
        train(autoencoder, data, test_data, args.augmentation, run, source.settings)
    draw(autoencoder, gray_test, x_test, run)
    if file or run.evaluate:
        evaluate(autoencoder, gray_test, x_test, run, file)


if __name__ == "__main__":
    program.run(main, args)
