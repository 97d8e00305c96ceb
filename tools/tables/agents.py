"""Tables of the agents of chapters 9 and 10."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from tools.tables.cells import (
    NOT_MEASURED,
    cell,
    record,
    recorded,
    spread,
    table,
)

LAKE = "q-frozenlake-9.5.1"
LAKES = {"not slippery": "", "slippery": "-slippery"}
LAKE_KINDS = {
    "training": ("", "train_success", {"": "26 %", "-slippery": "26 %"}),
    "test": ("", "test_success", {"": "76 %", "-slippery": "71 %"}),
    "random": ("-explore", "test_success", {"": "1.5 %", "-slippery": "1.5 %"}),
}
PRINTED = {"none": "", "--book=epsilon": "-book-epsilon", "--book=rate": "-book-rate"}
PRINTED |= {"--learning-rate 0.5": "-rate", "--book=gamma": "-book-gamma", "--book": "-book"}


def _median(found, key):
    return [cell(found, f"{key}/{part}", ".1%") for part in ("median", "least", "greatest")]


def lake() -> str:
    header = ["goal reached", "median", "least", "greatest", "the book"]
    rows = []
    for lake, name in LAKES.items():
        for kind, (suffix, key, book) in LAKE_KINDS.items():
            found = record(f"{LAKE}{name}{suffix}")
            rows.append([f"{kind}, {lake}", *_median(found, key), book[name]])
    return table(header, rows)


def lake_printed() -> str:
    header = ["flag", "lake", "median", "least", "greatest"]
    rows = []
    for lake, name in reversed(LAKES.items()):
        for flag, suffix in PRINTED.items():
            for found in recorded([f"{LAKE}{name}{suffix}"]):
                rows.append([flag, lake, *_median(found, "exact_success")])
    return table(header, rows)


CARTPOLE = "dqn-cartpole-9.6.1"
DQNS = {
    "DQN": "",
    "double DQN": "-ddqn",
    "DQN, book's settings": "-book",
    "double, book's settings": "-ddqn-book",
}
# The rank tests are for the runs above.
FURTHER = {"DQN, no rule": "-no-rule", "DQN, CartPole-v1": "-v1"}


def _solved(found):
    return f"{found['solved_runs']} of {found['runs']}" if found else NOT_MEASURED


def _seeds(name: str) -> list[dict[str, Any]]:
    """The runs of a record, empty if it has none."""
    return [*record(f"{CARTPOLE}{name}").get("seeds", {}).values()]


def _episodes(seeds: Sequence[dict[str, Any]]) -> list[str]:
    """Median and quartiles of the episodes until solved; a run that was not solved is the last."""
    episodes = [seed["episodes"] if seed["solved"] else math.inf for seed in seeds]
    low, high = np.quantile(episodes, (0.25, 0.75), method="nearest")
    three = low, statistics.median(episodes), high
    texts = ["not solved" if math.isinf(x) else f"{x:,.0f}" for x in three]
    quartiles = "-" if math.isinf(low) else f"{texts[0]} to {texts[2]}"
    return [texts[1], quartiles]


def _medians(seeds: Sequence[dict[str, Any]], **forms: str) -> list[str]:
    return [f"{statistics.median(s[key] for s in seeds):{form}}" for key, form in forms.items()]


def dqn() -> str:
    header = ["", "episodes", "quartiles", "the book", "solved", "updates", "steps"]
    rows = []
    for label, name in (DQNS | FURTHER).items():
        found = record(f"{CARTPOLE}{name}")
        seeds = _seeds(name)
        if not seeds:
            rows.append([label, *[NOT_MEASURED] * (len(header) - 1)])
            continue
        counts = _medians(seeds, updates=",.0f", environment_steps=",.0f")
        book = cell(found, "book_episodes", "d") if "book_episodes" in found else "-"
        rows.append([label, *_episodes(seeds), book, _solved(found), *counts])
    return table(header, rows)


def dqn_test() -> str:
    header = ["test reward", "median", "least run", "runs at the goal"]
    rows = []
    for label, name in (DQNS | FURTHER).items():
        rewards = [seed["test_reward"] for seed in _seeds(name)]
        if not rewards:
            rows.append([label, *[NOT_MEASURED] * 3])
            continue
        goal = record(f"{CARTPOLE}{name}")["goal"]
        good = f"{sum(reward >= goal for reward in rewards)} of {len(rewards)}"
        rows.append([label, f"{statistics.median(rewards):.1f}", f"{min(rewards):.1f}", good])
    return table(header, rows)


def dqn_ranks() -> str:
    from scipy import stats

    header = ["DQN and double DQN", "Mann-Whitney U", "p"]
    rows = []
    for label, name in (("default settings", ""), ("book's settings", "-book")):
        pair = [_seeds(f"{method}{name}") for method in ("", "-ddqn")]
        if not all(pair):
            rows.append([label, *[NOT_MEASURED] * 2])
            continue
        episodes = [
            [seed["episodes"] if seed["solved"] else math.inf for seed in seeds] for seeds in pair
        ]
        found = stats.mannwhitneyu(*episodes)
        rows.append([label, f"{found.statistic:.1f}", f"{found.pvalue:.2f}"])
    return table(header, rows)


DQN_ABLATIONS = {
    "": "none",
    "-replays": "updates",
    "-success": "learns after success",
    "-limit": "time limit",
    "-gamma": "gamma",
    "-epsilon": "exploration",
    "-huber": "loss",
    "-learning-rate": "learning rate",
    "-memory": "memory",
}


def dqn_ablation() -> str:
    header = ["the book's", "episodes", "solved", "updates", "test reward", "least"]
    rows = []
    for name, label in DQN_ABLATIONS.items():
        seeds = _seeds(name)[:5]
        if not seeds:
            continue
        solved = f"{sum(seed['solved'] for seed in seeds)} of {len(seeds)}"
        numbers = _medians(seeds, updates=",.0f", test_reward=".1f")
        least = f"{min(seed['test_reward'] for seed in seeds):.1f}"
        rows.append([label, _episodes(seeds)[0], solved, *numbers, least])
    return table(header, rows)


def agent_speed() -> str:
    header = ["times as fast as", "DQN", "A2C", "REINFORCE"]
    keys = [f"times_as_fast/{task}/torch/median" for task in ("dqn", "a2c", "reinforce")]
    return table(header, [["PyTorch", *(cell(record("rl"), key, ".1f") for key in keys)]])


CAR = "policygradient-car-10.1.1"
POLICIES = {
    "reinforce": "REINFORCE",
    "baseline": "with baseline",
    "actor_critic": "actor-critic",
    "a2c": "A2C",
}


def policy_gradients() -> str:
    header = ["", "reward, no noise", "least", "reward, last 100", "flag reached, %"]
    rows = []
    for name, label in {**POLICIES, "untrained": "untrained policy"}.items():
        found = record(f"{CAR}-{name}")
        seeds = [*found.get("seeds", {}).values()]
        rows.append(
            [
                label,
                spread(seeds, "test_reward"),
                cell(found, "test_reward/least", ".1f"),
                spread(seeds, "reward_last"),
                cell(found, "flag_reached/mean", ".1f", 100),
            ]
        )
    random = record(f"{CAR}-random")
    flags = cell(random, "flags", ".1f", 100 / random["episodes"]) if random else NOT_MEASURED
    rows.append(["random actions", "-", "-", cell(random, "mean_reward", ".1f"), flags])
    return table(header, rows)


POLICY_ABLATIONS = {
    "": "none",
    "-least-std": "least deviation",
    "-epsilon": "Adam's epsilon",
    "-beta": "entropy weight",
    "-rates": "learning rates",
    "-correlation": "white noise",
}


def policy_ablation() -> str:
    header = ["the book's", "reward, no noise", "least", "reward, last 30", "flag reached, %"]
    rows = []
    for name, label in POLICY_ABLATIONS.items():
        for found in recorded([f"{CAR}-a2c-short{name}"]):
            seeds = found["seeds"].values()
            tests = [seed["test_reward"] for seed in seeds]
            last, reached = (
                statistics.median(seed[key] for seed in seeds)
                for key in ("reward_last", "flag_reached")
            )
            numbers = (statistics.median(tests), min(tests), last, 100 * reached)
            rows.append([label, *(f"{number:.1f}" for number in numbers)])
    return table(header, rows)


TABLES = {
    "lake": lake,
    "lake-printed": lake_printed,
    "dqn": dqn,
    "dqn-test": dqn_test,
    "dqn-ranks": dqn_ranks,
    "dqn-ablation": dqn_ablation,
    "policy-gradients": policy_gradients,
    "policy-ablation": policy_ablation,
    "agent-speed": agent_speed,
}
