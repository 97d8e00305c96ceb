"""Runs of agents: replay memory, progress, log, checkpoints, names of their files.

Keras is imported by the methods that need it, because FrozenLake does not.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lib.files.errors import Stopped
from lib.run import stop
from lib.run.progress import Progress

if TYPE_CHECKING:
    import keras

    from lib.run import program


def suffix(env_id: str, default: str, changed: dict[str, Any], seed: int) -> str:
    """Returns the end of a run's file names, for instance "-CartPole-v1-gamma0.9-seed3".

    It names what differs from the default run: the environment, the `changed` settings {name:
    value}, and the seed of the first run.
    """
    parts = [env_id.replace("/", "-")] if env_id != default else []
    parts += [f"{name}{value}" for name, value in changed.items()]
    parts += [f"seed{seed}"] if seed else []
    return "".join(f"-{part}" for part in parts)


class Memory:
    """The transitions of an agent, whose states have `state_size` numbers."""

    NAMES = ("states", "actions", "rewards", "next_states", "ended")

    def __init__(self, state_size: int) -> None:
        self.size = 0
        shapes = [(1024, state_size) if "states" in name else 1024 for name in self.NAMES]
        self.arrays = [np.empty(*pair) for pair in zip(shapes, "fifff", strict=True)]

    def remember(self, *transition: Any) -> None:
        """Adds a transition in the order of NAMES. The arrays double when they are full."""
        if self.size == len(self.arrays[0]):
            self.arrays = [np.concatenate([array, np.empty_like(array)]) for array in self.arrays]
        for array, value in zip(self.arrays, transition, strict=True):
            array[self.size] = value
        self.size += 1

    def sample(self, batch_size: int, batches: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Returns arrays (batches * batch_size, ...) of batches drawn without repetition."""
        drawn = [rng.choice(self.size, batch_size, replace=False) for _ in range(batches)]
        rows = np.concatenate(drawn)
        return [array[rows] for array in self.arrays]

    def stored(self) -> dict[str, np.ndarray]:
        """Returns a dict of arrays for a checkpoint."""
        return dict(zip(self.NAMES, (a[: self.size] for a in self.arrays), strict=True))

    def restore(self, stored: dict[str, np.ndarray]) -> None:
        """Takes the arrays that `stored` returned; a ValueError if they are of other states."""
        arrays, size = [stored[name] for name in self.NAMES], len(stored["ended"])
        for name, array, own in zip(self.NAMES, arrays, self.arrays, strict=True):
            if array.shape != (size, *own.shape[1:]) or array.dtype != own.dtype:
                raise ValueError(f"the {name} in it are of shape {array.shape} and {array.dtype}")
        self.arrays, self.size = arrays, size


