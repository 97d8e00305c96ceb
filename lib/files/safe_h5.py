"""Reads `.h5` and `.keras` files that may be damaged or hostile.

HDF5 can crash, hang or request all memory on a damaged file. A file that this project wrote ends
with a checksum, see `sign`; where it matches, the file is opened as it is. Any other file is first
copied by a process of its own, with limits on time and memory, array by array into a new file:

    python3 -m lib.files.safe_h5 SOURCE TARGET

For a refused file, this command prints one line and ends with exit code 2.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lib.files.errors import UserError, one_line

if TYPE_CHECKING:
    import h5py

SECONDS = 60
MOST_BYTES = 2 * 2**30
INNER_FILE = "model.weights.h5"  # of a .keras archive
MARK = b"\nsha256 "
LENGTH = len(MARK) + 64


def _digest(path, size):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 2**20))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest().encode()


def sign(path: str | Path) -> None:
    """Appends the SHA-256 checksum of a file to it; HDF5 ignores bytes after its own end."""
    path = Path(path)
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(MARK + digest)


def is_signed(path: Path) -> bool:
    """Whether a file ends with its checksum.

    Raises:
        UserError: if it ends with another checksum: the file was changed after it was written.
    """
    size = path.stat().st_size - LENGTH
    if size < 0:
        return False
    with path.open("rb") as file:
        file.seek(size)
        end = file.read()
    if not end.startswith(MARK):
        return False
    if end != MARK + _digest(path, size):
        raise UserError(
            f"'{path}' is damaged: its contents do not match its checksum; get or make it again"
        )
    return True


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """Yields an `h5py.File` with the contents of an `.h5` or `.keras` file.

    Raises:
        UserError: if the file is missing or damaged.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        found = "a folder or another special file" if path.exists() else "nothing"
        raise UserError(f"no weight file '{path}': found {found}")
    try:
        signed = is_signed(path)
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    if signed:
        with h5py.File(path, "r") as file:
            yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "copy.weights.h5"  # a name that Keras loads
        _copy_in_a_process(path, target)
        with h5py.File(target, "r") as file:
            yield file


def _copy_in_a_process(source, target):
    command = [sys.executable, "-m", "lib.files.safe_h5", str(source.resolve()), str(target)]
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
        reason = (done.stdout.splitlines() or ["HDF5 crashed on it"])[-1]
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed, reason = True, f"HDF5 did not finish within {SECONDS} seconds"
    if failed:
        raise UserError(
            f"'{source}' is damaged: expected a readable .h5 or .keras file, found: {reason}; get "
            "or make it again"
        )


class _Refused(Exception):
    """The reason why a file is not copied."""


def _limit_resources():
    try:
        import resource
    except ImportError:  # on Windows
        return
    for kind, limit in ((resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_AS, 3 * MOST_BYTES)):
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _copy(source, target):
    """Copies groups, arrays of numbers and attributes; refuses everything else."""
    import h5py
    import numpy as np

    total = 0

    def copy(name, item):
        nonlocal total
        if isinstance(item, h5py.Dataset):
            if item.dtype.kind not in "fiub" or item.external or item.is_virtual:
                raise _Refused(f"'{name}' is not an array of numbers in this file")
            total += item.size * item.dtype.itemsize
            if total > MOST_BYTES:
                raise _Refused(f"arrays of more than {MOST_BYTES >> 20} MB")
            array = item[()]
            if not np.isfinite(array).all():
                raise _Refused(f"'{name}' has values that are not finite")
            made = out.create_dataset(name, data=array)
        elif isinstance(item, h5py.Group):
            made = out.require_group(name)
        else:
            raise _Refused(f"'{name}' is neither an array nor a group")
        copy_attributes(item, made)

    def copy_attributes(item, made):
        for name, value in item.attrs.items():
            made.attrs[name] = value

    with h5py.File(source, "r") as file, h5py.File(target, "w") as out:
        copy_attributes(file, out)
        file.visititems(copy)


def main(source: str, target: str) -> None:
    """Copies a file with limits; the program of the child process."""
    _limit_resources()
    try:
        if not zipfile.is_zipfile(source):
            _copy(source, target)
            return
        with zipfile.ZipFile(source) as archive:
            if INNER_FILE not in archive.namelist():
                raise _Refused(f"an archive without {INNER_FILE}")
            if archive.getinfo(INNER_FILE).file_size > MOST_BYTES:
                raise _Refused(f"more than {MOST_BYTES >> 20} MB in an archive")
            inner = Path(target).with_name("inner.h5")
            inner.write_bytes(archive.read(INNER_FILE))
            _copy(inner, target)
    except Exception as error:
        # A damaged file can make a library raise any error.
        print(ascii(one_line(error))[1:-1][:300])
        raise SystemExit(2) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
