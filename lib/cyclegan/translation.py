"""Figures, measures and weight files of the two generators of a CycleGAN.

`generators` is always the pair (g_source, g_target), and a generator is named after the domain that
it translates to.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lib.cyclegan.domains import HeldOut, as_color
from lib.cyclegan.tasks import DOMAINS, Task, form_of
from lib.files import weights
from lib.files.errors import UserError
from lib.measure import digit_quality, image_quality, plots
from lib.run.program import Run

SHOWN = 100  # test images in a figure of the book
QUICK_IMAGES = 500  # test images of each domain that are measured during training
# Measures that do not depend on the generators.
REFERENCES = ("true_colorfulness", "gray_copy", "classifier_accuracy")
Pair = Sequence[keras.Model]  # g_source and g_target


def predict(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """The outputs of a network, in batches of one size: TensorFlow compiles once for each size."""
    return network.predict(images, batch_size=SHOWN, verbose=0)


def translate(generators: Pair, source: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """Translates images to the other domain and back.

    Returns:
        A dict of arrays: predicted_target and reconstructed_source of the source images,
        predicted_source and reconstructed_target of the target images.
    """
    g_source, g_target = generators
    predicted_target, predicted_source = predict(g_target, source), predict(g_source, target)
    return {
        "predicted_target": predicted_target,
        "reconstructed_source": predict(g_source, predicted_target),
        "predicted_source": predicted_source,
        "reconstructed_target": predict(g_target, predicted_source),
    }


def brightness_correlation(images: np.ndarray, translated: np.ndarray) -> float:
    """Correlation of the pixels' brightness, the mean over channels, before and after; -1 to 1.

    It is 0 if either has a single brightness.
    """
    brightness = [x.mean(axis=-1, dtype="float64").ravel() for x in (images, translated)]
    if min(np.ptp(values) for values in brightness) == 0:
        return 0.0
    return float(np.corrcoef(brightness)[0, 1])


# Figures


def draw_cycles(
    generators: Pair, held_out: HeldOut, task: Task, path: Path, columns: int = 10
) -> dict[str, np.ndarray]:
    """Draws test images in rows: source, target, source again; target, source, target again.

    Prints a warning if the mapping of gray photographs is inverted. Returns the rows, {title:
    images}, with SHOWN images each.
    """
    source, target = held_out.source[:SHOWN], held_out.target[:SHOWN]
    made = translate(generators, source, target)
    a, b = held_out.names or DOMAINS[task.name]
    rows = {
        a: source,
        f"→ {b}": made["predicted_target"],
        f"→ {b} → {a}": made["reconstructed_source"],
        b: target,
        f"→ {a}": made["predicted_source"],
        f"→ {a} → {b}": made["reconstructed_target"],
    }
    images = np.concatenate([as_color(images[:columns]) for images in rows.values()])
    plots.image_grid(images, path, columns=columns, row_titles=list(rows))
    if task.name == "cifar10" and brightness_correlation(source, made["predicted_target"]) < 0:
        print("Inverted mapping: dark becomes bright. Start again with another --seed.")
    return rows


def draw_grids(generators: Pair, held_out: HeldOut, task: Task, run: Run) -> None:
    """Draws the first test images of each domain, translated, and translated back.

    Ten of each domain in rows (cycles.png), and 100 in grids, as in the book.
    """
    rows = list(draw_cycles(generators, held_out, task, run.folder / "cycles.png").items())
    for name, grids in (("source-to-target", rows[:3]), ("target-to-source", rows[3:])):
        plots.grids_side_by_side(dict(grids), run.folder / f"{name}.png", show=run.show)


# Measures


def evaluate(
    generators: Pair,
    unaveraged: Pair | None,
    held_out: HeldOut,
    task: Task,
    run: Run,
    files: Sequence[str],
) -> None:
    """Measures the translated test images, prints the numbers and writes evaluation.json.

    Args:
        generators: the pair.
        unaveraged: the pair of which `generators` is the moving average, None if it is not known.
        held_out, task: see `domains.load`.
        run: the run, whose folder gets evaluation.json and label_flips.png.
        files: names of the weight files, for the record.
    """
    path = run.folder / "label_flips.png"
    numbers = _measure(generators, held_out, task, path, run.show)
    if unaveraged is not None:
        measured = _measure(unaveraged, held_out, task)
        numbers["unaveraged"] = {k: v for k, v in measured.items() if k not in REFERENCES}
    test_images = [len(held_out.source), len(held_out.target)]
    run.evaluated(list(files), test_images=test_images, **numbers)


def quick_measures(generators: Pair, held_out: HeldOut, task: Task) -> dict[str, float]:
    """Measures the first QUICK_IMAGES test images of each domain, for log.csv during training.

    Returns:
        A dict of numbers, which `evaluate` also writes: cycle_mae_source and cycle_mae_target, the
        errors after the cycle. Gray <-> color adds to_gray_mae, true_colorfulness, and the numbers
        of `image_quality.compare_colors` as to_color_mse, ...; digits add label_flip_rate and
        kept_after_cycle.
    """
    numbers = _measure(generators, held_out.first(QUICK_IMAGES), task)
    colors = {f"to_color_{name}": value for name, value in numbers.pop("cyclegan", {}).items()}
    if "true_colorfulness" in numbers:
        colors["true_colorfulness"] = numbers["true_colorfulness"]
    return {**colors, **{k: v for k, v in numbers.items() if k not in REFERENCES}}


def _measure(
    generators: Pair,
    held_out: HeldOut,
    task: Task,
    path: Path | None = None,
    show: bool = False,
) -> dict[str, Any]:
    made = translate(generators, held_out.source, held_out.target)
    if task.name == "cifar10":
        numbers = measure_colors(made, held_out)
    elif task.name == "images":
        numbers = {}  # nothing is known of one's own images but what the cycle should return
    else:
        numbers = measure_digits(made, held_out, path, show)
    for domain in ("source", "target"):
        error = image_quality.mae(getattr(held_out, domain), made[f"reconstructed_{domain}"]).mean()
        numbers[f"cycle_mae_{domain}"] = round(error, 5)
    return numbers


def measure_colors(made: dict[str, np.ndarray], held_out: HeldOut) -> dict[str, Any]:
    """Numbers of the gray <-> color task, of the translated test images `made`."""
    color = held_out.target
    to_gray = image_quality.mae(held_out.source, made["predicted_source"]).mean()
    return {
        "true_colorfulness": round(float(image_quality.colorfulness(color).mean()), 4),
        "cyclegan": image_quality.compare_colors(color, made["predicted_target"]),
        "gray_copy": image_quality.compare_colors(color, as_color(held_out.source)),
        "to_gray_mae": round(to_gray, 5),
    }


def measure_digits(
    made: dict[str, np.ndarray], held_out: HeldOut, path: Path | None, show: bool
) -> dict[str, float]:
    """Numbers of a task with digits: does a translated image show the same digit?

    The classifier of MNIST predicts the digits of target images after their translation to MNIST,
    and of MNIST images after the cycle. A confusion matrix is drawn to `path`, unless it is None.
    """
    translated = predicted_digits(made["predicted_source"])
    if path is not None:
        assert held_out.target_digits is not None
        counts = np.zeros((10, 10), int)
        np.add.at(counts, (held_out.target_digits, translated), 1)
        plots.confusion_matrix(counts, path, show=show)
    kept = predicted_digits(made["reconstructed_source"])
    shares = {
        "classifier_accuracy": predicted_digits(held_out.source) == held_out.source_digits,
        "label_flip_rate": translated != held_out.target_digits,
        "kept_after_cycle": kept == held_out.source_digits,
    }
    return {name: round(float(share.mean()), 4) for name, share in shares.items()}


def predicted_digits(images: np.ndarray) -> np.ndarray:
    """The digits (n,) that the classifier of MNIST predicts for source images (n, 32, 32, c)."""
    return digit_quality.predicted_digits(images.mean(axis=-1, keepdims=True)[:, 2:-2, 2:-2])


# Files


def load_generators(build: Callable[[Task], Pair], task: Task, run: Run) -> list[keras.Model]:
    """Loads the files of a task, each into a generator of the form that the file shows.

    `build` makes (g_source, g_target) of a task. Pretrained files are next to the script of the
    run. Raises a UserError if a file is missing, broken, or holds another network.
    """
    assert task.files is not None
    paths = [weights.find(file, run.script) for file in task.files]
    return [_load(i, path, build, task) for i, path in enumerate(paths)]


def _load(index: int, path: Path, build: Callable[[Task], Pair], task: Task) -> keras.Model:
    """Loads g_source (index 0) or g_target (index 1) in the form that its file shows."""
    form = form_of(path)
    known = {k: form[k] for k in ("normalization", "identity") if k in form}
    generator = build(replace(task, **known))[index]
    if form.get("network", generator.name) != generator.name:
        raise UserError(f"'{path}' holds {form['network']}, expected {generator.name}")
    weights.load(generator, path)
    return generator