class TrainingRun:
    """One training run: its log, log-SEED.csv, checkpoints, progress line and stop signals.

        with TrainingRun(run, seed, model, rng, settings) as training:
            while training.unfinished:
                ...
                training.add(steps, reward)

    On entering, `--resume` restores the model, the generator and the log from the checkpoint. The
    checkpoint of a finished run remains until the results of all runs are written, so that a
    continuation does not repeat it.

    Args:
        run: of the script, with the number of episodes as its budget.
        seed: of this training run.
        model, rng, memory: everything that changes in the run, for the checkpoint.
        settings: dict of values that must not differ in a continuation.
        every: episodes between two lines of a log.

    Attributes:
        log: a dict for each episode: its number, what `add` got, the mean reward of the last 100
            episodes, seconds, and steps_per_second.
        stopped: whether Ctrl-C or SIGTERM ended the run.
        solved, test, updates: set by the scripts, for `reports`.
    """

    SECONDS_BETWEEN = 20  # checkpoints
    WINDOW = 100  # episodes in a mean reward

    solved: bool
    test: list[float]
    updates: int

    def __init__(
        self,
        run: program.Run,
        seed: int,
        model: keras.Model,
        rng: np.random.Generator,
        settings: dict[str, Any],
        every: int = 100,
        memory: Memory | None = None,
    ) -> None:
        self.seed, self.folder, self.budget, self.resume = seed, run.folder, run.budget, run.resume
        self.model, self.rng, self.settings = model, rng, settings
        self.every, self.memory = every, memory
        self.path = self.folder / f"restart-{seed}.npz"
        self.log: list[dict[str, Any]] = []
        self.steps, self.stopped = 0, False
        self.ended: float | None = None
        self.stop = stop.StopOnSignal("episode")

    def __enter__(self) -> Self:
        self.saved = self.started = time.monotonic()
        self._load()
        self.steps = sum(row["steps"] for row in self.log)
        self.file = (self.folder / f"log-{self.seed}.csv").open("w", newline="")
        self.writer: Any = None
        for row in self.log:
            self._write(row)
        done, title = len(self.log), f"seed {self.seed}: "
        self.progress = Progress("episode", self.budget, done, title)
        self.stop.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.stop.__exit__()
        self.file.close()
        self.ended = time.monotonic()
        if kind is None:
            self._save()
            self.progress.keep(self.shown)
        self.progress.close()

    @property
    def unfinished(self) -> bool:
        """Whether another episode is to be played."""
        return not self.stopped and len(self.log) < self.budget

    @property
    def seconds(self) -> float:
        """Seconds of the run, including the time before a continuation."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def rewards(self) -> list[float]:
        """The reward of each episode."""
        return [row["reward"] for row in self.log]

    def reached(self, goal: float) -> bool:
        """Whether the mean reward of the last WINDOW episodes, all played, is at least `goal`."""
        return len(self.log) >= self.WINDOW and self.log[-1]["mean_reward"] >= goal

    def add(self, steps: int, reward: float, **facts: Any) -> None:
        """Logs an episode; `facts` are further numbers, of which five digits are kept, or texts."""
        self.steps += steps
        reward = round(reward, 3)
        last = [earlier["reward"] for earlier in self.log[1 - self.WINDOW :]] + [reward]
        row = {
            "episode": len(self.log) + 1,
            "steps": steps,
            "reward": reward,
            **{k: v if isinstance(v, (int, str)) else float(f"{v:.5g}") for k, v in facts.items()},
            "mean_reward": round(sum(last) / len(last), 3),
            "seconds": round(self.seconds, 2),
            "steps_per_second": round(self.steps / max(self.seconds, 1e-9)),
        }
        self.log.append(row)
        self._write(row)
        self.progress.update(len(self.log), self.shown)
        if not sys.stdout.isatty() and len(self.log) % self.every == 0 and self.unfinished:
            self.progress.keep(self.shown)
        self.stopped = self.stop.requested
        if time.monotonic() - self.saved >= self.SECONDS_BETWEEN:
            self._save()

    @property
    def shown(self) -> dict[str, float]:
        """The numbers in the progress line."""
        row = self.log[-1] if self.log else {}
        return {name: row[name] for name in ("reward", "mean_reward") if row}

    def _write(self, row):
        if self.writer is None:
            self.writer = csv.DictWriter(self.file, row)
            self.writer.writeheader()
        self.writer.writerow(row)
        self.file.flush()

    def _load(self):
        from lib.run import checkpoints

        if not self.path.exists():
            return
        if not self.resume:
            print(f"Starting again; --resume would continue from the checkpoint '{self.path}'.")
            return
        checkpoints.load_restart(self.path, self.model, self.settings, self._restore)

    def _restore(self, progress, arrays):
        """Takes over a checkpoint; raises an error of any type if it is not one of such a run."""
        for row in progress["log"]:
            float(row["steps"] + row["reward"] + row["mean_reward"])
        self.log = progress["log"]
        self.rng.bit_generator.state = progress["rng"]
        self.started -= progress["seconds"]
        if self.memory is not None:
            self.memory.restore(arrays)

    def _save(self):
        from lib.run import checkpoints

        progress = {"log": self.log, "rng": self.rng.bit_generator.state, "seconds": self.seconds}
        arrays = self.memory.stored() if self.memory is not None else None
        checkpoints.save_restart(self.path, self.model, self.settings, progress, arrays)
        self.saved = time.monotonic()


def run_seeds(
    first: int, seeds: int, train: Callable[[int], TrainingRun]
) -> dict[int, TrainingRun]:
    """Returns {seed: `train(seed)`} for consecutive seeds; Stopped if a signal ended a run."""
    runs = {}
    for seed in range(first, first + seeds):
        run = runs[seed] = train(seed)
        if run.stopped:
            raise Stopped(
                f"Stopped in the run with seed {seed} after episode {len(run.log)}; "
                f"log and checkpoint are in '{run.folder}'. {stop.how_to_resume()}"
            )
    return runs
