"""Ctrl-C and SIGTERM without loss."""

import shlex
import signal
import sys
from typing import Any, Self


def how_to_resume() -> str:
    """Returns the text that names the command to continue a stopped run."""
    again = [argument for argument in sys.argv if argument != "--resume"]
    return f"Continue with:\n    python3 {shlex.join(again)} --resume"


class StopOnSignal:
    """A context in which Ctrl-C and SIGTERM set `requested`; a second one ends the program.

    Args:
        what: "step" or "episode", which is finished before the stop.
    """

    def __init__(self, what: str) -> None:
        self.what, self.requested = what, False

    def __enter__(self) -> Self:
        names = (signal.SIGINT, signal.SIGTERM)
        self.former = {name: signal.signal(name, self._request) for name in names}
        return self

    def __exit__(self, *_: Any) -> None:
        for name, handler in self.former.items():
            signal.signal(name, handler)

    def _request(self, *_):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print(f"\nStopping after this {self.what}; once more to stop at once.", file=sys.stderr)
