"""Reads `.h5` and `.keras` files that may be damaged or hostile.

HDF5 can crash, hang or request all memory on a damaged file, and a file can refer to other files
of this computer. A file is opened as it is only if it came with the repository or if this user
wrote it, see `is_trusted`. A separate process with limits on time and memory first copies any other
file, array by array, into a new file:

    python3 -m lib.files.safe_h5 SOURCE TARGET

For a refused file, this command prints one line and ends with exit code 2.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.files import secret
from lib.files.arrays import MOST_BYTES, NUMBERS, most_bytes
from lib.files.errors import UserError, one_line

if TYPE_CHECKING:
    import h5py

SECONDS = 60  # for the copy, by the clock
FREE_MEMORY = 2**29  # for Python and its packages in the process that copies
INNER_FILE = "model.weights.h5"  # of a .keras archive
PRETRAINED = Path(__file__).with_name("pretrained.sha256")  # as sha256sum writes it
KEY_MARK = b"\nhmac-sha256 "
MARK = b"\nsha256 "
HEX = 64  # digits
# The attributes that `lib.files.weights` needs, and their most characters. A model's configuration
# is not copied, so nobody can build layers from it.
ATTRIBUTES = {"layer_names": 2**16, "weight_names": 2**16, "about": 2**20}
FILTERS = {1, 2, 3}  # of HDF5: gzip, shuffle, checksum


def signed(contents: bytes) -> bytes:
    """Returns the contents of an `.h5` file with two marks after it, which HDF5 ignores.

    The first is a keyed checksum, left out if this user can have no secret. The second is the
    SHA-256 checksum of everything before it, which shows damage.
    """
    key = secret.read_or_make()
    if key:
        contents += KEY_MARK + _keyed(key, contents)
    return contents + MARK + _digest(contents)


def _keyed(key, contents):
    return hmac.digest(key, contents, "sha256").hex().encode()


def _digest(contents):
    return hashlib.sha256(contents).hexdigest().encode()


def is_pretrained(contents: bytes) -> bool:
    """Whether a file with these contents came with the repository."""
    return _digest(contents) in PRETRAINED.read_bytes()


def is_trusted(contents: bytes) -> bool:
    """Whether a file with these contents came with the repository or was written by this user.

    A file that ends with another SHA-256 checksum than its own has changed: a ValueError.
    """
    if is_pretrained(contents):
        return True
    marked, found, mark = contents.rpartition(MARK)
    if found and len(mark) == HEX:
        if mark != _digest(marked):
            raise ValueError("its contents do not match its checksum")
        written, found, mark = marked.rpartition(KEY_MARK)
        key = secret.read()
        return bool(found and key) and hmac.compare_digest(mark, _keyed(key, written))
    return False


def read(path: str | Path) -> bytes:
    """Returns the contents of a file, or nothing if it is too large to be a trusted one.

    A missing or unreadable file is a UserError.
    """
    try:
        if not os.path.isfile(path):
            found = "a folder or another special file" if os.path.exists(path) else "nothing"
            raise UserError(f"no weight file '{path}': found {found}")
        with open(path, "rb") as file:
            contents = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    return contents if len(contents) <= MOST_BYTES else b""


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """Yields an `h5py.File` with the contents of an `.h5` or `.keras` file.

    A trusted file is read once and opened from memory: HDF5 reads the bytes that were checked, also
    if somebody exchanges the file in between. Raises a UserError if the file is missing or damaged.
    """
    import h5py

    path = Path(path)
    contents = read(path)
    try:
        direct = is_trusted(contents)
    except ValueError as error:
        raise UserError(f"'{path}' is damaged: {error}; get or make it again") from None
    if direct:
        with h5py.File(h5py.h5f.open_file_image(contents)) as file:
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
    # Each further thread would need a part of the memory; "::" forbids plug-ins of HDF5.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    pipes: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace"}
    try:
        subprocess.run(command, cwd=root, env=environment, timeout=SECONDS, check=True, **pipes)
        return
    except subprocess.TimeoutExpired:
        reason = f"HDF5 did not finish within {SECONDS} seconds"
    except subprocess.CalledProcessError as error:
        reason = (error.stdout.splitlines() or ["HDF5 crashed on it or did not finish"])[-1]
    raise UserError(
        f"'{source}' is damaged: expected a readable .h5 or .keras file, found: {reason}; get or "
        "make it again"
    )


def _limit_resources(size):
    """Limits this process to what the copy of a file with arrays of `size` bytes needs."""
    try:
        import resource
    except ImportError:  # on Windows
        return
    seconds = math.ceil(time.process_time()) + 3 + size // 2**26
    limits = {"CPU": seconds, "AS": FREE_MEMORY + 2 * size, "FSIZE": 2 * MOST_BYTES, "CORE": 0}
    for name, limit in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit on memory
            resource.setrlimit(kind, (limit, hard))


def _copy(source, target, limit):
    """Copies groups, arrays of numbers and the ATTRIBUTES; refuses everything else.

    Links to other files are not followed and not copied.
    """
    import h5py
    import numpy as np

    total = 0

    def copy(name, item):
        nonlocal total
        if isinstance(item, h5py.Dataset):
            if item.dtype.kind not in NUMBERS or item.external or item.is_virtual:
                raise ValueError(f"'{name}' is not an array of numbers in this file")
            settings = item.id.get_create_plist()
            if not {settings.get_filter(i)[0] for i in range(settings.get_nfilters())} <= FILTERS:
                raise ValueError(f"'{name}' is compressed by another method than gzip")
            # A chunk is read as a whole and may be larger than its array.
            total += item.dtype.itemsize * max(item.size, math.prod(item.chunks or (0,)))
            if total > limit:
                raise ValueError(f"arrays of more than {limit >> 20} MB in a file of this size")
            array = item[()]
            with np.errstate(over="ignore"):
                if not np.isfinite(array.astype("float32", copy=False)).all():
                    raise ValueError(f"'{name}' has values that are not finite")
            made = out.create_dataset(name, data=array)
        elif isinstance(item, h5py.Group):
            made = out.require_group(name)
        else:
            raise ValueError(f"'{name}' is neither an array nor a group")
        copy_attributes(item, made)

    def copy_attributes(item, made):
        for name in ATTRIBUTES.keys() & item.attrs.keys():
            value = item.attrs[name]
            most = ATTRIBUTES[name]
            if sum(len(text) + 1 for text in np.atleast_1d(value).tolist()) > most:
                raise ValueError(f"its attribute {name} is longer than {most} characters")
            made.attrs[name] = value

    with h5py.File(source, "r") as file, h5py.File(target, "w") as out:
        copy_attributes(file, out)
        file.visititems(copy)


def _unpack(source, target, limit):
    """Copies the weights in a `.keras` archive to `target`, and returns it."""
    with zipfile.ZipFile(source) as archive:
        member = archive.getinfo(INNER_FILE)
        if member.file_size > limit:
            raise ValueError(f"more than {limit >> 20} MB in an archive of this size")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("a compression that Keras does not write")
        with archive.open(member) as file:
            # Without a size, more than the declared bytes would be decompressed.
            target.write_bytes(file.read(member.file_size))
    return target


def main(source: str, target: str) -> None:
    """Copies a file with limits; the program of the child process."""
    import h5py  # noqa: F401 - takes a part of the time

    try:
        limit = most_bytes(os.path.getsize(source))
        _limit_resources(limit)
        if zipfile.is_zipfile(source):
            source = _unpack(source, Path(target).with_name("inner.h5"), limit)
        _copy(source, target, limit)
    except Exception as error:
        # A damaged file can make a library raise any error.
        print(ascii(one_line(error))[1:-1][:300])
        raise SystemExit(2) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
