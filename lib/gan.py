"""Code that the GANs share: one pair of builders, losses, updates, the training loop and drawing.

The networks are those of the DCGAN in chapter 4, listing 4.2.1. Methods that need them add inputs
(labels, codes) and outputs (heads); listing 5.1.2 has these builders. Chapter 4 shows its own
networks, losses and updates, and uses only the loop and the drawing.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from lib.data import datasets
from lib.data.datasets import DIGITS
from lib.data.image_folders import plain
from lib.engine import backends
from lib.engine.alternating import AlternatingModel, Turn
from lib.engine.averaging import MovingAverage, estimate_batch_statistics
from lib.engine.backends import Tensor
from lib.files import records, weights
from lib.files.errors import UserError
from lib.measure import digit_quality, plots
from lib.run import console, training
from lib.run.images import Source
from lib.run.training import Batch

KERNEL_SIZE = 5
GENERATOR_FILTERS = (128, 64, 32)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
LEAKY_SLOPE = 0.2
NUM_LABELS = 10
SAVE_INTERVAL = 500
MEASURE_INTERVAL = 2500
QUICK_SAMPLES = 2000
SHOWN = 20  # samples in a figure
COLUMNS = 10  # one for each digit

# From digits (n,) to what a generator takes, an array or a list of arrays.
Inputs = Callable[[np.ndarray], Any]


def generator(
    inputs: Tensor,
    image_size: int,
    labels: Tensor | None = None,
    codes: Tensor | Sequence[Tensor] | None = None,
    channels: int = 1,
) -> keras.Model:
    """Builds a generator of square images.

    Args:
        inputs: `keras.Input` of noise, shape (batch, n).
        image_size: height and width, a multiple of 4.
        labels: `keras.Input` of one-hot labels, for a conditional generator.
        codes: further `keras.Input`s, a list of them or one.
        channels: of the images.

    Returns:
        A model from [inputs, labels, *codes], as far as given, to float32 images in [0, 1],
        (batch, image_size, image_size, channels).
    """
    codes = [] if codes is None else codes if isinstance(codes, (list, tuple)) else [codes]
    given = [inputs, *([] if labels is None else [labels]), *codes]
    x = layers.Concatenate()(given) if len(given) > 1 else inputs
    start = image_size // 4
    x = layers.Dense(start * start * GENERATOR_FILTERS[0])(x)
    x = layers.Reshape((start, start, GENERATOR_FILTERS[0]))(x)
    for i, filters in enumerate((*GENERATOR_FILTERS, channels)):
        strides = 2 if i < 2 else 1
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Conv2DTranspose(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    images = layers.Activation("sigmoid", dtype="float32", name="images")(x)
    return keras.Model(given if len(given) > 1 else inputs, images, name="generator")


def discriminator(
    inputs: Tensor,
    activation: str | None = "sigmoid",
    num_labels: int | None = None,
    num_codes: int | None = None,
    code_activation: str | None = None,
    batch_norm: bool = False,
) -> keras.Model:
    """Builds a discriminator with the heads that its method needs.

    Args:
        inputs: `keras.Input` of images.
        activation: of the head "source", which says how real an image is.
        num_labels: with it a head "label" of class probabilities, over a Dense layer of 128.
        num_codes: with labels, heads "code1", "code2", ... of one number each, over the same layer;
            without labels, one head "z0" of `num_codes` numbers.
        code_activation: of the heads of the codes; without it a sigmoid for "code1", "code2", ...
            and tanh for "z0", as in the book.
        batch_norm: normalize before each leaky ReLU but the first, which sees the image itself.

    Returns:
        A model from images to [source, label, code1, ...] or [source, z0], as far as requested, or
        to source only; all float32.
    """
    x = inputs
    for i, filters in enumerate(DISCRIMINATOR_FILTERS):
        strides = 2 if i < 3 else 1
        if batch_norm and i > 0:
            x = layers.BatchNormalization()(x)
        x = layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)
        x = layers.Conv2D(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    x = layers.Flatten()(x)

    def head(x, size, activation, name):
        return layers.Activation(activation, dtype="float32", name=name)(layers.Dense(size)(x))

    outputs = [head(x, 1, activation, "source")]
    if num_labels:
        x = layers.Dense(128)(x)
        outputs.append(head(x, num_labels, "softmax", "label"))
        for i in range(num_codes or 0):
            outputs.append(head(x, 1, code_activation or "sigmoid", f"code{i + 1}"))
    elif num_codes:
        outputs.append(head(x, num_codes, code_activation or "tanh", "z0"))
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name="discriminator")


def real_then_fake(images: Tensor) -> Tensor:
    """Targets (2n, 1) of a batch of n real images (1) and n fakes (0)."""
    ones = ops.ones((ops.shape(images)[0], 1))
    return ops.concatenate([ones, ops.zeros_like(ones)])


def source_loss(target: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of the head "source", as in listing 4.2.1.

    It takes logits, because the logarithm of a rounded probability loses the gradient of a
    confident discriminator.

    Args:
        target: tensor (n, 1), 1 for real and 0 for fake.
        logits: tensor (n, 1).

    Returns:
        The mean loss in nats, and the share of targets that the sign of the logits predicts.
    """
    loss = ops.mean(ops.binary_crossentropy(target, logits, from_logits=True))
    return loss, ops.mean(ops.cast((logits > 0) == (target > 0.5), "float32"))


