"""The secret of this user, which proves that a weight file was written by this user.

It is 32 random bytes in the user's cache folder. Without it, or with another one, a weight file
still loads, through the protected process of `lib.files.safe_h5`. No function here raises an error.
"""

import os
import secrets
import stat
import sys
from pathlib import Path

from lib.files.errors import UserError
from lib.files.whole import write_whole

SIZE = 32


def place() -> Path:
    """The path of the secret, in `$XDG_CACHE_HOME` or the cache folder of the platform."""
    home = Path(os.path.expanduser("~"))
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification of this variable says that a relative path must be ignored.
    if not chosen.is_absolute():
        chosen = home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
        if sys.platform == "win32":
            chosen = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    return chosen / "adlk" / "secret"


def read() -> bytes | None:
    """Returns the secret, or None if it is missing or unreadable.

    A secret that is too short, that belongs to another user, or that other users may open, is
    None, because somebody else may know it.
    """
    flags = os.O_RDONLY | sum(getattr(os, f"O_{n}", 0) for n in ("NOFOLLOW", "NONBLOCK", "BINARY"))
    try:
        with open(os.open(place(), flags), "rb") as file:
            status = os.fstat(file.fileno())
            # Windows has no such modes; the folder is private there.
            private = not hasattr(os, "getuid") or (
                status.st_uid == os.getuid() and not status.st_mode & 0o077
            )
            found = file.read(SIZE + 1) if private and stat.S_ISREG(status.st_mode) else b""
    except OSError:
        return None
    return found if len(found) == SIZE else None


def read_or_make() -> bytes | None:
    """Returns the secret and makes it first if there is none; None if that is impossible.

    If two processes make it at the same time, the later one wins. A file that the earlier process
    signed then loads through the protected process.
    """
    found, path = read(), place()
    if found:
        return found

    def write(temporary):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SIZE))

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, write)
    except (OSError, UserError):
        return None
    return read()
