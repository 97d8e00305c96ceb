"""The tables of WEIGHTS.md: the files of pretrained weights with data, training and measure."""

from functools import partial
from typing import Any

from tools.tables.cells import RESULTS, measured_and_trained, read_rows, shown, table, value_at

# Its columns: chapter, files, data, record (see `measured_and_trained`), measure, key in the
# record, format.
ROWS = RESULTS.parent / "tools/weights.csv"


def rows(chapter: int) -> list[dict[str, str]]:
    """Returns the rows of ROWS of a chapter as dicts."""
    return read_rows(ROWS, chapter=chapter)


def cards(chapter: int) -> str:
    """Files, data, length and seed of the training, and the measure of a chapter's weights."""
    lines = []
    for row in rows(chapter):
        measured, trained = measured_and_trained(row["record"])
        value = shown(value_at(measured, row["key"]), row["format"])
        files, seed = f"`{row['files']}`", str(trained["seed"])
        lines.append([files, row["data"], length(trained), seed, row["measure"], value])
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
