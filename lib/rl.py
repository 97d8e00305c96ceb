"""Plumbing of the reinforcement learning scripts: environments, progress, restarts, logs, gifs.

Keras and Matplotlib are imported by the functions that need them: FrozenLake needs neither.
"""

import csv
import sys
import time
import warnings

import gymnasium as gym
import numpy as np

from lib.cli import UserError
from lib.files import write_whole


def make(env_id, **options):
    """Returns the environment `env_id`.

    Raises:
        UserError: if Gymnasium does not know it, cannot load it, or it does not take `options`.
    """
    with warnings.catch_warnings():
        # The book's versions of some environments are still there, with a word of warning.
        warnings.simplefilter("ignore")
        try:
            env = gym.make(env_id, **options)
            if env.render_mode is not None:
                # What is missing for the pictures shows with the first of them only.
                env.reset()
                env.render()
            return env
        except (gym.error.Error, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"cannot make the environment '{env_id}': {reason}") from None


class Progress:
    """A line with episode, numbers and time left: rewritten in a terminal, else some to stay.

    Args:
        episodes: how many there are at most.
        title: a short text before the line.
        every: episodes between two lines where the output is no terminal.
        first: episodes that an earlier process has done.
    """

    def __init__(self, episodes, title="", every=100, first=0):
        self.episodes = episodes
        self.first = first
        self.title = title
        self.every = every
        self.started = self.shown = time.time()

    def update(self, episode, **numbers):
        """Tells of `episode`, counted from 1, if it is time to."""
        now = time.time()
        if sys.stdout.isatty():
            if now - self.shown > 0.5:
                self._print(episode, numbers, end="")
        elif episode % self.every == 0 and episode < self.episodes:
            self._print(episode, numbers, end="\n")

    def finish(self, episode, **numbers):
        """Prints the line to stay."""
        self._print(episode, numbers, end="\n")

    def _print(self, episode, numbers, end):
        self.shown = time.time()
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


class Restart:
    """The restart point of a run of episodes, from which `--resume` goes on as if nothing had been.

    A run asks `save_if_due` after each episode. The file stays until `remove_restarts`, so that a
    continuation finds finished runs finished.

    Args:
        folder: of the file.
        seed: of the run.
        model: see `training.save_restart`.
        rng: the NumPy generator that everything in the run is drawn from.
        settings: see `training.save_restart`.
    """

    SECONDS_BETWEEN = 20

    def __init__(self, folder, seed, model, rng, settings):
        self.path = _restart_path(folder, seed)
        self.seed = seed
        self.model = model
        self.rng = rng
        self.settings = settings
        self.saved = self.started = time.time()

    def load(self, args):
        """Restores model and generator, and returns (log, arrays): what `save` was given.

        Both are empty for a run that begins: without `--resume`, or with a later seed than that of
        the interrupted one.

        Args:
            args: the parsed flags resume and seed, that of the first run.

        Raises:
            UserError: see `training.load_restart`.
        """
        from lib import training

        there = self.path.exists()
        if not args.resume and there:
            print(f"Starting anew; --resume would go on from the restart point '{self.path}'.")
        if not args.resume or (self.seed > args.seed and not there):
            return [], {}
        progress, arrays = training.load_restart(self.path, self.model, self.settings)
        self.rng.bit_generator.state = progress["rng"]
        self.started -= progress["seconds"]
        return progress["log"], arrays

    def save(self, log, arrays=None):
        """Writes the file.

        Args:
            log: a dict of json values for each episode so far.
            arrays: function that returns a dict of further arrays to keep.
        """
        from lib import training

        progress = {"log": log, "rng": self.rng.bit_generator.state, "seconds": self.seconds}
        kept = arrays() if arrays is not None else None
        training.save_restart(self.path, self.model, self.settings, progress, kept)
        self.saved = time.time()

    def save_if_due(self, log, arrays=None):
        """Calls `save` if the last file is old enough."""
        if time.time() - self.saved >= self.SECONDS_BETWEEN:
            self.save(log, arrays)

    @property
    def seconds(self):
        """Spent on the run so far, in all its continuations."""
        return time.time() - self.started


def _restart_path(folder, seed):
    return folder / f"restart-{seed}.npz"


def remove_restarts(folder, seeds):
    """Removes the restart points of the runs with these seeds, once all are done."""
    for seed in seeds:
        _restart_path(folder, seed).unlink()


def write_csv(path, rows):
    """Writes dicts with the same keys as a table with a header, whole or not at all."""

    def write(temporary):
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def write_gif(path, frames, milliseconds=40):
    """Writes pictures, Pillow images or uint8 arrays (height, width, 3), as one moving picture."""
    from PIL import Image

    images = [f if isinstance(f, Image.Image) else Image.fromarray(f) for f in frames]

    def write(temporary):
        images[0].save(
            temporary, save_all=True, append_images=images[1:], duration=milliseconds, loop=0
        )

    write_whole(path, write)


def running_mean(values, window):
    """The mean of the last `window` values, or of as many as there are, at each place."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def reward_curves(runs, path, window=100, goal=None, show=False):
    """Draws the reward of each episode, and its running mean, for one or more runs.

    Args:
        runs: dict of a run's name to the rewards of its episodes.
        path: the PNG file.
        window: episodes in the running mean.
        goal: a mean reward to mark.
        show: also open a window.
    """
    import matplotlib.pyplot as plt

    from lib import plots

    figure, axis = plt.subplots(figsize=(6, 3.5))
    for number, (name, rewards) in enumerate(runs.items()):
        episodes = np.arange(1, len(rewards) + 1)
        color = f"C{number % 10}"
        axis.plot(episodes, rewards, color=color, linewidth=0.5, alpha=0.3)
        axis.plot(episodes, running_mean(rewards, window), color=color, label=name)
    if goal is not None:
        axis.axhline(goal, color="gray", linestyle=":")
    axis.set(xlabel="episode", ylabel=f"reward, and mean of the last {window}")
    axis.legend(fontsize=7, ncols=2)
    plots.finish(figure, path, show)


def seed_bands(counts, rewards, path, window=100, goal=None, show=False):
    """Draws a count and the mean reward over the episodes, with the spread over several runs.

    Lines are the median of the runs, bands reach from the lowest to the highest.

    Args:
        counts: for each run, how many episodes have succeeded so far, at each episode.
        rewards: for each run, the reward of each episode.
        path: the PNG file.
        window: episodes in the running mean of the rewards.
        goal: a mean reward to mark.
        show: also open a window.
    """
    import matplotlib.pyplot as plt

    from lib import plots

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    means = [running_mean(values, window) for values in rewards]
    for axis, runs in zip(axes, (counts, means), strict=True):
        runs = np.array(runs)
        episodes = np.arange(1, runs.shape[1] + 1)
        axis.fill_between(episodes, runs.min(axis=0), runs.max(axis=0), alpha=0.3, linewidth=0)
        axis.plot(episodes, np.median(runs, axis=0))
        axis.set_xlabel("episode")
    axes[0].set_ylabel("episodes solved so far")
    axes[1].set_ylabel(f"mean reward of the last {window}")
    if goal is not None:
        axes[1].axhline(goal, color="gray", linestyle=":")
    plots.finish(figure, path, show)
