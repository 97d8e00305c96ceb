"""Runs of agents: environments, replay memory, progress, log, checkpoints, names of their files.

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

if TYPE_CHECKING:
    import keras

    from lib.run import program


def suffix(env_id: str, default: str, changed: dict[str, Any], seed: int) -> str:
    """Returns the end of a run's file names: what differs from the default run.

    Args:
        env_id: the environment.
        default: the default environment.
        changed: dict of the settings that flags changed.
        seed: of the first run.

    Returns:
        For instance "-CartPole-v1-gamma0.9-seed3", or "" for the default run.
    """
    parts = [env_id.replace("/", "-")] if env_id != default else []
    parts += [f"{name}{value}" for name, value in changed.items()]
    parts += [f"seed{seed}"] if seed else []
    return "".join(f"-{part}" for part in parts)


class Memory:
    """The transitions of an agent: state, action, reward, next state, and whether it ended.

    Args:
        state_size: numbers in a state.
    """

    NAMES = ("states", "actions", "rewards", "next_states", "ended")

    def __init__(self, state_size: int) -> None:
        self.size = 0
        shapes, kinds = ((state_size,), (), (), (state_size,), ()), "fifff"
        pairs = zip(shapes, kinds, strict=True)
        self.arrays = [np.empty((1024, *shape), kind) for shape, kind in pairs]

    def remember(self, *transition: Any) -> None:
        """Adds a transition. The arrays double when they are full."""
        if self.size == len(self.arrays[0]):
            self.arrays = [np.concatenate([array, np.empty_like(array)]) for array in self.arrays]
        for array, value in zip(self.arrays, transition, strict=True):
            array[self.size] = value
        self.size += 1

    def sample(self, batch_size: int, batches: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Draws batches, each without repetition.

        Returns:
            list: The arrays states, actions, rewards, next states and ended, each with
            `batches * batch_size` rows.
        """
        drawn = [rng.choice(self.size, batch_size, replace=False) for _ in range(batches)]
        rows = np.concatenate(drawn)
        return [array[rows] for array in self.arrays]

    def stored(self) -> dict[str, np.ndarray]:
        """Returns a dict of arrays for a checkpoint."""
        return dict(zip(self.NAMES, (a[: self.size] for a in self.arrays), strict=True))

    def restore(self, stored: dict[str, np.ndarray]) -> None:
        """Restores the arrays that `stored` returned.

        Raises:
            ValueError: if they are the arrays of other states.
        """
        arrays, size = [stored[name] for name in self.NAMES], len(stored["ended"])
        for name, array, own in zip(self.NAMES, arrays, self.arrays, strict=True):
            if array.shape != (size, *own.shape[1:]) or array.dtype != own.dtype:
                raise ValueError(f"the {name} in it are of shape {array.shape} and {array.dtype}")
        self.arrays, self.size = arrays, size


class ProgressLine:
    """A line with episode, numbers and time left.

    A terminal shows one line that changes. Elsewhere a line is printed every `every` episodes.

    Args:
        episodes: the largest number of episodes.
        title: a short text before the line.
        every: episodes between two lines where the output is not a terminal.
        first: episodes that an earlier process has done.
    """

    def __init__(self, episodes: int, title: str = "", every: int = 100, first: int = 0) -> None:
        self.episodes = episodes
        self.first = first
        self.title = title
        self.every = every
        self.started = self.shown = time.monotonic()

    def update(self, episode: int, **numbers: float) -> None:
        """Prints the line for `episode`, counted from 1, if it is due."""
        now = time.monotonic()
        if sys.stdout.isatty():
            if now - self.shown > 0.5:
                self._print(episode, numbers, end="")
        elif episode % self.every == 0 and episode < self.episodes:
            self._print(episode, numbers, end="\n")

    def finish(self, episode: int, **numbers: float) -> None:
        """Prints the last line."""
        self._print(episode, numbers, end="\n")

    def _print(self, episode, numbers, end):
        self.shown = time.monotonic()
        seconds = self.shown - self.started
        done = episode - self.first
        left = int(seconds / done * (self.episodes - episode)) if done else 0
        values = "  ".join(
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4g}"
            for name, value in numbers.items()
        )
        text = (
            f"{self.title}episode {episode}/{self.episodes}  {values}  "
            f"{seconds:.0f} s, at most {left // 60}:{left % 60:02d} left"
        )
        print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text, end=end, flush=True)


