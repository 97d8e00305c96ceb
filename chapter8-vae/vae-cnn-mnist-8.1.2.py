"""VAE on MNIST with convolutions: a sixth of the parameters of vae-mlp-mnist-8.1.1.py.

The encoder has convolutions and the decoder transposed convolutions, as in
autoencoder-mnist-3.2.1.py. Sampling and losses are those of vae-mlp-mnist-8.1.1.py.

Realizes listing 8.1.3 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Kingma, Welling, Auto-Encoding Variational Bayes (2013), arXiv:1312.6114.

    python3 vae-cnn-mnist-8.1.2.py                              # train, 30 epochs
    python3 vae-cnn-mnist-8.1.2.py --mse                        # squared error for reconstruction
    python3 vae-cnn-mnist-8.1.2.py --latent-dim 16              # longer codes
    python3 vae-cnn-mnist-8.1.2.py --weights=vae_cnn_mnist.h5   # load, measure, draw

Result to expect: a test -ELBO of 147.4 to 148.3 nats with seeds 0 to 2, in 12 to 35 minutes on one
CPU core.

Departures from the printed listing:
 1. The listing samples in a Lambda layer and adds the KL divergence with `add_loss` on the model,
    which Keras 3 does not have. Here a layer samples and adds the divergence.
 2. The listing's learning rate is constant. Here it decreases to 0 along a cosine, so that the last
    epoch is stable.
 3. The listing calls the decoder 900 times for the grid. Here one call decodes all images.
 4. The listing names no likelihood. With `--mse` the bound is that of a Gaussian likelihood with
    variance 1/2: its negative logarithm is the squared error plus a constant.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, program

BATCH_SIZE = 128
EPOCHS = 30
LEARNING_RATE = 1e-3
IMAGE_SHAPE = (28, 28, 1)
FILTERS = (32, 64)
KERNEL_SIZE = 3
HIDDEN = 16
SHOWN = 8  # of your own images, decoded again
MODEL_NAME = "vae_cnn_mnist"


def parse_args():
    parser = flags.vae_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    flags.add_images(parser, IMAGE_SHAPE[0], multiple=2 ** len(FILTERS))
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
import numpy as np
from keras import layers

from lib import vae
from lib.data import datasets
from lib.measure import plots
from lib.run.images import Source


def build_encoder(latent_dim, image_shape=IMAGE_SHAPE):
    """Images (batch, *image_shape) -> mean and log variance of their codes (batch, latent_dim)."""
    images = keras.Input(image_shape, name="images")
    x = images
    for filters in FILTERS:
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=2, activation="relu", padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(HIDDEN, activation="relu")(x)
    mean = layers.Dense(latent_dim, dtype="float32", name="z_mean")(x)
    log_var = layers.Dense(latent_dim, dtype="float32", name="z_log_var")(x)
    return keras.Model(images, [mean, log_var], name="encoder")


def build_decoder(latent_dim, image_shape=IMAGE_SHAPE):
    """Codes (batch, latent_dim) -> images (batch, *image_shape) in [0, 1]."""
    codes = keras.Input((latent_dim,), name="codes")
    start = image_shape[0] // 2 ** len(FILTERS)
    x = layers.Dense(start * start * FILTERS[-1], activation="relu")(codes)
    x = layers.Reshape((start, start, FILTERS[-1]))(x)
    for filters in reversed(FILTERS):
        x = layers.Conv2DTranspose(
            filters, KERNEL_SIZE, strides=2, activation="relu", padding="same"
        )(x)
    x = layers.Conv2DTranspose(image_shape[-1], KERNEL_SIZE, padding="same")(x)
    images = layers.Activation("sigmoid", dtype="float32")(x)
    return keras.Model(codes, images, name="decoder")


def build_vae(encoder, decoder, seed):
    """Images -> the images decoded from samples of their codes."""
    images = keras.Input(encoder.input_shape[1:], name="images")
    z = vae.Sampling(seed=seed, name="z")(encoder(images))
    return keras.Model(images, decoder(z), name="vae_cnn")


def build_optimizer(steps):
    return keras.optimizers.RMSprop(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps))


def main(args):
    source = Source(args, IMAGE_SHAPE, __file__)
    run = program.start(args, source.name(MODEL_NAME), __file__, epochs=args.epochs)
    encoder = build_encoder(args.latent_dim, source.shape)
    decoder = build_decoder(args.latent_dim, source.shape)
    model = build_vae(encoder, decoder, args.seed)
    run.introduce("VAE with convolutions", "MNIST", encoder, decoder, model)

    def encode(x):
        return encoder.predict(x, batch_size=1000, verbose=0)

    def decode(codes, index=None):
        return decoder.predict(codes, batch_size=2000, verbose=0)

    file = run.to_load(args.weights, f"{MODEL_NAME}.h5")
    if file:
        run.load(model, file)
    if run.exported({"-encoder": encoder, "-decoder": decoder}):
        return
    (x_train, _), (x_test, y_test) = source.split(datasets.mnist, shown=SHOWN)
    if not file:
        run.settings |= source.settings
        vae.train(run, model, build_optimizer, x_train, x_train, (x_test, x_test))
    vae.draw(encode, {"digits_over_latent.png": decode}, x_test, y_test, run, source.classes)
    if source.own:
        mean, _ = encode(x_test[:SHOWN])
        pairs, titles = np.concatenate([x_test[:SHOWN], decode(mean)]), ("input", "decoded")
        path = run.folder / "input_and_decoded.png"
        plots.image_grid(pairs, path, columns=SHOWN, row_titles=titles, show=run.show)
    if file or run.evaluate:
        numbers = vae.elbo(encode, decode, x_test, x_test, mse=args.mse)
        run.evaluated(file, **numbers)


if __name__ == "__main__":
    program.run(main, args)
