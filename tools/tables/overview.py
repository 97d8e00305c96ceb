"""The result table of the top README: the first measure of each script, from results/."""

from tools import registry
from tools.tables.cells import measured_and_trained, minutes_on, table


def headline() -> str:
    """The first published measure of each script, with a link to the page of its chapter.

    Minutes are those of the training, with the number of cores or the GPU in brackets. The cell of
    the book is empty where the book has no number.
    """
    rows, seen = [], set()
    for row in registry.published():
        if row.script in seen:
            continue
        seen.add(row.script)
        folder = row.path.partition("/")[0]
        chapter = f"[{folder.partition('-')[0].removeprefix('chapter')}]({folder}/README.md)"
        trained = measured_and_trained(row.record_name)[1]
        minutes = minutes_on(trained, ".1f") if not trained or "minutes" in trained else ""
        book = row.book if any(character.isdigit() for character in row.book) else ""
        link = f"[{row.script}]({row.path})"
        rows.append([chapter, link, row.measure, row.value(), book, minutes])
    return table(["chapter", "script", "measure", "here", "the book", "minutes"], rows)


TABLES = {"results": headline}
