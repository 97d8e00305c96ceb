"""Long training runs: progress with the time left, checkpoints, and Ctrl-C without loss.

`train` runs `keras.Model.fit` one interval after the other. An interrupted run ends with the same
result as an uninterrupted one. Batch number s is a function of s and the seed only, and a
checkpoint has every variable of the model: weights, optimizer, seeds, moving averages.
"""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from lib.engine import backends, devices
from lib.files.errors import Stopped, UserError
from lib.run.checkpoints import load_restart, save_restart
from lib.run.logs import Log, TensorBoard, learning_rates
from lib.run.program import Run
from lib.run.progress import Progress
from lib.run.stop import StopOnSignal, how_to_resume

STRETCH_BYTES = 128 * 2**20
SECONDS_AT_ONCE = 30  # of work that one call of `fit` gets
SECONDS_UNSAVED = 30  # of work between two checkpoints, plus one call of `fit`
SAVING_SHARE = 0.01  # of the time, at most, goes into these checkpoints

Arrays = np.ndarray | tuple[np.ndarray, ...]
Batch = dict[str, Arrays]  # the arguments x and, if any, y of `fit`
Logs = dict[str, float]
# From (x, y) of a batch and random numbers to the changed (x, y).
Augment = Callable[[Arrays, Arrays, np.random.Generator], tuple[Arrays, Arrays]]


