"""The tables of WEIGHTS.md: the files of pretrained weights with data, training and measure."""

import csv
from functools import partial
from typing import Any

from lib.tables.cells import RESULTS, record, table

# Its columns: chapter, files, data, record, measure, key in the record, format. A record that ends
# in a hyphen is a pair: NAME-evaluate.json has the measure, NAME-train.json the training.
ROWS = RESULTS.parent / "lib/data/weights.csv"


def rows(chapter: int) -> list[dict[str, str]]:
    """Returns the rows of ROWS of a chapter as dicts."""
    with ROWS.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["chapter"]) == chapter]


def cards(chapter: int) -> str:
    """Files, data, length and seed of the training, and the measure of a chapter's weights."""
    lines = []
    for row in rows(chapter):
        pair = row["record"].endswith("-")
        measured = record(row["record"] + ("evaluate" if pair else ""))
        trained = record(row["record"] + "train") if pair else measured
        value: Any = measured
        for part in row["key"].split("/"):
            value = value[int(part)] if isinstance(value, list) else value[part]
        shown = format(value, row["format"]).replace("%", " %")
        files, seed = f"`{row['files']}`", str(trained["seed"])
        lines.append([files, row["data"], length(trained), seed, row["measure"], shown])
    return table(["file", "data", "training", "seed", "measure", "value"], lines)


def length(trained: dict[str, Any]) -> str:
    """Returns the length of a training in its own unit."""
    for key, unit in (("train_steps", "steps"), ("epochs", "epochs")):
        if key in trained:
            return f"{trained[key]:,} {unit if trained[key] > 1 else unit[:-1]}"
    if isinstance(trained.get("episodes"), int):
        return f"{trained['episodes']:,} episodes"
    return "until solved" if "goal" in trained else "40,000 episodes"


TABLES = {f"weights-{number}": partial(cards, number) for number in range(1, 11)}
