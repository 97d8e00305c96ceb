"""Your own images instead of the book's data set: `--images FOLDER --image-size N --color`.

PNG, JPEG, BMP, GIF (the first frame) and WebP files count, at any depth below the folder. Files and
folders whose name begins with a dot do not. The order is that of the sorted paths, so a run can be
repeated and resumed. Each image is rotated upright as its EXIF data say, scaled until its shorter
side fits, and cropped at the center. Transparent pixels become white.
"""

import hashlib
import os
import re
import stat
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from lib.data.datasets import Data
from lib.files.arrays import most_bytes
from lib.files.errors import UserError, one_line

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
NAMED = 5  # damaged files in a message
HELD_OUT = 10  # every tenth image is for test
LARGEST_SHARE = 0.5  # of the memory that the images may take

Shape = tuple[int, int, int]  # height, width, channels


def split(x: np.ndarray, y: np.ndarray, shown: int = 1) -> Data:
    """(x_train, y_train), (x_test, y_test) of images and labels; at least `shown` are for test."""
    order = np.random.default_rng(0).permutation(len(x))
    count = max(shown, len(x) // HELD_OUT)
    train, test = np.sort(order[count:]), order[:count]
    return (x[train], y[train]), (x[test], y[test])


def describe(folder: str | Path, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Facts that identify images: the folder's name, their form, and a checksum of their pixels."""
    digest = hashlib.sha256(x.tobytes())
    digest.update(y.tobytes())
    return {
        "images": folder_name(folder),
        "image_size": x.shape[1],
        "color": x.shape[-1] == 3,
        "image_count": len(x),
        "image_checksum": digest.hexdigest()[:16],
    }


def plain(text: str) -> str:
    """A text as a part of a file name: letters, digits, dots, hyphens and underscores remain."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:40] or "images"


def folder_name(folder: str | Path) -> str:
    """The name of a folder, also of `.`."""
    return Path(os.path.abspath(folder)).name or "images"


def check_folder(folder: str | Path) -> None:
    """Raises a UserError unless `folder` is a folder that can be read."""
    if not os.path.isdir(folder):
        what = "a file" if os.path.exists(folder) else "nothing"
        raise UserError(f"--images: expected a folder of images at '{folder}', found {what}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"--images: expected a folder that you may read, found '{folder}'")


def check_count(folder: str | Path, x: np.ndarray, least: int, what: str) -> None:
    """Raises a UserError if there are fewer images than `least`, which `what` explains."""
    if len(x) < least:
        raise UserError(
            f"--images: expected at least {least} images in '{folder}' ({what}), found {len(x)}; "
            "add images, or choose a smaller --batch-size"
        )


def read(
    folder: str | Path, shape: Shape, labels: bool = False
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Reads the images below a folder.

    Raises a UserError if the folder cannot be read, has no images or too few classes, or if the
    images do not fit into the memory.

    Args:
        folder: the folder.
        shape: (height, width, channels) of the result, with 1 channel for gray or 3 for color.
        labels: require at least two class folders, and leave out images next to them.

    Returns:
        x: uint8 array (n, height, width, channels).
        y: int64 array (n,), the index of the class folder of each image.
        classes: the names of the class folders, sorted; one empty name if there are none.
    """
    folder = Path(folder)
    check_folder(folder)
    paths = find(folder)
    classes = sorted({path.relative_to(folder).parts[0] for path in paths if path.parent != folder})
    if labels:
        inside = [path for path in paths if path.parent != folder]
        if len(inside) < len(paths):
            outside = f"{len(paths) - len(inside)} images that are in no class folder"
            print(f"{folder}: left out {outside}", file=sys.stderr)
        paths = inside
    _check_memory(len(paths), shape)
    x = np.empty((len(paths), *shape), np.uint8)
    kept: list[Path] = []
    damaged: list[str] = []
    for path in paths:
        try:
            x[len(kept)] = load(path, shape)
            kept.append(path.relative_to(folder))
        except Exception as error:
            # A damaged file can make a decoder raise any error.
            damaged.append(f"{str(path.relative_to(folder))!r} ({one_line(error)[:80]})")
    if damaged:
        rest = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
        print(
            f"{folder}: skipped {len(damaged)} of {len(paths)} files, which cannot be read: "
            f"{', '.join(damaged[:NAMED])}{rest}",
            file=sys.stderr,
        )
    if labels:
        classes = sorted({path.parts[0] for path in kept})
        if len(classes) < 2:
            raise UserError(
                f"--images: expected at least 2 class folders with images in '{folder}', found "
                f"{len(classes)}; make one folder for each class"
            )
    if not kept:
        raise UserError(
            f"--images: expected images ({', '.join(SUFFIXES)}) in '{folder}', found none; name "
            "another folder"
        )
    classes = classes or [""]
    y = [classes.index(path.parts[0]) if len(path.parts) > 1 else 0 for path in kept]
    form = f"{shape[0]}x{shape[1]} {'color' if shape[-1] == 3 else 'gray'}"
    kinds = f"{len(classes)} class{'es' if len(classes) > 1 else ''}"
    print(f"{folder}: {len(kept):,} images as {form}, {kinds}", flush=True)
    return x[: len(kept)], np.array(y, "int64"), classes


def find(folder: str | Path) -> list[Path]:
    """The sorted paths of the image files below a folder. Links to folders are followed once."""
    found, seen = [], set()

    def refuse(error):
        raise UserError(f"--images: cannot read '{error.filename}': {error.strerror}") from None

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (Path(parent, name) for name in files if not name.startswith("."))
        found += [path for path in visible if path.suffix.lower() in SUFFIXES]
    return sorted(found)


def load(path: Path, shape: Shape) -> np.ndarray:
    """Reads one image as a uint8 array of shape (height, width, channels).

    Raises:
        Exception: of many types, if the file is damaged, too large or not a regular file.
    """
    height, width, channels = shape
    # Opening a named pipe would wait for a writer.
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # More than 89 million pixels: a small file may need all memory.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as opened:
            if 3 * opened.width * opened.height > most_bytes(status.st_size):
                raise ValueError(f"{opened.width}x{opened.height} pixels in {status.st_size} bytes")
            # A JPEG is decoded at a half, a quarter or an eighth if that is still large enough.
            opened.draft(None, (2 * width, 2 * height))
            picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):  # 16 bits
            deep = np.asarray(picture).astype("int64") >> 8
            picture = Image.fromarray(np.clip(deep, 0, 255).astype("uint8"))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        picture = ImageOps.fit(picture.convert("RGB"), (width, height))
        pixels = np.asarray(picture.convert("L") if channels == 1 else picture)
    return pixels.reshape(shape)


def _check_memory(count: int, shape: Shape) -> None:
    """Refuses images that fill the memory; each is held as bytes and as float32."""
    needed = 5 * count * int(np.prod(shape))
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return
    if needed > LARGEST_SHARE * available:
        raise UserError(
            f"--images: {count:,} images of {shape[0]}x{shape[1]} pixels take {needed / 2**30:.1f} "
            f"GB, expected at most {LARGEST_SHARE * available / 2**30:.1f} GB; choose a smaller "
            "--image-size or fewer images"
        )