def train(
    model: keras.Model,
    batch: Callable[[int], Batch],
    run: Run,
    *,
    steps: int,
    interval: int,
    after_interval: Callable[[int, Logs], Logs | None] | None = None,
    memory: dict[str, Any] | None = None,
    save: Callable[[], object] | None = None,
    keep: bool = False,
) -> tuple[float, Logs]:
    """Trains `model` until `steps` steps are done.

    The folder of the run gets the checkpoint restart.npz, which is removed at the end, after
    `save`. log.csv has a row for each interval: step, seconds, mean losses, learning rate, and what
    `after_interval` returned. log.png shows it at the end.

    Args:
        model: a compiled and built `keras.Model`.
        batch: function of the step number s = 0, 1, ... that returns its batch as a dict of `fit`'s
            arguments x and, if any, y, arrays or tuples of them; the same s gives the same batch.
        run: the run. Its continuation must have the same seed, batch size and settings.
        steps: number of steps, counted from the start of the run, not of its last continuation.
        interval: steps between two calls of `after_interval`. A checkpoint is saved after each of
            them, and in between about once per minute, or less often if saving takes long.
        after_interval: called with (step, mean losses since its last call) before the checkpoint of
            the interval is saved. It may return a dict of numbers for log.csv.
        memory: a dict of json values that `after_interval` keeps up to date, such as the best loss
            so far. The checkpoint holds it, and a continuation finds it as it was.
        save: called after the last step, to save the trained networks. If it fails or is killed, a
            continuation only calls it again.
        keep: leave the checkpoint of a finished run, so that it can continue with more steps.

    Returns:
        (minutes spent in all continuations, logs of the last interval).

    Raises:
        Stopped: if Ctrl-C or SIGTERM ended the run; the checkpoint is then saved.
        UserError: if the checkpoint to resume from is missing or damaged.
    """
    restart = run.folder / "restart.npz"
    settings = {"seed": run.seed, "batch size": run.batch_size, **run.settings}
    if restart.exists() and not run.resume:
        print(f"Starting again; --resume would continue from the checkpoint '{restart}'.")
    memory = {} if memory is None else memory
    backends.build_optimizer(model)
    done: dict[str, Any] = {"step": 0, "minutes": 0.0, "logs": {}, "interval": {}, "memory": memory}
    if run.resume:
        done |= load_restart(restart, model, settings, _check_progress)[0]
        memory.update(done["memory"])
    step, logs = done["step"], done["logs"]
    if step > steps:
        raise UserError(
            f"the checkpoint '{restart}' is at step {step}, expected at most the {steps} steps of "
            "this run; train for more steps"
        )
    log = Log(run.folder / "log.csv", step)
    board = TensorBoard(run.folder, step) if run.tensorboard else None
    model.steps_per_execution = devices.steps_per_execution(run.steps_per_execution)
    # Not the time of day, which may be set back during a run.
    saved, cost = time.monotonic(), 0.0
    started = saved - 60 * done["minutes"]

    def save_checkpoint():
        nonlocal saved, cost
        began = time.monotonic()
        done = {"step": step, "minutes": (began - started) / 60, "logs": logs, "memory": memory}
        save_restart(restart, model, settings, {**done, "interval": progress.interval})
        saved = time.monotonic()
        cost = saved - began

    line = Progress("step", steps, done=step)
    with StopOnSignal("step") as stop, contextlib.closing(line):
        progress = _Progress(line, done["interval"], stop)
        while step < steps and not stop.requested:
            if time.monotonic() - saved > max(SECONDS_UNSAVED, cost / SAVING_SHARE):
                save_checkpoint()
            end = min(steps, (step // interval + 1) * interval)
            some = min(end, step + progress.steps_in(SECONDS_AT_ONCE))
            _fit_stretch(model, batch, some, progress)
            step = progress.step
            if step == end:
                logs = progress.finish_interval()
                further = after_interval(step, logs) if after_interval is not None else None
                row = {"step": step, "seconds": round(time.monotonic() - started, 1), **logs}
                row |= {**learning_rates(model), **(further or {})}
                log.add(row)
                if board is not None:
                    board.add(row)
            if step == end or stop.requested:
                save_checkpoint()
        minutes = (time.monotonic() - started) / 60
        if step == steps:
            if log.rows:
                log.draw(logs)
            if save is not None:
                save()
    if step < steps:
        raise Stopped(
            f"Stopped after step {step} of {steps}, everything is saved. {how_to_resume()}"
        )
    if not keep:
        restart.unlink(missing_ok=True)
    return minutes, logs


def _check_progress(progress, _):
    """Raises an error of any type for a progress in a checkpoint that `train` did not write."""
    tables = [progress.get(name, {}) for name in ("memory", "logs", "interval")]
    if progress["step"] not in range(2**31) or not all(isinstance(each, dict) for each in tables):
        raise ValueError("it has no usable progress")
    sums = tables[2].get("sums", {})
    sum([progress["minutes"], tables[2].get("start", 0), *tables[1].values(), *sums.values()])


def train_epochs(
    model: keras.Model,
    x: Arrays,
    y: Arrays,
    run: Run,
    after_epoch: Callable[[int, Logs], Logs | None] | None = None,
    augment: Augment | None = None,
    whole_batches: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Trains a compiled model for `run.budget` passes over x and y, each in its own order.

    Args:
        model, options: see `train`, of whose options memory, save and keep are left.
        x, y, augment, whole_batches: see `shuffled_epochs`.
        run: the run, with its folder, seed, batch size and settings.
        after_epoch: called with (epoch, logs) after each pass, counted from 1.

    Returns:
        The facts of the run for its record: epochs, batch size, minutes and the last pass' logs.
    """
    batch, steps = shuffled_epochs(x, y, run.batch_size, run.seed, augment, whole_batches)
    minutes, logs = train(
        model,
        batch,
        run,
        steps=run.budget * steps,
        interval=steps,
        after_interval=after_epoch and (lambda step, logs: after_epoch(step // steps, logs)),
        **options,
    )
    return {
        "epochs": run.budget,
        "batch_size": run.batch_size,
        "train_images": _length(x),
        "minutes": round(minutes, 1),
        "train": logs,
    }


def finish(run: Run) -> None:
    """Removes the checkpoint of a run that was trained with `keep`, once its record is written."""
    (run.folder / "restart.npz").unlink(missing_ok=True)


def steps_per_epoch(x: Arrays, batch_size: int, whole_batches: bool = False) -> int:
    """Steps of one pass over x; the arguments are those of `shuffled_epochs`."""
    return max(1, _length(x) // batch_size) if whole_batches else -(-_length(x) // batch_size)


def evaluate(model: keras.Model, x: Arrays, y: Arrays, batch_size: int = 1000) -> Logs:
    """Returns the loss and the metrics of a compiled model on x and y as a dict."""
    if model.test_function is None:
        backends.build_metrics(model, x, y)
    data = backends.feed({"x": x, "y": y}, batch_size)
    data.pop("shuffle")
    return model.evaluate(**data, verbose=0, return_dict=True)


def _length(arrays: Any) -> int:
    return len(keras.tree.flatten(arrays)[0])


def shuffled_epochs(
    x: Arrays,
    y: Arrays,
    batch_size: int,
    seed: int,
    augment: Augment | None = None,
    whole_batches: bool = False,
) -> tuple[Callable[[int], Batch], int]:
    """Batches for passes over a data set, each in its own order.

    Args:
        x, y: arrays, or tuples of arrays, of equal length.
        batch_size, seed: examples in a batch, and the seed of the orders.
        augment: function of (x, y) of one batch and a NumPy generator that returns the changed (x,
            y). It can change x and y together, which a layer of the model cannot.
        whole_batches: leave out the examples that do not fill a batch, others in each epoch. XLA
            then compiles one training step instead of two. Otherwise the last batch may be short.

    Returns:
        (batch, steps): the function that `train` wants, and the number of steps in one epoch.
    """
    steps = steps_per_epoch(x, batch_size, whole_batches)

    @functools.lru_cache(maxsize=1)
    def order(epoch):
        return np.random.default_rng((seed, epoch)).permutation(_length(x))

    def batch(step):
        start = step % steps * batch_size
        index = order(step // steps)[start : start + batch_size]
        found = keras.tree.map_structure(lambda array: array[index], (x, y))
        if augment is not None:
            x_batch, y_batch = found
            found = augment(x_batch, y_batch, np.random.default_rng((seed, step, 1)))
        return dict(zip(("x", "y"), found, strict=True))

    return batch, steps


def _fit_stretch(
    model: keras.Model, batch: Callable[[int], Batch], end: int, progress: "_Progress"
) -> None:
    """Runs `fit` on the next batches up to step `end`, or as many as STRETCH_BYTES hold.

    All have one size: in a data set with a short last batch, TensorFlow would compile every batch
    for a free size, and round differently. The result must not depend on where a run is cut.

    They are joined into one array each. A generator would also work on every backend, but is a
    tenth slower on TensorFlow: its data set returns freed memory to the system at once.
    """
    start = progress.step
    first = batch(start)
    arrays = keras.tree.flatten(first)
    size = len(arrays[0])
    stretch = max(1, min(end - start, STRETCH_BYTES // sum(array.nbytes for array in arrays)))
    following = map(batch, range(start + 1, start + stretch))
    alike = itertools.takewhile(lambda each: _length(each) == size, following)
    joined = keras.tree.map_structure(lambda *parts: np.concatenate(parts), first, *alike)
    progress.stretch_end = start + _length(joined) // size
    if "y" in joined and model.train_function is None:
        backends.build_metrics(model, **joined)
    fed = backends.feed(joined, size, getattr(model, "parts", 1))
    model.fit(**fed, verbose=0, callbacks=[progress])


class _Progress(keras.callbacks.Callback):
    """Counts and shows the steps, averages the logs of an interval, and ends `fit` on a signal."""

    def __init__(self, line, interval, stop):
        super().__init__()
        self.line, self.stop = line, stop
        self.interval_start, self.sums = interval.get("start", line.done), interval.get("sums", {})

    @property
    def step(self):
        """The number of steps done."""
        return self.line.done

    @property
    def interval(self):
        """Start and sums of the interval, from which a continuation computes the mean logs."""
        return {"start": self.interval_start, "sums": self.sums}

    def steps_in(self, seconds):
        """The number of steps that take about `seconds`; 8 while their duration is unknown."""
        return max(1, int(seconds / self.line.seconds_each)) if self.line.seconds_each else 8

    def on_epoch_begin(self, epoch, logs=None):
        self.stretch_start = self.step

    def on_train_batch_end(self, batch, logs=None):
        # Keras counts a last execution with fewer steps as a full one.
        self.line.update(min(self.stretch_start + batch + 1, self.stretch_end), logs)
        if self.stop.requested:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        for name, value in logs.items():
            weighted = float(value) * (self.step - self.stretch_start)
            self.sums[name] = self.sums.get(name, 0.0) + weighted

    def finish_interval(self):
        """Prints a line that remains, and returns the mean logs since the last call."""
        count = max(1, self.step - self.interval_start)
        logs = {name: value / count for name, value in self.sums.items()}
        self.line.keep(logs)
        self.sums, self.interval_start = {}, self.step
        return logs
