"""Redraws the figures of the chapters from the pretrained weights and the logs in results/.

    python3 -m tools.figures                   # all of them, up to an hour: VAEs are also measured
    python3 -m tools.figures --chapters 1,8    # those of chapters 1 and 8
    python3 -m tools.figures --check           # compare the pictures instead of replacing them

Strips of a training, videos and comparisons of several trainings need the trainings themselves.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from lib.data import datasets
from lib.files.errors import UserError
from lib.run import flags, program
from tools import registry
from tools.scripts import ROOT

CIFAR10_CHAPTERS = (2, 3, 7)
MNIST_CHAPTERS = range(1, 9)
TEST_DIGITS = 10_000
# Gray levels out of 255.
ALIKE = 4  # mean difference that two pictures of the same results may have
ROUNDING = 8  # largest difference that another processor makes


def commands(chapters: Container[int] | None = None) -> dict[tuple[int, str], dict[str, str]]:
    """Returns {(chapter, command): {picture that it draws: figure}} of some or all chapters."""
    return {
        (row.chapter, row.command): row.figures()
        for row in registry.rows()
        if row.pictures and (chapters is None or row.chapter in chapters)
    }


def check_data(chapters: Container[int]) -> None:
    """Raises UserError if a data set of these chapters is missing or incomplete."""
    if any(chapter in chapters for chapter in CIFAR10_CHAPTERS):
        datasets.cifar10()
    if any(chapter in chapters for chapter in MNIST_CHAPTERS):
        _, (digits, _) = datasets.mnist()
        if len(digits) < TEST_DIGITS:
            raise UserError(
                f"expected the {TEST_DIGITS} test digits of MNIST, found {len(digits)}; put "
                "mnist.npz into a folder and set ADLK_DATA_DIR to it"
            )


def redraw(chapter: int, command: str, pictures: dict[str, str], check: bool = False) -> list[str]:
    """Runs a command in a folder of its own and copies its pictures to the figures of its chapter.

    A figure that differs by rounding only is left as it is, so that no commit has it again. Without
    Graphviz, diagrams of networks are left too.

    Args:
        chapter: number of the chapter.
        command: script and flags.
        pictures: {picture that it draws: figure}; for a pattern, the figure has all that match.
        check: compare instead.

    Returns:
        list: Names of figures that differ.

    Raises:
        UserError: if the command fails or does not draw a picture.
    """
    (folder,) = ROOT.glob(f"chapter{chapter}-*")
    different = []
    with tempfile.TemporaryDirectory() as output:
        words = [sys.executable, *command.split(), "--output-dir", output]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            *_, reason = ["no message", *done.stderr.strip().splitlines()]
            raise UserError(f"'{command}' failed: {reason}")
        for drawn, figure in pictures.items():
            found = sorted(Path(output).glob(f"*/{drawn}"))
            target = folder / "figures" / figure
            source = found[0] if found else None
            if len(found) > 1:
                source = side_by_side(found, Path(output) / figure)
            if source is None:
                if not re.search(rf"^no ({drawn}|diagrams): ", done.stdout, re.MULTILINE):
                    raise UserError(f"'{command}' has not drawn '{drawn}'")
                print(f"{figure} is unchanged: drawing it needs Graphviz (apt install graphviz)")
                continue
            mean, _ = difference(source, target)
            if mean > ALIKE:
                different.append(figure)
            if not check:
                replace(source, target)
    return different


def side_by_side(sources: Sequence[Path], target: Path) -> Path:
    """Writes square gray pictures in rows of five, each 330 pixels wide, into `target`."""
    from PIL import Image

    whole = Image.new("L", (min(5, len(sources)) * 330, -(-len(sources) // 5) * 330), 255)
    for i, source in enumerate(sources):
        each = Image.open(source).convert("L").resize((325, 325), Image.Resampling.BOX)
        whole.paste(each, (i % 5 * 330, i // 5 * 330))
    whole.quantize(16).save(target, optimize=True)
    return target


def replace(source: Path, target: Path) -> bool:
    """Copies a picture to `target` if it differs by more than rounding; returns whether it does."""
    _, largest = difference(source, target)
    if largest > ROUNDING:
        shutil.copyfile(source, target)
    return largest > ROUNDING


def difference(a: Path, b: Path) -> tuple[float, float]:
    """Mean and largest difference of two pictures in gray levels out of 255.

    Both are infinite if `b` is missing or has another size.
    """
    from PIL import Image

    if not b.exists():
        return np.inf, np.inf
    x, y = (np.asarray(Image.open(path).convert("RGB"), dtype="float32") for path in (a, b))
    if x.shape != y.shape:
        return np.inf, np.inf
    gaps = np.abs(x - y)
    return float(gaps.mean()), float(gaps.max())


def main(args: argparse.Namespace) -> None:
    """Redraws or compares the figures."""
    different = []
    jobs = commands(args.chapters)
    check_data({chapter for chapter, _ in jobs})
    for number, ((chapter, command), pictures) in enumerate(jobs.items(), 1):
        started = time.time()
        found = redraw(chapter, command, pictures, args.check)
        different += [f"chapter {chapter}: {figure}" for figure in found]
        print(f"{number}/{len(jobs)} {command}: {time.time() - started:.0f} s", flush=True)
    if not args.check and args.chapters is None:
        for further in ("tools.curves", "tools.comparison"):
            subprocess.run([sys.executable, "-m", further], cwd=ROOT, check=True)
    print("\n".join(["Different:", *different]) if different else "No figure has changed.")
    raise SystemExit(args.check and bool(different))


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument("--chapters", type=registry.chapters, help="such as 1,8 (default all)")
    parser.add_argument("--check", action="store_true", help="change nothing")
    program.run(main, parser.parse_args(sys.argv[1:]))
