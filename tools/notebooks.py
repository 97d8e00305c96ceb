"""Writes the notebooks of the chapters from the commands in tools/notebooks.csv.

    python3 -m tools.notebooks            write notebooks/chapter1.ipynb to chapter10.ipynb
    python3 -m tools.notebooks --check    compare them with what would be written
    python3 -m tools.notebooks --run      run them on a tiny budget (requirements-site.txt)

A notebook runs the scripts from the shell and shows what they draw. It has no code of its own.
"""

import argparse
import ast
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from lib.run import flags, program
from tools import registry
from tools.tables.cells import read_rows

ROOT = Path(__file__).resolve().parents[1]
# Its columns: chapter, part, command, a picture that the command draws in ../outputs, a text, and
# flags for a tiny budget, which `--run` adds.
ROWS = ROOT / "tools/notebooks.csv"
# To be replaced by the address of the repository on GitHub, as in the README.
REPOSITORY = "OWNER/NAME"
BIN = Path(sys.executable).parent
AT_ONCE = 2  # notebooks that `--run` runs at the same time
TITLES = {
    "pretrained": "Pretrained weights",
    "training": "Five minutes of training",
    "experiment": "An experiment from the book",
}
INSTALL = f"""\
# On Colab: get the collection and what it needs.
import os

if not os.path.exists("../{{folder}}"):
    !git clone --depth 1 https://github.com/{REPOSITORY} adlk
    %cd adlk/notebooks
    !pip install --quiet -r ../requirements.txt
%cd ../{{folder}}"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def rows(chapter: int) -> list[dict[str, str]]:
    """Returns the rows of ROWS of a chapter as dicts."""
    return read_rows(ROWS, chapter=chapter)


def notebook(chapter: int, tiny: bool = False) -> dict[str, Any]:
    """Returns the notebook of a chapter as a dict in nbformat 4.

    Args:
        chapter: number of the chapter.
        tiny: add the flags for a tiny budget.
    """
    (folder,) = ROOT.glob(f"chapter{chapter}-*")
    title, first = introduction(folder / "README.md")
    address = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks"
    badge = "https://colab.research.google.com/assets/colab-badge.svg"
    cells = [
        ("markdown", f"[![Open in Colab]({badge})]({address}/chapter{chapter}.ipynb)"),
        ("markdown", f"# {title}\n\n{first}"),
        ("code", INSTALL.format(folder=folder.name)),
    ]
    for row in rows(chapter):
        flags = f" {row['tiny']}" if tiny and row["tiny"] else ""
        cells.append(("markdown", f"## {TITLES[row['part']]}\n\n{row['text']}"))
        cells.append(("code", f"!python {row['command']}{flags}"))
        if row["picture"]:
            show = f'from IPython.display import Image\n\nImage("../outputs/{row["picture"]}")'
            cells.append(("code", show))
    cells.append(("markdown", f"## Things to try\n\n{commands(folder)}"))
    return {
        "cells": [cell(kind, text, number) for number, (kind, text) in enumerate(cells)],
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def cell(kind: str, text: str, number: int) -> dict[str, Any]:
    """Returns a cell as a dict in nbformat 4."""
    made: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
    if kind == "code":
        made |= {"execution_count": None, "outputs": []}
    return made | {"source": text.splitlines(keepends=True)}


def introduction(readme: Path) -> tuple[str, str]:
    """Returns the title of a page and its first paragraph, without links."""
    title, paragraph = readme.read_text().split("\n\n")[:2]
    return title.lstrip("# "), re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", paragraph)


def commands(folder: Path) -> str:
    """Returns the commands of the docstrings of a chapter as Markdown."""
    text = "Put `!` before a command, and change its flags. `--help` lists them all.\n"
    for path in sorted(folder.glob("*.py"), key=lambda path: path.stem.rpartition("-")[2]):
        lines = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
        found = [line[4:] for line in lines if line.startswith("    python3 ")]
        text += "\n```\n" + "\n".join(found) + "\n```\n"
    return text.replace("python3 ", "python ").rstrip("\n")


def text_of(chapter: int) -> str:
    """Returns the file of a chapter's notebook."""
    return json.dumps(notebook(chapter), indent=1, ensure_ascii=False) + "\n"


def run(chapter: int, data: Path, folder: Path) -> None:
    """Runs a notebook on a tiny budget; a command that fails raises an error.

    Args:
        chapter: number of the chapter.
        data: folder of the data sets.
        folder: an empty folder, which gets links to the scripts.
    """
    import nbclient
    import nbformat

    (folder / "notebooks").mkdir()
    for path in ROOT.glob("chapter*-*"):
        # A folder of its own, because .. of a link is in the repository.
        (folder / path.name).mkdir()
        for each in path.iterdir():
            (folder / path.name / each.name).symlink_to(each)
    os.environ |= {"ADLK_DATA_DIR": str(data), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    found = nbformat.reads(json.dumps(notebook(chapter, tiny=True)), as_version=4)
    for each in found.cells:
        if each.source.startswith("!"):
            # IPython does not raise an error when a command fails.
            each.source += "\nassert _exit_code == 0"
    place = {"metadata": {"path": str(folder / "notebooks")}}
    nbclient.NotebookClient(found, timeout=600, kernel_name="python3", resources=place).execute()


def run_tiny(chapter: int) -> float:
    """Runs a notebook on random images; returns the seconds that it took."""
    sys.path.insert(0, str(ROOT / "tests"))
    from smoke import write_data

    started = time.time()
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as folder:
        write_data(Path(data))
        run(chapter, Path(data), Path(folder))
    return time.time() - started


def main(args: argparse.Namespace) -> None:
    """Writes, compares or runs the notebooks."""
    chapters = args.chapters or range(1, 11)
    if args.run:
        with ProcessPoolExecutor(AT_ONCE) as pool:
            for chapter, seconds in zip(chapters, pool.map(run_tiny, chapters), strict=True):
                print(f"chapter {chapter}: {seconds:.0f} s", flush=True)
        return
    different = []
    for chapter in chapters:
        path = ROOT / f"notebooks/chapter{chapter}.ipynb"
        text = text_of(chapter)
        if not path.exists() or path.read_text() != text:
            different.append(path.name)
            if not args.check:
                path.write_text(text)
    print("Different: " + ", ".join(different) if different else "No notebook has changed.")
    raise SystemExit(args.check and bool(different))


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument("--chapters", type=registry.chapters, help="such as 1,8 (default all)")
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--run", action="store_true", help="run them on a tiny budget")
    program.run(main, parser.parse_args(sys.argv[1:]))
