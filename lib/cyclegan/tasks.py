"""What a CycleGAN translates, and by which networks; the flags that choose it."""

import argparse
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.data import image_folders
from lib.files.errors import UserError
from lib.run.flags import LARGEST_IMAGE, Parser

IMAGE_SIZE = 32
# Tasks are named after their target domain, or "images" for the images of two folders.
MODEL_NAMES = {"cifar10": "cifar10", "svhn": "mnist_svhn", "mnist-m": "mnist_m"}
DOMAINS = {"cifar10": ("gray", "color"), "svhn": ("MNIST", "SVHN"), "mnist-m": ("MNIST", "MNIST-M")}
# What a weight file may record about the form of its network.
FORM = {
    "normalization": ("channel", "channel-and-image", "book"),
    "identity": (False, True),
    "patchgan": (False, True),
    "color": (False, True),
}


@dataclass(frozen=True)
class Task:
    """What is translated, and the form of the networks."""

    name: str  # a key of MODEL_NAMES, or "images"
    patchgan: bool = True  # discriminators with an output for each patch
    normalization: str = "channel"  # see the script
    identity: bool = False  # with identity loss; gray images then have three channels
    files: tuple[str, str] | None = None  # the weights of g_source and g_target, None to train
    folders: tuple[Path, ...] = ()  # of your own source and target images
    size: int = IMAGE_SIZE  # height and width of the images
    channels: int | None = None  # of your own images
    fixed: bool = False  # keep the name, whatever a weight file records

    @property
    def model_name(self) -> str:
        """The name of the output folder and the start of the names of the weight files."""
        if self.name == "images":
            folders = map(image_folders.folder_name, self.folders)
            name = "-".join(["cyclegan", *map(image_folders.plain, folders)])
        else:
            name = f"cyclegan_{MODEL_NAMES[self.name]}"
        return name + ("" if self.patchgan else "_plain")

    def with_recorded(self, path: Path) -> "Task":
        """The task with the form of the networks that a weight file records.

        Raises a UserError if the file records a size that no image can have.
        """
        form = form_of(path)
        known = ("identity", "patchgan", "normalization")
        found = replace(self, **{name: form[name] for name in known if name in form})
        if self.name == "images":
            size = form.get("image_size", self.size)
            if size not in range(8, LARGEST_IMAGE + 1, 8):
                raise UserError(f"'{path.name}' was trained on images of no usable size")
            channels = {True: 3, False: 1, None: self.channels}[form.get("color")]
            found = replace(found, size=size, channels=channels)
        if self.name == "svhn" and not self.fixed and form.get("task") == "mnist-m":
            found = replace(found, name="mnist-m")
        return found


def form_of(path: Path) -> dict[str, Any]:
    """The settings of a generator that a weight file records, {} if its format does not show them.

    In older `.h5` files, and files of Keras 2, the shapes of the arrays show the normalization and
    the identity loss. Raises a UserError if the file cannot be read, or what it recorded is not a
    form.
    """
    import h5py  # flags do not wait for it

    from lib.files import safe_h5, weights

    if zipfile.is_zipfile(path):
        return {}
    recorded = weights.about(path)
    if recorded:
        for name, values in FORM.items():
            if name in recorded and recorded[name] not in values:
                raise UserError(f"'{path}' records no usable {name}; make it again")
        return recorded
    items: list[Any] = []
    with safe_h5.opened(path) as file:
        file.get("model_weights", file).visititems(lambda name, item: items.append(item))
        shapes = [item.shape for item in items if isinstance(item, h5py.Dataset)]
    kernels = [shape for shape in shapes if len(shape) == 4]
    vectors = [shape for shape in shapes if len(shape) == 1]
    # 8 biases, and gain and offset of 6 normalizations, or of 7 if the image is normalized.
    normalization = "channel" if len(vectors) < 8 + 2 * 7 else "channel-and-image"
    if vectors.count((1,)) >= 2 * 7:
        normalization = "book"
    identity = bool(kernels) and min(kernel[2] for kernel in kernels) == 3
    return {"normalization": normalization, "identity": identity}


def add_flags(parser: Parser) -> None:
    """Adds the flags that choose a task, and those that load its trained generators."""
    parser.add_argument("-c", "--cifar10", action="store_true", help="gray <-> color CIFAR-10")
    parser.add_argument("-m", "--mnist-svhn", action="store_true", help="MNIST <-> SVHN")
    parser.add_setting(
        "--target", choices=("svhn", "mnist-m"), help="target of --mnist-svhn (default: svhn)"
    )
    for task in ("cifar10", "mnist_svhn", "images"):
        for domain in ("source", "target"):
            parser.add_argument(
                f"--{task}_g_{domain}",
                metavar="FILE",
                help=f"translate to the {domain} domain with these weights, do not train",
            )


def choose(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Task:
    """The task that the flags choose; a contradiction ends the program."""
    given, wanted = vars(args), []
    for name in ("cifar10", "mnist_svhn", "images"):
        files = [given[f"{name}_g_{domain}"] for domain in ("source", "target")]
        if any(files) and not all(files):
            parser.error(f"expected both --{name}_g_source and --{name}_g_target, found one")
        if given[name] or any(files):
            wanted.append((name, tuple(files) if all(files) else None))
    if len(wanted) != 1:
        found = {0: "none", 2: "both"}.get(len(wanted), "all")
        parser.error(f"expected one task, --images, --cifar10 or --mnist-svhn, found {found}")
    [(name, chosen)] = wanted
    if name != "mnist_svhn" and args.target:
        parser.error("--target goes with --mnist-svhn")
    if name == "images" and not args.images:
        parser.error("--images_g_source needs --images: two folders of images to translate")
    return Task(
        (args.target or "svhn") if name == "mnist_svhn" else name,
        **{setting: given[setting] for setting in ("patchgan", "normalization", "identity")},
        files=chosen,
        folders=tuple(args.images or ()),
        size=args.image_size or IMAGE_SIZE,
        channels=(3 if args.color else 1) if args.images else None,
        fixed=args.target is not None,
    )
