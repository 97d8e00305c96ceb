"""What the GANs of chapters 5 to 7 share: one pair of builders, their turns, training, drawing.

The networks are those of the DCGAN in chapter 4, listing 4.2.1, with further inputs (labels, codes)
and outputs (heads) where a method asks for them; the listing of chapter 5 that holds them is 5.1.2.
"""

import keras
import numpy as np
from keras import layers, ops

from lib import datasets, metrics, plots, results, training, weights
from lib.alternating import AlternatingModel, Turn

KERNEL_SIZE = 5
GENERATOR_FILTERS = (128, 64, 32, 1)
DISCRIMINATOR_FILTERS = (32, 64, 128, 256)
LEAKY_SLOPE = 0.2
NUM_LABELS = 10
SAVE_INTERVAL = 500


def generator(inputs, image_size, activation="sigmoid", labels=None, codes=None):
    """Builds a generator of square images.

    Args:
        inputs: `keras.Input` of noise, shape (batch, n).
        image_size: height and width, a multiple of 4.
        activation: of the last layer.
        labels: `keras.Input` of one-hot labels, if the generator is told a class.
        codes: list of further `keras.Input`s, if it is told more.

    Returns:
        A model from [inputs, labels, *codes], as far as given, to float32 images
        (batch, image_size, image_size, 1).
    """
    given = [inputs, *([] if labels is None else [labels]), *(codes or [])]
    x = layers.Concatenate()(given) if len(given) > 1 else inputs
    start = image_size // 4
    x = layers.Dense(start * start * GENERATOR_FILTERS[0])(x)
    x = layers.Reshape((start, start, GENERATOR_FILTERS[0]))(x)
    for filters, strides in zip(GENERATOR_FILTERS, (2, 2, 1, 1), strict=True):
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Conv2DTranspose(filters, KERNEL_SIZE, strides=strides, padding="same")(x)
    images = layers.Activation(activation, dtype="float32", name="images")(x)
    return keras.Model(given if len(given) > 1 else inputs, images, name="generator")


def discriminator(
    inputs,
    activation="sigmoid",
    num_labels=None,
    num_codes=None,
    code_activation="sigmoid",
    batch_norm=False,
):
    """Builds a discriminator with the heads that its method needs.

    Args:
        inputs: `keras.Input` of images.
        activation: of the head "source", which says how real an image is.
        num_labels: with it a head "label" of class probabilities, over a Dense layer of 128.
        num_codes: with labels, heads "code1", "code2", ... of one number each, over that same
            layer; without labels, one head "z0" of so many numbers in (-1, 1).
        code_activation: of the heads "code1", "code2", ...
        batch_norm: normalize before each leaky ReLU but the first, which sees the image itself.

    Returns:
        A model from images to [source, label, code1, ...] or [source, z0], as far as asked for, or
        to source alone; all float32.
    """
    x = inputs
    for i, (filters, strides) in enumerate(zip(DISCRIMINATOR_FILTERS, (2, 2, 2, 1), strict=True)):
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
            outputs.append(head(x, 1, code_activation, f"code{i + 1}"))
    elif num_codes:
        outputs.append(head(x, num_codes, "tanh", "z0"))
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name="discriminator")


