"""Figures, measures and weight files of the two generators of a CycleGAN.

`generators` is always the pair (g_source, g_target), and a generator is named after the domain that
it translates to.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

from lib.cyclegan.domains import DOMAINS, HeldOut, as_color, model_name, own_shape
from lib.files import records, safe_h5, weights
from lib.files.errors import UserError
from lib.measure import digit_quality, image_quality, plots
from lib.run.flags import LARGEST_IMAGE

SHOWN = 100  # test images in a figure of the book
QUICK_IMAGES = 500  # test images of each domain that are measured during training
# Measures that do not depend on the generators.
REFERENCES = ("true_colorfulness", "gray_copy", "classifier_accuracy")
Pair = Sequence[keras.Model]  # g_source and g_target
AUTOENCODER_FILE = "chapter3-autoencoders/weights/colorized_ae.h5"


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
    generators: Pair, held_out: HeldOut, task: str, path: Path, columns: int = 10
) -> dict[str, np.ndarray]:
    """Draws test images in rows: source, target, source again; target, source, target again.

    Prints a warning if the mapping of gray photographs is inverted.

    Returns:
        What `translate` returns for the first SHOWN test images.
    """
    source, target = held_out.source[:SHOWN], held_out.target[:SHOWN]
    made = translate(generators, source, target)
    a, b = held_out.names or DOMAINS[task]
    rows = {
        a: source,
        f"→ {b}": made["predicted_target"],
        f"→ {b} → {a}": made["reconstructed_source"],
        b: target,
        f"→ {a}": made["predicted_source"],
        f"→ {a} → {b}": made["reconstructed_target"],
    }
    plots.image_grid(
        np.concatenate([as_color(images[:columns]) for images in rows.values()]),
        path,
        columns=columns,
        row_titles=list(rows),
    )
    if task == "cifar10" and brightness_correlation(source, made["predicted_target"]) < 0:
        print("Inverted mapping: dark becomes bright. Start again with another --seed.")
    return made


def draw_grids(generators: Pair, held_out: HeldOut, task: str, folder: Path, show: bool) -> None:
    """Draws the first test images of each domain, translated, and translated back.

    Ten of each domain in rows (cycles.png), and 100 in grids, as in the book.
    """
    made = draw_cycles(generators, held_out, task, folder / "cycles.png")
    source, target = held_out.source[:SHOWN], held_out.target[:SHOWN]
    a, b = held_out.names or DOMAINS[task]
    grids = {a: source, f"→ {b}": made["predicted_target"]}
    grids[f"→ {b} → {a}"] = made["reconstructed_source"]
    plots.grids_side_by_side(grids, folder / "source-to-target.png", show=show)
    grids = {b: target, f"→ {a}": made["predicted_source"]}
    grids[f"→ {a} → {b}"] = made["reconstructed_target"]
    plots.grids_side_by_side(grids, folder / "target-to-source.png", show=show)


def draw_comparison(
    networks: dict[str, keras.Model | None],
    held_out: HeldOut,
    path: Path,
    show: bool,
    columns: int = 12,
) -> None:
    """Draws true colors and the colors of several methods (figures 7.1.9 and 7.1.10).

    Args:
        networks: {row title: network from gray images of one or three channels to color, or None}.
            None leaves the row out.
        held_out: the `HeldOut` images.
        path: the PNG file.
        show: also open a window.
        columns: number of images.
    """
    gray = as_color(held_out.source[:SHOWN])
    rows = {"true colors": held_out.target, "gray": gray}
    for name, network in networks.items():
        if network is not None:
            rows[name] = predict(network, gray[..., : network.input_shape[-1]])
    plots.image_grid(
        np.concatenate([images[:columns] for images in rows.values()]),
        path,
        columns=columns,
        row_titles=list(rows),
        show=show,
    )


# Measures


def evaluate(
    generators: Pair,
    unaveraged: Pair | None,
    autoencoder: keras.Model | None,
    held_out: HeldOut,
    args: argparse.Namespace,
    folder: Path,
) -> None:
    """Measures the translated test images, prints the numbers and writes evaluation.json.

    Args:
        generators: the pair.
        unaveraged: the pair of which `generators` is the moving average, None if it is not known.
        autoencoder: see `load_autoencoder`.
        held_out: the `HeldOut` images.
        args: the parsed flags; args.generators are the names of the weight files.
        folder: folder of evaluation.json and label_flips.png.
    """
    numbers = _measure(generators, autoencoder, held_out, args, folder / "label_flips.png")
    if unaveraged is not None:
        measured = _measure(unaveraged, None, held_out, args, None)
        numbers["unaveraged"] = {k: v for k, v in measured.items() if k not in REFERENCES}
    _print(numbers)
    records.record(
        folder / "evaluation.json",
        args,
        weights=args.generators,
        test_images=[len(held_out.source), len(held_out.target)],
        **numbers,
    )


def quick_measures(
    generators: Pair, held_out: HeldOut, args: argparse.Namespace
) -> dict[str, float]:
    """Measures QUICK_IMAGES test images of each domain, for log.csv during training.

    Args:
        generators: the pair.
        held_out: the `HeldOut` images. Their first ones are always the measured ones.
        args: the parsed flags.

    Returns:
        A dict of numbers, which `evaluate` also writes. cycle_mae_source and cycle_mae_target are
        the errors after the cycle. Gray <-> color adds to_gray_mae, true_colorfulness, and the
        numbers of `compare_colors` as to_color_mse, to_color_mae, ... Digits add label_flip_rate
        and kept_after_cycle.
    """
    numbers = _measure(generators, None, held_out.first(QUICK_IMAGES), args, None)
    colors = {f"to_color_{name}": value for name, value in numbers.pop("cyclegan", {}).items()}
    if "true_colorfulness" in numbers:
        colors["true_colorfulness"] = numbers["true_colorfulness"]
    return {**colors, **{k: v for k, v in numbers.items() if k not in REFERENCES}}


def _measure(
    generators: Pair,
    autoencoder: keras.Model | None,
    held_out: HeldOut,
    args: argparse.Namespace,
    path: Path | None,
) -> dict[str, Any]:
    made = translate(generators, held_out.source, held_out.target)
    if args.task == "cifar10":
        numbers = measure_colors(made, autoencoder, held_out)
    elif args.task == "images":
        numbers = {}  # nothing is known of one's own images but what the cycle should return
    else:
        numbers = measure_digits(made, held_out, path, args.show)
    for domain in ("source", "target"):
        error = image_quality.mae(getattr(held_out, domain), made[f"reconstructed_{domain}"]).mean()
        numbers[f"cycle_mae_{domain}"] = round(error, 5)
    return numbers


def _print(numbers: dict[str, Any], prefix: str = "") -> None:
    """One line for each number, and for each dict of numbers."""
    for name, value in numbers.items():
        if isinstance(value, dict) and any(isinstance(v, dict) for v in value.values()):
            _print(value, f"{prefix}{name}, ")
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        print(f"{prefix}{name}: {value}".replace("_", " "))


def measure_colors(
    made: dict[str, np.ndarray], autoencoder: keras.Model | None, held_out: HeldOut
) -> dict[str, Any]:
    """Numbers of the gray <-> color task, of the translated test images `made`."""
    numbers = {
        "true_colorfulness": round(float(image_quality.colorfulness(held_out.target).mean()), 4),
        "cyclegan": compare_colors(held_out.target, made["predicted_target"]),
    }
    if autoencoder is not None:
        colored = predict(autoencoder, held_out.source[..., :1])
        numbers["autoencoder"] = compare_colors(held_out.target, colored)
    numbers["gray_copy"] = compare_colors(held_out.target, as_color(held_out.source))
    to_gray = image_quality.mae(held_out.source, made["predicted_source"]).mean()
    return {**numbers, "to_gray_mae": round(to_gray, 5)}


def compare_colors(color: np.ndarray, copies: np.ndarray) -> dict[str, float]:
    """Mean errors of color images, and how far their colorfulness is from the true one.

    `colorfulness_distance` is the earth mover's distance between the histograms of
    `image_quality.colorfulness`. Unlike the errors, it does not reward dull colors, which are never
    far off.
    """
    true, found = (np.sort(image_quality.colorfulness(x)) for x in (color, copies))
    return {
        **image_quality.compare(color, copies),
        "colorfulness": round(float(found.mean()), 4),
        "colorfulness_distance": round(float(np.abs(true - found).mean()), 4),
    }


def measure_digits(
    made: dict[str, np.ndarray], held_out: HeldOut, path: Path | None, show: bool
) -> dict[str, float]:
    """Numbers of a task with digits: does a translated image show the same digit?

    A classifier of MNIST predicts the digits of MNIST images only: of target images after their
    translation to MNIST, and of MNIST images after the cycle. A confusion matrix is drawn to
    `path`, unless it is None.
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


