"""The tables of FIGURES.md: each result of the book that code makes."""

import re
from functools import partial

from tools.tables.cells import RESULTS, read_rows, record, shown, table, value_at

# Its columns: chapter, figure or section of the book, what it shows, links to pictures, the result
# here, the book's value, the run. {NAME KEY FORMAT} becomes a number of results/NAME.json.
ROWS = RESULTS.parent / "tools/figures.csv"
HEADER = {
    "book": "book",
    "shows": "shows",
    "here": "here",
    "in_book": "the book",
    "run": "run",
    "pictures": "pictures",
}
NUMBER = re.compile(r"\{(\S+) (\S+) (\S+)\}")


def chapter(number: int) -> str:
    lines = read_rows(ROWS, chapter=number)
    rows = [[NUMBER.sub(_number, line[key]) for key in HEADER] for line in lines]
    return table([*HEADER.values()], rows)


def _number(match: re.Match[str]) -> str:
    return shown(value_at(record(match[1]), match[2]), match[3])


TABLES = {f"figures-{number}": partial(chapter, number) for number in range(1, 11)}
