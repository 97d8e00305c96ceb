"""The progress of a long run: how far it is, the time left, and the latest numbers."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich import progress

SECONDS = 0.5  # between two changes of the line


class Progress:
    """One line that changes in a terminal, cut to its width; elsewhere, a line for each interval.

    Args:
        what: "step", "episode" or "image".
        total: how many there are.
        done: how many an earlier process has done.
        title: a short text before the line.
    """

    def __init__(self, what: str, total: int, done: int = 0, title: str = "") -> None:
        self.what, self.total, self.title = what, total, title
        self.first = self.done = done
        self.started: float | None = None  # the end of the first step, which compiles
        self.shown = 0.0
        self.line: progress.Progress | None = None

    @property
    def seconds_each(self) -> float:
        """Mean duration without the first step; 0 before the second."""
        done = self.done - self.first
        return (time.monotonic() - self.started) / done if done and self.started else 0.0

    def update(self, done: int, numbers: Mapping[str, Any]) -> None:
        """Sets how many are done, and changes the line of a terminal."""
        self.done = done
        now = time.monotonic()
        if self.started is None:
            self.started, self.first = now, done
        if sys.stdout.isatty() and now - self.shown > SECONDS:
            self.shown = now
            self.line = self.line or self._start()
            self.line.update(self.line.task_ids[0], completed=done, numbers=_text(numbers))

    def keep(self, numbers: Mapping[str, Any]) -> None:
        """Prints a line that remains."""
        text = f"{self.title}{self.what} {self.done}/{self.total}  "
        if self.line is None:
            left = int(self.seconds_each * (self.total - self.done))
            text += f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left  "
            print(text + _text(numbers), flush=True)
        else:
            self.line.console.print(text + _text(numbers), highlight=False, markup=False)

    def close(self) -> None:
        """Removes the line that changes."""
        if self.line is not None:
            self.line.stop()
            self.line = None

    def _start(self) -> progress.Progress:
        from rich import progress, table

        line = progress.Progress(
            progress.TextColumn("{task.description} {task.completed}/{task.total}"),
            progress.BarColumn(bar_width=12),
            progress.TimeRemainingColumn(),
            progress.TextColumn(
                "{task.fields[numbers]}",
                markup=False,
                table_column=table.Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            refresh_per_second=1 / SECONDS,
            transient=True,
            expand=True,
        )
        name = f"{self.title}{self.what}"
        line.add_task(name, total=self.total, completed=self.done, numbers="")
        line.start()
        return line


def _text(numbers: Mapping[str, Any]) -> str:
    """The numbers after their names, with four digits."""
    return "  ".join(f"{name} {float(value):.4g}" for name, value in numbers.items())