class GAN(AlternatingModel):
    """A generator, a discriminator and the noise between them; a subclass writes their losses.

    A batch is (images,) where the generator is told no class, and else (images, their labels, the
    labels that fakes shall have, ...).

    Args:
        generator, discriminator: the networks.
        latent_size: how many numbers the noise has, uniform in [-1, 1].
        seed: of the noise.
        name: of the model.
    """

    def __init__(self, generator, discriminator, latent_size, seed, name):
        super().__init__(name=name)
        self.generator = generator
        self.discriminator = discriminator
        self.latent_size = latent_size
        self.noise_seed = keras.random.SeedGenerator(seed)

    def fakes(self, images, *conditions):
        """As many fresh fakes as there are images: one pass of the generator for both turns."""
        size = ops.shape(images)[0]
        noise = keras.random.uniform((size, self.latent_size), -1, 1, seed=self.noise_seed)
        return self.generator([noise, *conditions[1:]] if conditions else noise, training=True)

    def compile_turns(
        self,
        discriminator_optimizer,
        generator_optimizer,
        discriminator_metrics=(),
        generator_metrics=(),
        n_critic=1,
        after_critic=None,
    ):
        """Sets the two turns of a train step: the discriminator's, `n_critic` times, and then the
        generator's, which is judged by the last fakes that the discriminator has seen.

        Args:
            discriminator_optimizer, generator_optimizer: what moves the networks.
            discriminator_metrics, generator_metrics: names of what their losses return besides.
            n_critic: turns of the discriminator for each of the generator.
            after_critic: called after each of them.
        """
        self.compile(
            turns=[
                Turn(
                    "discriminator",
                    self.discriminator.trainable_variables,
                    discriminator_optimizer,
                    self.discriminator_loss,
                    times=n_critic,
                    metrics=discriminator_metrics,
                    after=after_critic,
                ),
                Turn(
                    "adversarial",
                    self.generator.trainable_variables,
                    generator_optimizer,
                    self.generator_loss,
                    metrics=generator_metrics,
                    through_shared=True,
                ),
            ],
            share=self.fakes,
        )


def optimizer(learning_rate, decay=0.0, epsilon=1e-7):
    """RMSprop whose rate falls as learning_rate / (1 + decay * step), as Keras 2's `decay` did.

    Args:
        learning_rate: that of the first step.
        decay: see above.
        epsilon: is added to the mean square of the gradient, under the root. Keras 2 added it to
            the root itself: its epsilon is the square root of this one.
    """
    schedule = keras.optimizers.schedules.InverseTimeDecay(learning_rate, 1, decay)
    return keras.optimizers.RMSprop(schedule, epsilon=epsilon)


def real_then_fake(images):
    """Targets (2n, 1) of a batch of n real images (1) and as many fakes (0)."""
    ones = ops.ones((ops.shape(images)[0], 1))
    return ops.concatenate([ones, ops.zeros_like(ones)])


def one_hot(digits):
    """Digits (n,) -> float32 (n, 10)."""
    return np.eye(NUM_LABELS, dtype="float32")[digits]


def sample_noise(seed, size, latent_size):
    """Noise (size, latent_size), uniform in [-1, 1], the same for the same seed."""
    return np.random.default_rng(seed).uniform(-1, 1, (size, latent_size)).astype("float32")


def mnist_batches(args, conditional, n_critic=1):
    """Training batches of MNIST as a function of the step, for `training.train`.

    Args:
        args: the parsed flags, with batch_size and seed.
        conditional: give labels of the images, and random labels for the fakes, too.
        n_critic: a batch is so many times larger: each turn of the critic plays on one part.
    """
    (x_train, y_train), _ = datasets.mnist()
    labels = one_hot(y_train)
    size = n_critic * args.batch_size

    def batch(step):
        rng = np.random.default_rng((args.seed, step))
        index = rng.integers(0, len(x_train), size)
        if not conditional:
            return {"x": (x_train[index],)}
        fake_labels = one_hot(rng.integers(0, NUM_LABELS, size))
        return {"x": (x_train[index], labels[index], fake_labels)}

    return batch


def plot_images(generator, inputs, path, titles=None, show=False):
    """Draws what the generator makes of `inputs`, an array or a list of them, as a square grid."""
    images = generator.predict(inputs, verbose=0)
    plots.image_grid(images, path, titles=titles, show=show)


def train(model, batch, args, folder, save, sample, settings=None, measure=None, half=False):
    """Trains a GAN, drawing the same samples every SAVE_INTERVAL steps.

    Args:
        model: the compiled `AlternatingModel`.
        batch: function of the step, see `training.train`.
        args: the parsed flags.
        folder: of the figures NNNNN.png, evolution.png and of metrics.json.
        save: {file name: network} to save at the end, into `--output-dir`.
        sample: function that draws the samples to the path it is given.
        settings: what a continuation must not change besides seed and batch size.
        measure: function that returns a dict of numbers of the trained model for the record, such
            as need a network that is not saved.
        half: save in half precision, see `weights.save`.
    """

    def draw(step, losses):
        sample(folder / f"{step:05d}.png")

    def save_networks():
        for name, network in save.items():
            weights.save(network, args.output_dir / name, half=half)

    minutes, losses = training.train(
        model,
        batch,
        steps=args.train_steps,
        interval=SAVE_INTERVAL,
        restart=folder / "restart.npz",
        settings={"seed": args.seed, "batch size": args.batch_size, **(settings or {})},
        resume=args.resume,
        after_interval=draw,
        save=save_networks,
    )
    plots.evolution(folder, folder / "evolution.png", last=args.train_steps, show=args.show)
    results.record(
        folder / "metrics.json",
        args,
        train_steps=args.train_steps,
        batch_size=args.batch_size,
        minutes=round(minutes, 1),
        losses=losses,
        **(settings or {}),
        **(measure() if measure else {}),
    )


