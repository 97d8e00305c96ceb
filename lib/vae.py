"""Code that the variational autoencoders of chapter 8 share: sampling, two losses, measures.

Cross-entropy on gray values is not a normalized likelihood: over all images in [0, 1] the
probabilities do not add up to 1 (Loaiza-Ganem, Cunningham, The continuous Bernoulli, 2019,
arXiv:1907.06845). Compare such bounds only with each other.

Source: Kingma, Welling, Auto-Encoding Variational Bayes (2013), arXiv:1312.6114.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from lib.data.datasets import DIGITS
from lib.engine import backends
from lib.engine.backends import Tensor
from lib.measure import plots
from lib.run import training
from lib.run.program import Run
from lib.run.progress import Progress
from lib.run.training import Arrays, Logs

LOG_2_PI = float(np.log(2 * np.pi))
# Pixels of 0 and 1 have a finite cross-entropy only if no probability is exactly 0 or 1.
EPSILON = 1e-7
PLANE_LIMIT = 5  # all planes of codes are drawn from -5 to 5, so that they can be compared

Encode = Callable[[Arrays], tuple[np.ndarray, np.ndarray]]  # to mean and log variance


@keras.saving.register_keras_serializable(package="adlk")
class Sampling(layers.Layer):
    """Draws z ~ N(mean, exp(log variance)), and adds beta times its divergence to the loss.

    The divergence is that of the posterior from the prior N(0, 1), see `kl_divergence`. A beta
    above 1 is the beta-VAE's (Higgins et al., 2017). The noise comes from outside the path of the
    gradient: z = mean + exp(log_var / 2) * noise.
    """

    def __init__(self, beta: float = 1.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.beta = beta
        self.seed = seed
        self.noise_seed = keras.random.SeedGenerator(seed)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        mean, log_var = inputs
        std = ops.exp(log_var / 2)
        self.add_loss(self.beta * ops.mean(ops.sum(kl_divergence(mean, log_var, std), axis=-1)))
        noise = backends.draw(keras.random.normal, ops.shape(mean), seed=self.noise_seed)
        return mean + std * noise

    def compute_output_shape(
        self, input_shape: Sequence[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "seed": self.seed}


def kl_divergence(mean: Tensor, log_var: Tensor, std: Tensor) -> Tensor:
    """Divergence of N(mean, std^2) from N(0, 1) for each dimension, in nats; log_var = 2 log std.

    TensorFlow adds three or more gradients of a tensor in an order that depends on the timing, and
    rounds differently. A VAE uses each of the three tensors twice, here and in its sample.
    """
    return (ops.square(std) + ops.square(mean) - 1 - log_var) / 2


def binary_cross_entropy(images: Tensor, decoded: Tensor) -> Tensor:
    """Cross-entropy of each image, (n,) in nats: the sum over its pixels."""
    decoded = ops.clip(decoded, EPSILON, 1 - EPSILON)
    each = images * ops.log(decoded) + (1 - images) * ops.log(1 - decoded)
    return -ops.sum(each, axis=tuple(range(1, len(images.shape))))


def squared_error(images: Tensor, decoded: Tensor) -> Tensor:
    """Squared error of each image, (n,): the sum over its pixels."""
    return ops.sum(ops.square(images - decoded), axis=tuple(range(1, len(images.shape))))


def gaussian_cross_entropy(images: Tensor, decoded: Tensor) -> Tensor:
    """Negative log-density (n,) in nats of each image under N(decoded, 1/2) in each pixel.

    The squared error plus a constant: a VAE trained with --mse maximizes the bound of this
    likelihood. It is a density of real numbers, and cannot be compared with a cross-entropy.
    """
    pixels = np.prod(images.shape[1:])
    return squared_error(images, decoded) + float(pixels * np.log(np.pi) / 2)


def compile_vae(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, mse: bool = False
) -> None:
    """Compiles a VAE, which has a `Sampling` layer, for cross-entropy plus what that layer adds.

    With `mse` the squared error replaces the cross-entropy. The metric `reconstruction` is this
    part only; `parts` computes the divergence.
    """
    error = squared_error if mse else binary_cross_entropy

    def reconstruction(images, decoded):
        return error(images, decoded)

    model.compile(optimizer=optimizer, loss=reconstruction, metrics=[reconstruction])


def parts(model: keras.Model, logs: Logs) -> Logs:
    """The mean losses {loss, reconstruction} of a VAE with the divergence `kl` in nats.

    The loss is reconstruction + beta * kl.
    """
    (beta,) = (layer.beta for layer in model.layers if isinstance(layer, Sampling))
    return {**logs, "kl": (logs["loss"] - logs["reconstruction"]) / beta}


def train(
    run: Run,
    model: keras.Model,
    optimizer: Callable[[int], keras.optimizers.Optimizer],
    x: Arrays,
    y: np.ndarray,
    test: tuple[Arrays, np.ndarray],
) -> None:
    """Trains a VAE, saves it and writes metrics.json.

    Args:
        run: the run, with the setting mse.
        model: see `compile_vae`.
        optimizer: function of the number of training steps.
        x, y: what the model takes, and the images in the shape that it returns.
        test: (x, y) of the test images.
    """
    steps = run.budget * training.steps_per_epoch(x, run.batch_size)
    compile_vae(model, optimizer(steps), run.settings["mse"])

    def after_epoch(epoch, logs):
        found = parts(model, training.evaluate(model, *test))
        print(
            f"epoch {epoch}: test loss {found['loss']:.2f}, reconstruction "
            f"{found['reconstruction']:.2f}, KL {found['kl']:.2f}",
            flush=True,
        )
        return {"kl": parts(model, logs)["kl"], **{f"test_{k}": v for k, v in found.items()}}

    file = f"{run.name}.h5"
    save = partial(run.save, model, file)
    facts = training.train_epochs(model, x, y, run, after_epoch, save=save, keep=True)
    facts["train"] = parts(model, facts["train"])
    found = parts(model, training.evaluate(model, *test))
    run.record(
        "metrics.json",
        parameters=model.count_params(),
        **{f"test_{name}": round(value, 3) for name, value in found.items()},
        **{**run.settings, **facts},
    )
    training.finish(run)


def elbo(
    encode: Encode,
    decode: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x: Arrays,
    images: np.ndarray,
    samples: int = 100,
    chunk: int = 100,
    mse: bool = False,
) -> dict[str, Any]:
    """The evidence lower bound of images and its parts in nats.

    Args:
        encode: function of x that returns (mean, log variance), each (n, d), as NumPy arrays.
        decode: function of (z (m, d), index (m,)) that returns decoded images of shape
            (m, *images.shape[1:]); `index` has the number of the image of each z.
        x: what `encode` takes.
        images: array (n, ...) in [0, 1].
        samples: draws of z for each image.
        chunk: images that are decoded at once, times `samples`.
        mse: the reconstruction is not the cross-entropy, but `gaussian_cross_entropy`.

    Returns:
        A dict: `likelihood`; `reconstruction` and `kl`, whose sum is `negative_elbo`;
        `kl_per_dimension`; `importance_weighted_bound`, a tighter upper bound of the negative
        log-likelihood (Burda et al., Importance Weighted Autoencoders, 2015, equation 8, negated).
    """
    error = gaussian_cross_entropy if mse else binary_cross_entropy
    mean, log_var = encode(x)
    divergence = ops.convert_to_numpy(kl_divergence(mean, log_var, np.exp(log_var / 2)))
    rng = np.random.default_rng(0)
    dimensions = mean.shape[1]
    reconstruction, bound = [], []
    line = Progress("image", len(images))
    for start in range(0, len(images), chunk):
        index = np.arange(start, min(start + chunk, len(images)))
        noise = rng.normal(size=(len(index), samples, dimensions)).astype("float32")
        z = mean[index][:, None] + np.exp(log_var[index][:, None] / 2) * noise
        repeated = np.repeat(index, samples)
        decoded = decode(z.reshape(-1, dimensions), repeated)
        errors = ops.convert_to_numpy(error(images[repeated], decoded))
        errors = errors.reshape(len(index), samples).astype("float64")
        reconstruction.append(errors.mean(axis=1))
        log_prior = -(z**2 + LOG_2_PI).sum(axis=2) / 2
        log_posterior = -(noise**2 + log_var[index][:, None] + LOG_2_PI).sum(axis=2) / 2
        log_weights = log_prior - log_posterior - errors
        highest = log_weights.max(axis=1)
        mean_weight = np.exp(log_weights - highest[:, None]).mean(axis=1)
        bound.append(-(np.log(mean_weight) + highest))
        line.update(index[-1] + 1, {})
    line.close()
    reconstruction = np.concatenate(reconstruction).mean()
    kl = divergence.sum(axis=1).mean()
    return {
        "test_images": len(images),
        "likelihood": "Gaussian, variance 1/2" if mse else "Bernoulli",
        "reconstruction": round(float(reconstruction), 3),
        "kl": round(float(kl), 3),
        "negative_elbo": round(float(reconstruction + kl), 3),
        "kl_per_dimension": [round(float(v), 3) for v in divergence.mean(axis=0)],
        "importance_weighted_bound": round(float(np.concatenate(bound).mean()), 3),
        "importance_samples": samples,
    }


def draw(
    encode: Encode,
    decoders: dict[str, Callable[[np.ndarray], np.ndarray]],
    x: Arrays,
    labels: np.ndarray,
    run: Run,
    classes: Sequence[str] = DIGITS,
) -> None:
    """Draws the codes of test images (vae_mean.png) and the images decoded over the latent plane.

    Codes of more than two numbers are not drawn; one line says so.

    Args:
        encode, x: see `elbo`.
        decoders: {file name: function of codes (m, 2) that returns images (m, 28, 28, 1)}.
        labels, classes: digits (n,), and their names.
        run: the run.
    """
    if not plots.is_plane(run.settings["latent_dim"]):
        return
    mean, log_var = encode(x)
    divergence = kl_divergence(mean, log_var, np.exp(log_var / 2))
    plots.latent_scatter(
        mean,
        labels,
        run.folder / "vae_mean.png",
        classes,
        limit=PLANE_LIMIT,
        kl=ops.convert_to_numpy(divergence).mean(axis=0),
        show=run.show,
    )
    for name, decode in decoders.items():
        plots.digits_over_latent(decode, run.folder / name, show=run.show)
