"""Records of runs, and the cells and lines of tables made from them."""

import csv
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lib.files.errors import UserError

RESULTS = Path(__file__).resolve().parents[2] / "results"
NOT_MEASURED = "not measured"  # a cell whose record does not exist


class Record(dict[str, Any]):
    """The values of a record. It is empty if the record does not exist."""

    def __init__(self, name: str, values: dict[str, Any]):
        super().__init__(values)
        self.name = name

    def __missing__(self, key: str) -> NoReturn:
        raise UserError(f"no '{key}' in results/{self.name}.json")


def read_rows(path: Path, **wanted: object) -> list[dict[str, str]]:
    """The rows of a csv file as dicts: those with the wanted value in each named column."""
    with path.open(newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if all(row[column] == str(value) for column, value in wanted.items())
        ]


def record(name: str) -> Record:
    """The record NAME.json."""
    path = RESULTS / f"{name}.json"
    return Record(name, json.loads(path.read_text()) if path.exists() else {})


def recorded(names: Iterable[str]) -> list[Record]:
    """The records of those names that have one."""
    return [found for found in map(record, names) if found]


def records(name: str, kind: str = "evaluate", seeds: int = 1) -> list[Record]:
    """The existing records of a run: NAME-KIND.json, and NAME-seedN-KIND.json for further seeds."""
    suffixes = ["", *(f"-seed{seed}" for seed in range(1, seeds))]
    return recorded(f"{name}{suffix}-{kind}" for suffix in suffixes)


def measured_and_trained(name: str) -> tuple[Record, Record]:
    """The records of the measures and of the training of a run.

    A name that ends in a hyphen is a pair, NAME-evaluate and NAME-train; else it is one record.
    """
    if name.endswith("-"):
        return record(f"{name}evaluate"), record(f"{name}train")
    found = record(name)
    return found, found


def value_at(found: dict[str, Any], key: str) -> Any:
    """The value in a record at a key, whose levels are separated by slashes.

    The level "*" is the median over all values of a dict: "seeds/*/episodes".

    Raises:
        UserError: if the record does not have it.
    """
    value: Any = found
    before, _, after = key.partition("/*/")
    try:
        for part in before.split("/"):
            value = value[int(part)] if isinstance(value, list) else value[part]
        if after:
            return statistics.median(value_at(each, after) for each in value.values())
    except (KeyError, IndexError, ValueError, TypeError, UserError):
        name = f"results/{found.name}.json" if isinstance(found, Record) else "the record"
        raise UserError(f"no '{key}' in {name}") from None
    return value


def shown(value: Any, form: str) -> str:
    """A value in a format: "98.1 %" for .1%; the values of a list are joined by "and"."""
    if isinstance(value, list):
        return " and ".join(shown(each, form) for each in value)
    return format(value, form).replace("%", " %")


def cell(found: dict[str, Any], key: str, form: str, scale: float = 1) -> str:
    """The value of a record at a key as text, or NOT_MEASURED if the record does not exist.

    Raises:
        UserError: if the record does not have the key, or the format does not suit its value.
    """
    if not found:
        return NOT_MEASURED
    value = value_at(found, key)
    try:
        return shown(value if scale == 1 else scale * value, form)
    except (ValueError, TypeError) as error:
        raise UserError(f"cannot show '{key}' as '{form}': {error}") from None


def minutes_on(found: dict[str, Any], form: str) -> str:
    """Minutes of a training and its device, as in "3.6 (2 cores)"."""
    if not found:
        return NOT_MEASURED
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
        "12.3 ± 0.4", "12.3", NOT_MEASURED without a record, or "-" where the records do not have
        the value.
    """
    found = [each for each in found if each]
    if not found:
        return NOT_MEASURED
    try:
        values = [scale * value_at(each, key) for each in found]
    except UserError:
        return "-"
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown lines of a table whose cells are padded, so that its source reads well.

    A last column of links is not padded, because links are long. Without rows, the table says
    NOT_MEASURED.
    """
    rows = rows or [[NOT_MEASURED, *[""] * (len(header) - 1)]]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    if any("](" in row[-1] for row in rows):
        widths[-1] = len(header[-1])
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
