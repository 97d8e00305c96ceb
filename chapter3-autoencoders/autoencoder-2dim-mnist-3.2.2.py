"""Autoencoder on MNIST with codes of two numbers, which a picture can show.

The autoencoder is that of autoencoder-mnist-3.2.1.py with 2 numbers instead of 16. One picture
shows the codes of the test digits in the plane, with a color for each class. The other one shows
the images decoded from a grid over [-4, 4] along both axes, as in the book. Nothing keeps the codes
near 0, and some classes are outside of this square.

Realizes listing 3.2.2 of "Advanced Deep Learning with Keras" (R. Atienza).

    python3 autoencoder-2dim-mnist-3.2.2.py                                 # train, 20 epochs
    python3 autoencoder-2dim-mnist-3.2.2.py --resume                        # continue a run
    python3 autoencoder-2dim-mnist-3.2.2.py --weights=autoencoder_2dim.h5   # load, measure, draw

MSE is the mean squared error over the pixels of the test images, in [0, 1]. PSNR is the mean over
the images of 10 log10(1 / the image's MSE), in decibels.

Result to expect: test MSE 0.0416, PSNR 14.5 dB after 20 epochs.

Departures from the printed listing: the first of autoencoder-mnist-3.2.1.py, and
 2. The listing calls the decoder 900 times for the grid. Here one call decodes all images.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, program

BATCH_SIZE = 32
EPOCHS = 20
LEARNING_RATE = 1e-3
IMAGE_SHAPE = (28, 28, 1)
LATENT_SIZE = 2
KERNEL_SIZE = 3
FILTERS = (32, 64)
GRID_CELLS = 30
GRID_LIMIT = 4
MODEL_NAME = "autoencoder_2dim"


def parse_args():
    parser = flags.training_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--weights", metavar="FILE", help="test these weights, do not train")
    flags.add_images(parser, IMAGE_SHAPE[0], multiple=2 ** len(FILTERS))
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers

from lib.autoencoder import evaluate, train
from lib.data import datasets
from lib.data.datasets import DIGITS
from lib.measure import plots
from lib.run.images import Source


def build_encoder(image_shape=IMAGE_SHAPE):
    """Images (batch, *image_shape) -> codes (batch, 2)."""
    images = keras.Input(image_shape, name="encoder_input")
    x = images
    for filters in FILTERS:
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=2, activation="relu", padding="same")(x)
    x = layers.Flatten()(x)
    codes = layers.Dense(LATENT_SIZE, dtype="float32", name="latent_vector")(x)
    return keras.Model(images, codes, name="encoder")


def build_decoder(image_shape=IMAGE_SHAPE):
    """Codes (batch, 2) -> images (batch, *image_shape) in [0, 1]."""
    codes = keras.Input((LATENT_SIZE,), name="decoder_input")
    start = image_shape[0] // 2 ** len(FILTERS)
    x = layers.Dense(start * start * FILTERS[-1])(codes)
    x = layers.Reshape((start, start, FILTERS[-1]))(x)
    for filters in reversed(FILTERS):
        x = layers.Conv2DTranspose(
            filters, KERNEL_SIZE, strides=2, activation="relu", padding="same"
        )(x)
    x = layers.Conv2DTranspose(image_shape[-1], KERNEL_SIZE, padding="same")(x)
    images = layers.Activation("sigmoid", dtype="float32", name="decoder_output")(x)
    return keras.Model(codes, images, name="decoder")


def build_autoencoder(encoder, decoder):
    """Images -> images that are restored from the code; compiled."""
    inputs = keras.Input(encoder.input_shape[1:], name="images")
    autoencoder = keras.Model(inputs, decoder(encoder(inputs)), name="autoencoder")
    autoencoder.compile(loss="mse", optimizer=keras.optimizers.Adam(LEARNING_RATE))
    return autoencoder


def draw(encoder, decoder, x_test, y_test, run, classes=DIGITS):
    """Draws the codes of the test digits in the plane, and the images decoded over it."""
    if not plots.is_plane(LATENT_SIZE):
        return
    codes = encoder.predict(x_test, batch_size=1000, verbose=0)
    plots.latent_scatter(codes, y_test, run.folder / "latent_2dim.png", classes, show=run.show)
    plots.digits_over_latent(
        lambda codes: decoder.predict(codes, batch_size=len(codes), verbose=0),
        run.folder / "digits_over_latent.png",
        cells=GRID_CELLS,
        limit=GRID_LIMIT,
        show=run.show,
    )


def main(args):
    source = Source(args, IMAGE_SHAPE, __file__)
    run = program.start(args, source.name(MODEL_NAME), __file__)
    encoder, decoder = build_encoder(source.shape), build_decoder(source.shape)
    autoencoder = build_autoencoder(encoder, decoder)
    run.introduce("autoencoder", "MNIST", encoder, decoder, autoencoder)
    file = run.to_load(args.weights, f"{MODEL_NAME}.h5")
    if file:
        run.load(autoencoder, file)
    if run.exported({"": autoencoder, "-decoder": decoder}):
        return
    (x_train, _), (x_test, y_test) = source.split(datasets.mnist)
    if not file:
        train(run, autoencoder, (x_train, x_train), (x_test, x_test), source.settings)
    draw(encoder, decoder, x_test, y_test, run, source.classes)
    if file or run.evaluate:
        evaluate(run, autoencoder, x_test, file)


if __name__ == "__main__":
    program.run(main, args)
