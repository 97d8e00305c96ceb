"""Gymnasium's environments, with mistakes as one line."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np

from lib.files.errors import UserError, one_line


def make(env_id: str, **options: Any) -> gym.Env:
    """Returns the environment `env_id`.

    Raises a UserError if Gymnasium does not know it, cannot load it, or it does not take `options`;
    or if it finds no display to show it on.
    """
    mode = options.get("render_mode")
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if mode == "human" and sys.platform == "linux" and not any(map(os.environ.get, displays)):
        # SDL would crash the process.
        raise UserError("--show: found no display; use --record, which writes a video")
    if mode == "rgb_array":
        # Pictures do not need a window; without this, SDL complains if a display is missing.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings():
        # Gymnasium still has the book's versions of some environments, with a warning.
        warnings.simplefilter("ignore")
        try:
            env = gym.make(env_id, **options)
            if env.render_mode is not None:
                # A missing package for the pictures shows only with the first picture.
                env.reset()
                env.render()
            return env
        except (gym.error.Error, ImportError, TypeError) as error:
            reason = one_line(error)
            raise UserError(f"cannot make the environment '{env_id}': {reason}") from None


def make_continuous(env_id: str, **options: Any) -> gym.Env:
    """`make`, refusing all but a bounded vector as state and one number as action."""
    env = make(env_id, **options)
    states, actions = env.observation_space, env.action_space
    if not isinstance(actions, gym.spaces.Box) or actions.shape != (1,):
        raise UserError(f"'{env_id}' has the actions {actions}; expected one number")
    _check_states(env_id, states)
    if not (np.isfinite(states.low).all() and np.isfinite(states.high).all()):
        raise UserError(f"'{env_id}' has states without bounds; the encoder needs bounds")
    return env


def make_discrete(env_id: str, **options: Any) -> gym.Env:
    """`make`, refusing all but a vector as state and a few actions."""
    env = make(env_id, **options)
    if not isinstance(env.action_space, gym.spaces.Discrete):
        raise UserError(f"'{env_id}' has the actions {env.action_space}; expected discrete ones")
    _check_states(env_id, env.observation_space)
    return env


def _check_states(env_id, states):
    if not isinstance(states, gym.spaces.Box) or len(states.shape) != 1:
        raise UserError(f"'{env_id}' has the states {states}; expected vectors of numbers")


def goal(env: gym.Env) -> float:
    """Returns the mean reward at which the environment's task is solved, infinity without one."""
    return float("inf") if env.spec.reward_threshold is None else env.spec.reward_threshold
