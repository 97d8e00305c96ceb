"""Tables of the agents of chapters 9 and 10."""

import statistics

from lib.files.errors import UserError
from lib.measure.intervals import format_interval, welch, with_interval
from tools.tables.cells import (
    NOT_MEASURED,
    cell,
    interval,
    record,
    recorded,
    table,
    value_at,
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


def _solved(found):
    return f"{found['solved_runs']} of {found['runs']}" if found else NOT_MEASURED


def dqn() -> str:
    header = ["CartPole-v0", "episodes", "the book", "solved", "updates", "steps", "test reward"]
    rows = []
    for label, name in DQNS.items():
        found = record(f"{CARTPOLE}{name}")
        rows.append(
            [
                label,
                interval(found, "episodes", ",.0f"),
                cell(found, "book_episodes", "d"),
                _solved(found),
                interval(found, "updates", ",.0f"),
                interval(found, "environment_steps", ",.0f"),
                interval(found, "test_reward"),
            ]
        )
    return table(header, rows)


def dqn_welch() -> str:
    header = ["DQN less double DQN", "episodes", "Welch's t", "p"]
    rows = []
    for label, name in (("default settings", ""), ("book's settings", "-book")):
        pair = recorded(f"{CARTPOLE}{method}{name}" for method in ("", "-ddqn"))
        if len(pair) < 2:
            rows.append([label, *[NOT_MEASURED] * 3])
            continue
        episodes = [[seed["episodes"] for seed in found["seeds"].values()] for found in pair]
        difference = statistics.mean(episodes[0]) - statistics.mean(episodes[1])
        t, p = welch(*episodes)
        rows.append([label, f"{difference:.1f}", f"{t:.2f}", f"{p:.2f}"])
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
    header = ["the book's", "episodes", "solved", "updates", "test reward"]
    rows = []
    for name, label in DQN_ABLATIONS.items():
        seeds = [*record(f"{CARTPOLE}{name}").get("seeds", {}).values()][:5]
        means = {k: with_interval([seed[k] for seed in seeds]) for k in seeds[0]} if seeds else {}
        solved = sum(seed["solved"] for seed in seeds)
        counts = {"solved_runs": solved, "runs": len(seeds)} if seeds else {}
        rows.append(
            [
                label,
                interval(means, "episodes", ",.0f"),
                _solved(counts),
                interval(means, "updates", ",.0f"),
                interval(means, "test_reward"),
            ]
        )
    return table(header, rows)


def agent_speed() -> str:
    header = ["times as fast as", "DQN", "A2C", "REINFORCE"]
    found = record("rl")
    labels = {"torch": "PyTorch", "book": "the book's loop", "environment": "bare environment"}
    rows = []
    for who, label in labels.items():
        keys = [f"times_as_fast/{task}/{who}/median" for task in ("dqn", "a2c", "reinforce")]
        rows.append([label, *(_if_any(found, key, _two_digits) for key in keys)])
    return table(header, rows)


def _if_any(found, key, show):
    """The value of a record as `show` writes it, "-" if the record does not have it."""
    if not found:
        return NOT_MEASURED
    try:
        return show(value_at(found, key))
    except UserError:
        return "-"


def _two_digits(value):
    """Two digits, without an exponent."""
    return f"{float(f'{value:.2g}'):,g}"


def _rate(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def agent_rates() -> str:
    header = ["per second", "here", "PyTorch", "the book's loop", "bare environment"]
    found = record("rl")
    rows = []
    for label, task, rate in (
        ("DQN, steps of acting", "dqn", "steps_per_second_of_acting"),
        ("DQN, updates", "dqn", "updates_per_second_of_learning"),
        ("A2C, steps", "a2c", "steps_per_second"),
        ("REINFORCE, steps", "reinforce", "steps_per_second"),
    ):
        keys = [f"contenders/{task} {who}/{rate}" for who in ("ours", "torch", "book")]
        environment = "dqn environment" if task == "dqn" else "a2c environment"
        learns = rate == "updates_per_second_of_learning"
        keys.append("-" if learns else f"contenders/{environment}/steps_per_second")
        rows.append([label, *(_if_any(found, key, _rate) for key in keys)])
    return table(header, rows)


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
        rows.append(
            [
                label,
                interval(found, "test_reward"),
                cell(found, "test_reward/least", ".1f"),
                interval(found, "reward_last"),
                cell(found, "flag_reached/mean", ".1f", 100),
            ]
        )
    random = record(f"{CAR}-random")
    flags = cell(random, "flags", ".1f", 100 / random["episodes"]) if random else NOT_MEASURED
    rows.append(["random actions", "-", "-", cell(random, "mean_reward", ".1f"), flags])
    return table(header, rows)


ABLATIONS = {
    "": "none",
    "-raw": "2, raw states",
    "-white": "4, white noise",
    "-least-std": "5, least deviation",
    "-rates": "6, learning rates",
    "-epsilon": "7, epsilon",
    "-beta": "9, entropy bonus",
}
ABLATION_SEEDS = 3


def policy_ablation() -> str:
    header = ["the book's", *POLICIES.values()]
    rows = []
    for suffix, label in ABLATIONS.items():
        found = [recorded([f"{CAR}-{method}{suffix}"]) for method in POLICIES]
        seeds = [[*each[0]["seeds"].values()][:ABLATION_SEEDS] if each else [] for each in found]
        values = [[seed["test_reward"] for seed in each] for each in seeds]
        if any(values):
            cells = [format_interval(with_interval(v)) if v else "-" for v in values]
            rows.append([label, *cells])
    return table(header, rows)


TABLES = {
    "lake": lake,
    "lake-printed": lake_printed,
    "dqn": dqn,
    "dqn-welch": dqn_welch,
    "dqn-ablation": dqn_ablation,
    "policy-gradients": policy_gradients,
    "policy-ablation": policy_ablation,
    "agent-speed": agent_speed,
    "agent-rates": agent_rates,
}
