"""Trains GANs, draws their samples and measures them; for chapters 4 to 7."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lib.data import datasets
from lib.data.datasets import DIGITS
from lib.data.image_folders import plain
from lib.engine import backends
from lib.engine.averaging import estimate_batch_statistics
from lib.engine.step import AlternatingModel
from lib.files.errors import UserError
from lib.measure import digit_quality, plots
from lib.run import training
from lib.run.images import Source
from lib.run.program import Run
from lib.run.training import Batch

NUM_LABELS = 10
SAVE_INTERVAL = 500
MEASURE_INTERVAL = 2500
QUICK_SAMPLES = 2000
SHOWN = 20  # samples in a figure
COLUMNS = 10  # one for each digit

# From digits (n,) to what a generator takes, an array or a list of arrays.
Inputs = Callable[[np.ndarray], Any]


def one_hot(labels: np.ndarray, num_labels: int = NUM_LABELS) -> np.ndarray:
    """Labels (n,) from 0 -> float32 (n, num_labels)."""
    return np.eye(num_labels, dtype="float32")[labels]


def sample_noise(seed: int, size: int, latent_size: int) -> np.ndarray:
    """Noise (size, latent_size), uniform in [-1, 1], the same for the same seed."""
    return np.random.default_rng(seed).uniform(-1, 1, (size, latent_size)).astype("float32")


def mnist_batches(
    run: Run, source: Source | None = None, conditional: bool = False, parts: int = 1
) -> Callable[[int], Batch]:
    """Training batches of MNIST, or of your own images, as a function of the step.

    Args:
        run: with batch size and seed.
        source: where the images come from, None for MNIST.
        conditional: add the labels of the images and random labels for the fakes.
        parts: factor of the batch size; each update of a critic uses one part of the batch.
    """
    if source is None:
        (x_train, y_train), _ = datasets.mnist()
    else:
        x_train, y_train = source.train_images(datasets.mnist, run.batch_size)
    num_labels = len(source.classes) if source else NUM_LABELS
    labels = one_hot(y_train, num_labels)
    size = parts * run.batch_size

    def batch(step):
        rng = np.random.default_rng((run.seed, step))
        index = rng.integers(0, len(x_train), size)
        if not conditional:
            return {"x": (x_train[index],)}
        fake_labels = one_hot(rng.integers(0, num_labels, size), num_labels)
        return {"x": (x_train[index], labels[index], fake_labels)}

    return batch


def train(
    model: AlternatingModel,
    run: Run,
    batch: Callable[[int], Batch],
    save: dict[str, keras.Model],
    draw: Callable[[Path], object],
    measure: Callable[[int], dict[str, Any] | None] = lambda step: None,
    interval: int = SAVE_INTERVAL,
    half: bool = False,
    facts: Callable[[], dict[str, Any]] = dict,
) -> None:
    """Trains a model, and draws the same samples at every interval.

    The folder also gets evolution.png, metrics.json, and log.csv with the losses. From restart.npz,
    `--resume` continues the run, also with more `--train-steps`.

    Args:
        model: the model.
        run: the run, whose budget is the number of steps.
        batch: function of the step, see `training.train`.
        save: {file name: network} to save at the end, `half` in half precision.
        draw: function of a path that draws samples.
        measure: function of the step that returns numbers for log.csv, if any.
        interval: steps between two drawings.
        half: see `save`.
        facts: returns further numbers for the record, such as those of a network that is not saved.
    """
    if backends.BACKEND == "jax" and not backends.backend.has_accelerator():
        print("JAX takes many times as long as TensorFlow for this training on a processor")

    def after_interval(step, losses):
        draw(run.folder / f"{step:05d}.png")
        return measure(step)

    def save_networks():
        for file, network in save.items():
            about = {"method": model.name, "network": network.name}
            run.save(network, file, half=half, **about, seed=run.seed, steps=run.budget)

    minutes, losses = training.train(
        model,
        batch,
        run,
        steps=run.budget,
        interval=interval,
        after_interval=after_interval,
        save=save_networks,
        keep=True,
    )
    plots.evolution(run.folder, run.folder / "evolution.png", last=run.budget, show=run.show)
    run.record(
        "metrics.json",
        train_steps=run.budget,
        batch_size=run.batch_size,
        minutes=round(minutes, 1),
        losses=losses,
        **run.settings,
        **facts(),
    )


def train_on_digits(
    model: AlternatingModel,
    run: Run,
    sampler: keras.Model,
    inputs: Inputs,
    batch: Callable[[int], Batch],
    save: dict[str, keras.Model],
    classes: int = NUM_LABELS,
    own: bool = False,
    **options: Any,
) -> None:
    """`train` with samples of all classes, and FID-MNIST and KID every MEASURE_INTERVAL steps.

    Args:
        model, run, batch, save, options: see `train`.
        sampler: the network to draw with, such as the averaged generator.
        inputs: function of labels (n,) that returns inputs of the sampler.
        classes: number of labels.
        own: nothing is measured, because the images are not those of MNIST.
    """
    run.introduce(type(model).__name__, "MNIST", *save.values())
    few, many = (inputs(np.arange(size) % classes) for size in (SHOWN, QUICK_SAMPLES))

    def draw(path):
        if model.averages:
            estimate_batch_statistics(sampler, many)
        plots.image_grid(sampler.predict(few, verbose=0), path, columns=COLUMNS)

    def measure(step):
        if step % MEASURE_INTERVAL or own:
            return None
        return digit_quality.quick_scores(sampler.predict(many, batch_size=500, verbose=0))

    train(model, run, batch, save, draw, measure, **options)


def draw_or_train(
    run: Run,
    build_generator: Callable[[], keras.Model],
    build_model: Callable[[], Any],
    batches: Callable[[], Callable[[int], Batch]],
    inputs: Inputs,
    file: str | None = None,
    wanted: str | int | None = None,
    conditional: bool = False,
    source: Source | None = None,
    opponent: str = "discriminator",
    facts: Callable[[Any], dict[str, Any]] = lambda model: {},
    further: Callable[[keras.Model], dict[str, Any]] = lambda generator: {},
) -> keras.Model | None:
    """What a GAN script does: draws with pretrained weights, or trains; then measures.

    Args:
        run: the run.
        build_generator, build_model, batches: make the generator, the whole model, and the function
            of the step that returns a batch.
        inputs: function of labels (n,) that returns inputs of the generator.
        file: the weight file to draw with or to export, None to train.
        wanted: the label to draw, see `digits_to_draw`.
        conditional: whether the generator takes labels.
        source: your own images, if the script takes them.
        opponent: the end of the name of the discriminator's weight file.
        facts: function of the trained model that returns further numbers for its record.
        further: function of the generator that returns further measures.

    Returns:
        The generator to draw with, or None if `--export` ends the run.
    """
    classes = source.classes if source else DIGITS
    unaveraged = None
    if file:
        generator = build_generator()
        run.load(generator, file)
        if run.exported({"": generator}, inputs=(-1.0, 1.0)):
            return None
        digits = digits_to_draw(wanted, classes) if conditional else None
        draw_samples(generator, inputs, run, digits, classes)
    else:
        model = build_model()
        generator, unaveraged = model.sampler, model.generator
        file = f"{run.name}.h5"
        if source:
            run.settings |= source.settings
        train_on_digits(
            model,
            run,
            generator,
            inputs,
            batches(),
            save={file: generator, f"{run.name}-{opponent}.h5": model.discriminator},
            classes=len(classes),
            own=bool(source and source.own),
            facts=lambda: facts(model),
        )
    if run.evaluate:
        evaluate(run, generator, inputs, file, conditional, further(generator), unaveraged)
    return generator


def draw_samples(
    generator: keras.Model,
    inputs: Inputs,
    run: Run,
    digits: np.ndarray | None = None,
    classes: Sequence[str] = DIGITS,
) -> None:
    """Draws SHOWN images to generated.png, or to a file named after their only class.

    Args:
        generator, inputs, run: see `draw_or_train`.
        digits: array (SHOWN,) of labels, if the generator is conditional.
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
    path, images = run.folder / f"{name}.png", generator.predict(given, verbose=0)
    plots.image_grid(images, path, columns=COLUMNS, titles=titles, show=run.show)
    print(f"Drawn: {path}")


