"""Draws measures against the training step from the logs in results/: when do they stop improving?

    python3 -m tools.curves

redraws figures/fid-curves.png of chapters 4, 5 and 6, figures/curves.png of chapter 7,
figures/dqn-rewards.png of chapter 9 and figures/comparison.png of chapter 10.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lib.run import flags, program
from tools import figures, registry

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
CYCLEGAN = "cyclegan-7.1.1"
ERROR = "mean abs. error (white: 1)"
# Title, vertical axis and {label: column of the log} of each panel.
CYCLEGAN_PANELS = (
    ("gray to color", "PSNR, dB", {"": "to_color_psnr"}),
    ("gray to color", "colorfulness, % of true", {"": "to_color_colorfulness"}),
    ("color to gray", ERROR, {"": "to_gray_mae"}),
    ("cycle reconstruction", ERROR, {"color": "cycle_mae_target", "gray": "cycle_mae_source"}),
)


def gan_runs() -> dict[str, dict[str, str]]:
    """Returns {folder of the chapter: {run: its name in results/}} of the GANs with a log."""
    found: dict[str, dict[str, str]] = {}
    for label, row in registry.runs((4, 5, 6)).items():
        if (RESULTS / f"{row.script}-log.csv").exists():
            found.setdefault(row.path.partition("/")[0], {})[label] = row.script
    return found


def read(path: Path, column: str) -> tuple[list[int], list[float]]:
    """The steps and values of the rows of a log.csv that have the column."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(column)]
    return [int(row["step"]) for row in rows], [float(row[column]) for row in rows]


def draw(runs: dict[str, str], path: Path, results: Path = RESULTS) -> None:
    """Draws one curve for each run.

    Args:
        runs: {label: name of the run in results/}.
        path: the PNG file.
        results: folder of the files NAME-log.csv.
    """
    import matplotlib.pyplot as plt

    from lib.measure import plots

    figure, axis = plt.subplots(figsize=(5.2, 3), dpi=160)
    for label, name in runs.items():
        steps, values = read(results / f"{name}-log.csv", "fid_mnist")
        axis.plot([step / 1000 for step in steps], values, marker=".", label=label)
    axis.set(xlabel="thousand training steps", ylabel="FID-MNIST of 2,000 samples", yscale="log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.grid(alpha=0.3, which="both")
    axis.legend(bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False)
    plots.finish(figure, path)


def draw_translations(path: Path, results: Path = RESULTS) -> list[str]:
    """Draws the measures of the gray <-> color runs of CycleGAN, one panel for each measure.

    Args:
        path: the PNG file.
        results: folder of the files cyclegan-7.1.1*-log.csv. Logs without these measures are left
            out.

    Returns:
        The labels of the runs. If there are none, nothing is drawn.
    """
    logs = {}
    for log in sorted(results.glob(f"{CYCLEGAN}*-log.csv")):
        label = log.name.removeprefix(CYCLEGAN).removesuffix("-log.csv").strip("-")
        if read(log, "to_color_psnr")[0]:
            logs[label.replace("-", " ") or "PatchGAN"] = log
    if not logs:
        return []
    import matplotlib.pyplot as plt

    from lib.measure import plots

    figure, axes = plt.subplots(2, 2, figsize=(7.4, 5), dpi=160, sharex=True, layout="constrained")
    for axis, (title, unit, columns) in zip(axes.flat, CYCLEGAN_PANELS, strict=True):
        for (name, column), style in zip(columns.items(), ("-", "--"), strict=False):
            for i, (label, log) in enumerate(logs.items()):
                steps, values = read(log, column)
                if column == "to_color_colorfulness":
                    true = read(log, "true_colorfulness")[1]
                    values = [100 * value / of for value, of in zip(values, true, strict=True)]
                thousands = [step / 1000 for step in steps]
                axis.plot(thousands, values, style, marker=".", color=f"C{i}", label=label)
            axis.annotate(name, (1.02, values[-1]), xycoords=("axes fraction", "data"), va="center")
        axis.set(title=title, ylabel=unit)
        axis.grid(alpha=0.3)
    axes.flat[1].axhline(100, color="gray", linestyle=":")
    for axis in axes[1]:
        axis.set_xlabel("thousand training steps")
    if len(logs) > 1:
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    plots.finish(figure, path)
    return list(logs)


def draw_dqn(path: Path) -> None:
    """Draws the share of solved runs and the mean reward of each form of DQN."""
    import matplotlib.pyplot as plt
    import numpy as np

    from lib.measure import plots
    from lib.rl import reports
    from tools.tables.agents import CARTPOLE, DQNS
    from tools.tables.cells import record

    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.4), dpi=160, layout="constrained")
    rewards, goal = {}, None
    for k, (label, end) in enumerate({**DQNS, "DQN, no rule": "-no-rule"}.items()):
        run = record(f"{CARTPOLE}{end}")
        seeds = run["seeds"].values()
        solved = sorted(seed["episodes"] for seed in seeds if seed["solved"])
        shares = 100 * np.arange(len(solved) + 1) / len(seeds)
        ends = [0, *solved, run["episodes_limit"]]
        axes[0].stairs(shares, ends, baseline=None, label=label, color=f"C{k}", lw=1.5)
        rewards[label] = read_rewards(RESULTS / f"{CARTPOLE}{end}-rewards.csv")
        goal = run["goal"]
    axes[0].set(xlabel="episode", ylabel="runs solved so far, %", xscale="log", xlim=(100, 3000))
    reports.draw_rewards(axes[1], rewards, 100, goal)
    axes[1].set(xscale="log", xlim=(100, 3000))
    for axis in axes:
        axis.set_xticks([100, 200, 500, 1000, 2000], minor=False)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    plots.finish(figure, path)