def save_generators(generators: Pair, args: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Saves the pair to the files args.generators in the output directory, in half precision.

    Args:
        generators: the pair.
        args: the parsed flags.
        settings: dict of the hyper-parameters that the files record.
    """
    for generator, file in zip(generators, args.generators, strict=True):
        about = {
            "method": "cyclegan",
            "network": generator.name,
            "task": args.task,
            "seed": args.seed,
            "steps": args.train_steps,
            **settings,
        }
        weights.save(generator, args.output_dir / file, half=True, about=about)


def form_of(path: Path) -> dict[str, Any]:
    """The settings of a generator in a weight file, {} if its format does not show them.

    Returns:
        The dict that `weights.save` recorded. For older `.h5` files, and files of Keras 2, the
        shapes of the arrays decide {"normalization": ..., "identity": ...}.
    """
    if not h5py.is_hdf5(path):
        return {}
    recorded = weights.about(path)
    if recorded:
        return recorded
    shapes = []

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            shapes.append(item.shape)

    with safe_h5.opened(path) as file:
        file.get("model_weights", file).visititems(add)
    kernels = [shape for shape in shapes if len(shape) == 4]
    vectors = [shape for shape in shapes if len(shape) == 1]
    # 8 biases, and gain and offset of 6 normalizations, or of 7 if the image is normalized.
    normalization = "channel" if len(vectors) < 8 + 2 * 7 else "channel-and-image"
    if vectors.count((1,)) >= 2 * 7:
        normalization = "book"
    identity = bool(kernels) and min(kernel[2] for kernel in kernels) == 3
    return {"normalization": normalization, "identity": identity}


def adopt_settings(args: argparse.Namespace, script: str | Path) -> None:
    """Sets the task and the flags of training as the files in args.generators record them.

    Args:
        args: the parsed flags.
        script: path of the script, whose folder has the pretrained weights.

    Raises:
        UserError: if a file is missing or records a size that no image can have.
    """
    form = form_of(weights.find(args.generators[0], script))
    args.identity = form.get("identity", args.identity)
    args.patchgan = form.get("patchgan", args.patchgan)
    if args.task == "images":
        if form.get("image_size", args.image_size) not in range(8, LARGEST_IMAGE + 1, 8):
            raise UserError(f"'{args.generators[0]}' was trained on images of no usable size")
        args.image_size = form.get("image_size", args.image_size)
        args.color = form.get("color", args.color)
    if args.task == "svhn" and not args.target and form.get("task") == "mnist-m":
        args.task = "mnist-m"


def load_generators(
    build: Callable[..., Pair], args: argparse.Namespace, script: str | Path
) -> list[keras.Model]:
    """Loads the files in args.generators.

    Args:
        build: function of (task, normalization, identity) that returns (g_source, g_target).
        args, script: see `adopt_settings`.

    Raises:
        UserError: if a file is missing, broken, or holds another network.
    """
    paths = [weights.find(file, script) for file in args.generators]
    return [_load(i, path, build, args) for i, path in enumerate(paths)]


def _load(
    index: int, path: Path, build: Callable[..., Pair], args: argparse.Namespace
) -> keras.Model:
    """Loads g_source (index 0) or g_target (index 1) in the form that its file shows."""
    form = {"normalization": args.normalization, "identity": args.identity, **form_of(path)}
    shape = own_shape(args)
    generator = build(args.task, form["normalization"], form["identity"], **shape)[index]
    if form.get("network", generator.name) != generator.name:
        raise UserError(f"'{path}' holds {form['network']}, expected {generator.name}")
    weights.load(generator, path)
    return generator


def compare_methods(
    build: Callable[..., Pair],
    g_target: keras.Model,
    autoencoder: keras.Model | None,
    held_out: HeldOut,
    args: argparse.Namespace,
    folder: Path,
    script: str | Path,
) -> None:
    """Draws the colors of the autoencoder and of both kinds of CycleGAN to comparison.png.

    A kind is left out if its weights are missing, or are those of another network than the script
    builds now.

    Args:
        build: see `load_generators`.
        g_target: the generator of the kind that args.patchgan names.
        autoencoder: see `load_autoencoder`.
        held_out: the `HeldOut` images.
        args, script: see `adopt_settings`.
        folder: folder of the figure.
    """
    other = None
    name = f"{model_name(args.task, not args.patchgan)}-g_target.h5"
    reason = f"no {name}"
    for path in (args.output_dir / name, Path(script).resolve().parent / "weights" / name):
        if other is None and path.exists():
            try:
                other = _load(1, path, build, args)
            except UserError as error:
                reason = str(error)
    if other is None:
        print(f"Only one kind of discriminator is shown: {reason}")
    plain, patchgan = (other, g_target) if args.patchgan else (g_target, other)
    networks = {
        "autoencoder": autoencoder,
        "CycleGAN, plain": plain,
        "CycleGAN, PatchGAN": patchgan,
    }
    draw_comparison(networks, held_out, folder / "comparison.png", args.show)


def load_autoencoder() -> keras.Model | None:
    """The autoencoder of listing 3.4.1 with its weights, or None if the file is missing."""
    path = Path(__file__).resolve().parents[2] / AUTOENCODER_FILE
    if not path.exists():
        print(f"The autoencoder is left out: no {AUTOENCODER_FILE}")
        return None
    autoencoder = build_autoencoder()
    weights.load(autoencoder, path)
    return autoencoder


def build_autoencoder() -> keras.Model:
    """Listing 3.4.1: gray images (batch, 32, 32, 1) -> color images (batch, 32, 32, 3)."""
    images = keras.Input((32, 32, 1), name="images")
    x = images
    for filters in (64, 128, 256):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Dense(256)(layers.Flatten()(x))
    x = layers.Reshape((4, 4, 256))(layers.Dense(4 * 4 * 256)(x))
    for filters in (256, 128, 64):
        x = layers.Conv2DTranspose(filters, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(3, 3, padding="same", activation="sigmoid", dtype="float32")(x)
    return keras.Model(images, x, name="autoencoder")
