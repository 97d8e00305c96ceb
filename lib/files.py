"""Files that are whole, whatever happens while they are written."""

import os
from pathlib import Path

from lib.cli import UserError


def write_whole(path, write):
    """Writes a file so that a kill or a full disk leaves the former one as it was.

    Args:
        path: the file.
        write: function of the path of a temporary file beside it, of the same suffix, that writes
            this one; it then takes the place of the former file.

    Raises:
        UserError: if the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error}") from None
    finally:
        temporary.unlink(missing_ok=True)
