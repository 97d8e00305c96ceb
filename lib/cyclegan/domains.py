"""The tasks of CycleGAN: unpaired images of two domains, and the flags that choose them.

The source domain is gray CIFAR-10 or MNIST; the target domain is CIFAR-10 in color, SVHN or
MNIST-M. With `--images` they are the images of two folders.
All images are float32 in [0, 1] of shape (n, 32, 32, channels).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.data import datasets, image_folders

# Tasks are named after their target domain.
MODEL_NAMES = {
    "cifar10": "cyclegan_cifar10",
    "svhn": "cyclegan_mnist_svhn",
    "mnist-m": "cyclegan_mnist_m",
}
DOMAINS = {
    "cifar10": ("gray", "color"),
    "svhn": ("MNIST", "SVHN"),
    "mnist-m": ("MNIST", "MNIST-M"),
}
PHOTOGRAPHS = 10_000  # for MNIST-M's training digits; all 50,000 would take 600 MB
HELD_OUT = 10_000
IMAGE_SIZE = 32
OWN_HELD_OUT = 8  # the least number of test images of a folder, a row in the figures


def model_name(task: str, patchgan: bool, folders: Sequence[str | Path] | None = None) -> str:
    """The name of the output folder and of the weight files; `folders` are those of `--images`."""
    if folders:
        name = "-".join(
            ["cyclegan", *(image_folders.plain(image_folders.folder_name(f)) for f in folders)]
        )
    else:
        name = MODEL_NAMES[task]
    return name + ("" if patchgan else "_plain")


def add_task_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose a task, and those that load its trained generators."""
    parser.add_argument("-c", "--cifar10", action="store_true", help="gray <-> color CIFAR-10")
    parser.add_argument("-m", "--mnist-svhn", action="store_true", help="MNIST <-> SVHN")
    parser.add_argument(
        "--target", choices=("svhn", "mnist-m"), help="target of --mnist-svhn (default: svhn)"
    )
    for task in ("cifar10", "mnist_svhn", "images"):
        for domain in ("source", "target"):
            parser.add_argument(
                f"--{task}_g_{domain}",
                metavar="FILE",
                help=f"translate to the {domain} domain with these weights, do not train",
            )


