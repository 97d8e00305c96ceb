"""Keeps the numbers of the pages equal to those that runs wrote to results/.

    python3 -m tools.readme            # rewrites the numbers
    python3 -m tools.readme --check    # prints the numbers that differ or have no result

A table between `<!-- table NAME -->` and `<!-- end of table -->` is written whole, see
`tools.tables`. The few numbers in sentences are in tools/prose.csv. Its columns are the page, the
words before the number, and its record, key and format as in tools/registry.csv. What the last
lines of a run show is written to lib/run/published.csv.
"""

import argparse
import csv
import io
import itertools
import re
import sys
from pathlib import Path

from lib.files.errors import UserError
from lib.run import console, flags, program
from tools import registry
from tools.tables import (
    agents,
    autoencoders,
    cards,
    classifiers,
    departures,
    figures,
    gans,
    overview,
    speed,
    translation,
    vaes,
)
from tools.tables.cells import NOT_MEASURED, cell, measured_and_trained, read_rows, record

ROOT = Path(__file__).resolve().parents[1]
PROSE = ROOT / "tools/prose.csv"
NUMBER = r"(-?\d+(?:,\d{3})*(?:\.\d+)?(?: %)?)"
TABLE = re.compile(
    r"(?P<start><!-- table (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of table -->)", re.DOTALL
)
MODULES = (
    overview,
    figures,
    classifiers,
    autoencoders,
    gans,
    translation,
    vaes,
    agents,
    speed,
    cards,
    departures,
)
TABLES = {name: make for module in MODULES for name, make in module.TABLES.items()}
# Columns of tables with settings instead of results.
SETTINGS = ("dropout", "L2", "what it shows")
RESULT = re.compile(r"\d[\d,]*\.\d+|\d+ %")


def updated(text: str, page: str = "") -> str:
    """`text` with all its tables and numbers as in results/.

    Args:
        text: of the page.
        page: its path in the repository, which selects the rows of PROSE.

    Raises:
        UserError: if the text names a table that does not exist, or PROSE a number that the text or
            the record does not have.
    """

    def made(match):
        if match["name"] not in TABLES:
            raise UserError(f"no table '{match['name']}' in tools/tables")
        return match["start"] + TABLES[match["name"]]() + "\n" + match["end"]

    text = TABLE.sub(made, text)
    for row in read_rows(PROSE, page=page):
        try:
            number = cell(_existing(row["record"]), row["key"], row["format"])
        except UserError as error:
            raise UserError(f"{page}, '{row['before']}': {error}") from None
        words = r"\s+".join(map(re.escape, row["before"].split()))
        found = [*re.finditer(rf"{words}\s*{NUMBER}", text)]
        if len(found) != 1:
            raise UserError(
                f"{page}: expected '{row['before']}' and a number once, found it {len(found)} times"
            )
        text = text[: found[0].start(1)] + number + text[found[0].end(1) :]
    return text


def _existing(name):
    found = record(name)
    if not found:
        raise UserError(f"no results/{name}.json")
    return found


def published() -> str:
    """The contents of the file that the last lines of a run are read from."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("script", "flags", "measure", "key", "format", "value", "budget", "book"))
    for row in registry.published():
        _, trained = measured_and_trained(row.record_name)
        measured = (row.measure, row.key, row.format, row.value(), cards.length(trained), row.book)
        if NOT_MEASURED not in measured:
            lines.writerow((row.script, row.flags, *measured))
    return text.getvalue()


def differences(path: Path) -> list[str]:
    """Lines of the file `path` that differ from `updated`."""
    text, page = path.read_text(), str(path.relative_to(ROOT))
    pairs = itertools.zip_longest(text.splitlines(), updated(text, page).splitlines())
    return [f"{page}: {new}" for old, new in pairs if old != new]


def unproven(text: str) -> list[str]:
    """Cells of the tables in `text` with decimals or percentages that come from no result.

    Such numbers are allowed in first columns, which are titles, in columns of SETTINGS, in columns
    about the book, and in links and code.
    """
    found, header = [], None
    for line in TABLE.sub("", text).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = cells
        else:
            for title, cell in zip(header[1:], cells[1:], strict=True):
                rest = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", cell)
                if title not in SETTINGS and "book" not in title and RESULT.search(rest):
                    found.append(cell)
    return found


def pages() -> list[Path]:
    """The pages of the project with numbers."""
    names = ("README", "GUIDE", "FIGURES", "WEIGHTS", "DIFFERENCES", "benchmarks/README")
    return [*(ROOT / f"{name}.md" for name in names), *sorted(ROOT.glob("chapter*/README.md"))]


def _read(path):
    return path.read_text() if path.exists() else ""


def main(args: argparse.Namespace) -> None:
    """Rewrites the pages, or prints the differences."""
    if args.check:
        found = [line for path in pages() for line in differences(path)]
        for path in pages():
            cells = unproven(path.read_text())
            found += [f"{path.relative_to(ROOT)}: no result behind '{cell}'" for cell in cells]
        if _read(console.PUBLISHED) != published():
            found.append(f"{console.PUBLISHED.relative_to(ROOT)} differs")
        found += registry.omissions()
        print("\n".join(found) or "All numbers are those of results/.")
        raise SystemExit(bool(found))
    for path in pages():
        text, page = path.read_text(), str(path.relative_to(ROOT))
        if updated(text, page) != text:
            path.write_text(updated(text, page))
            print(f"{page} rewritten")
    if _read(console.PUBLISHED) != published():
        console.PUBLISHED.write_text(published())
        print(f"{console.PUBLISHED.relative_to(ROOT)} rewritten")


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    program.run(main, parser.parse_args(sys.argv[1:]))
