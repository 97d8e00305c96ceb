"""The result tables of the top README: one table for each chapter, from the records in results/."""

from functools import partial

from tools.tables.cells import (
    RESULTS,
    measured_and_trained,
    minutes_on,
    read_rows,
    shown,
    table,
    value_at,
)

ROOT = RESULTS.parent
# Its columns: chapter, script, measure, record, key in it, format, the book's value. The name of a
# record continues that of the script, see `measured_and_trained`.
ROWS = ROOT / "tools/overview.csv"


def chapter(number: int) -> str:
    """The table of a chapter.

    Minutes are those of the training, with the number of cores or the GPU in brackets. A script
    and a training are shown once, with their first measure.
    """
    (folder,) = ROOT.glob(f"chapter{number}-*")
    header, rows = ["script", "measure", "here", "the book", "minutes"], []
    seen = set()
    for line in read_rows(ROWS, chapter=number):
        script, name = line["script"], line["script"] + line["record"]
        link = "" if script in seen else f"[{script}]({folder.name}/{script}.py)"
        trained = measured_and_trained(name)[1]
        minutes = "" if name in seen or "minutes" not in trained else minutes_on(trained, ".1f")
        seen |= {script, name}
        rows.append([link, line["measure"], published(line), line["book"], minutes])
    return table(header, rows)


def published(row: dict[str, str]) -> str:
    """Returns the measured number of a row of ROWS as text."""
    measured, _ = measured_and_trained(row["script"] + row["record"])
    return shown(value_at(measured, row["key"]), row["format"])


TABLES = {f"results-{number}": partial(chapter, number) for number in range(1, 11)}
