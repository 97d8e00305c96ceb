"""VAE on MNIST with Dense layers: a code is a cloud, and the clouds fill the plane.

An autoencoder's encoder gives a point; a variational one gives a mean and a variance, and the
decoder gets a random draw from there. A second loss pulls all clouds towards N(0, 1), so that any
point near the origin decodes to a digit, and drawing from N(0, 1) makes new ones.

Realizes listing 8.1.1 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Kingma, Welling, Auto-Encoding Variational Bayes (2013), arXiv:1312.6114.

    python3 vae-mlp-mnist-8.1.1.py                              train, 50 epochs
    python3 vae-mlp-mnist-8.1.1.py --mse                        squared error for reconstruction
    python3 vae-mlp-mnist-8.1.1.py --latent-dim 16              longer codes
    python3 vae-mlp-mnist-8.1.1.py --weights=vae_mlp_mnist.h5   load, measure, draw

Result to expect: a test -ELBO of 151.2 to 152.6 nats with seeds 0 to 2, in 4 to 7 minutes on one
CPU core.

Departures from the printed listing, and why:
 1. Sampling is a layer that adds the divergence to the loss, in the place of a Lambda layer and of
    `add_loss` on the model, which Keras 3 does not have.
 2. The learning rate falls to 0 along a cosine, so that the last epoch is a settled one.
 3. The 900 images of the grid come from one call of the decoder, not from 900.
 4. With `--mse` the bound is that of a Gaussian likelihood with variance 1/2, whose negative
    logarithm is the squared error plus a constant. The listing names no likelihood.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import cli, console

BATCH_SIZE = 128
EPOCHS = 50
LEARNING_RATE = 1e-3
HIDDEN = 512
PIXELS = 28 * 28
MODEL_NAME = "vae_mlp_mnist"


def parse_args():
    return cli.vae_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE).parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers

from lib import datasets, plots, vae, weights


def build_encoder(latent_dim):
    """Images (batch, 784) -> mean and log variance of their codes, each (batch, latent_dim)."""
    images = keras.Input((PIXELS,), name="images")
    x = layers.Dense(HIDDEN, activation="relu")(images)
    mean = layers.Dense(latent_dim, dtype="float32", name="z_mean")(x)
    log_var = layers.Dense(latent_dim, dtype="float32", name="z_log_var")(x)
    return keras.Model(images, [mean, log_var], name="encoder")


def build_decoder(latent_dim):
    """Codes (batch, latent_dim) -> images (batch, 784) in [0, 1]."""
    codes = keras.Input((latent_dim,), name="codes")
    x = layers.Dense(HIDDEN, activation="relu")(codes)
    x = layers.Dense(PIXELS)(x)
    images = layers.Activation("sigmoid", dtype="float32")(x)
    return keras.Model(codes, images, name="decoder")


def build_vae(encoder, decoder, seed):
    """Images (batch, 784) -> what the decoder makes of a random draw of their codes."""
    images = keras.Input((PIXELS,), name="images")
    z = vae.Sampling(seed=seed, name="z")(encoder(images))
    return keras.Model(images, decoder(z), name="vae_mlp")


def build_optimizer(steps):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps))


def main(args):
    folder = cli.prepare(args, MODEL_NAME)
    encoder, decoder = build_encoder(args.latent_dim), build_decoder(args.latent_dim)
    model = build_vae(encoder, decoder, args.seed)
    networks = (encoder, decoder, model)
    console.introduce(args, folder, "VAE with Dense layers", "MNIST", *networks)
    for network in networks:
        plots.model_diagram(network, folder / f"{network.name}.png")

    def encode(x):
        return encoder.predict(x, batch_size=1000, verbose=0)

    def decode(codes, index=None):
        return decoder.predict(codes, batch_size=2000, verbose=0)

    if args.weights:
        weights.load(model, weights.find(args.weights, __file__))
    (x_train, _), (x_test, y_test) = datasets.mnist()
    x_train, x_test = x_train.reshape(-1, PIXELS), x_test.reshape(-1, PIXELS)
    if not args.weights:
        data = x_train, x_train, (x_test, x_test)
        vae.train(model, build_optimizer, *data, args, folder, MODEL_NAME)
    decoders = {"digits_over_latent.png": lambda z: decode(z).reshape(-1, 28, 28, 1)}
    vae.draw(encode, decoders, x_test, y_test, args, folder)
    if args.weights or args.evaluate:
        numbers = vae.elbo(encode, decode, x_test, x_test, mse=args.mse)
        numbers["grid_seconds"] = vae.grid_seconds(decode, args.latent_dim)
        vae.record(numbers, args, folder, MODEL_NAME)


if __name__ == "__main__":
    cli.run(main, args)
