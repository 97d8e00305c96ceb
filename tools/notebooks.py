"""Runs the notebooks of the chapters and stores their outputs.

    python3 -m tools.notebooks                   # run all of them
    python3 -m tools.notebooks --chapters 1,8    # run two of them
    python3 -m tools.notebooks --tiny            # run all on a tiny budget and store nothing

A notebook is its own source. It shows the code of the scripts, which it loads as modules, and has
no copy of it. Running a notebook needs requirements-site.txt and the data sets.
"""

import argparse
import base64
import io
import os
import sys
import time
from pathlib import Path

from PIL import Image

from lib.run import flags, program
from tools import registry

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def run(chapter: int, tiny: bool) -> None:
    """Runs a notebook from top to bottom and stores its outputs, unless `tiny`."""
    import nbclient
    import nbformat

    path = FOLDER / f"chapter{chapter}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    options = {"timeout": 900, "record_timing": False, "coalesce_streams": True}
    place = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, resources=place, **options).execute()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        # TensorFlow's log goes to stderr.
        cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    if not tiny:
        nbformat.write(notebook, path)


def smaller(png: str) -> str:
    """Returns a PNG picture in base64 with at most 256 colors, about a third of its size."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256)
    stored = io.BytesIO()
    picture.save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode()


def main(args: argparse.Namespace) -> None:
    """Runs the notebooks of the chosen chapters."""
    if args.tiny:
        os.environ["ADLK_TINY"] = "1"  # the second code cell of each notebook looks for it
    for chapter in args.chapters or range(1, 11):
        started = time.time()
        run(chapter, args.tiny)
        print(f"chapter {chapter}: {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument("--chapters", type=registry.chapters, help="such as 1,8 (default all)")
    parser.add_argument("--tiny", action="store_true", help="run on a tiny budget, store nothing")
    program.run(main, parser.parse_args(sys.argv[1:]))
