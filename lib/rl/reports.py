"""Results of agents: intervals, summaries of runs, figures and videos."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from lib.files.whole import write_whole
from lib.measure.intervals import format_interval, with_interval
from lib.rl import agent_runs, environments
from lib.rl.video import Play
from lib.run import program

if TYPE_CHECKING:
    from matplotlib.axes import Axes
# {label: rewards (episodes,), one sequence per seed}.
Rewards = Mapping[str, Sequence[Sequence[float] | np.ndarray]]


def test(env_id: str, play: Play, episodes: int, seed: int, show: bool = False) -> list[float]:
    """Plays test episodes and returns their rewards.

    Args:
        env_id: the environment.
        play: function of the environment and a NumPy generator that plays an episode and returns
            its reward.
        episodes: number of episodes.
        seed: of the run; the test draws other numbers than the training with this seed.
        show: watch in a window.
    """
    env = environments.make(env_id, render_mode="human" if show else None)
    rng = np.random.default_rng((seed, 1))
    rewards = [play(env, rng) for _ in range(episodes)]
    env.close()
    return rewards


def evaluation(run: program.Run, rewards: Sequence[float], **facts: Any) -> None:
    """Prints and records the rewards of test episodes with loaded weights.

    Args:
        run: of the script.
        rewards: of the episodes.
        facts: further values for the record.
    """
    numbers = with_interval(rewards)
    print(f"mean reward of {len(rewards)} test episodes: {format_interval(numbers)}")
    run.record("evaluation.json", test_episodes=len(rewards), test_reward=numbers, **facts)


def policies(
    run: program.Run, runs: dict[int, agent_runs.TrainingRun], goal: float, **facts: Any
) -> None:
    """Prints, draws and records runs of a policy gradient, and removes their checkpoints.

    Args:
        run: of the script, in whose folder metrics.json, rewards.csv and curves.png are written.
        runs, goal: see `policy_summary`.
        facts: further values for the record.
    """
    numbers = policy_summary(runs, goal)
    flag_and_reward_curves(runs, run.folder / "curves.png", goal)
    _finish(run, runs, **facts, **numbers)


def dqn(
    run: program.Run, runs: dict[int, agent_runs.TrainingRun], goal: float, **facts: Any
) -> None:
    """Prints, draws and records runs of a DQN, and removes their checkpoints.

    Args:
        run: of the script, in whose folder metrics.json, rewards.csv and rewards.png are written.
        runs: see `dqn_summary`.
        goal: the mean reward at which a run is solved, or infinity.
        facts: further values for the record, among them the method.
    """
    numbers = dqn_summary(runs, run.budget)
    finite = goal if np.isfinite(goal) else None
    title = f"{numbers['solved_runs']} of {len(runs)} runs solved"
    if numbers["solved_runs"]:
        title += f", after {format_interval(numbers['episodes'], '.0f')} episodes"
    curves = {"": [each.rewards for each in runs.values()]}
    compare_rewards(curves, run.folder / "rewards.png", 100, None, finite, title)
    _finish(run, runs, goal=finite, **facts, **numbers)


def _finish(run: program.Run, runs: dict[int, agent_runs.TrainingRun], /, **numbers: Any) -> None:
    """Writes the rewards and the record of runs, and removes their checkpoints."""
    for name in ("reward", "steps"):
        write_column(runs, name, run.folder / f"{'rewards' if name == 'reward' else name}.csv")
    minutes = round(sum(each.seconds for each in runs.values()) / 60, 2)
    run.record("metrics.json", minutes=minutes, **numbers)
    for each in runs.values():
        each.finish()


def random_play(run: program.Run, env_id: str) -> Play:
    """Plays episodes with random actions, and prints and records their mean reward.

    Args:
        run: of the script, with the number of episodes as its budget.
        env_id: the environment.

    Returns:
        The function that plays an episode.
    """
    env = environments.make(env_id)
    env.action_space.seed(run.seed)
    rng = np.random.default_rng(run.seed)
    progress = agent_runs.ProgressLine(run.budget)
    rewards, flags = [], 0
    for episode in range(run.budget):
        reward, terminated = random_episode(env, rng)
        rewards.append(reward)
        flags += terminated
        progress.update(episode + 1, reward=reward)
    mean = float(np.mean(rewards))
    progress.finish(run.budget, reward=mean, flags=flags)
    run.record(
        "metrics.json",
        env_id=env_id,
        method="random",
        episodes=run.budget,
        mean_reward=round(mean, 2),
        flags=flags,
    )
    return lambda env, rng: random_episode(env, rng)[0]


def random_episode(env: gym.Env, rng: np.random.Generator) -> tuple[float, bool]:
    """Plays one episode with random actions; returns its reward and whether it terminated."""
    env.reset(seed=int(rng.integers(2**31)))
    total, terminated, truncated = 0.0, False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        total += float(reward)
    return total, terminated


def policy_summary(runs: dict[int, agent_runs.TrainingRun], goal: float) -> dict[str, Any]:
    """Summarizes runs of one method on an environment with a flag.

    Args:
        runs: {seed: `rl.Run`} with the attribute `test`, rewards of test episodes without noise.
        goal: the mean reward at which a run counts as solved.

    Returns:
        dict: flag_reached, the share of episodes after the first fifth; reward_last, the reward of
            the last tenth of the episodes; test_reward without noise; solved_runs; each with the
            values of all seeds. Means over seeds have a 95 % interval.
    """
    first = next(iter(runs.values()))
    episodes = len(first.log)
    later, last = episodes // 5, episodes - max(1, episodes // 10)
    reached = [float(np.mean([row["flag"] for row in run.log[later:]])) for run in runs.values()]
    rewards = [float(np.mean(run.rewards[last:])) for run in runs.values()]
    tests = [float(np.mean(run.test)) for run in runs.values()]
    numbers: dict[str, Any] = {
        "runs": len(runs),
        "episodes": episodes,
        "flag_reached": with_interval(reached, 4),
        "reward_last": with_interval(rewards),
        "solved_runs": sum(reward >= goal for reward in rewards),
        "test_episodes": len(first.test),
        "test_reward": with_interval(tests),
        "updates": sum(run.updates for run in runs.values()),
        "environment_steps": sum(run.steps for run in runs.values()),
        "seconds_per_run": round(float(np.mean([run.seconds for run in runs.values()])), 1),
        "seeds": {
            seed: {
                "flags": run.log[-1]["flags"],
                "flag_reached": round(reached[k], 4),
                "reward_last": round(rewards[k], 2),
                "test_reward": round(tests[k], 2),
                "test_worst": round(min(run.test), 2),
            }
            for k, (seed, run) in enumerate(runs.items())
        },
    }
    print(
        f"{len(runs)} run{'s' if len(runs) > 1 else ''} of {episodes} episodes: flag reached in "
        f"{100 * np.mean(reached):.1f} % of the episodes after {later}; "
        f"mean reward of the last {episodes - last}: {format_interval(numbers['reward_last'])}; "
        f"without noise: {format_interval(numbers['test_reward'])}; "
        f"solved (mean reward of at least {goal:g}): {numbers['solved_runs']} of {len(runs)}"
    )
    return numbers


def dqn_summary(runs: dict[int, agent_runs.TrainingRun], limit: int) -> dict[str, Any]:
    """Summarizes runs of a DQN that end when they are solved.

    Args:
        runs: {seed: `rl.Run`} with the attributes solved, and test, rewards of test episodes
            without random actions.
        limit: episodes after which a run ends if it is not solved.

    Returns:
        dict: episodes, updates and environment_steps until the run ended; test_reward; each as the
            mean over seeds with a 95 % interval, and with the values of all seeds. Each seed also
            has greedy, {episode: mean reward without random actions}. solved_after has the
            quartiles of the episodes of solved runs.
    """
    seeds = {
        seed: {
            "solved": run.solved,
            "episodes": len(run.log),
            "updates": run.log[-1]["updates"],
            "environment_steps": run.steps,
            "test_reward": round(float(np.mean(run.test)), 2),
            "test_worst": round(min(run.test), 2),
            "greedy": {
                row["episode"]: row["greedy_reward"]
                for row in run.log
                if row["greedy_reward"] != ""
            },
        }
        for seed, run in runs.items()
    }
    names = ("episodes", "updates", "environment_steps", "test_reward")
    numbers: dict[str, Any] = {
        "runs": len(runs),
        "solved_runs": sum(run.solved for run in runs.values()),
        "episodes_limit": limit,
        **{name: with_interval([each[name] for each in seeds.values()]) for name in names},
        "test_episodes": len(next(iter(runs.values())).test),
        "seconds_per_run": round(float(np.mean([run.seconds for run in runs.values()])), 1),
        "seeds": seeds,
    }
    solved = [each["episodes"] for each in seeds.values() if each["solved"]]
    if solved:
        numbers["solved_after"] = np.percentile(solved, (25, 50, 75)).tolist()
    ended = [each["episodes"] for each in seeds.values()]
    updates, steps = (format_interval(numbers[name], ",.0f") for name in names[1:3])
    print(
        f"{len(runs)} run{'s' if len(runs) > 1 else ''}: solved {numbers['solved_runs']} within "
        f"{limit:,} episodes; ended after {format_interval(numbers['episodes'])} episodes "
        f"({min(ended)} to {max(ended)}), {updates} updates and {steps} steps; mean reward without "
        f"random actions: {format_interval(numbers['test_reward'])}"
    )
    return numbers


def write_column(runs: dict[int, agent_runs.TrainingRun], name: str, path: Path) -> None:
    """Writes a number of each episode, its reward or steps, as a table with a column per seed."""
    longest = max(len(run.log) for run in runs.values())
    columns = [[f"{row[name]:.6g}" for row in run.log] + [""] * longest for run in runs.values()]

    def write(temporary):
        with temporary.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["episode", *(f"seed {seed}" for seed in runs)])
            table.writerows(zip(range(1, longest + 1), *columns, strict=False))

    write_whole(path, write)


def read_rewards(path: Path) -> list[np.ndarray]:
    """Returns the numbers that `write_column` wrote, a list of arrays, one per seed."""
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    columns = list(zip(*rows, strict=True))[1:]
    return [np.array([float(cell) for cell in column if cell]) for column in columns]


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


def flag_and_reward_curves(
    runs: dict[int, agent_runs.TrainingRun], path: Path, goal: float
) -> None:
    """Draws flags reached so far, and the reward of each episode, with the spread over the runs.

    Figures 10.7.1 to 10.7.4 of the book show the flags, 10.7.5 to 10.7.8 the rewards.
    """
    import matplotlib.pyplot as plt

    from lib.measure import plots

    figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.9), dpi=160, layout="constrained")
    for axis, name in zip(axes, ("flags", "reward"), strict=True):
        numbers = np.array([[row[name] for row in run.log] for run in runs.values()])
        _band(axis, np.arange(1, numbers.shape[1] + 1), numbers, None, "C0")
    axes[0].set(xlabel="episode", ylabel="flags reached so far")
    axes[1].set(xlabel="episode", ylabel="reward of the episode")
    axes[1].axhline(goal, color="gray", linestyle=":")
    plots.finish(figure, path)


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
        axis: of Matplotlib.
        methods: {label: list of rewards (episodes,), one per seed}.
        window: episodes in the running mean.
        goal: the mean reward to mark, or None.
        steps: {label: list of steps (episodes,), one per seed} to draw over environment steps
            instead of episodes, up to the end of the shortest run.
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


def compare_rewards(
    methods: Rewards,
    path: Path,
    window: int,
    limits: tuple[float, float] | None,
    goal: float | None,
    title: str | None = None,
) -> None:
    """Draws the running mean reward of one or more methods in one figure, see `draw_rewards`.

    Args:
        methods, window, goal: see `draw_rewards`.
        path: the PNG file.
        limits: (least, greatest) reward shown; None for all.
        title: of the figure.
    """
    import matplotlib.pyplot as plt

    from lib.measure import plots

    figure, axis = plt.subplots(figsize=(7.4, 3.2), dpi=160, layout="constrained")
    draw_rewards(axis, methods, window, goal)
    axis.set(ylim=limits, title=title)
    if len(methods) > 1:
        figure.legend(loc="outside right center", frameon=False)
    plots.finish(figure, path)
