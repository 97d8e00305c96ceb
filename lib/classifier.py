"""Code that the classifier scripts share: load or train a network, test it, record and draw."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lib.engine import backends
from lib.files import records, weights
from lib.measure import plots
from lib.run import training
from lib.run.training import Arrays

# A batch of 1000 is not faster, and a DenseNet then needs 4 GB for the outputs of its layers.
TEST_BATCH_SIZE = 200

Examples = tuple[Arrays, np.ndarray]  # inputs and labels


def load_weights(model: keras.Model, args: argparse.Namespace, script: str | Path) -> None:
    """Loads `args.weights`, if given.

    Call it before loading the data, so that a bad file is an error at once.

    Args:
        model: the network.
        args: the parsed flags, with `weights`.
        script: the script's `__file__`.

    Raises:
        UserError: if the file is missing, damaged or of another network.
    """
    if args.weights:
        weights.load(model, weights.find(args.weights, script))


def train_and_test(
    model: keras.Model,
    data: tuple[Examples, Examples],
    args: argparse.Namespace,
    folder: Path,
    *,
    name: str,
    compile_for: Callable[[int], None],
    settings: dict[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    keep_best: bool = False,
    whole_batches: bool = False,
) -> tuple[float, dict[str, Any]]:
    """Trains `model`, unless `load_weights` has loaded it, and tests it.

    A training run saves the weights next to `folder` and writes metrics.json into it; `--evaluate`
    and `--weights` write evaluation.json and confusion-matrix.png.

    Args:
        model: network that returns class probabilities.
        data: (x_train, y_train), (x_test, y_test), where x may be a tuple of inputs.
        args: the parsed flags, with `weights`.
        folder: of the figures.
        name: of the weight file, without `.h5`.
        compile_for: function of the number of training steps that compiles `model`.
        settings: further hyper-parameters that a continuation must not change.
        class_names: for the confusion matrix, if the classes are not digits.
        keep_best: also save the weights of the epoch with the highest test accuracy, to
            saved_models/`name`_model.NNN.h5 in `folder`.
        whole_batches: see `training.shuffled_epochs`.

    Returns:
        (the share of test images that are classified correctly, other facts of the run).
    """
    (x_train, y_train), (x_test, y_test) = data
    settings = settings or {}
    part = "held_out" if getattr(args, "hold_out", 0) else "test"
    facts = {}
    allow_compilation(model)
    if args.weights:
        compile_for(1)
    else:
        steps = training.steps_per_epoch(x_train, args.batch_size, whole_batches)
        compile_for(args.epochs * steps)

        def test(epoch, logs):
            accuracy = training.evaluate(model, x_test, y_test, TEST_BATCH_SIZE)["accuracy"]
            print(f"epoch {epoch}: {part} accuracy {100 * accuracy:.2f} %", flush=True)
            if keep_best and accuracy > best.get(f"{part}_accuracy", 0):
                _save_best(model, folder / "saved_models", name, epoch, best)
                best[f"{part}_accuracy"] = round(accuracy, 4)
            return {f"{part}_accuracy": accuracy}

        best: dict[str, Any] = {}
        facts = training.train_epochs(
            model,
            x_train,
            y_train,
            args,
            folder,
            settings,
            after_epoch=test,
            memory=best,
            save=lambda: weights.save(model, args.output_dir / f"{name}.h5", about=settings),
            whole_batches=whole_batches,
        )
        facts["settings"] = settings
        flops = forward_flops(model)
        if flops:
            # The gradients of the inputs and the weights each take as many operations as the
            # output.
            images = args.epochs * min(steps * args.batch_size, len(y_train))
            facts["train_pflop"] = round(3 * flops * images / 1e15, 4)
        if keep_best:
            facts["best_epoch"] = best
            print(f"Best epoch, chosen by its {part} accuracy: {best['epoch']}")
    measured = training.evaluate(model, x_test, y_test, TEST_BATCH_SIZE)
    accuracy = measured["accuracy"]
    print(f"{part.capitalize().replace('_', '-')} accuracy: {100 * accuracy:.2f} %")
    numbers = {
        "parameters": model.count_params(),
        f"{part}_accuracy": round(accuracy, 4),
        f"{part}_loss": round(measured["loss"], 5),
    }
    if not args.weights:
        records.record(folder / "metrics.json", args, **numbers, **facts)
    if args.weights or args.evaluate:
        confusion = confusion_matrix(model, x_test, y_test)
        path = folder / "confusion-matrix.png"
        plots.confusion_matrix(confusion, path, names=class_names, show=args.show)
        records.record(
            folder / "evaluation.json",
            args,
            weights=args.weights or f"{name}.h5",
            **numbers,
            confusion_matrix=confusion.tolist(),
        )
    return accuracy, facts


def allow_compilation(model: keras.Model) -> None:
    """Lets JAX compile a network that shifts its images; to be called before `model.compile`.

    Keras does not compile a network with RandomTranslation, although only TensorFlow needs that. On
    JAX, the uncompiled step is many times slower.
    """
    if backends.BACKEND == "jax":
        for layer in model.layers:
            if isinstance(layer, keras.layers.RandomTranslation):
                layer.supports_jit = True


def forward_flops(model: keras.Model) -> int | None:
    """Operations for one example in the convolutions and dense layers; None in a recurrent network.

    A multiplication and an addition are two operations. The other layers add a few percent.
    """
    count = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN):
            return None
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            positions = math.prod(layer.output.shape[1:-1])
            count += 2 * math.prod(layer.kernel.shape) * positions
    return count


def _save_best(
    model: keras.Model, folder: Path, name: str, epoch: int, best: dict[str, Any]
) -> None:
    """Replaces the weights of the best epoch so far with this epoch's."""
    folder.mkdir(exist_ok=True)
    weights.save(model, folder / f"{name}_model.{epoch:03d}.h5")
    if "epoch" in best:
        (folder / f"{name}_model.{best['epoch']:03d}.h5").unlink(missing_ok=True)
    best["epoch"] = epoch


def confusion_matrix(model: keras.Model, x: Arrays, y: np.ndarray) -> np.ndarray:
    """Counts (classes, classes): the row is the true class, the column the predicted one."""
    probabilities = model.predict(x, batch_size=TEST_BATCH_SIZE, verbose=0)
    classes = probabilities.shape[1]
    pairs = np.bincount(classes * y + probabilities.argmax(axis=1), minlength=classes**2)
    return pairs.reshape(classes, classes)
