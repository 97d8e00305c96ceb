"""FrozenLake around the agent: the environment, table files, tests and exact values.

A policy is an array of action probabilities (cells, actions). Nothing here needs Keras.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from lib.files.arrays import read_npy
from lib.files.errors import UserError, one_line
from lib.rl import environments

ENV_ID = "FrozenLake-v1"
LARGEST_TABLE = 2**20  # bytes of a file


def known(env_id: str) -> str:
    """Returns the name that Gymnasium has for the lake."""
    if env_id == "FrozenLake-v0":
        print(f"Gymnasium has no FrozenLake-v0: using {ENV_ID}, which is the same lake.")
        return ENV_ID
    return env_id


def make_lake(env_id: str, slippery: bool, **options: Any) -> gym.Env:
    """Returns the environment; a UserError without a table of probabilities or a time limit."""
    env = environments.make(env_id, is_slippery=slippery, **options)
    if not hasattr(env.unwrapped, "P") or env.spec.max_episode_steps is None:
        raise UserError(f"'{env_id}' is not a lake: it has no table of probabilities or no limit")
    return env


def load_table(path: Path, env: gym.Env) -> np.ndarray:
    """Reads a Q-table (cells, actions); a UserError if it is broken or of another lake."""
    expected = (int(env.observation_space.n), int(env.action_space.n))
    try:
        table = read_npy(path, most=LARGEST_TABLE)
    except Exception as error:
        # A damaged file can make NumPy raise any error.
        raise UserError(
            f"'{path}' is broken: expected a table in .npy, found: {one_line(error)[:200]}"
        ) from None
    if table.shape != expected:
        raise UserError(f"'{path}' has the shape {table.shape}, this lake needs {expected}")
    if not np.isfinite(table).all():
        raise UserError(f"'{path}' is broken: expected finite numbers in each cell of the table")
    return table


def greedy(table: np.ndarray) -> np.ndarray:
    """Returns the policy of a Q-table: probability 1 for the first maximum of each cell."""
    return np.eye(table.shape[1])[table.argmax(axis=1)]


def play(
    env: gym.Env,
    policy: np.ndarray,
    episodes: int,
    seed: int,
    watch: Callable[[gym.Env, float, bool], None] | None = None,
) -> float:
    """Plays episodes and returns the share of them that reach the goal.

    Args:
        env, policy, episodes: the lake, its policy, and the number of episodes.
        seed: of the lake and of the actions.
        watch: function (env, reward, done), called after each step.
    """
    rng = np.random.default_rng(seed)
    thresholds = policy.cumsum(axis=1)
    first_seed: int | None = int(rng.integers(2**31))
    wins = 0
    for _ in range(episodes):
        state, _ = env.reset(seed=first_seed)
        first_seed, done = None, False
        while not done:
            action = np.searchsorted(thresholds[state], rng.random(), side="right")
            state, reward, terminated, truncated, _ = env.step(int(action))
            done = terminated or truncated
            if watch is not None:
                watch(env, reward, done)
        wins += reward > 0
    return wins / episodes


def success_within(transitions: Any, steps: int, policy: np.ndarray | None = None) -> np.ndarray:
    """Returns the probability (cells,) to reach the goal, by dynamic programming.

    Args:
        transitions: env.unwrapped.P, {cell: {action: [(probability, next cell, reward, ended)]}}.
        steps: the time limit.
        policy: None for the best action for each cell and remaining time.
    """
    value = np.zeros(len(transitions))

    def after(outcomes):
        return sum(p * (reward + (not ended) * value[s]) for p, s, reward, ended in outcomes)

    for _ in range(steps):
        of_actions = np.array(
            [[after(outcomes) for outcomes in cell.values()] for cell in transitions.values()]
        )
        value = of_actions.max(axis=1) if policy is None else (policy * of_actions).sum(axis=1)
    return value


def evaluate(env: gym.Env, policy: np.ndarray, episodes: int, seed: int) -> dict[str, float]:
    """Measures a policy by episodes of `env.step`, and computes and prints its exact success.

    Returns:
        dict: test_success and test_episodes; exact_success, the probability that the policy
            reaches the goal within the time limit; optimum, that of the best policy.
    """
    steps, start = env.spec.max_episode_steps, env.unwrapped.initial_state_distrib
    exact, optimum = (
        float(start @ success_within(env.unwrapped.P, steps, each)) for each in (policy, None)
    )
    measured = play(env, policy, episodes, seed)
    print(
        f"goal reached in {100 * measured:.2f} % of {episodes:,} test episodes "
        f"(exactly {100 * exact:.2f} %, best possible {100 * optimum:.2f} %)"
    )
    shares = {"test_success": measured, "exact_success": exact, "optimum": optimum}
    return {
        "test_episodes": episodes,
        **{name: round(share, 4) for name, share in shares.items()},
    }
