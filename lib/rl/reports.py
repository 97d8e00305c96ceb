"""Results of agents: tests, summaries of runs, and figures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.files.whole import write_whole
from lib.measure.intervals import format_interval, with_interval
from lib.rl import environments
from lib.rl.agent_runs import TrainingRun
from lib.rl.video import Play
from lib.run import program
from lib.run.progress import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
# {label: rewards (episodes,), one sequence per seed}.
Rewards = Mapping[str, Sequence[Sequence[float] | np.ndarray]]
Runs = dict[int, TrainingRun]  # one per seed


def test(env_id: str, play: Play, episodes: int, seed: int, show: bool = False) -> list[float]:
    """Plays test episodes and returns their rewards.

    Args:
        env_id, play, episodes: the environment, what plays one episode, and the number of episodes.
        seed: of the run; the test draws other numbers than the training with this seed.
        show: watch in a window.
    """
    env = environments.make(env_id, render_mode="human" if show else None)
    rng = np.random.default_rng((seed, 1))
    rewards = [play(env, rng) for _ in range(episodes)]
    env.close()
    return rewards


def evaluate(run: program.Run, env_id: str, play: Play, episodes: int, **facts: Any) -> None:
    """Tests an agent with loaded weights, see `test`, and writes evaluation.json with `facts`."""
    numbers = with_interval(test(env_id, play, episodes, run.seed, run.show))
    print(f"mean reward of {episodes} test episodes: {format_interval(numbers)}")
    run.record(
        "evaluation.json", env_id=env_id, test_episodes=episodes, test_reward=numbers, **facts
    )


def policies(run: program.Run, runs: Runs, goal: float, **facts: Any) -> None:
    """Prints, draws and records runs of a policy gradient, and removes their checkpoints.

    The record has flag_reached, the share of episodes after the first fifth; reward_last, the mean
    reward of the last tenth of the episodes; test_reward without noise; and solved_runs. Means over
    seeds have a 95 % interval. The figure shows what figures 10.7.1 to 10.7.8 of the book show.

    Args:
        run: of the script, whose folder gets metrics.json, rewards.csv, steps.csv and curves.png.
        runs: whose log has the flag of each episode.
        goal: the mean reward at which a run counts as solved.
        facts: further values for the record.
    """
    import matplotlib.pyplot as plt

    from lib.measure import plots

    episodes = len(next(iter(runs.values())).log)
    later, last = episodes // 5, episodes - max(1, episodes // 10)
    reached = [float(np.mean([row["flag"] for row in each.log[later:]])) for each in runs.values()]
    rewards = [float(np.mean(each.rewards[last:])) for each in runs.values()]
    solved = sum(reward >= goal for reward in rewards)
    seeds = [
        {"flags": each.log[-1]["flags"], "flag_reached": round(a, 4), "reward_last": round(b, 2)}
        for each, a, b in zip(runs.values(), reached, rewards, strict=True)
    ]
    numbers = _summary(
        runs,
        seeds,
        episodes=episodes,
        flag_reached=with_interval(reached, 4),
        reward_last=with_interval(rewards),
        solved_runs=solved,
        updates=sum(each.updates for each in runs.values()),
        environment_steps=sum(each.steps for each in runs.values()),
    )
    print(
        f"{solved} of {len(runs)} runs solved (a mean reward of at least {goal:g}) after "
        f"{episodes} episodes; flag reached in {100 * np.mean(reached):.1f} % of those after "
        f"{later}; mean reward of the last {episodes - last}: "
        f"{format_interval(numbers['reward_last'])}; without noise: "
        f"{format_interval(numbers['test_reward'])}"
    )
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.9), dpi=160, layout="constrained")
    titles = {"flags": "flags reached so far", "reward": "reward of the episode"}
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        values = np.array([[row[name] for row in each.log] for each in runs.values()])
        _band(axis, np.arange(1, episodes + 1), values, None, "C0")
        axis.set(xlabel="episode", ylabel=title)
    axes[1].axhline(goal, color="gray", linestyle=":")
    plots.finish(figure, run.folder / "curves.png")
    _finish(run, runs, **facts, **numbers)


def dqn(run: program.Run, runs: Runs, goal: float, **facts: Any) -> None:
    """Prints, draws and records runs of a DQN that end when solved, and removes their checkpoints.

    The record has updates and environment_steps until a run ended, and test_reward without random
    actions, as means over seeds with a 95 % interval; also episodes, if all runs were solved.
    solved_after has the quartiles of the episodes of solved runs. Each seed also has greedy,
    {episode: mean reward without random actions}.

    Args:
        run: of the script, whose folder gets metrics.json, rewards.csv, steps.csv and rewards.png.
        runs: with the attribute solved.
        goal: the mean reward at which a run is solved, or infinity.
        facts: further values for the record, among them the method.
    """
    import matplotlib.pyplot as plt

    from lib.measure import plots

    seeds = [
        {
            "solved": each.solved,
            "episodes": len(each.log),
            "updates": each.log[-1]["updates"],
            "environment_steps": each.steps,
            "greedy": {
                row["episode"]: row["greedy_reward"]
                for row in each.log
                if row["greedy_reward"] != ""
            },
        }
        for each in runs.values()
    ]
    solved = sorted(each["episodes"] for each in seeds if each["solved"])
    names = ["updates", "environment_steps"] + ["episodes"] * (len(solved) == len(runs))
    facts |= {name: with_interval([each[name] for each in seeds]) for name in names}
    title = f"{len(solved)} of {len(runs)} runs solved within {run.budget:,} episodes"
    if solved:
        facts["solved_after"] = np.percentile(solved, (25, 50, 75)).tolist()
        title += f", after {solved[0]:,} to {solved[-1]:,}"
    finite = goal if np.isfinite(goal) else None
    limits = {"episodes_limit": run.budget, "goal": finite}
    numbers = _summary(runs, seeds, solved_runs=len(solved), **limits)
    reward = format_interval(numbers["test_reward"])
    print(f"{title}; mean reward without random actions: {reward}")
    figure, axis = plt.subplots(figsize=(7.4, 3.2), dpi=160, layout="constrained")
    draw_rewards(axis, {"": [each.rewards for each in runs.values()]}, TrainingRun.WINDOW, finite)
    axis.set_title(title)
    plots.finish(figure, run.folder / "rewards.png")
    _finish(run, runs, **facts, **numbers)


def _summary(runs: Runs, seeds: Sequence[dict[str, Any]], **numbers: Any) -> dict[str, Any]:
    """Completes the numbers of all runs, and those of each seed, by what all methods have."""
    tests = [float(np.mean(run.test)) for run in runs.values()]
    for each, mean, run in zip(seeds, tests, runs.values(), strict=True):
        each |= {"test_reward": round(mean, 2), "test_worst": round(min(run.test), 2)}
    return {
        "runs": len(runs),
        **numbers,
        "test_episodes": len(next(iter(runs.values())).test),
        "test_reward": with_interval(tests),
        "seconds_per_run": round(float(np.mean([run.seconds for run in runs.values()])), 1),
        "seeds": dict(zip(runs, seeds, strict=True)),
    }


def _finish(run: program.Run, runs: Runs, /, **numbers: Any) -> None:
    """Writes the rewards and the record of runs, and removes their checkpoints."""
    write_column(runs, "reward", run.folder / "rewards.csv")
    write_column(runs, "steps", run.folder / "steps.csv")
    minutes = round(sum(each.seconds for each in runs.values()) / 60, 2)
    run.record("metrics.json", minutes=minutes, **numbers)
    for each in runs.values():
        each.path.unlink()


def random_play(run: program.Run, env_id: str) -> Play:
    """Plays the episodes of a run with random actions, and prints and records their mean reward.

    Returns:
        The function that plays an episode.
    """
    flags = 0

    def play(env, rng):
        nonlocal flags
        env.reset(seed=int(rng.integers(2**31)))
        total, terminated, truncated = 0.0, False, False
        while not (terminated or truncated):
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total += float(reward)
        flags += terminated
        return total

    env, rng = environments.make(env_id), np.random.default_rng(run.seed)
    env.action_space.seed(run.seed)
    line, rewards = Progress("episode", run.budget), []
    for episode in range(run.budget):
        rewards.append(play(env, rng))
        line.update(episode + 1, {"reward": rewards[-1]})
    mean = float(np.mean(rewards))
    line.keep({"reward": mean, "flags": flags})
    line.close()
    facts = {"env_id": env_id, "method": "random", "episodes": run.budget, "flags": flags}
    run.record("metrics.json", mean_reward=round(mean, 2), **facts)
    return play


def write_column(runs: Runs, name: str, path: Path) -> None:
    """Writes a number of each episode, its reward or steps, as a table with a column per seed."""
    columns = ([f"{row[name]:.6g}" for row in run.log] for run in runs.values())

    def write(temporary):
        with temporary.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["episode", *(f"seed {seed}" for seed in runs)])
            rows = zip_longest(*columns, fillvalue="")
            table.writerows((k, *row) for k, row in enumerate(rows, start=1))

    write_whole(path, write)


def running_mean(values: Sequence[float] | np.ndarray, window: int) -> np.ndarray:
    """The mean of `window` values that follow each other, one for each place where they end."""
    window = min(window, len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[window:] - sums[:-window]) / window


def _band(axis: Axes, x: np.ndarray, runs: np.ndarray, label: str | None, color: str) -> None:
    """Draws the median of runs (seeds, points) over a band from the lower to the upper quartile."""
    low, median, high = np.percentile(runs, (25, 50, 75), axis=0)
    axis.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
    axis.plot(x, median, label=label, color=color, zorder=3)


def draw_rewards(
    axis: Axes,
    methods: Rewards,
    window: int,
    goal: float | None = None,
    steps: Rewards | None = None,
) -> None:
    """Draws the running mean reward of one or more methods: the median and quartiles over seeds.

    A run that ended earlier than others keeps its last value.

    Args:
        axis, methods: where and what to draw.
        window: episodes in the running mean.
        goal: the mean reward to mark, or None.
        steps: of each episode, in the form of the rewards: draw over environment steps instead of
            episodes, up to the end of the shortest run.
    """
    for k, (label, seeds) in enumerate(methods.items()):
        means = [running_mean(rewards, window) for rewards in seeds]
        if steps is None:
            longest = max(map(len, means))
            means = [np.pad(mean, (0, longest - len(mean)), mode="edge") for mean in means]
            x = np.arange(longest) + max(map(len, seeds)) - longest + 1
        else:
            ends = [
                np.cumsum(each)[-len(mean) :]
                for each, mean in zip(steps[label], means, strict=True)
            ]
            x = np.linspace(max(end[0] for end in ends), min(end[-1] for end in ends), 500)
            means = [np.interp(x, end, mean) for end, mean in zip(ends, means, strict=True)]
        _band(axis, x, np.array(means), label, f"C{k}")
    if goal is not None:
        axis.axhline(goal, color="gray", linestyle=":")
        place = (0.01, goal), ("axes fraction", "data")
        axis.annotate(f"{goal:g}", place[0], xycoords=place[1], va="top", color="gray")
    xlabel = "episode" if steps is None else "environment steps"
    axis.set(xlabel=xlabel, ylabel=f"mean reward of {window} episodes")
