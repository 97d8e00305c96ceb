"""The tables of FIGURES.md: each result of the book that code makes."""

import csv
import re
from functools import partial
from typing import Any

from lib.tables.cells import RESULTS, record, table

# Its columns: chapter, figure or section of the book, what it shows, links to pictures, the result
# here, the book's value, the run. {NAME KEY FORMAT} stands for a number of results/NAME.json.
ROWS = RESULTS.parent / "lib/data/figures.csv"
HEADER = {
    "book": "book",
    "shows": "shows",
    "pictures": "pictures",
    "here": "here",
    "in_book": "the book",
    "run": "run",
}
NUMBER = re.compile(r"\{(\S+) (\S+) (\S+)\}")


def chapter(number: int) -> str:
    with ROWS.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if int(line["chapter"]) == number]
    rows = [[NUMBER.sub(_number, line[key]) for key in HEADER] for line in lines]
    return table([*HEADER.values()], rows)


def _number(match: re.Match[str]) -> str:
    found: Any = record(match[1])
    for part in match[2].split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return format(found, match[3]).replace("%", " %")


TABLES = {f"figures-{number}": partial(chapter, number) for number in range(1, 11)}
