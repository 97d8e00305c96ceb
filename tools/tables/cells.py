"""Records of runs, and the cells and lines of tables made from them."""

import csv
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "results"


def read_rows(path: Path, **wanted: object) -> list[dict[str, str]]:
    """The rows of a csv file as dicts: those with the wanted value in each named column."""
    with path.open(newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if all(row[column] == str(value) for column, value in wanted.items())
        ]


def record(name: str) -> dict[str, Any]:
    """The record NAME.json."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def recorded(names: Iterable[str]) -> list[dict[str, Any]]:
    """The records of those names that have one."""
    return [record(name) for name in names if (RESULTS / f"{name}.json").exists()]


def records(name: str, kind: str = "evaluate", seeds: int = 1) -> list[dict[str, Any]]:
    """The records of a run: NAME-KIND.json for seed 0, NAME-seedN-KIND.json for further seeds."""
    suffixes = ["", *(f"-seed{seed}" for seed in range(1, seeds))]
    return [record(f"{name}{suffix}-{kind}") for suffix in suffixes]


def measured_and_trained(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The records of the measures and of the training of a run.

    A name that ends in a hyphen is a pair, NAME-evaluate and NAME-train; else it is one record.
    """
    if name.endswith("-"):
        return record(f"{name}evaluate"), record(f"{name}train")
    found = record(name)
    return found, found


def value_at(found: Any, key: str) -> Any:
    """The value in a record at a key, whose levels are separated by slashes."""
    for part in key.split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def shown(number: float, form: str) -> str:
    """The number as text; a percentage has a space before its sign."""
    return format(number, form).replace("%", " %")


def minutes_on(found: dict[str, Any], form: str) -> str:
    """Minutes of a training and its device, as in "3.6 (2 cores)"."""
    where = found["device"].rpartition(",")[2].replace("CPU ", "").replace("NVIDIA ", "").strip()
    return f"{found['minutes']:{form}} ({where})"


def spread(found: Sequence[dict[str, Any]], key: str, form: str = ".1f", scale: float = 1) -> str:
    """Mean and standard deviation of a value over records, or the value of a single record.

    Args:
        found: the records.
        key: see `value_at`.
        form: format of the numbers.
        scale: factor of the numbers.

    Returns:
        "12.3 ± 0.4", "12.3", or "-" where the records do not have the value.
    """
    try:
        values = [scale * value_at(each, key) for each in found]
    except KeyError:
        return "-"
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown lines of a table whose cells are padded, so that its source reads well.

    A last column of links is not padded, because links are long.
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    if any("](" in row[-1] for row in rows):
        widths[-1] = len(header[-1])
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
