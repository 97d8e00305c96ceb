"""The first and the last lines that a run prints."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

STARTED = time.time()
# What `python3 -m tools.readme` writes: script, measure, value and the book's value, as texts.
PUBLISHED = Path(__file__).with_name("published.csv")


def introduce(
    folder: Path,
    method: str,
    data: str,
    networks: Sequence[keras.Model],
    diagram: str | None = None,
    *,
    images: Sequence[Path] = (),
    summary: bool = False,
) -> None:
    """Prints method, data, parameters and output folder of a run, and draws the networks.

    Args:
        folder: of the figures.
        method, data, networks, diagram: see `program.Run.introduce`.
        images: the folders of your own images.
        summary: print the layers.
    """
    from lib.measure import plots

    if images:
        data = "images in " + " and ".join(f"'{path}'" for path in images)
    counts = [f"{network.name} {network.count_params():,}" for network in networks]
    print(f"Method: {method}")
    print(f"Data: {data}")
    if counts:
        print(f"Parameters: {', '.join(counts)}")
    print(f"Output: {folder}/", flush=True)
    for network in networks:
        if summary:
            network.summary()
        plots.model_diagram(network, folder / f"{diagram or network.name}.png")


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
            without_number = {"pictures": "the book shows pictures", "-": "not in the book"}
            book = without_number.get(row["book"], f"the book: {row['book']}")
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
