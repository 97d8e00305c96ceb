"""Plumbing of the reinforcement learning scripts: environments, progress, Ctrl-C, logs, gifs."""

import csv
import sys
import time
import warnings

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

from lib import plots
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
    """

    def __init__(self, episodes, title="", every=100):
        self.episodes = episodes
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
        left = int(seconds / episode * (self.episodes - episode))
        values = "  ".join(
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4g}"
            for name, value in numbers.items()
        )
        text = (
            f"{self.title}episode {episode}/{self.episodes}  {values}  "
            f"{seconds:.0f} s, at most {left // 60}:{left % 60:02d} left"
        )
        print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text, end=end, flush=True)


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
