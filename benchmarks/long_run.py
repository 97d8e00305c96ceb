"""Memory, open files and threads of a long run: do they stay constant?

    python3 benchmarks/long_run.py                            # 40,000 steps, and 100 resumes
    python3 benchmarks/long_run.py --output FILE.json --figure FILE.png

A GAN, the LSGAN with batches of 2 images, trains as the script trains it, with figures, log.csv and
checkpoints. After each interval the process counts its resident memory, its open files and its
threads. Then a shorter run of the same GAN is resumed again and again in the same process, ten
steps each time. Linux only.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rounds
from lib.files.errors import UserError
from lib.run import flags, kinds, program
from tools.scripts import load_script

STEPS = 40_000
RESUMES = 100
STEPS_PER_RESUME = 10
BATCH_SIZE = 2
IMAGES = 1024
# Until then, TensorFlow and the allocator still fill their pools.
SETTLED = 0.25
MEASURES = {"memory_mb": "resident memory, MB", "files": "open files", "threads": "threads"}
SCRIPT = "chapter5-improved-gan/lsgan-mnist-5.2.1.py"


def parse_args():
    parser = flags.Parser(__doc__)
    parser.add_argument("--steps", type=kinds.positive_int, default=STEPS, help="(default 40,000)")
    parser.add_argument("--resumes", type=kinds.positive_int, default=RESUMES, help="(default 100)")
    parser.add_argument("--interval", type=kinds.positive_int, default=500, help="(default 500)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the numbers there")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="draw them there")
    parser.set_defaults(seed=0)
    return parser.parse_args()


def usage():
    """Resident memory in MB, open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def growth(rows):
    """By how much each measure has grown since the run had settled.

    Args:
        rows: list of `usage()`.

    Returns:
        dict: {measure: median of the last quarter less that of the second quarter}.
    """
    quarter = max(1, int(SETTLED * len(rows)))
    second, last = rows[quarter : 2 * quarter], rows[-quarter:]
    return {
        name: round(
            statistics.median(row[name] for row in last)
            - statistics.median(row[name] for row in second),
            1,
        )
        for name in MEASURES
    }


def long_run(model, batch, folder, args):
    """Trains once and returns the usage after each interval."""
    from lib import gan_training
    from lib.measure import plots
    from lib.run import training

    rows = []

    def after_interval(step, logs):
        noise = gan_training.sample_noise(0, 16, 100)
        plots.image_grid(
            model.generator.predict(noise, verbose=0), folder / "sample.png", columns=10
        )
        rows.append({"step": step, **usage()})

    training.train(
        model,
        batch,
        program.Run(Path(__file__), folder, folder),
        steps=args.steps,
        interval=args.interval,
        after_interval=after_interval,
        keep=True,
    )
    return rows


def resumes(model, batch, folder, args):
    """Resumes the finished run again and again and returns the usage after each time."""
    from lib.run import training

    rows = []
    for number in range(1, args.resumes + 1):
        training.train(
            model,
            batch,
            program.Run(Path(__file__), folder, folder, resume=True),
            steps=args.steps + number * STEPS_PER_RESUME,
            interval=STEPS_PER_RESUME,
            keep=True,
        )
        rows.append({"resume": number, **usage()})
    return rows


def draw(parts, path):
    """Draws the measures of the long run and of the resumes in a panel each."""
    import matplotlib.pyplot as plt

    from lib.measure import plots

    figure, axes = plt.subplots(len(parts), 3, figsize=(8.3, 2.2 * len(parts)), dpi=160)
    for line, (count, rows) in zip(axes, parts.items(), strict=True):
        for axis, (name, title) in zip(line, MEASURES.items(), strict=True):
            axis.plot([row[count] for row in rows], [row[name] for row in rows])
            axis.set(title=title, xlabel=count, ylim=(0, None))
            axis.grid(alpha=0.3)
    figure.tight_layout()
    plots.finish(figure, path)


def main(args):
    if not Path("/proc/self/statm").exists():
        raise UserError("expected Linux, found no /proc/self/statm; run this on Linux")
    rounds.check_output(args.output)
    import matplotlib
    import numpy as np

    from lib.data import datasets
    from lib.files import records

    matplotlib.use("Agg")
    model = load_script(SCRIPT).build_lsgan(args.seed)
    (images, _), _ = datasets.mnist()
    images = images[:IMAGES]

    def batch(step):
        index = np.random.default_rng((args.seed, step)).integers(0, len(images), BATCH_SIZE)
        return {"x": (images[index],)}

    with tempfile.TemporaryDirectory() as folder:
        rows = long_run(model, batch, Path(folder), args)
        again = resumes(model, batch, Path(folder), args)
    numbers = {"steps": growth(rows), "resumes": growth(again)}
    print(f"Growth in {args.steps} steps: {numbers['steps']}")
    print(f"Growth in {args.resumes} resumes: {numbers['resumes']}")
    if args.figure:
        draw({"step": rows, "resume": again}, args.figure)
    if args.output:
        records.record(
            args.output,
            seed=args.seed,
            steps=args.steps,
            resumes=args.resumes,
            batch_size=BATCH_SIZE,
            growth=numbers,
            last={"steps": rows[-1], "resumes": again[-1]},
        )


if __name__ == "__main__":
    program.run(main, parse_args())
