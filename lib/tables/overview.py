"""The result tables of the top README: one table for each chapter, from the records in results/."""

import csv
from functools import partial
from typing import Any

from lib.tables.cells import RESULTS, record, table

ROOT = RESULTS.parent


CHAPTERS = range(1, 11)
# Its columns: chapter, script, measure, record, key in it, format, the book's value. The name of a
# record continues that of the script. A record that ends in a hyphen is a pair: NAME-evaluate.json
# has the value, NAME-train.json the minutes.
ROWS = ROOT / "lib/data/overview.csv"


def chapter(number: int) -> str:
    """The table of a chapter.

    Minutes are those of the training, with the number of cores or the GPU in brackets. A script
    and a training are shown once, with their first measure.
    """
    (folder,) = ROOT.glob(f"chapter{number}-*")
    header, rows = ["script", "measure", "here", "the book", "minutes"], []
    shown = set()
    with ROWS.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if int(line["chapter"]) == number]
    for line in lines:
        script, name = line["script"], line["script"] + line["record"]
        trained = record(f"{name}train" if name.endswith("-") else name)
        link = "" if script in shown else f"[{script}]({folder.name}/{script}.py)"
        minutes = "" if name in shown else _minutes(trained)
        shown |= {script, name}
        rows.append([link, line["measure"], published(line), line["book"], minutes])
    return table(header, rows)


def published(row: dict[str, str]) -> str:
    """Returns the measured number of a row of ROWS as text."""
    name = row["script"] + row["record"]
    found: Any = record(f"{name}evaluate" if name.endswith("-") else name)
    for part in row["key"].split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return format(found, row["format"]).replace("%", " %")


def _minutes(found: dict[str, Any]) -> str:
    """Minutes and device as in "3.6 (2 cores)", or "" where the record has no minutes."""
    if "minutes" not in found:
        return ""
    where = found["device"].rpartition(",")[2].replace("CPU ", "").replace("NVIDIA ", "").strip()
    return f"{found['minutes']:.1f} ({where})"


TABLES = {f"results-{number}": partial(chapter, number) for number in CHAPTERS}