class TrainingRun:
    """One training run: its log, log-SEED.csv, checkpoints, progress line and stop signals.

        with TrainingRun(run, seed, models, rng, settings) as training:
            while training.unfinished:
                ...
                training.add(steps=steps, reward=reward)

    On entering, `--resume` restores the models, the generator and the log from the checkpoint. The
    checkpoint of a finished run remains until `finish`, so that a continuation does not repeat it.

    Args:
        run: of the script, with the number of episodes as its budget. Its seed is that of the first
            training run.
        seed: of this run.
        models: list of models, whose variables and optimizers are in the checkpoint.
        rng: the NumPy generator of everything random in the run.
        settings: dict of values that must not differ in a continuation.
        every: see `ProgressLine`.
        memory: an object with further arrays for the checkpoint: `stored()` returns a dict of them,
            and `restore(dict)` takes them back.

    Attributes:
        log: a dict for each episode: its number, what `add` got, the mean reward of the last 100
            episodes, seconds, and steps_per_second.
        stopped: whether Ctrl-C or SIGTERM ended the run.
    """

    SECONDS_BETWEEN = 20  # checkpoints
    WINDOW = 100  # episodes in a mean reward

    log: list[dict[str, Any]]
    ended: float | None
    # Set by the scripts, for the summaries of `reports`.
    solved: bool
    test: list[float]
    updates: int

    def __init__(
        self,
        run: program.Run,
        seed: int,
        models: list[keras.Model],
        rng: np.random.Generator,
        settings: dict[str, Any],
        every: int = 100,
        memory: Memory | None = None,
    ) -> None:
        self.seed, self.folder, self.budget = seed, run.folder, run.budget
        self.resume, self.first = run.resume, seed == run.seed
        self.models, self.rng, self.settings = models, rng, settings
        self.every, self.memory = every, memory
        self.path = self.folder / f"restart-{seed}.npz"
        self.log, self.steps, self.stopped, self.ended = [], 0, False, None
        self.stop = stop.StopOnSignal("episode")

    def __enter__(self) -> Self:
        self.saved = self.started = time.monotonic()
        self._load()
        self.steps = sum(row["steps"] for row in self.log)
        self.file = (self.folder / f"log-{self.seed}.csv").open("w", newline="")
        self.writer: Any = None
        for row in self.log:
            self._write(row)
        title = f"seed {self.seed}: "
        self.progress = ProgressLine(self.budget, title, self.every, first=len(self.log))
        self.stop.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.stop.__exit__()
        self.file.close()
        self.ended = time.monotonic()
        if kind is None:
            self._save()
            self.progress.finish(len(self.log), **self.shown)

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

    @property
    def shown(self) -> dict[str, float]:
        """The numbers in the progress line."""
        last = self.log[-1] if self.log else {}
        return {name: last[name] for name in ("reward", "mean_reward") if name in last}

    def reached(self, goal: float) -> bool:
        """Whether the mean reward of the last WINDOW episodes, all played, is at least `goal`."""
        return len(self.log) >= self.WINDOW and self.log[-1]["mean_reward"] >= goal

    def add(self, **row: Any) -> None:
        """Logs an episode; `row` has its steps and reward, and further numbers or empty texts."""
        self.steps += row["steps"]
        last = [*self.rewards[1 - self.WINDOW :], row["reward"]]
        row = {
            "episode": len(self.log) + 1,
            **row,
            "mean_reward": round(sum(last) / len(last), 3),
            "seconds": round(self.seconds, 2),
            "steps_per_second": round(self.steps / max(self.seconds, 1e-9)),
        }
        self.log.append(row)
        self._write(row)
        self.progress.update(len(self.log), **self.shown)
        self.stopped = self.stop.requested
        if time.monotonic() - self.saved >= self.SECONDS_BETWEEN:
            self._save()

    def finish(self) -> None:
        """Removes the checkpoint, once the results of all runs have been written."""
        self.path.unlink()

    def _write(self, row):
        if self.writer is None:
            self.writer = csv.DictWriter(self.file, row)
            self.writer.writeheader()
        self.writer.writerow(row)
        self.file.flush()

    def _load(self):
        from lib.run import checkpoints

        there = self.path.exists()
        if not self.resume and there:
            print(f"Starting again; --resume would continue from the checkpoint '{self.path}'.")
        if not self.resume or not (self.first or there):
            return
        checkpoints.load_restart(self.path, self.models, self.settings, self._restore)

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
        checkpoints.save_restart(self.path, self.models, self.settings, progress, arrays)
        self.saved = time.monotonic()


def run_seeds(
    first: int, seeds: int, train: Callable[[int], TrainingRun]
) -> dict[int, TrainingRun]:
    """Returns {seed: `train(seed)`} for some consecutive seeds.

    Raises:
        Stopped: if a signal ended a run.
    """
    runs = {}
    for seed in range(first, first + seeds):
        run = runs[seed] = train(seed)
        if run.stopped:
            raise Stopped(
                f"Stopped in the run with seed {seed} after episode {len(run.log)}; "
                f"log and checkpoint are in '{run.folder}'. {stop.how_to_resume()}"
            )
    return runs
