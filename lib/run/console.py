"""The last lines that a run prints."""

import argparse
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
    if PUBLISHED.exists() and not getattr(args, "images", None):
        with PUBLISHED.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["script"] == Path(sys.argv[0]).stem]
        for row in rows:
            book = WITHOUT_NUMBER.get(row["book"], f"the book: {row['book']}")
            print(f"Published: {row['measure']} {row['value']} ({book})")
    for place in dict.fromkeys((folder, args.output_dir)):
        written = sorted(
            path.name
            for path in place.iterdir()
            # The grids of single steps are too many to list.
            if path.is_file() and path.stat().st_mtime >= STARTED and not path.stem.isdigit()
        )
        if written:
            print(f"Files in {place}/: {', '.join(written)}")
