"""Files that are written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from lib.files.errors import UserError


def check_regular(path: str | Path, what: str) -> None:
    """Raises a UserError, which says `what` is expected, unless a path is a regular file.

    Opening a named pipe would wait for a writer.
    """
    if not Path(path).is_file():
        raise UserError(
            f"'{path}' is unusable: expected {what}, found a folder or another special file"
        )


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Writes a file so that a kill or a full disk leaves the previous file unchanged.

    Raises a UserError if the file cannot be written.

    Args:
        path: the file.
        write: function that writes a temporary file; its path, next to `path` and with the same
            suffix, is the argument. This file then replaces the former one.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error}") from None
