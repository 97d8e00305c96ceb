"""The results that a run prints, and its last lines."""

import argparse
import contextlib
import csv
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTED = time.time()
RESULTS: dict[str, Any] = {}  # the numbers that this run has recorded
# What `python3 -m tools.readme` writes: script and flags; measure, its key in a record, its format;
# the published value and its budget; the book's value.
PUBLISHED = Path(__file__).with_name("published.csv")
# Whether flags give each hyper-parameter the value that it has in this run; the parser sets it.
same_settings: Callable[[list[str]], bool] = lambda words: True  # noqa: E731
WITHOUT_NUMBER = {"pictures": "the book shows pictures", "-": "not in the book"}


def conclude(args: argparse.Namespace, folder: Path) -> None:
    """Prints the result, the published one, the picture to open and what to try next.

    A run of other settings, of an edited script or of your own images is compared with nothing.

    Args:
        args: the parsed flags.
        folder: of the figures. The weights are next to it.
    """
    for row in _published(args):
        if (yours := _value(RESULTS, row["key"])) is not None:
            print(f"Result: {row['measure']} {yours:{row['format']}}".replace("%", " %"))
        book = WITHOUT_NUMBER.get(row["book"], f"the book: {row['book']}")
        print(f"Published: {row['measure']} {row['value']}, {row['budget']} ({book})")
    written = [p for place in (folder, args.output_dir) for p in place.iterdir() if p.is_file()]
    new = {p: p.stat().st_mtime for p in written if p.stat().st_mtime >= STARTED}
    pictures = [p for p in new if p.suffix in (".png", ".gif") and not p.stem.isdigit()]
    if pictures:
        print(f"Picture: {max(pictures, key=lambda path: new[path])}")
    weights = sorted(path for path in new if path.suffix in (".h5", ".npy"))
    if weights:
        print(f"Weights: {', '.join(map(str, weights))}")
    flag = next((f for f in ("generator", "weights") if hasattr(args, f)), None)
    if flag and weights and not getattr(args, flag):
        evaluate = " --evaluate" if hasattr(args, "evaluate") else ""
        print(f"Next: python3 {sys.argv[0]} --{flag}={weights[0]}{evaluate}")
    elif flag and getattr(args, flag):
        budgets = {"train-steps": 1000, "epochs": 1, "episodes": 100}
        name = next(name for name in budgets if hasattr(args, name.replace("-", "_")))
        print(f"Next: python3 {sys.argv[0]} --{name} {budgets[name]}")


def show(numbers: dict[str, Any], prefix: str = "") -> None:
    """Prints a line for each measured number; the name of a dict of numbers begins its lines."""
    for name, value in numbers.items():
        if isinstance(value, dict):
            show(value, f"{prefix}{name}, ")
        else:
            print(f"{prefix}{name}: {value}".replace("_", " "))


def _published(args: argparse.Namespace) -> list[dict[str, str]]:
    """The published results of this script with these settings."""
    from lib.files import records

    if getattr(args, "images", None) or records.COMMIT.endswith("-dirty"):
        return []
    # A run does not fail at its end because the published numbers are missing or damaged.
    with contextlib.suppress(OSError, ValueError, KeyError, csv.Error):
        rows = list(csv.DictReader(PUBLISHED.read_text().splitlines()))
        of_script = [row for row in rows if row["script"] == Path(sys.argv[0]).stem]
        return [row for row in of_script if same_settings(shlex.split(row["flags"]))]
    return []


def _value(numbers: Any, key: str) -> float | None:
    """The value at a key such as noise_levels/0.5/psnr, None if it was not measured."""
    for part in key.split("/"):
        numbers = numbers.get(part) if isinstance(numbers, dict) else None
    return numbers if isinstance(numbers, (int, float)) else None
