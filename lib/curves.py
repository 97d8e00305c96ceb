"""Draws FID-MNIST against the training step from the logs in results/: when does it stop falling?

python3 -m lib.curves            redraws figures/fid-curves.png of chapters 4, 5 and 6
"""

import csv
import sys
from pathlib import Path

from lib import cli

ROOT = Path(__file__).resolve().parents[1]
RUNS = {
    "chapter4-gan": {"DCGAN": "dcgan-mnist-4.2.1", "CGAN": "cgan-mnist-4.3.1"},
    "chapter5-improved-gan": {
        "WGAN": "wgan-mnist-5.1.2",
        "LSGAN": "lsgan-mnist-5.2.1",
        "ACGAN": "acgan-mnist-5.3.1",
    },
    "chapter6-disentangled-gan": {
        "InfoGAN": "infogan-mnist-6.1.1",
        "StackedGAN": "stackedgan-mnist-6.2.1",
    },
}


def read(path, column):
    """The steps and values of the rows of a log.csv that have the column."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(column)]
    return [int(row["step"]) for row in rows], [float(row[column]) for row in rows]


def draw(runs, path, results=ROOT / "results"):
    """Draws one curve for each run.

    Args:
        runs: {label: name of the run in results/}.
        path: the PNG file.
        results: folder of the files NAME-log.csv.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from lib import plots

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


def main(args):
    for chapter, runs in RUNS.items():
        path = ROOT / chapter / "figures" / "fid-curves.png"
        draw(runs, path)
        print(f"Drawn: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    cli.run(main, cli.Parser(__doc__).parse_args(sys.argv[1:]))