def choose_task(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Sets args.task, and args.generators: the files for g_source and g_target, None to train."""
    wanted = []
    flags = {"cifar10": args.cifar10, "mnist_svhn": args.mnist_svhn, "images": args.images}
    for task, flag in flags.items():
        files = [getattr(args, f"{task}_g_{domain}") for domain in ("source", "target")]
        if any(files) and not all(files):
            parser.error(f"expected both --{task}_g_source and --{task}_g_target, found one")
        if flag or any(files):
            wanted.append((task, files if all(files) else None))
    if len(wanted) != 1:
        found = {0: "none", 2: "both"}.get(len(wanted), "all")
        parser.error(f"expected one task, --images, --cifar10 or --mnist-svhn, found {found}")
    [(task, args.generators)] = wanted
    if task != "mnist_svhn" and args.target:
        parser.error("--target goes with --mnist-svhn")
    if args.images and args.image_size is None:
        args.image_size = IMAGE_SIZE
    if task == "images" and not args.images:
        parser.error("--images_g_source needs --images: two folders of images to translate")
    args.task = (args.target or "svhn") if task == "mnist_svhn" else task


@dataclass
class HeldOut:
    """Test images of both domains, and their digits (n,), if they show digits.

    For your own images, `names` are the names of the domains, and `record` describes the images in
    a checkpoint and in the weight files.
    """

    source: np.ndarray
    target: np.ndarray
    source_digits: np.ndarray | None = None
    target_digits: np.ndarray | None = None
    names: tuple[str, str] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def first(self, count: int) -> "HeldOut":
        """The first `count` images of each domain."""
        digits = (self.source_digits, self.target_digits)
        source_digits, target_digits = (d if d is None else d[:count] for d in digits)
        return HeldOut(
            self.source[:count],
            self.target[:count],
            source_digits,
            target_digits,
            self.names,
            self.record,
        )


class MnistM:
    """Digits blended with photographs, computed on access because all of them fill the memory.

    A pixel is the absolute difference of photograph and digit. Source: Ganin et al.,
    Domain-Adversarial Training of Neural Networks (2016), arXiv:1505.07818.

    Args:
        digits: array (n, 32, 32, 1).
        photographs: array (m, 32, 32, 3).
        seed: seed of the random choice of a photograph for each digit.
    """

    def __init__(self, digits: np.ndarray, photographs: np.ndarray, seed: int) -> None:
        self.digits, self.photographs = digits, photographs
        self.chosen = np.random.default_rng(seed).integers(0, len(photographs), len(digits))

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        return np.abs(self.photographs[self.chosen[index]] - self.digits[index])


Images = np.ndarray | MnistM
Domains = tuple[Images, Images]  # source and target


def load(
    task: str, three_channels: bool = False, args: argparse.Namespace | None = None
) -> tuple[Domains, HeldOut]:
    """Loads the images of a task.

    Args:
        task: a key of MODEL_NAMES, or "images" for the folders of `args.images`.
        three_channels: repeat the single channel of source images three times.
        args: the parsed flags, for the task "images".

    Returns:
        (source, target), the training images as arrays or a `MnistM`; and `HeldOut`, at most
        10,000 test images of each domain.

    Raises:
        UserError: if a data set is missing or damaged.
    """
    if task == "images":
        assert args is not None  # with the folders
        return load_own(args)
    target: Images
    test_target: Images
    digits: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if task == "cifar10":
        (target, _), (test_target, _) = datasets.cifar10()
        source, test_source = datasets.rgb_to_gray(target), datasets.rgb_to_gray(test_target)
    else:
        (source, _), (test_source, source_digits) = datasets.mnist()
        source, test_source = (
            np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))) for x in (source, test_source)
        )
        if task == "svhn":
            (target, _), (test_target, target_digits) = datasets.svhn()
            test_target = test_target[:HELD_OUT].copy()  # a view would keep all of them in memory
        else:
            (photographs, _), (test_photographs, _) = datasets.cifar10()
            target = MnistM(source, photographs[:PHOTOGRAPHS].copy(), seed=0)
            test_target = MnistM(test_source, test_photographs, seed=1)
            target_digits = source_digits
        digits = (source_digits[:HELD_OUT], target_digits[:HELD_OUT])
    if three_channels:
        source, test_source = as_color(source), as_color(test_source)
    return (source, target), HeldOut(test_source[:HELD_OUT], test_target[:HELD_OUT], *digits)


def own_shape(args: argparse.Namespace) -> dict[str, int]:
    """The shape of the images of `--images` as keywords of the builders, {} without the flag.

    Raises:
        UserError: if one of the folders is missing.
    """
    if getattr(args, "images", None) is None:
        return {}
    for folder in args.images:
        image_folders.check_folder(folder)
    return {"size": args.image_size, "channels": 3 if args.color else 1}


def load_own(args: argparse.Namespace) -> tuple[Domains, HeldOut]:
    """`load` for the two folders of `--images`; a tenth of each is for test.

    Raises:
        UserError: if a folder has too few images.
    """
    shape = own_shape(args)
    size = shape["size"]
    train, test, facts = [], [], []
    for folder in args.images:
        x, y, _ = image_folders.read(folder, (size, size, shape["channels"]))
        what = f"a batch, and {OWN_HELD_OUT} to test"
        image_folders.check_count(folder, x, args.batch_size + OWN_HELD_OUT, what)
        x_and_y = np.divide(x, 255, dtype="float32"), y
        (x_train, _), (x_test, _) = image_folders.split(*x_and_y, OWN_HELD_OUT)
        train.append(x_train)
        test.append(x_test[:HELD_OUT])
        facts.append(image_folders.describe(folder, x, y))
    source, target = (each["images"] for each in facts)
    names = (f"source {source}", f"target {target}") if source == target else (source, target)
    same = {name: facts[0][name] for name in ("image_size", "color")}
    both = {name: [each[name] for each in facts] for name in facts[0] if name not in same}
    x_source, x_target = train
    test_source, test_target = test
    held_out = HeldOut(test_source, test_target, names=names, record={**both, **same})
    return (x_source, x_target), held_out


def as_color(x: np.ndarray) -> np.ndarray:
    """Images of one or three channels -> a view of them with three channels."""
    return np.broadcast_to(x, (*x.shape[:3], 3))


def batches(
    source: Images, target: Images, batch_size: int, seed: int
) -> Callable[[int], dict[str, Any]]:
    """Training batches as a function of the step, for `training.train`.

    Source and target images are drawn independently of each other.
    """

    def batch(step):
        rng = np.random.default_rng((seed, step))
        source_index = rng.integers(0, len(source), batch_size)
        target_index = rng.integers(0, len(target), batch_size)
        return {"x": (source[source_index], target[target_index])}

    return batch