def read_rewards(path: Path) -> list[list[float]]:
    """Returns the numbers that `reports.write_column` wrote, a list for each seed."""
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    columns = list(zip(*rows, strict=True))[1:]
    return [[float(cell) for cell in column if cell] for column in columns]


def draw_policies(path: Path) -> None:
    """Draws the mean reward of the four policy gradients over episodes and environment steps."""
    import matplotlib.pyplot as plt

    from lib.measure import plots
    from lib.rl import reports
    from tools.tables.agents import CAR, POLICIES

    rewards, steps = (
        {
            label: read_rewards(RESULTS / f"{CAR}-{name}-{kind}.csv")
            for name, label in POLICIES.items()
        }
        for kind in ("rewards", "steps")
    )
    figure, axes = plt.subplots(
        1, 2, figsize=(7.4, 3.4), dpi=160, sharey=True, layout="constrained"
    )
    reports.draw_rewards(axes[0], rewards, 50, 90)
    reports.draw_rewards(axes[1], rewards, 50, 90, steps)
    axes[0].set_ylim(60, 96)
    axes[1].xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k")
    axes[1].set_ylabel("")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    plots.finish(figure, path)


def main(args: argparse.Namespace) -> None:
    """Draws the figures."""
    import matplotlib

    matplotlib.use("Agg")
    drawers: dict[str, Callable[[Path], object]] = {
        **{
            f"{chapter}/figures/fid-curves.png": partial(draw, runs)
            for chapter, runs in gan_runs().items()
        },
        "chapter7-cross-domain-gan/figures/curves.png": draw_translations,
        "chapter9-drl/figures/dqn-rewards.png": draw_dqn,
        "chapter10-policy/figures/comparison.png": draw_policies,
    }
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        for name, draw_figure in drawers.items():
            if draw_figure(picture) == []:
                print(f"Left out: {name}, no log of a run")
            elif figures.replace(picture, ROOT / name):
                print(f"Drawn: {name}")
            else:
                print(f"Unchanged: {name}")


if __name__ == "__main__":
    program.run(main, flags.Parser(__doc__).parse_args(sys.argv[1:]))
