"""Videos of agents, as gif files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from lib.files.whole import write_whole
from lib.rl import environments

# Plays an episode in an environment, with random numbers, and returns the reward.
Play = Callable[[gym.Env, np.random.Generator], float]


def filmed(env_id: str, wanted: bool, **options: Any) -> gym.Env | None:
    """Returns the environment with `options` for `record`, or None if no video is wanted.

    Raises a UserError if the environment has no pictures.
    """
    return environments.make(env_id, render_mode="rgb_array", **options) if wanted else None


def record(play: Play, env: gym.Env | None, seed: int, folder: Path) -> None:
    """Writes agent.gif into a folder, a video of what `play` plays.

    Args:
        play: plays one or more episodes.
        env: from `filmed`; None to write nothing.
        seed: of the generator and of random actions.
        folder: of the file.
    """
    if env is None:
        return
    env = gym.wrappers.RenderCollection(env, reset_clean=False)
    env.action_space.seed(seed)
    reward = play(env, np.random.default_rng(seed))
    path = folder / "agent.gif"
    write_video(path, env.render(), env.metadata.get("render_fps", 30))
    print(f"{path}: reward {reward:.1f}")


def write_video(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Writes frames, uint8 arrays (height, width, 3), as a gif.

    With more than 20 frames a second, every second one is left out, and the size is halved.
    """
    # Each pixel is the mean of four: without three of them, lines would have gaps.
    skip = 2 if fps > 20 else 1
    images = [Image.fromarray(frame).reduce(skip) for frame in frames[::skip]]
    write_gif(path, images, milliseconds=1000 * skip / fps)


def write_gif(path: Path, frames: Sequence[Any], milliseconds: float = 40) -> None:
    """Writes pictures, Pillow images or uint8 arrays (height, width, 3), as one gif."""
    images = [f if isinstance(f, Image.Image) else Image.fromarray(f) for f in frames]

    def write(temporary):
        more = images[1:]
        images[0].save(temporary, save_all=True, append_images=more, duration=milliseconds, loop=0)

    write_whole(path, write)
