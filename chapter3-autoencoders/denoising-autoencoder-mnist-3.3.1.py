"""Denoising autoencoder on MNIST: removes heavy noise from a digit.

The autoencoder of autoencoder-mnist-3.2.1.py gets corrupted digits as inputs and clean digits as
targets. A code of 16 numbers cannot store the noise, so the network learns the shape of digits.

Realizes listing 3.3.1 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Vincent, Larochelle, Bengio, Manzagol, Extracting and Composing Robust Features with
Denoising Autoencoders (2008).

    python3 denoising-autoencoder-mnist-3.3.1.py                                # train, 10 epochs
    python3 denoising-autoencoder-mnist-3.3.1.py --resume                       # continue a run
    python3 denoising-autoencoder-mnist-3.3.1.py --weights=denoising_autoencoder.h5
    python3 denoising-autoencoder-mnist-3.3.1.py --weights=denoising_autoencoder.h5 --noise=0.3,0.9

The noise is normal with mean 0.5 and standard deviation 0.5, added and clipped to [0, 1]. The
network is trained with this noise, and tested with standard deviations of 0.5, 0.75 and 1.0
(figure 3.3.3) or those of `--noise`. MSE is the mean squared error over the pixels of the test
images, in [0, 1]. PSNR is the mean over the images of 10 log10(1 / the image's MSE), in decibels.

Result to expect after 10 epochs: test MSE 0.0157, 0.0280 and 0.0430, PSNR 18.6, 15.9 and 14.0 dB at
noise 0.5, 0.75 and 1.0. The corrupted digits have 4.8, 4.4 and 4.1 dB.

Departures from the printed listing: the first of autoencoder-mnist-3.2.1.py, and
 2. The noise comes from NumPy's current generator, in float32 to take half the memory. The test
    digits have a seed of their own, so that their noise is the same with and without training.
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, kinds, program

BATCH_SIZE = 32
EPOCHS = 10
LEARNING_RATE = 1e-3
SEED = 1337
NOISE_MEAN = 0.5
NOISE_STD = 0.5
NOISE_LEVELS = (0.5, 0.75, 1.0)
IMAGE_SHAPE = (28, 28, 1)
LATENT_SIZE = 16
KERNEL_SIZE = 3
FILTERS = (32, 64)
SETS = 3
SHOWN = 9
MODEL_NAME = "denoising_autoencoder"


def parse_args():
    parser = flags.training_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--weights", metavar="FILE", help="test these weights, do not train")
    flags.add_images(parser, IMAGE_SHAPE[0], multiple=2 ** len(FILTERS))
    parser.add_argument(
        "--noise",
        metavar="LEVELS",
        type=kinds.reader(
            kinds.floats,
            lambda levels: all(0 <= level < math.inf for level in levels),
            "numbers of at least 0 with commas between them",
        ),
        default=NOISE_LEVELS,
        help="try the network at these noise levels (default 0.5,0.75,1.0)",
    )
    parser.set_defaults(seed=SEED)
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
import numpy as np
from keras import layers

from lib.autoencoder import train
from lib.data import datasets
from lib.measure import image_quality, plots
from lib.run.images import Source


def build_encoder(image_shape=IMAGE_SHAPE):
    """Images (batch, *image_shape) -> codes (batch, 16)."""
    images = keras.Input(image_shape, name="encoder_input")
    x = images
    for filters in FILTERS:
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=2, activation="relu", padding="same")(x)
    x = layers.Flatten()(x)
    codes = layers.Dense(LATENT_SIZE, dtype="float32", name="latent_vector")(x)
    return keras.Model(images, codes, name="encoder")


def build_decoder(image_shape=IMAGE_SHAPE):
    """Codes (batch, 16) -> images (batch, *image_shape) in [0, 1]."""
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


def corrupt(images, level, seed):
    """Images with noise of mean NOISE_MEAN and standard deviation `level`, clipped to [0, 1]."""
    noisy = np.random.default_rng(seed).standard_normal(images.shape, dtype="float32")
    noisy *= level
    noisy += NOISE_MEAN
    noisy += images
    return np.clip(noisy, 0, 1, out=noisy)


def corrupt_test(x_test, level, seed):
    """Test digits under noise that is the same in every run with the same seed."""
    return corrupt(x_test, level, (seed, 1))


def draw(autoencoder, x_test, levels, run):
    """Draws test digits, corrupted and denoised: in three sets, then at each noise level."""
    x_test = x_test[: SETS * SHOWN]
    corrupted = corrupt_test(x_test, NOISE_STD, run.seed)
    denoised = autoencoder.predict(corrupted, verbose=0)
    rows = [
        images[start : start + SHOWN]
        for start in range(0, SETS * SHOWN, SHOWN)
        for images in (x_test, corrupted, denoised)
    ]
    plots.image_grid(
        np.concatenate(rows),
        run.folder / "corrupted_and_denoised.png",
        columns=SHOWN,
        row_titles=("original", "corrupted", "denoised") * SETS,
        show=run.show,
    )
    rows, titles = [x_test[:SHOWN]], ["original"]
    for level in levels:
        corrupted = corrupt_test(x_test[:SHOWN], level, run.seed)
        rows += [corrupted, autoencoder.predict(corrupted, verbose=0)]
        titles += [f"noise {level:g}", "denoised"]
    plots.image_grid(
        np.concatenate(rows),
        run.folder / "noise_levels.png",
        columns=SHOWN,
        row_titles=titles,
        show=run.show,
    )


def evaluate(autoencoder, x_test, levels, run, file):
    """Measures all test images at each noise level and writes evaluation.json."""

    def measure(level):
        corrupted = corrupt_test(x_test, level, run.seed)
        denoised = autoencoder.predict(corrupted, batch_size=1000, verbose=0)
        return {
            **image_quality.compare(x_test, denoised),
            "corrupted": image_quality.compare(x_test, corrupted),
        }

    measured = {f"{level:g}": measure(level) for level in levels}
    facts = {"parameters": autoencoder.count_params(), "test_images": len(x_test)}
    run.evaluated(file, **facts, noise_levels=measured)


def main(args):
    source = Source(args, IMAGE_SHAPE, __file__)
    run = program.start(args, source.name(MODEL_NAME), __file__)
    encoder, decoder = build_encoder(source.shape), build_decoder(source.shape)
    autoencoder = build_autoencoder(encoder, decoder)
    run.introduce("denoising autoencoder", "MNIST", encoder, decoder, autoencoder)
    file = run.to_load(args.weights, f"{MODEL_NAME}.h5")
    if file:
        run.load(autoencoder, file)
    if run.exported({"": autoencoder}):
        return
    (x_train, _), (x_test, _) = source.split(datasets.mnist, shown=SETS * SHOWN)
    if not file:
        noisy = corrupt(x_train, NOISE_STD, (args.seed, 0))
        noisy_test = corrupt_test(x_test, NOISE_STD, args.seed)
        train(run, autoencoder, (noisy, x_train), (noisy_test, x_test), source.settings)
    draw(autoencoder, x_test, args.noise, run)
    if file or run.evaluate:
        evaluate(autoencoder, x_test, args.noise, run, file)


if __name__ == "__main__":
    program.run(main, args)
