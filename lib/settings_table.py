"""Trains a table of the book: one classifier a row, with its accuracies next to the book's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from lib.data.datasets import Data
from lib.files import records
from lib.files.errors import UserError
from lib.run import training
from lib.run.program import Run


def train(
    columns: Sequence[str],
    table: Sequence[Sequence[Any]],
    build: Callable[..., keras.Model],
    data: Data,
    run: Run,
    settings: dict[str, Any] | None = None,
) -> None:
    """Trains a classifier for each row of `table`, and prints its accuracies next to the book's.

    sweep.json is written after every row. With `--resume` the rows in it are not trained again, and
    one that was interrupted continues from its checkpoint. Raises a UserError if there is nothing
    to resume, or the rows belong to another sweep.

    Args:
        columns: names of the settings that a row begins with.
        table: rows of one value for each column, then the book's train and test accuracy in
            percent; the values are what json can hold.
        build: function of a row's values that returns the compiled model.
        data: (x_train, y_train), (x_test, y_test).
        run: the run, whose budget is the epochs of each row.
        settings: further hyper-parameters, of all rows, that a continuation must not change.
    """
    (x_train, y_train), (x_test, y_test) = data
    path = run.folder / "sweep.json"
    row_folder = run.folder / "sweep"
    row_folder.mkdir(exist_ok=True)
    shared = {
        "epochs": run.budget,
        "batch_size": run.batch_size,
        "train_images": len(x_train),
        **(settings or {}),
    }
    compared = {**shared, "seed": run.seed, "precision": keras.config.dtype_policy().name}
    unfinished = run.resume and (row_folder / "restart.npz").exists()
    done = _load(path, compared, unfinished) if run.resume else []
    if path.exists() and not run.resume:
        print(f"Starting again; --resume would keep the rows in '{path}'.")
    rows: list[dict[str, Any]] = []
    for *values, book_train, book_test in table:
        row_settings = dict(zip(columns, values, strict=True))
        row = next((row for row in done if row["settings"] == row_settings), None)
        if row is None:
            print(f"row {len(rows) + 1} of {len(table)}: {row_settings}", flush=True)
            # A row does not depend on earlier rows, so a resumed sweep equals a whole one.
            keras.backend.clear_session()
            keras.utils.set_random_seed(run.seed)
            model = build(*values)
            this = replace(
                run, folder=row_folder, settings=shared | row_settings, resume=unfinished
            )
            facts = training.train_epochs(model, x_train, y_train, this)
            unfinished = False
            row = {
                "settings": row_settings,
                "train_accuracy": round(training.evaluate(model, x_train, y_train)["accuracy"], 4),
                "test_accuracy": round(training.evaluate(model, x_test, y_test)["accuracy"], 4),
                "minutes": facts["minutes"],
            }
        book = {"book_train": book_train, "book_test": book_test}
        rows.append({**row, **{name: round(percent / 100, 4) for name, percent in book.items()}})
        # Later rows of an earlier run must also survive a kill.
        later = [row for row in done if all(row["settings"] != r["settings"] for r in rows)]
        run.record(path.name, **shared, rows=rows + later)
    _print_table(columns, rows)


def _load(path: Path, compared: dict[str, Any], unfinished: bool) -> list[dict[str, Any]]:
    """Returns the rows of `path`, all of them trained with the values in `compared`."""
    former = records.read(path)
    if not former and not unfinished:
        raise UserError(f"nothing to resume: no '{path}'; start without --resume")
    for name, value in compared.items():
        if former and former.get(name) != value:
            raise UserError(
                f"'{path}' belongs to a sweep with {name} {former.get(name)}, this one has "
                f"{value}; give the same flags as that sweep, or start without --resume"
            )
    return former.get("rows", [])


def _print_table(columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
    """Accuracies are in percent, measured without dropout."""
    lines = [[*columns, "train", "book", "test", "book"]]
    for row in rows:
        names = ("train_accuracy", "book_train", "test_accuracy", "book_test")
        percents = [f"{100 * row[name]:.2f}" for name in names]
        lines.append([*map(str, row["settings"].values()), *percents])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
