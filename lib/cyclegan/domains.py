"""The images of the CycleGAN: two unpaired domains.

The source domain is gray CIFAR-10 or MNIST; the target domain is CIFAR-10 in color, SVHN or
MNIST-M. They can also be your own images in two folders. All images are float32 in [0, 1] of shape
(n, 32, 32, channels).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lib.cyclegan.tasks import Task
from lib.data import datasets, image_folders

PHOTOGRAPHS = 10_000  # for MNIST-M's training digits; all 50,000 would take 600 MB
HELD_OUT = 10_000
OWN_HELD_OUT = 8  # the least number of test images of a folder, a row in the figures


@dataclass
class HeldOut:
    """Test images of both domains."""

    source: np.ndarray
    target: np.ndarray
    source_digits: np.ndarray | None = None  # (n,), if the images show digits
    target_digits: np.ndarray | None = None
    names: tuple[str, str] | None = None  # of the domains of your own images
    record: dict[str, Any] = field(default_factory=dict)  # describes your own images

    def first(self, count: int) -> "HeldOut":
        """The first `count` images of each domain."""
        names = ("source", "target", "source_digits", "target_digits")
        arrays = {name: getattr(self, name) for name in names}
        return replace(self, **{k: x[:count] for k, x in arrays.items() if x is not None})


class MnistM:
    """Digits (n, 32, 32, 1) blended with photographs (m, 32, 32, 3), computed on access.

    A pixel is the absolute difference of photograph and digit; `seed` chooses a photograph for each
    digit. All images together would fill the memory. Source: Ganin et al., Domain-Adversarial
    Training of Neural Networks (2016), arXiv:1505.07818.
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


def load(task: Task, batch_size: int = 1) -> tuple[Domains, HeldOut]:
    """Loads the images of a task; with identity loss, the channel of source images is repeated.

    Raises a UserError if a data set is missing or damaged, or a folder has too few images.

    Args:
        task: the task.
        batch_size: the least number of your own training images.

    Returns:
        (source, target), the training images; and at most 10,000 test images of each domain.
    """
    if task.name == "images":
        return load_own(task, batch_size)
    target: Images
    test_target: Images
    digits: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if task.name == "cifar10":
        (target, _), (test_target, _) = datasets.cifar10()
        source, test_source = datasets.rgb_to_gray(target), datasets.rgb_to_gray(test_target)
    else:
        (source, _), (test_source, source_digits) = datasets.mnist()
        border = ((0, 0), (2, 2), (2, 2), (0, 0))
        source, test_source = (np.pad(x, border) for x in (source, test_source))
        if task.name == "svhn":
            (target, _), (test_target, target_digits) = datasets.svhn()
            test_target = test_target[:HELD_OUT].copy()  # a view would keep all of them in memory
        else:
            (photographs, _), (test_photographs, _) = datasets.cifar10()
            target = MnistM(source, photographs[:PHOTOGRAPHS].copy(), seed=0)
            test_target = MnistM(test_source, test_photographs, seed=1)
            target_digits = source_digits
        digits = (source_digits[:HELD_OUT], target_digits[:HELD_OUT])
    if task.identity:
        source, test_source = as_color(source), as_color(test_source)
    return (source, target), HeldOut(test_source[:HELD_OUT], test_target[:HELD_OUT], *digits)


def load_own(task: Task, batch_size: int) -> tuple[Domains, HeldOut]:
    """`load` for your own images in two folders; a tenth of each is for test."""
    assert task.channels is not None
    train, test, facts = [], [], []
    for folder in task.folders:
        x, y, _ = image_folders.read(folder, (task.size, task.size, task.channels))
        what = f"a batch, and {OWN_HELD_OUT} to test"
        image_folders.check_count(folder, x, batch_size + OWN_HELD_OUT, what)
        x_and_y = np.divide(x, 255, dtype="float32"), y
        (x_train, _), (x_test, _) = image_folders.split(*x_and_y, OWN_HELD_OUT)
        train.append(x_train)
        test.append(x_test[:HELD_OUT])
        facts.append(image_folders.describe(folder, x, y))
    source, target = (each["images"] for each in facts)
    names = (f"source {source}", f"target {target}") if source == target else (source, target)
    same = {name: facts[0][name] for name in ("image_size", "color")}
    both = {name: [each[name] for each in facts] for name in facts[0] if name not in same}
    held_out = HeldOut(test[0], test[1], names=names, record={**both, **same})
    return (train[0], train[1]), held_out


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
