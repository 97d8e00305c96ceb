"""Videos of agents."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from lib.files.errors import UserError
from lib.files.whole import write_whole
from lib.rl import environments

# Plays an episode in an environment, with random numbers, and returns the reward.
Play = Callable[[gym.Env, np.random.Generator], float]


def filmed(env_id: str, kind: str | None, **options: Any) -> gym.Env | None:
    """Returns the environment with `options` for `record`, or None without a kind.

    Raises a UserError if the environment has no pictures or ffmpeg is missing.
    """
    if kind is None:
        return None
    if kind == "mp4" and shutil.which("ffmpeg") is None:
        raise UserError("--record=mp4 needs ffmpeg, which is not installed; use --record=gif")
    return environments.make(env_id, render_mode="rgb_array", **options)


def record(play: Play, env: gym.Env | None, seed: int, folder: Path, kind: str | None) -> None:
    """Writes a video of what `play` plays.

    Args:
        play: plays one or more episodes.
        env: from `filmed`; None to write nothing.
        seed: of the generator and of random actions.
        folder: of the file, which is called agent.
        kind: "mp4", "gif", or "auto": mp4, or gif if ffmpeg is missing.
    """
    if env is None:
        return
    env = gym.wrappers.RenderCollection(env, reset_clean=False)
    env.action_space.seed(seed)
    reward = play(env, np.random.default_rng(seed))
    fps = env.metadata.get("render_fps", 30)
    path = write_video(folder / "agent", env.render(), fps, kind or "auto")
    print(f"{path}: reward {reward:.1f}")


def write_video(stem: Path, frames: Sequence[np.ndarray], fps: float, kind: str = "auto") -> Path:
    """Writes frames, uint8 arrays (height, width, 3), as a video, and returns its path.

    `stem` is the path without its ending, which the kind gives, see `record`.
    """
    if kind == "gif" or (kind == "auto" and shutil.which("ffmpeg") is None):
        from PIL import Image

        # For a gif of many frames, half of them at half the size are enough. Each pixel is the mean
        # of four: without three of them, lines would have gaps.
        skip = 2 if fps > 20 else 1
        images = [Image.fromarray(frame).reduce(skip) for frame in frames[::skip]]
        path = stem.with_name(f"{stem.name}.gif")
        write_gif(path, images, milliseconds=1000 * skip / fps)
        return path
    height, width, _ = frames[0].shape
    path = stem.with_name(f"{stem.name}.mp4")
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    # Players expect 4:2:0 color, which needs even sizes.
    command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]

    def write(temporary):
        data = b"".join(frame.tobytes() for frame in frames)
        done = subprocess.run([*command, str(temporary)], input=data, capture_output=True)
        if done.returncode:
            raise UserError(f"ffmpeg cannot write '{path}': {done.stderr.decode().strip()}")

    write_whole(path, write)
    return path


def write_gif(path: Path, frames: Sequence[Any], milliseconds: float = 40) -> None:
    """Writes pictures, Pillow images or uint8 arrays (height, width, 3), as one gif."""
    from PIL import Image

    images = [f if isinstance(f, Image.Image) else Image.fromarray(f) for f in frames]
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": images[1:],
        "duration": milliseconds,
        "loop": 0,
    }
    write_whole(path, lambda temporary: images[0].save(temporary, **options))
