"""The tables of measured numbers on the pages, each made whole from the records in results/.

A page marks the place of a table with two lines:

    <!-- table gans-10000 -->
    <!-- end of table -->

`python3 -m lib.readme` writes the table of that name between them.
"""

import json
import statistics
from pathlib import Path

from lib.rl_report import format_interval, welch, with_interval

NETWORKS = {
    "mlp": "MLP",
    "resnet": "ResNet20 v1",
    "densenet": "DenseNet-BC-100",
    "vae_cnn": "VAE",
    "dcgan": "DCGAN",
    "cgan": "CGAN",
    "wgan": "WGAN",
    "lsgan": "LSGAN",
    "acgan": "ACGAN",
    "infogan": "InfoGAN",
    "stackedgan": "StackedGAN",
    "cyclegan": "CycleGAN",
}
RESULTS = Path(__file__).resolve().parents[1] / "results"


def records(name, kind="evaluate", seeds=1):
    """The records of a run: NAME-KIND.json for seed 0, NAME-seedN-KIND.json for further seeds."""
    suffixes = ["", *(f"-seed{seed}" for seed in range(1, seeds))]
    return [json.loads((RESULTS / f"{name}{s}-{kind}.json").read_text()) for s in suffixes]


def spread(found, key, form=".1f", scale=1):
    """Mean and standard deviation of a value over records, or the value of a single record.

    Args:
        found: the records.
        key: name of the value; levels are separated by slashes.
        form: format of the numbers.
        scale: factor of the numbers.

    Returns:
        "12.3 ± 0.4", "12.3", or "-" where the records do not have the value.
    """
    values = []
    for record in found:
        for part in key.split("/"):
            record = record[int(part)] if isinstance(record, list) else record.get(part)
            if record is None:
                return "-"
        values.append(scale * record)
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"


