"""Code that the classifier scripts share: load or train a network, test it, record and draw."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from lib.engine import backends
from lib.measure import plots
from lib.run import training
from lib.run.program import Run
from lib.run.training import Arrays

# A batch of 1000 is not faster, and a DenseNet then needs 4 GB for the outputs of its layers.
TEST_BATCH_SIZE = 200

Examples = tuple[Arrays, np.ndarray]  # inputs and labels


def train_and_test(
    run: Run,
    model: keras.Model,
    load_data: Callable[[], tuple[Examples, Examples]],
    compile_for: Callable[[int], None],
    given: str | None,
    *,
    printed: keras.Model | None = None,
    class_names: Sequence[str] | None = None,
    keep_best: bool = False,
    whole_batches: bool = False,
) -> None:
    """Trains a classifier, or loads weights; then tests it.

    Training saves the weights next to the folder of the run and writes metrics.json. `--evaluate`
    and `--weights` write evaluation.json and confusion-matrix.png. `--export` only exports.

    Args:
        run: the run.
        model: network that returns class probabilities.
        load_data: returns (x_train, y_train), (x_test, y_test), where x may be a tuple of inputs.
            It is called after the weights are loaded, so that a bad file is an error at once.
        compile_for: function of the number of training steps that compiles `model`.
        given: the weight file to test, None to train.
        printed: the network to export, if `model` has layers for training only.
        class_names: for the confusion matrix, if the classes are not digits.
        keep_best: also save the weights of the epoch with the highest test accuracy, to
            saved_models/NAME_model.NNN.h5 in the folder.
        whole_batches: see `training.shuffled_epochs`.
    """
    network = printed if printed is not None and run.export else model
    file = run.to_load(given, f"{run.name}.h5")
    if file:
        run.load(network, file)
    span = (-0.5, 0.5) if class_names else (0.0, 1.0)  # CIFAR-10 less its pixel mean, or MNIST
    if run.exported({"": network}, inputs=span):
        return
    (x_train, y_train), (x_test, y_test) = load_data()
    part = "held_out" if run.settings.get("hold_out") else "test"
    facts = {}
    allow_compilation(model)
    if file:
        compile_for(1)
    else:
        steps = training.steps_per_epoch(x_train, run.batch_size, whole_batches)
        compile_for(run.budget * steps)

        def test(epoch, logs):
            accuracy = training.evaluate(model, x_test, y_test, TEST_BATCH_SIZE)["accuracy"]
            print(f"epoch {epoch}: {part} accuracy {100 * accuracy:.2f} %", flush=True)
            if keep_best and accuracy > best.get(f"{part}_accuracy", 0):
                run.save_best(model, epoch)
                best.update({"epoch": epoch, f"{part}_accuracy": round(accuracy, 4)})
            return {f"{part}_accuracy": accuracy}

        best: dict[str, Any] = {}
        facts = training.train_epochs(
            *(model, x_train, y_train, run),
            after_epoch=test,
            memory=best,
            save=partial(run.save, model, f"{run.name}.h5"),
            whole_batches=whole_batches,
            keep=True,
        )
        facts["settings"] = run.settings
        flops = forward_flops(model)
        if flops:
            # The gradients of inputs and of weights each take as many operations as the output.
            images = run.budget * min(steps * run.batch_size, len(y_train))
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
    if not file:
        run.record("metrics.json", **numbers, **facts)
        training.finish(run)
    if file or run.evaluate:
        confusion = confusion_matrix(model, x_test, y_test)
        path = run.folder / "confusion-matrix.png"
        plots.confusion_matrix(confusion, path, names=class_names, show=run.show)
        run.record(
            "evaluation.json",
            weights=file or f"{run.name}.h5",
            **numbers,
            confusion_matrix=confusion.tolist(),
        )


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


def confusion_matrix(model: keras.Model, x: Arrays, y: np.ndarray) -> np.ndarray:
    """Counts (classes, classes): the row is the true class, the column the predicted one."""
    probabilities = model.predict(x, batch_size=TEST_BATCH_SIZE, verbose=0)
    classes = probabilities.shape[1]
    pairs = np.bincount(classes * y + probabilities.argmax(axis=1), minlength=classes**2)
    return pairs.reshape(classes, classes)
