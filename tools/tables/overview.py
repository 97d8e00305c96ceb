"""The result tables of the top README: one table for each chapter, from the records in results/."""

from functools import partial

from tools import registry
from tools.tables.cells import measured_and_trained, minutes_on, table


def chapter(number: int) -> str:
    """The table of a chapter.

    Minutes are those of the training, with the number of cores or the GPU in brackets. A script
    and a training are shown once, with their first measure. The book's column is left out where the
    book has no numbers.
    """
    header, rows = ["script", "measure", "here", "the book", "minutes"], []
    seen = set()
    for row in registry.published(number):
        name = row.record_name
        link = "" if row.script in seen else f"[{row.script}]({row.path})"
        trained = measured_and_trained(name)[1]
        shown = name not in seen and (not trained or "minutes" in trained)
        minutes = minutes_on(trained, ".1f") if shown else ""
        seen |= {row.script, name}
        rows.append([link, row.measure, row.value(), row.book, minutes])
    if not any(character.isdigit() for row in rows for character in row[3]):
        header, *rows = [[*line[:3], line[4]] for line in (header, *rows)]
    return table(header, rows)


TABLES = {f"results-{number}": partial(chapter, number) for number in range(1, 11)}
