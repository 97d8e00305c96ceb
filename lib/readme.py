"""Keeps the numbers in FIGURES.md and the README files equal to those that runs wrote to results/.

    python3 -m lib.readme            rewrites the numbers
    python3 -m lib.readme --check    says which ones differ, or stand in a table without a result

A number is followed by a comment that the reader of the page does not see, and that names its file
in results/, its key there (levels parted by slashes, a tilde for a space) and its format, Python's:

    99.42 %<!--=cnn-functional-2.1.1 test_accuracy .2%-->
"""

import json
import re
import sys
from pathlib import Path

from lib import cli
from lib.cli import UserError

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(
    r"(?P<shown>[^\s|()<>*]+(?: %)?)<!--=(?P<file>[\w.-]+) (?P<key>[^ >]+) (?P<format>[^ >]+)-->"
)
# Columns of tables that hold what was set, and not what came out.
SETTINGS = ("dropout", "L2", "what it shows")
RESULT = re.compile(r"\d[\d,]*\.\d+|\d+ %")


def value(file, key, results):
    """The number `key` in the json `file` of the folder `results`.

    Raises:
        UserError: if there is none.
    """
    try:
        found = json.loads((results / f"{file}.json").read_text())
    except FileNotFoundError:
        raise UserError(f"no results/{file}.json") from None
    for name in key.replace("~", " ").split("/"):
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise UserError(f"no '{key}' in results/{file}.json") from None
    return found


def shown(number, form):
    """The number as text; a percentage has a space before its sign."""
    return format(number, form).replace("%", " %")


def updated(text, results=ROOT / "results"):
    """`text` with all its numbers as the folder `results` has them."""

    def replace(match):
        number = shown(value(match["file"], match["key"], results), match["format"])
        return number + match[0][len(match["shown"]) :]

    return NUMBER.sub(replace, text)


def differences(path):
    """Lines of the file `path` that are not as `updated` would write them."""
    text = path.read_text()
    pairs = zip(text.splitlines(), updated(text).splitlines(), strict=True)
    return [f"{path.relative_to(ROOT)}: {new}" for old, new in pairs if old != new]


def unproven(text):
    """Cells of the tables in `text` with decimals or percentages that come from no result.

    First columns are titles; columns of SETTINGS and those about the book may hold such numbers,
    and so may links and code.
    """
    found, header = [], None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = cells
        else:
            for title, cell in zip(header[1:], cells[1:], strict=True):
                rest = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", NUMBER.sub("", cell))
                if title not in SETTINGS and "book" not in title and RESULT.search(rest):
                    found.append(cell)
    return found


def pages():
    """FIGURES.md and all README files of the project."""
    return [ROOT / "README.md", ROOT / "FIGURES.md", *sorted(ROOT.glob("chapter*/README.md"))]


def main(args):
    if args.check:
        found = [line for path in pages() for line in differences(path)]
        for path in pages():
            cells = unproven(path.read_text())
            found += [f"{path.relative_to(ROOT)}: no result behind '{cell}'" for cell in cells]
        print("\n".join(found) or "All numbers are those of results/.")
        raise SystemExit(bool(found))
    for path in pages():
        text = path.read_text()
        if updated(text) != text:
            path.write_text(updated(text))
            print(f"{path.relative_to(ROOT)} rewritten")


if __name__ == "__main__":
    parser = cli.Parser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    cli.run(main, parser.parse_args(sys.argv[1:]))
