"""The tables of WEIGHTS.md: the files of pretrained weights with data, training and measure."""

from functools import partial
from typing import Any

from tools import registry
from tools.tables.cells import NOT_MEASURED, cell, measured_and_trained, table


def cards(chapter: int) -> str:
    """Files, data, length and seed of the training, and the measure of a chapter's weights."""
    lines = []
    # Tables of values (.npy) follow the networks.
    for row in sorted(registry.pretrained(chapter), key=lambda row: row.files.endswith(".npy")):
        trained = measured_and_trained(row.record_name)[1]
        described = [row.data, length(trained), cell(trained, "seed", "d")]
        lines.append([f"`{row.files}`", *described, row.card or row.measure, row.value()])
    return table(["file", "data", "training", "seed", "measure", "value"], lines)


def length(trained: dict[str, Any]) -> str:
    """Returns the length of a training in its own unit."""
    if not trained:
        return NOT_MEASURED
    for key, unit in (("train_steps", "steps"), ("epochs", "epochs")):
        if key in trained:
            return f"{trained[key]:,} {unit if trained[key] > 1 else unit[:-1]}"
    if isinstance(trained.get("episodes"), int):
        return f"{trained['episodes']:,} episodes"
    return "until solved" if "goal" in trained else "40,000 episodes"


TABLES = {f"weights-{number}": partial(cards, number) for number in range(1, 11)}
