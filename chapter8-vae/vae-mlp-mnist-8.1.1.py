"""VAE on MNIST with Dense layers: every point near the origin of the plane decodes to a digit.

The encoder of a VAE returns the mean and the variance of a normal distribution over codes, and the
decoder gets a sample of it. The KL divergence pulls all these distributions toward N(0, 1), so that
samples of N(0, 1) decode to new digits.

Realizes listing 8.1.1 of "Advanced Deep Learning with Keras" (R. Atienza).
Paper: Kingma, Welling, Auto-Encoding Variational Bayes (2013), arXiv:1312.6114.

    python3 vae-mlp-mnist-8.1.1.py                              # train, 50 epochs
    python3 vae-mlp-mnist-8.1.1.py --mse                        # squared error for reconstruction
    python3 vae-mlp-mnist-8.1.1.py --latent-dim 16              # longer codes
    python3 vae-mlp-mnist-8.1.1.py --weights=vae_mlp_mnist.h5   # load, measure, draw

Result to expect: a test -ELBO of 151.2 to 152.6 nats with seeds 0 to 2, in 4 to 7 minutes on one
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
EPOCHS = 50
LEARNING_RATE = 1e-3
HIDDEN = 512
PIXELS = 28 * 28
MODEL_NAME = "vae_mlp_mnist"


def parse_args():
    return flags.vae_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE).parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers

from lib import vae
from lib.data import datasets


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
    """Images (batch, 784) -> the images decoded from samples of their codes."""
    images = keras.Input((PIXELS,), name="images")
    z = vae.Sampling(seed=seed, name="z")(encoder(images))
    return keras.Model(images, decoder(z), name="vae_mlp")


def build_optimizer(steps):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps))


def main(args):
    run = program.start(args, MODEL_NAME, __file__, epochs=args.epochs)
    encoder, decoder = build_encoder(args.latent_dim), build_decoder(args.latent_dim)
    model = build_vae(encoder, decoder, args.seed)
    run.introduce("VAE with Dense layers", "MNIST", encoder, decoder, model)

    def encode(x):
        return encoder.predict(x, batch_size=1000, verbose=0)

    def decode(codes, index=None):
        return decoder.predict(codes, batch_size=2000, verbose=0)

    file = run.to_load(args.weights, f"{MODEL_NAME}.h5")
    if file:
        run.load(model, file)
    if run.exported({"-encoder": encoder, "-decoder": decoder}):
        return
    (x_train, _), (x_test, y_test) = datasets.mnist()
    x_train, x_test = x_train.reshape(-1, PIXELS), x_test.reshape(-1, PIXELS)
    if not file:
        vae.train(run, model, build_optimizer, x_train, x_train, (x_test, x_test))
    decoders = {"digits_over_latent.png": lambda z: decode(z).reshape(-1, 28, 28, 1)}
    vae.draw(encode, decoders, x_test, y_test, run)
    if file or run.evaluate:
        numbers = vae.elbo(encode, decode, x_test, x_test, mse=args.mse)
        run.evaluated(file, **numbers)


if __name__ == "__main__":
    program.run(main, args)
