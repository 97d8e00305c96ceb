"""The result tables of the top README: one table for each chapter, from the records in results/."""

from functools import partial
from typing import Any

from lib.tables.cells import RESULTS, measured_and_trained, read_rows, shown, table, value_at

ROOT = RESULTS.parent
# Its columns: chapter, script, measure, record, key in it, format, the book's value. The name of a
# record continues that of the script, see `measured_and_trained`.
ROWS = ROOT / "lib/data/overview.csv"


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
        minutes = "" if name in seen else _minutes(measured_and_trained(name)[1])
        seen |= {script, name}
        rows.append([link, line["measure"], published(line), line["book"], minutes])
    return table(header, rows)


def published(row: dict[str, str]) -> str:
    """Returns the measured number of a row of ROWS as text."""
    measured, _ = measured_and_trained(row["script"] + row["record"])
    return shown(value_at(measured, row["key"]), row["format"])


def _minutes(found: dict[str, Any]) -> str:
    """Minutes and device as in "3.6 (2 cores)", or "" where the record has no minutes."""
    if "minutes" not in found:
        return ""
    where = found["device"].rpartition(",")[2].replace("CPU ", "").replace("NVIDIA ", "").strip()
    return f"{found['minutes']:.1f} ({where})"


TABLES = {f"results-{number}": partial(chapter, number) for number in range(1, 11)}
