"""Your own images instead of the book's data set: `--images FOLDER --image-size N --color`."""

import argparse
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.datasets import DIGITS, Data, Examples
from lib.data.image_folders import (
    Shape,
    check_count,
    check_folder,
    describe,
    folder_name,
    plain,
    read,
    split,
)
from lib.files import weights
from lib.files.errors import UserError
from lib.run import flags


class Source:
    """The shape and the source of a run's images, and the names of its files.

    With the book's data set `settings` is empty and `name` returns the book's name. Raises a
    UserError if `--images` is not a folder, or the flags do not fit the weight file.

    Args:
        args, script: the parsed flags, and the script, whose folder has the weights.
        shape: (height, width, channels) of the book's images.
        labels: the class folders are the labels.
    """

    def __init__(
        self, args: argparse.Namespace, shape: Shape, script: str | Path, labels: bool = False
    ) -> None:
        self.args, self.labels = args, labels
        self.folder: Any = getattr(args, "images", None)
        self.recorded = _recorded(args, script)
        size, _, channels = shape
        if self.folder:
            check_folder(self.folder)
            size = args.image_size or size
            channels = 3 if getattr(args, "color", channels == 3) else 1
        elif self.recorded:
            found = f"images in '{self.recorded['images']}'"
            size, channels = self.recorded["image_size"], 3 if self.recorded["color"] else 1
            if not hasattr(args, "generator"):
                color = " --color" if channels == 3 else ""
                raise UserError(
                    f"'{args.weights}' was trained on {found}; give --images FOLDER --image-size "
                    f"{size}{color}"
                )
            if args.evaluate:
                raise UserError(
                    f"--evaluate measures MNIST digits only, and '{args.generator}' was trained on "
                    f"{found}; leave out --evaluate"
                )
            if labels and not self.recorded.get("classes"):
                raise UserError(f"'{args.generator}' was trained without classes; expected some")
        self.shape = (size, size, channels)

    @property
    def own(self) -> bool:
        """Whether the images are not those of the book."""
        return bool(self.folder or self.recorded)

    def name(self, book: str) -> str:
        """The name of output folder and weight files, after the book's name for MNIST."""
        if not self.own:
            return book
        folder = folder_name(self.folder) if self.folder else self.recorded["images"]
        return f"{book.removesuffix('_mnist')}-{plain(folder)}"

    @cached_property
    def _read(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        return read(self.folder, self.shape, self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        if not self.own:
            return DIGITS
        return tuple(self._read[2] if self.folder else self.recorded.get("classes", ()))

    @property
    def settings(self) -> dict[str, Any]:
        """The facts about your own images that a checkpoint and a weight file record."""
        if not self.folder:
            return {}
        x, y, classes = self._read
        facts = describe(self.folder, x, y)
        return {**facts, "classes": list(classes)} if self.labels else facts

    def train_images(self, book: Callable[[], Data], least: int) -> Examples:
        """Returns images (n, height, width, channels), float32 in [0, 1], and labels (n,).

        They are your own, at least `least`, or those of the function `book`, see `datasets.mnist`.
        """
        return self._own(least, "a batch") if self.folder else self._of_book(book)[0]

    def split(self, book: Callable[[], Data], shown: int = 1) -> Data:
        """Returns (x_train, y_train), (x_test, y_test), see `train_images`.

        A tenth of your own images, at least `shown`, is for test: the same choice in every run.
        """
        if not self.folder:
            return self._of_book(book)
        x, y = self._own(self.args.batch_size + shown, f"a batch, and {shown} to test")
        return split(x, y, shown)

    def _own(self, least, what):
        x, y, _ = self._read
        check_count(self.folder, x, least, what)
        return np.divide(x, 255, dtype="float32"), y

    def _of_book(self, book):
        data = book()
        shape = data[0][0].shape[1:]
        if shape != self.shape:
            raise UserError(
                f"the book's images have the shape {shape}, and the networks take {self.shape}; "
                "change the shape at the top of the script, or give --images"
            )
        return data


def _recorded(args: argparse.Namespace, script: str | Path) -> dict[str, Any]:
    """The weight file's record of the images it was trained on, {} for the book's images."""
    name = getattr(args, "generator", None) or getattr(args, "weights", None)
    path = weights.find(name, script) if name else None
    about = weights.about(path) if path else {}
    if "images" not in about:
        return {}
    classes, size = about.get("classes", []), about.get("image_size")
    names = [about["images"], *classes] if isinstance(classes, list) else [None]
    if not (
        isinstance(about.get("color"), bool)
        and all(isinstance(each, str) and each.isprintable() for each in names)
        and type(size) is int
        and 0 < size <= flags.LARGEST_IMAGE
    ):
        raise UserError(f"'{path}' does not record the form of its images; make it again")
    return about
