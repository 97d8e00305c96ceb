"""The logs of a long run: log.csv, its curves in log.png, TensorBoard's files."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt

from lib.engine.step import AlternatingModel
from lib.files.errors import UserError
from lib.files.whole import check_regular, write_whole
from lib.measure import plots

RATE = "learning_rate"
# Columns that count instead of measuring; older logs have minutes.
COUNTS = ("step", "seconds", "minutes")
PANELS_IN_A_ROW = 3
LARGEST_LOG = 2**24  # characters
MOST_COLUMNS = 100


class Log:
    """The rows of a run's log.csv. A resumed run drops the rows after its checkpoint."""

    def __init__(self, path: str | Path, step: int) -> None:
        self.path, self.rows = Path(path), []
        if step and self.path.exists():
            check_regular(self.path, "the log of this run; remove it to continue with an empty log")
            try:
                with self.path.open(newline="") as file:
                    text = file.read(LARGEST_LOG + 1)
                self.rows = [row for row in _rows(text) if 0 <= int(row["step"]) <= step]
            except (OSError, KeyError, TypeError, ValueError, csv.Error):
                raise UserError(
                    f"cannot read '{self.path}': expected the log of this run; remove it to "
                    "continue with an empty log"
                ) from None

    def add(self, row: dict[str, Any]) -> None:
        """Appends a row and writes the whole file; its columns are those of all rows."""
        self.rows.append({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))

        def write(path):
            with path.open("w", newline="") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                table.writerows(self.rows)

        write_whole(self.path, write)

    def draw(self, losses: Iterable[str]) -> None:
        """Draws log.png: a panel of `losses`, of accuracies, of each measure, of learning rates."""
        names = [n for n in dict.fromkeys(k for row in self.rows for k in row) if n not in COUNTS]
        kinds: dict[str, list[str]] = {"loss": [], "accuracy": []}  # {title of a panel: columns}
        for name in names:
            kind = "accuracy" if "accuracy" in name else "loss" if name in losses else name
            kinds.setdefault(RATE if name.startswith(RATE) else kind, []).append(name)
        rates = kinds.pop(RATE, [])
        panels = [(title, columns) for title, columns in [*kinds.items(), (RATE, rates)] if columns]
        rows = -(-len(panels) // PANELS_IN_A_ROW)
        size = (3.2 * PANELS_IN_A_ROW, 2.4 * rows)
        figure, axes = plt.subplots(rows, PANELS_IN_A_ROW, figsize=size, dpi=100, squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        for axis, (title, columns) in zip(axes.flat, panels, strict=False):
            for name in columns:
                points = [
                    (int(row["step"]), float(row[name])) for row in self.rows if row.get(name)
                ]
                label = name.removeprefix(RATE).strip("_") if title == RATE else name
                axis.plot(*zip(*points, strict=True), marker=".", label=label)
            axis.set(title=title.replace("_", " "), xlabel="training step")
            axis.grid(alpha=0.3)
            if len(columns) > 1:
                axis.legend(fontsize=8)
        figure.tight_layout()
        plots.finish(figure, self.path.with_suffix(".png"))


def _rows(text: str) -> list[dict[str, Any]]:
    """The rows of a log, whose columns must have plain names and numbers.

    Raises a ValueError if the text is too long or something else than a log.
    """
    rows = list(csv.DictReader(text.splitlines())) if len(text) <= LARGEST_LOG else [{"": ""}]
    names = rows[0].keys() if rows else ()
    if len(names) > MOST_COLUMNS or not all(re.fullmatch(r"[\w .:/-]+", name) for name in names):
        raise ValueError("not the columns of a log")
    for row in rows:
        for value in row.values():
            float(value or 0)
    return rows


def learning_rates(model: keras.Model) -> dict[str, float]:
    """{column: learning rate now} of a model's optimizer, or of each of its optimizers."""
    rates = {RATE: model.optimizer.learning_rate}
    if isinstance(model, AlternatingModel):
        rates = {f"{RATE}_{name}": rate for name, rate in model.learning_rates().items()}
    return {name: float(keras.ops.convert_to_numpy(rate)) for name, rate in rates.items()}


class TensorBoard:
    """Writes the row of each interval, and the figures that were drawn in it, for TensorBoard.

    Keras' own callback of this name needs TensorFlow.

    Args:
        folder: of the figures. The files for TensorBoard are in its subfolder tensorboard.
        step: of the run. TensorBoard hides later rows of an earlier process.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.folder = folder
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self.drawn = self._figures()

    def add(self, row: dict[str, Any]) -> None:
        """Writes a row of log.csv, and the new figures."""
        step = row["step"]
        for name, value in row.items():
            if name not in COUNTS:
                self.writer.add_scalar(name, value, step)
        figures = self._figures()
        for path, time in figures.items():
            if self.drawn.get(path) != time:
                name = "samples" if path.stem.isdigit() else path.stem
                pixels = plt.imread(path)
                axes = "HW" if pixels.ndim == 2 else "HWC"
                self.writer.add_image(name, pixels, step, dataformats=axes)
        self.drawn = figures
        self.writer.flush()

    def _figures(self):
        return {path: path.stat().st_mtime_ns for path in self.folder.glob("*.png")}