def table(header, rows):
    """Markdown lines of a table whose cells are padded, so that its source reads well."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


GANS = {
    "DCGAN": "dcgan-mnist-4.2.1",
    "CGAN": "cgan-mnist-4.3.1",
    "WGAN": "wgan-mnist-5.1.2",
    "LSGAN": "lsgan-mnist-5.2.1",
    "ACGAN": "acgan-mnist-5.3.1",
    "InfoGAN": "infogan-mnist-6.1.1",
    "StackedGAN": "stackedgan-mnist-6.2.1",
}


def gans_10000():
    header = ["10,000 steps", "FID-MNIST", "not averaged", "KID x 1000", "recall", "requested, %"]
    rows = []
    for label, name in GANS.items():
        found = records(f"{name}-10000-steps", seeds=3)
        rows.append(
            [
                label,
                spread(found, "fid_mnist"),
                spread(found, "unaveraged/fid_mnist"),
                spread(found, "kid", ".0f", 1000),
                spread(found, "sample_recall", ".2f"),
                spread(found, "conditional_accuracy", ".1f", 100),
            ]
        )
    return table(header, rows)


def gans_40000():
    header = ["long run", "steps", "FID-MNIST", "not averaged", "unsure, %", "requested, %"]
    rows = []
    for label, name in GANS.items():
        found = records(name)
        rows.append(
            [
                label,
                f"{records(name, 'train')[0]['train_steps']:,}",
                spread(found, "fid_mnist"),
                spread(found, "unaveraged/fid_mnist"),
                spread(found, "low_confidence", ".1f", 100),
                spread(found, "conditional_accuracy", ".1f", 100),
            ]
        )
    return table(header, rows)


BATCH_NORM = {
    "DCGAN, none": "dcgan-mnist-4.2.1-10000-steps",
    "DCGAN, joint": "dcgan-mnist-4.2.1-bn-joint-10000-steps",
    "DCGAN, separate": "dcgan-mnist-4.2.1-bn-separate-10000-steps",
    "clipped WGAN, none": "wgan-mnist-5.1.2-clip-10000-steps",
    "clipped WGAN, joint": "wgan-mnist-5.1.2-clip-bn-joint-10000-steps",
    "clipped WGAN, separate": "wgan-mnist-5.1.2-clip-bn-separate-10000-steps",
}


def batch_norm():
    header = ["batch normalization", "FID-MNIST", "recall", "accuracy of D"]
    rows = []
    for label, name in BATCH_NORM.items():
        found = records(name)
        rows.append(
            [
                label,
                spread(found, "fid_mnist", ".0f"),
                spread(found, "sample_recall", ".2f"),
                spread(records(name, "train"), "losses/accuracy", ".2f"),
            ]
        )
    return table(header, rows)


WGANS = {
    "gradient penalty": "wgan-mnist-5.1.2-10000-steps",
    "clipped": "wgan-mnist-5.1.2-clip-10000-steps",
    "clipped, two updates": "wgan-mnist-5.1.2-book-10000-steps",
}


def wgan_forms():
    header = ["form of the WGAN", "FID-MNIST", "precision", "recall", "unsure, %"]
    rows = []
    for label, name in WGANS.items():
        found = records(name)
        rows.append(
            [
                label,
                spread(found, "fid_mnist"),
                spread(found, "sample_precision", ".2f"),
                spread(found, "sample_recall", ".2f"),
                spread(found, "low_confidence", ".1f", 100),
            ]
        )
    return table(header, rows)


def infogan_codes():
    header = ["prior, seed", "thickness", "slant", "gap", "MIG"]
    rows = []
    for prior, suffix, seeds in (("uniform", "", range(5)), ("Gaussian", "-gaussian", range(5))):
        for seed in seeds:
            name = f"infogan-mnist-6.1.1{suffix}-10000-steps" + (f"-seed{seed}" if seed else "")
            rows.append(_codes(f"{prior}, {seed}", name))
    rows.append(_codes("uniform, 0, 40,000 steps", "infogan-mnist-6.1.1"))
    return table(header, rows)


def _codes(label, name):
    (record,) = records(name)
    pairs = [" / ".join(f"{v:.2f}" for v in record["codes"][k]) for k in ("thickness", "slant")]
    return [label, *pairs, *(f"{record['codes'][k]:.2f}" for k in ("gap", "mig"))]


STACKED = {
    "default": "stackedgan-mnist-6.2.1-10000-steps",
    "no joint phase": "stackedgan-mnist-6.2.1-no-joint-10000-steps",
    "tanh noise heads": "stackedgan-mnist-6.2.1-tanh-10000-steps",
    "weight 10 of z1": "stackedgan-mnist-6.2.1-entropy10-10000-steps",
    "default, 40,000 steps": "stackedgan-mnist-6.2.1",
}


def stackedgan():
    header = ["StackedGAN", "FID-MNIST", "recall", "z0 back", "z1 back", "feature MSE"]
    rows = []
    for label, name in STACKED.items():
        found, trained = records(name), records(name, "train")
        rows.append(
            [
                label,
                spread(found, "fid_mnist"),
                spread(found, "sample_recall", ".2f"),
                spread(trained, "noise_recovery/z0", ".2f"),
                spread(trained, "noise_recovery/z1", ".2f"),
                spread(found, "conditional0", ".2f"),
            ]
        )
    return table(header, rows)


def stackedgan_noise():
    header = ["constant noise", "range", "thickness", "slant", "width"]
    (record,) = records("stackedgan-mnist-6.2.1")
    rows = [
        [level, limits, *(f"{record[level][k][0]:.2f}" for k in ("thickness", "slant", "width"))]
        for level, limits in (("z0", "-4 to 4"), ("z1", "-1 to 1"))
    ]
    return table(header, rows)


CARTPOLE = "dqn-cartpole-9.6.1"
DQNS = {
    "DQN": "",
    "double DQN": "-ddqn",
    "DQN, --book": "-book",
    "double DQN, --book": "-ddqn-book",
}


def dqn():
    header = ["CartPole-v0", "episodes", "the book", "solved", "updates", "steps", "test reward"]
    rows = []
    for label, name in DQNS.items():
        (record,) = _plain(f"{CARTPOLE}{name}")
        rows.append(
            [
                label,
                format_interval(record["episodes"], ",.0f"),
                str(record["book_episodes"]),
                f"{record['solved_runs']} of {record['runs']}",
                format_interval(record["updates"], ",.0f"),
                format_interval(record["environment_steps"], ",.0f"),
                format_interval(record["test_reward"]),
            ]
        )
    return table(header, rows)


def dqn_welch():
    header = ["DQN less double DQN", "episodes", "Welch's t", "p"]
    rows = []
    for label, name in (("default settings", ""), ("--book", "-book")):
        pair = [_plain(f"{CARTPOLE}{method}{name}")[0]["seeds"] for method in ("", "-ddqn")]
        episodes = [[seed["episodes"] for seed in seeds.values()] for seeds in pair]
        difference = statistics.mean(episodes[0]) - statistics.mean(episodes[1])
        t, p = welch(*episodes)
        rows.append([label, f"{difference:.1f}", f"{t:.2f}", f"{p:.2f}"])
    return table(header, rows)


DQN_ABLATIONS = {
    "": "none",
    "-huber": "6, loss",
    "-learning-rate": "7, learning rate",
    "-memory": "8, memory",
}


def dqn_ablation():
    header = ["switched off", "episodes", "solved", "updates", "test reward"]
    rows = []
    for name, label in DQN_ABLATIONS.items():
        seeds = [*_plain(f"{CARTPOLE}{name}")[0]["seeds"].values()][:5]
        means = {k: with_interval([seed[k] for seed in seeds]) for k in seeds[0]}
        rows.append(
            [
                label,
                format_interval(means["episodes"], ",.0f"),
                f"{sum(seed['solved'] for seed in seeds)} of {len(seeds)}",
                format_interval(means["updates"], ",.0f"),
                format_interval(means["test_reward"]),
            ]
        )
    return table(header, rows)


def agent_speed():
    header = ["times as fast as", "DQN", "A2C", "REINFORCE"]
    (record,) = _plain("rl")
    labels = {"torch": "PyTorch", "book": "the book's loop", "environment": "random actions"}
    rows = []
    for who, label in labels.items():
        found = [record["times_as_fast"][task].get(who) for task in ("dqn", "a2c", "reinforce")]
        medians = [None if each is None else each["median"] for each in found]
        # Two digits, without an exponent.
        values = ["-" if m is None else f"{float(f'{m:.2g}'):,g}" for m in medians]
        rows.append([label, *values])
    return table(header, rows)


def _rate(value):
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def agent_rates():
    header = ["per second", "here", "PyTorch", "the book's loop", "random actions"]
    found = _plain("rl")[0]["contenders"]
    rows = []
    for label, task, rate in (
        ("DQN, steps of acting", "dqn", "steps_per_second_of_acting"),
        ("DQN, updates", "dqn", "updates_per_second_of_learning"),
        ("A2C, steps", "a2c", "steps_per_second"),
        ("REINFORCE, steps", "reinforce", "steps_per_second"),
    ):
        values = [found.get(f"{task} {who}", {}).get(rate) for who in ("ours", "torch", "book")]
        bare = None
        if rate != "updates_per_second_of_learning":
            environment = "dqn environment" if task == "dqn" else "a2c environment"
            bare = found[environment]["steps_per_second"]
        rows.append([label, *map(_rate, (*values, bare))])
    return table(header, rows)


CAR = "policygradient-car-10.1.1"
POLICIES = {
    "reinforce": "REINFORCE",
    "baseline": "with baseline",
    "actor_critic": "actor-critic",
    "a2c": "A2C",
}


def policy_gradients():
    header = ["", "flag reached, %", "reward, last 100", "reward, no noise", "solved"]
    rows = []
    for name, label in {**POLICIES, "untrained": "untrained policy"}.items():
        (record,) = _plain(f"{CAR}-{name}")
        rows.append(
            [
                label,
                f"{100 * record['flag_reached']['mean']:.1f}",
                format_interval(record["reward_last"]),
                format_interval(record["test_reward"]),
                f"{record['solved_runs']} of {record['runs']}",
            ]
        )
    (random,) = _plain(f"{CAR}-random")
    flags = f"{100 * random['flags'] / random['episodes']:.1f}"
    rows.append(["random actions", flags, f"{random['mean_reward']:.1f}", "-", "-"])
    return table(header, rows)


ABLATIONS = {
    "": "none",
    "raw": "2, raw states",
    "white": "4, white noise",
    "least-std": "5, no least deviation",
    "rates": "6, learning rates",
    "epsilon": "7, epsilon",
    "limit": "8, time limit",
    "value": "9, value gradient",
}


def policy_ablation():
    header = ["switched off", *POLICIES.values()]
    rows = []
    for suffix, label in ABLATIONS.items():
        rows.append([label])
        for method in POLICIES:
            path = RESULTS / f"{CAR}-{method}{'-' * bool(suffix)}{suffix}.json"
            rows[-1].append("-")
            if path.exists():
                seeds = [*json.loads(path.read_text())["seeds"].values()][:5]
                rows[-1][-1] = spread(seeds, "reward_last")
    return table(header, rows)


def _plain(name):
    """The record NAME.json, in a list."""
    return [json.loads((RESULTS / f"{name}.json").read_text())]


def scaling():
    header = ["network", "gradients, MB", "GFLOP per image", "hidden at batch"]
    rows = []
    for name, network in _plain("devices")[0]["networks"].items():
        two = network["devices"]["2"]
        numbers = (network["gradient_megabytes"], network["gflop_per_image"])
        hidden = f"{two['hidden_batch']:,}"
        rows.append([NETWORKS[name], *(f"{value:.3g}" for value in numbers), hidden])
    return table(header, rows)


TABLES = {
    "gans-10000": gans_10000,
    "gans-40000": gans_40000,
    "batch-norm": batch_norm,
    "wgan-forms": wgan_forms,
    "infogan-codes": infogan_codes,
    "stackedgan": stackedgan,
    "stackedgan-noise": stackedgan_noise,
    "dqn": dqn,
    "dqn-welch": dqn_welch,
    "dqn-ablation": dqn_ablation,
    "policy-gradients": policy_gradients,
    "policy-ablation": policy_ablation,
    "agent-speed": agent_speed,
    "agent-rates": agent_rates,
    "scaling": scaling,
}
