"""What the autoencoders of chapter 3 share: the training with its test error, and the measures."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from lib.measure import image_quality
from lib.run import training
from lib.run.program import Run
from lib.run.training import Augment


def train(
    run: Run,
    autoencoder: keras.Model,
    data: tuple[np.ndarray, np.ndarray],
    test_data: tuple[np.ndarray, np.ndarray],
    images: dict[str, Any] | None = None,
    after_test: Callable[[int, float], str] = lambda epoch, loss: "",
    memory: dict[str, Any] | None = None,
    augment: Augment | None = None,
    half: bool = False,
    facts: Callable[[], dict[str, Any]] = dict,
) -> None:
    """Trains a compiled autoencoder, saves it and writes metrics.json.

    Args:
        run: the run, whose budget is the number of epochs.
        autoencoder: from images to images.
        data: (inputs, targets) of the training.
        test_data: (inputs, targets) that each epoch is tested with.
        images: the facts about your own images, see `images.Source.settings`.
        after_test: function of (epoch, test loss) that returns a text to print after the loss.
        memory, augment: see `training.train`.
        half: save in half precision, see `weights.save`.
        facts: function that returns further numbers for the record.
    """
    part = "held-out" if run.settings.get("hold_out") else "test"
    settings = {"settings": {**run.settings, **(images or {})}} if run.settings else {}
    run.settings |= images or {}

    def test(epoch, logs):
        loss = training.evaluate(autoencoder, *test_data)["loss"]
        more = after_test(epoch, loss)
        print(f"epoch {epoch}: {part} MSE {loss:.5f}{more}", flush=True)
        return {f"{part}_loss": loss}

    options: dict[str, Any] = {"after_epoch": test, "memory": memory, "augment": augment}
    options["keep"] = True
    save = partial(run.save, autoencoder, f"{run.name}.h5", half=half)
    trained = training.train_epochs(autoencoder, *data, run, save=save, **options)
    run.record(
        "metrics.json",
        parameters=autoencoder.count_params(),
        test_loss=round(training.evaluate(autoencoder, *test_data)["loss"], 6),
        **facts(),
        **settings,
        **(images or {}),
        **trained,
    )
    training.finish(run)


def evaluate(run: Run, autoencoder: keras.Model, x_test: np.ndarray, file: str | None) -> None:
    """Measures the decoded test images (n, height, width, channels) and writes evaluation.json.

    `file` is the loaded weight file, None after a training.
    """
    decoded = autoencoder.predict(x_test, batch_size=1000, verbose=0)
    numbers = image_quality.compare(x_test, decoded)
    parameters = autoencoder.count_params()
    run.evaluated(file, parameters=parameters, test_images=len(x_test), **numbers)