def test_generator(generator, inputs, args, folder, digits=None):
    """Draws 16 images, of the digit asked for or of random ones, to generated.png.

    Args:
        generator: the trained network.
        inputs: function of digits (n,), or of a number of images where the generator is told none,
            that returns what the generator takes.
        args: the parsed flags.
        folder: of the figure.
        digits: array (16,), if the generator is told digits.
    """
    name, titles = "generated", None
    if digits is not None:
        titles = [str(digit) for digit in digits]
        name += f"-{digits[0]}" if len(set(titles)) == 1 else ""
    given = inputs(16) if digits is None else inputs(digits)
    plot_images(generator, given, folder / f"{name}.png", titles, show=args.show)
    print(f"Drawn: {folder / name}.png")


def digits_to_sweep(args):
    """The digit asked for, or all ten: one for each row of `draw_sweep`."""
    return np.arange(NUM_LABELS) if args.digit is None else np.array([args.digit])


def draw_sweep(images, deviations, digits, path, show):
    """Draws a row of images for each digit, in which something goes from low to high.

    Args:
        images: array (len(digits), steps, height, width, 1).
        deviations: the titles over the first row go from minus this to this, in standard
            deviations of what training has seen.
        digits: titles of the rows.
        path: the PNG file.
        show: also open a window.
    """
    rows, steps = images.shape[:2]
    titles = [f"{value:.1f}σ" for value in np.linspace(-deviations, deviations, steps)]
    plots.image_grid(
        images.reshape(-1, *images.shape[2:]),
        path,
        columns=steps,
        titles=titles + [""] * (rows - 1) * steps,
        row_titles=[str(digit) for digit in digits],
        show=show,
    )


def measure_sweep(images, digits):
    """What changes along rows as `draw_sweep` draws them.

    Returns:
        The rank correlations of `metrics.code_attributes`, and `digit_kept`, the share of images
        that the judge takes for the digit of their row.
    """
    steps = images.shape[1]
    judged = metrics.judged_digits(images.reshape(-1, *images.shape[2:]))
    kept = np.mean(judged == np.repeat(digits, steps))
    attributes = metrics.code_attributes(images, np.arange(steps))
    return {**attributes, "digit_kept": round(float(kept), 4)}


def digits_to_draw(args):
    """16 times the digit asked for, or random digits."""
    if args.digit is not None:
        return np.full(16, args.digit)
    return np.random.default_rng(args.seed).integers(0, NUM_LABELS, 16)


def evaluate(generator, inputs, args, folder, weights_file, conditional, further=None):
    """Measures as many images as MNIST has for test, 10,000, and writes evaluation.json.

    They are of all digits equally often.

    Args:
        generator, inputs: see `test_generator`.
        args: the parsed flags.
        folder: of evaluation.json.
        weights_file: name of the measured weights, or a list of them, for the record.
        conditional: whether the generator is told digits.
        further: dict of numbers to show and write beside.
    """
    _, (x_test, _) = datasets.mnist()
    digits = np.arange(len(x_test)) % NUM_LABELS
    given = inputs(digits) if conditional else inputs(len(x_test))
    images = generator.predict(given, batch_size=500, verbose=0)
    numbers = metrics.judge_digits(images, digits if conditional else None)
    metrics.show(numbers)
    for name, value in (further or {}).items():
        print(f"{name.replace('_', ' ')}: {value}")
    results.record(
        folder / "evaluation.json", args, weights=weights_file, **numbers, **(further or {})
    )
