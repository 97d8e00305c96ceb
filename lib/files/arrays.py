"""Reads `.npz` and `.npy` files that may be damaged or hostile.

Nothing is unpickled. Before an array is read, its declared size is compared with the size of its
member of the archive, and the size of all members with that of the file. A small file therefore
cannot request much memory.
"""

import math
import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

MOST_BYTES = 2**30
FREE_BYTES = 2**26
LARGEST_RATIO = 16
NUMBERS = "biuf"  # kinds of a dtype
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def most_bytes(size: int) -> int:
    """The most bytes that the arrays in a compressed file of `size` bytes may take.

    Trained weights and photographs shrink to a half or a fifth, zeros to a thousandth.
    """
    return min(MOST_BYTES, FREE_BYTES + LARGEST_RATIO * size)


def read_npz(
    path: str | Path, names: Iterable[str] | None = None, kinds: str = NUMBERS, packed: bool = True
) -> dict[str, np.ndarray]:
    """Returns {name: array} of an npz file.

    Args:
        path, names: the file, and the arrays to read; by default all.
        kinds: the kinds of dtype that are allowed, see `numpy.dtype.kind`.
        packed: the archive may be compressed. If not, its arrays are no larger than the file.

    Raises:
        Exception: of many types, if the file is damaged, or an array is missing or too large.
    """
    size = _size(path)
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        for name in set(names or ()) - members.keys():
            raise ValueError(f"no array {name} in it")
        wanted = {name: members[name] for name in (names or members)}
        allowed = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} if packed else {zipfile.ZIP_STORED}
        if not {entry.compress_type for entry in wanted.values()} <= allowed:
            raise ValueError("a compression that NumPy does not write here")
        declared = sum(entry.file_size for entry in wanted.values())
        if declared > (most_bytes(size) if packed else size):
            raise ValueError(f"{declared:,} bytes in an archive of {size:,} bytes")
        for name, entry in wanted.items():
            with archive.open(entry) as file:
                arrays[name] = _read(file, entry.file_size, kinds)
    return arrays


def read_npy(path: str | Path, most: int) -> np.ndarray:
    """Returns the array of numbers in an npy file of at most `most` bytes.

    Raises:
        Exception: of many types, if the file is damaged, too large or not a regular file.
    """
    size = _size(path)
    if size > most:
        raise ValueError(f"{size:,} bytes, expected at most {most:,}")
    with Path(path).open("rb") as file:
        return _read(file, size, NUMBERS)


def _size(path: str | Path) -> int:
    """The size of a regular file; opening a named pipe would wait for a writer."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    return status.st_size


def _read(file: IO[bytes], size: int, kinds: str) -> np.ndarray:
    """Reads an array from a file of `size` bytes."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.kind not in kinds:
        raise ValueError(f"an array of {dtype} instead of numbers")
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != size - file.tell():
        raise ValueError(f"an array of {declared:,} bytes in {size - file.tell():,} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
