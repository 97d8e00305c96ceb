"""The tables of FIGURES.md: each result of the book that code makes."""

import re
from functools import partial

from lib.files.errors import UserError
from tools.tables.cards import length
from tools.tables.cells import NOT_MEASURED, RESULTS, cell, measured_and_trained, read_rows, table

# Its columns: chapter, figure or section of the book, what it shows, links to pictures; record, key
# and format of the number here, see tools/registry.py, and the words around it ({} is the number);
# the book's value; words about the run, with {} for its date. Without them, they are made.
ROWS = RESULTS.parent / "tools/figures.csv"
IMAGE = r'<img src="\2" alt="\1" width="96">'
HEADER = ["book", "shows", "here", "the book", "run", "pictures"]


def chapter(number: int) -> str:
    lines = []
    for row in read_rows(ROWS, chapter=number):
        here, run = row["here"], row["run"]
        if row["record"]:
            found, trained = measured_and_trained(row["record"])
            if row["key"]:
                here = (here if found and here else "{}").format(_number(found, row))
            words = run or f"{{}}, {length(trained)}"
            if "{}" in words:
                words = words.format(trained["date"]) if trained else NOT_MEASURED
            run = words
        pictures = re.sub(r"\[(.*?)\]\((.*?)\)", IMAGE, row["pictures"])
        lines.append([row["book"], row["shows"], here, row["in_book"], run, pictures])
    return table(HEADER, lines)


def _number(found, row):
    try:
        return cell(found, row["key"], row["format"])
    except UserError as error:
        raise UserError(f"tools/{ROWS.name}, {row['book']}, {row['shows']}: {error}") from None


TABLES = {f"figures-{number}": partial(chapter, number) for number in range(1, 11)}
