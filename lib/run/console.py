"""The last lines that a run prints."""

import argparse
import contextlib
import csv
import sys
import time
from pathlib import Path

STARTED = time.time()
# What `python3 -m tools.readme` writes: script, measure, value and the book's value, as texts.
PUBLISHED = Path(__file__).with_name("published.csv")
WITHOUT_NUMBER = {"pictures": "the book shows pictures", "-": "not in the book"}


def conclude(args: argparse.Namespace, folder: Path) -> None:
    """Prints the published results of the script, with the book's, and the files just written.

    Args:
        args: the parsed flags.
        folder: of the figures. The weights are next to it.
    """
    # A run does not fail at its end because the published numbers are missing or damaged.
    with contextlib.suppress(OSError, ValueError, csv.Error):
        text = "" if getattr(args, "images", None) else PUBLISHED.read_text()
        for script, measure, value, book in list(csv.reader(text.splitlines()))[1:]:
            if script == Path(sys.argv[0]).stem:
                book = WITHOUT_NUMBER.get(book, f"the book: {book}")
                print(f"Published: {measure} {value} ({book})")
    for place in dict.fromkeys((folder, args.output_dir)):
        written = sorted(
            path.name
            for path in place.iterdir()
            # The grids of single steps are too many to list.
            if path.is_file() and path.stat().st_mtime >= STARTED and not path.stem.isdigit()
        )
        if written:
            print(f"Files in {place}/: {', '.join(written)}")