def digits_to_draw(wanted: str | int | None, classes: Sequence[str] = DIGITS) -> np.ndarray:
    """Returns SHOWN times the label of the wanted class, or all labels in order.

    Raises a UserError if the wanted class is not one of them.
    """
    if wanted is None:
        return np.arange(SHOWN) % len(classes)
    if str(wanted) not in classes:
        known = ", ".join(classes[:20])
        raise UserError(f"no class '{wanted}': expected --class with one of {known}")
    return np.full(SHOWN, classes.index(str(wanted)))


def evaluate(
    run: Run,
    generator: keras.Model,
    inputs: Inputs,
    file: str | list[str],
    conditional: bool,
    further: dict[str, Any] | None = None,
    unaveraged: keras.Model | None = None,
) -> None:
    """Measures 10,000 images, of all digits equally many, and writes evaluation.json.

    Args:
        run, generator, inputs, conditional: see `draw_or_train`.
        file: name of the measured weights, or a list of names, for the record.
        further: dict of numbers to show and record.
        unaveraged: the generator whose average was measured, to record what averaging changes.
    """
    _, (x_test, _) = datasets.mnist()
    digits = np.arange(len(x_test)) % NUM_LABELS

    def measured(network):
        images = network.predict(inputs(digits), batch_size=500, verbose=0)
        return digit_quality.judge_digits(images, digits if conditional else None)

    numbers = measured(generator)
    numbers |= further or {}
    if unaveraged is not None and unaveraged is not generator:
        numbers["unaveraged"] = measured(unaveraged)
    run.evaluated(file, **numbers)