def least_squares_loss(target: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of the head "source" (Mao et al., 2016, equation 9), and its accuracy.

    Args:
        target: tensor (n, 1), 1 for real and 0 for fake.
        output: tensor (n, 1), any number.
    """
    accuracy = ops.mean(ops.cast((output > 0.5) == (target > 0.5), "float32"))
    return ops.mean((target - output) ** 2), accuracy


def wasserstein_loss(label: Tensor, output: Tensor) -> Tensor:
    """-mean(label * output), with the label 1 for real and -1 for fake (listing 5.1.1)."""
    return -ops.mean(label * output)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], images: Tensor, fakes: Tensor, share: Tensor
) -> Tensor:
    """Mean of (|gradient| - 1)^2 between real and fake images.

    Source: Gulrajani et al., Improved Training of Wasserstein GANs (2017), equation 3.

    Args:
        critic: function of images that returns scores; it must not normalize over the batch.
        images, fakes: tensors (n, height, width, channels).
        share: tensor (n, 1, 1, 1) in [0, 1], the position between fake (0) and real (1).
    """
    between = share * images + (1 - share) * fakes
    gradient = backends.input_gradient(critic, between)
    size = ops.sqrt(ops.sum(gradient**2, axis=(1, 2, 3)) + 1e-12)
    return ops.mean((size - 1) ** 2)


def label_loss(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Categorical cross-entropy in nats of one-hot labels and predicted probabilities (n, 10)."""
    return ops.mean(ops.categorical_crossentropy(labels, probabilities))


class GAN(AlternatingModel):
    """A generator, a discriminator and the noise between them; a subclass writes their losses.

    A batch is (images,) for an unconditional generator, and otherwise (images, their labels, the
    labels of the fakes, ...).

    Args:
        generator, discriminator: the networks.
        latent_size: length of the noise, which is uniform in [-1, 1].
        seed: of the noise.
        name: of the model.
        ema: decay of the generator's moving average, 0 for none.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        latent_size: int,
        seed: int,
        name: str,
        ema: float = 0.0,
    ) -> None:
        super().__init__(name=name)
        self.generator = generator
        self.discriminator = discriminator
        self.latent_size = latent_size
        self.noise_seed = keras.random.SeedGenerator(seed)
        self.average = MovingAverage(generator, ema) if ema else None

    @property
    def sampler(self) -> keras.Model:
        """The network to draw with: the averaged generator, if there is one."""
        return self.average.network if self.average else self.generator

    def fakes(self, images: Tensor, *conditions: Tensor) -> Tensor:
        """One fake for each image, from one pass of the generator for both updates."""
        size = ops.shape(images)[0]
        noise = backends.draw(
            keras.random.uniform, (size, self.latent_size), -1, 1, seed=self.noise_seed
        )
        return self.generator([noise, *conditions[1:]] if conditions else noise, training=True)

    def generator_turn(
        self, optimizer: keras.optimizers.Optimizer, metrics: tuple[str, ...] = ()
    ) -> Turn:
        """The generator's update; it uses the last fakes that the discriminator has seen."""
        return Turn(
            "adversarial",
            self.generator.trainable_variables,
            optimizer,
            self.generator_loss,
            metrics=metrics,
            after=self.average.update if self.average else None,
            through_shared=True,
        )

    def compile_turns(
        self,
        discriminator_optimizer: keras.optimizers.Optimizer,
        generator_optimizer: keras.optimizers.Optimizer,
        discriminator_metrics: tuple[str, ...] = (),
        generator_metrics: tuple[str, ...] = (),
    ) -> None:
        """Sets the two updates of a training step: first the discriminator, then the generator.

        Args:
            discriminator_optimizer, generator_optimizer: one for each network.
            discriminator_metrics, generator_metrics: names of the further values that their losses
                return.
        """
        self.compile(
            turns=[
                Turn(
                    "discriminator",
                    self.discriminator.trainable_variables,
                    discriminator_optimizer,
                    self.discriminator_loss,
                    metrics=discriminator_metrics,
                ),
                self.generator_turn(generator_optimizer, generator_metrics),
            ],
            share=self.fakes,
        )


def one_hot(labels: np.ndarray, num_labels: int = NUM_LABELS) -> np.ndarray:
    """Labels (n,) from 0 -> float32 (n, num_labels)."""
    return np.eye(num_labels, dtype="float32")[labels]


def sample_noise(seed: int, size: int, latent_size: int) -> np.ndarray:
    """Noise (size, latent_size), uniform in [-1, 1], the same for the same seed."""
    return np.random.default_rng(seed).uniform(-1, 1, (size, latent_size)).astype("float32")


def mnist_batches(
    args: argparse.Namespace, conditional: bool, n_critic: int = 1, source: Source | None = None
) -> Callable[[int], Batch]:
    """Training batches of MNIST as a function of the step, for `training.train`.

    Args:
        args: the parsed flags, with batch_size and seed.
        conditional: add the labels of the images and random labels for the fakes.
        n_critic: factor of the batch size; each critic update uses one part of the batch.
        source: an `images.Source`, which may have other images than MNIST's.
    """
    num_labels = NUM_LABELS
    if source is None:
        (x_train, y_train), _ = datasets.mnist()
    else:
        x_train, y_train = source.train_images(datasets.mnist, args.batch_size)
        num_labels = len(source.classes)
    labels = one_hot(y_train, num_labels)
    size = n_critic * args.batch_size

    def batch(step):
        rng = np.random.default_rng((args.seed, step))
        index = rng.integers(0, len(x_train), size)
        if not conditional:
            return {"x": (x_train[index],)}
        fake_labels = one_hot(rng.integers(0, num_labels, size), num_labels)
        return {"x": (x_train[index], labels[index], fake_labels)}

    return batch


def plot_images(
    generator: keras.Model,
    inputs: np.ndarray | Sequence[np.ndarray],
    path: Path,
    titles: Sequence[str] | None = None,
    show: bool = False,
) -> None:
    """Draws the images generated from `inputs`, an array or a list of arrays, in ten columns."""
    images = generator.predict(inputs, verbose=0)
    plots.image_grid(images, path, columns=COLUMNS, titles=titles, show=show)


def train(
    model: AlternatingModel,
    sampler: keras.Model,
    inputs: Inputs,
    batch: Callable[[int], Batch],
    args: argparse.Namespace,
    folder: Path,
    save: dict[str, keras.Model],
    settings: dict[str, Any] | None = None,
    measure: Callable[[], dict[str, Any]] | None = None,
    half: bool = False,
    source: Source | None = None,
) -> None:
    """Trains a GAN and draws the same samples every SAVE_INTERVAL steps.

    The folder also gets evolution.png, metrics.json, and log.csv with the losses. Every
    MEASURE_INTERVAL steps, the log also has FID-MNIST and KID of QUICK_SAMPLES samples. From
    restart.npz, `--resume` continues the run, also with more `--train-steps`.

    Args:
        model: the compiled `AlternatingModel`.
        sampler: the network that draws, such as the averaged generator.
        inputs: function of digits (n,) that returns inputs of the sampler.
        batch: function of the step, see `training.train`.
        args: the parsed flags.
        folder: of the figures and records.
        save: {file name: network} to save at the end, into `--output-dir`.
        settings: hyper-parameters, besides seed and batch size, that a continuation must not
            change.
        measure: function that returns a dict of further numbers for the record, which need a
            network that is not saved.
        half: save in half precision, see `weights.save`.
        source: an `images.Source`; nothing is measured if its images are not MNIST's.
    """
    own = source if source is not None and source.own else None
    settings = {"ema": args.ema, **(settings or {}), **(own.settings if own else {})}
    console.introduce(args, folder, type(model).__name__, "MNIST", *save.values())
    num_labels = len(own.classes) if own else NUM_LABELS
    few = inputs(np.arange(SHOWN) % num_labels)
    many = inputs(np.arange(QUICK_SAMPLES) % num_labels)

    def after_interval(step, losses):
        if args.ema:
            estimate_batch_statistics(sampler, many)
        plot_images(sampler, few, folder / f"{step:05d}.png")
        if step % MEASURE_INTERVAL == 0 and not own:
            return digit_quality.quick_scores(sampler.predict(many, batch_size=500, verbose=0))
        return None

    def save_networks():
        about = {"method": model.name, "seed": args.seed, "steps": args.train_steps, **settings}
        for name, network in save.items():
            weights.save(network, args.output_dir / name, half=half, about=about)

    minutes, losses = training.train(
        model,
        batch,
        steps=args.train_steps,
        interval=SAVE_INTERVAL,
        restart=folder / "restart.npz",
        settings={"seed": args.seed, "batch size": args.batch_size, **settings},
        after_interval=after_interval,
        save=save_networks,
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
        **settings,
        **(measure() if measure else {}),
    )


def test_generator(
    generator: keras.Model,
    inputs: Inputs,
    args: argparse.Namespace,
    folder: Path,
    digits: np.ndarray | None = None,
    classes: Sequence[str] = DIGITS,
) -> None:
    """Draws SHOWN images to generated.png.

    Args:
        generator: the trained network.
        inputs: function of digits (n,) that returns inputs of the generator.
        args: the parsed flags.
        folder: of the figure.
        digits: array (SHOWN,), if the generator is conditional.
        classes: the names of the labels.
    """
    name, titles = "generated", None
    if digits is not None:
        titles = [classes[digit] for digit in digits]
        if len(set(titles)) == 1:
            name, titles = f"{name}-{plain(titles[0])}", None
        elif titles[:COLUMNS] == titles[COLUMNS:]:
            titles = titles[:COLUMNS]
    given = inputs(np.arange(SHOWN) if digits is None else digits)
    plot_images(generator, given, folder / f"{name}.png", titles, show=args.show)
    print(f"Drawn: {folder / name}.png")


def digits_to_draw(args: argparse.Namespace, classes: Sequence[str] = DIGITS) -> np.ndarray:
    """Returns SHOWN times the label of the requested digit or class, or all labels in order.

    Raises:
        UserError: if the requested class is not one of them.
    """
    wanted = str(args.digit) if args.digit is not None else getattr(args, "class_name", None)
    if wanted is None:
        return np.arange(SHOWN) % len(classes)
    if wanted not in classes:
        known = ", ".join(classes[:20])
        raise UserError(f"no class '{wanted}': expected --class with one of {known}")
    return np.full(SHOWN, classes.index(wanted))


def evaluate(
    generator: keras.Model,
    inputs: Inputs,
    args: argparse.Namespace,
    folder: Path,
    weights_file: str | list[str],
    conditional: bool,
    further: dict[str, Any] | None = None,
    unaveraged: keras.Model | None = None,
) -> None:
    """Measures 10,000 images, as many as MNIST has for testing, and writes evaluation.json.

    All digits are drawn equally often.

    Args:
        generator, inputs: see `test_generator`.
        args: the parsed flags.
        folder: of evaluation.json.
        weights_file: name of the measured weights, or a list of names, for the record.
        conditional: whether the generator takes digits.
        further: dict of numbers to show and record.
        unaveraged: the generator whose average was measured, to record what averaging changes.
    """
    _, (x_test, _) = datasets.mnist()
    digits = np.arange(len(x_test)) % NUM_LABELS

    def measured(network):
        images = network.predict(inputs(digits), batch_size=500, verbose=0)
        return digit_quality.judge_digits(images, digits if conditional else None)

    numbers = measured(generator)
    digit_quality.show(numbers)
    further = dict(further or {})
    if unaveraged is not None and unaveraged is not generator:
        further["unaveraged"] = measured(unaveraged)
        print(f"FID-MNIST without averaging: {further['unaveraged']['fid_mnist']}")
    for name, value in further.items():
        if name != "unaveraged":
            print(f"{name.replace('_', ' ')}: {value}")
    records.record(folder / "evaluation.json", args, weights=weights_file, **numbers, **further)
