"""Errors that a script shows as one line, without a traceback."""

import importlib.util
import sys
from pathlib import Path
from typing import NoReturn


class UserError(Exception):
    """A mistake of the user or in a file: printed as one line, exit code 2."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM ended the run, and everything is saved: printed as it is, exit code 130."""


def fail(message: object) -> NoReturn:
    """Prints one line that names the script and the mistake, and exits with code 2.

    The message may hold a text from a file. Characters that could control the terminal are
    escaped, and a very long message is cut.
    """
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(message)[:2000])
    print(f"{Path(sys.argv[0]).name}: error: {''.join(shown)}", file=sys.stderr)
    raise SystemExit(2)


def one_line(error: Exception) -> str:
    """The message of an error as one line, or the name of its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def need_package(name: str, what: str, requirements: str) -> None:
    """Raises a UserError if a package, which `what` needs and `requirements` lists, is missing."""
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"{what}: expected the package {name}, found none; install it with "
            f"'python3 -m pip install -r {requirements}'"
        )
