"""Films what an agent has learned after some episodes, side by side in one gif for each chapter.

    python3 -m tools.learning                 # chapters 9 and 10, some minutes each
    python3 -m tools.learning --chapters 9    # one of them

Trains DQN on CartPole and A2C on MountainCarContinuous with the default settings and seed 0. Copies
of the networks are kept after 0, 20, 60 and all episodes. Each copy then plays one episode without
random actions or noise, from the same start. The gifs are figures/learning.gif of the chapters.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.run import flags, kinds, program
from tools.scripts import ROOT, load_script

CART = "chapter9-drl/dqn-cartpole-9.6.1.py"
CAR = "chapter10-policy/policygradient-car-10.1.1.py"
AFTER = (0, 20, 60)  # episodes, besides all of them
SECONDS = 10  # of an episode that are shown at most
FRAMES = 60
SHRINK = 3  # of 600 x 400 pixels
LABEL = 16  # pixels above a picture


class Snapshots:
    """Keeps a copy of an agent's weights after some of its training episodes.

    Args:
        script: module whose `run_episode` plays the training episodes of `train`.
        weights: function of the arguments of `run_episode` that returns what is kept, or None for
            an episode that is not part of the training.
    """

    def __init__(self, script: Any, weights: Callable[..., Any]) -> None:
        self.kept: dict[int, Any] = {}
        self.episodes = 0
        run_episode = script.run_episode

        def counted(*args, **kwargs):
            now = weights(*args, **kwargs)
            if now is not None:
                if self.episodes in AFTER:
                    self.kept[self.episodes] = [array.copy() for array in now]
                self.episodes += 1
            return run_episode(*args, **kwargs)

        script.run_episode = counted


def episode(play: Callable[..., float], env_id: str) -> list[np.ndarray]:
    """Returns the frames of one episode, uint8 arrays (height, width, 3), up to SECONDS."""
    import gymnasium as gym

    from lib.rl import environments

    env = gym.wrappers.RenderCollection(environments.make(env_id, render_mode="rgb_array"))
    play(env, np.random.default_rng(0))
    frames = env.render()
    env.close()
    return frames[: SECONDS * env.metadata["render_fps"]]


def side_by_side(episodes: Mapping[str, Sequence[np.ndarray]]) -> list[Any]:
    """Returns pictures with the episodes {label: frames} next to each other.

    An episode that is shorter than the longest one stays at its last frame.
    """
    from PIL import Image, ImageDraw

    longest = max(map(len, episodes.values()))
    pictures = []
    for k in np.linspace(0, longest - 1, min(FRAMES, longest)).round().astype(int):
        panels = [
            Image.fromarray(frames[min(k, len(frames) - 1)]).reduce(SHRINK)
            for frames in episodes.values()
        ]
        width, height = panels[0].size
        picture = Image.new("RGB", (width * len(panels), height + LABEL), "white")
        draw = ImageDraw.Draw(picture)
        for i, (label, panel) in enumerate(zip(episodes, panels, strict=True)):
            picture.paste(panel, (i * width, LABEL))
            draw.text(((i + 0.5) * width, 2), label, fill="black", anchor="ma")
            draw.line([(i * width, 0), (i * width, height + LABEL)], fill="lightgray")
        # Few colors and no dithering make small files: the pictures are drawn with a few colors.
        pictures.append(picture.quantize(32, dither=Image.Dither.NONE))
    return pictures


def cart_episodes(folder: Path) -> dict[int, list[np.ndarray]]:
    """Trains DQN; returns {number of training episodes: frames}."""
    script: Any = load_script(CART)
    script.TEST_EPISODES = 0
    kept = Snapshots(script, lambda env, agent, epsilon, rng, memory=None: memory and agent.weights)
    run = program.Run(script=ROOT / CART, folder=folder, output_dir=folder, budget=script.EPISODES)
    training = script.train(run, 0, script.Settings(), "dqn", script.ENV_ID)
    agent = training.play.__self__
    frames = {kept.episodes: episode(agent.play, script.ENV_ID)}
    for count, agent.weights in kept.kept.items():
        frames[count] = episode(agent.play, script.ENV_ID)
    return frames


def car_episodes(folder: Path) -> dict[int, list[np.ndarray]]:
    """Trains A2C; returns {number of training episodes: frames}."""
    from lib.files import weights
    from lib.rl import state_encoder

    script: Any = load_script(CAR)
    script.TEST_EPISODES = 0
    kept = Snapshots(script, lambda env, policy, rng, noise=None: noise and policy.actor_weights)
    run = program.Run(script=ROOT / CAR, folder=folder, output_dir=folder, budget=script.EPISODES)
    encoder = state_encoder.build_encoder(2)
    weights.load(encoder, weights.find("car_encoder.h5", ROOT / CAR))
    settings = replace(script.Settings(), **script.A2C)
    agent = script.make_agent(run, 0, "a2c", encoder, settings, script.ENV_ID, {})
    script.train(run, 0, agent, script.ENV_ID)
    frames = {kept.episodes: episode(agent.drive, script.ENV_ID)}
    for count, agent.policy.actor_weights in kept.kept.items():
        frames[count] = episode(agent.drive, script.ENV_ID)
    return frames


CHAPTERS = {9: ("chapter9-drl", cart_episodes), 10: ("chapter10-policy", car_episodes)}


def main(args: argparse.Namespace) -> None:
    """Trains the agents and writes the gifs."""
    from lib.rl import video

    for chapter in args.chapters:
        folder, train = CHAPTERS[chapter]
        with tempfile.TemporaryDirectory() as temporary:
            frames = train(Path(temporary))
        shown = {f"after {n:,} episodes": frames[n] for n in sorted(frames)}
        path = ROOT / folder / "figures" / "learning.gif"
        video.write_gif(path, side_by_side(shown), milliseconds=100)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument(
        "--chapters",
        type=kinds.reader(
            lambda text: [int(part) for part in text.split(",")],
            lambda numbers: set(numbers) <= set(CHAPTERS),
            "9, 10 or 9,10",
        ),
        default=list(CHAPTERS),
        help="(default 9,10)",
    )
    args = parser.parse_args(sys.argv[1:])
    program.load_keras()
    program.run(main, args)
