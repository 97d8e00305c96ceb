"""The one-cycle recipe for the CIFAR-10 networks of chapter 2: its flags, optimizer and hold-out.

One cycle: the learning rate rises linearly to a peak that would be too large for a whole run, then
falls to zero along a cosine. The large rate covers distance and regularizes, the fall settles the
weights. SGD with Nesterov momentum makes the updates.

Sources: Smith and Topin, Super-Convergence (2017), arXiv:1708.07120; He et al. (2015),
arXiv:1512.03385, for the weight decay and the padded shifts; Jordan, 94 % on CIFAR-10 in 3.29
seconds on a single GPU (2024), arXiv:2404.00498, for the reflection. Its rate falls linearly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.files.errors import UserError
from lib.run import kinds
from lib.run.flags import Parser

if TYPE_CHECKING:
    import keras

    from lib.data.datasets import Data
    from lib.engine.backends import Tensor

NAMES = ("book", "one-cycle")
MOMENTUM = 0.9
# Gains, offsets and biases are left out: they set a scale or a threshold and do not overfit.
NOT_DECAYED = ("gamma", "beta", "bias")


def add_flags(parser: Parser, book: dict[str, Any], one_cycle: dict[str, Any]) -> None:
    """Adds the flags of the recipes to the parser of a training script.

    `book` and `one_cycle` are {name of a flag: its default}; `one_cycle` has more flags.
    """

    def add(flag, read, text):
        name = flag[2:].replace("-", "_")
        defaults = f"one-cycle: {one_cycle[name]}"
        if name in book:
            defaults = f"book: {book[name]}, {defaults}"
        parser.add_setting(flag, type=read, help=f"{text} ({defaults})")

    epochs, batch_size = one_cycle["epochs"], one_cycle["batch_size"]
    parser.add_setting(
        "--recipe",
        choices=NAMES,
        default=NAMES[0],
        help=f"how to train (default book); one-cycle: {epochs} epochs of batches of {batch_size}, "
        "SGD, one rise and fall of the learning rate",
    )
    add("--learning-rate", kinds.positive, "largest learning rate")
    add("--warm-up", kinds.fraction, "share of the run in which the learning rate rises")
    add("--weight-decay", kinds.not_negative, "weight decay of the kernels, as in the papers")
    add("--label-smoothing", kinds.fraction, "probability spread over all classes")
    add("--shift", kinds.fraction, "largest shift of an image, as a share of its width; 0: none")
    parser.add_setting(
        "--no-flip", dest="flip", action="store_false", help="do not mirror images at random"
    )
    parser.add_setting(
        "--optimizer",
        choices=("sgd", "adam"),
        help=f"of one-cycle (default {one_cycle['optimizer']}); adam needs a --learning-rate "
        "near 0.002 and a --weight-decay near 0.05",
    )
    add_hold_out(parser)
    # The defaults depend on --recipe, see `complete`.
    parser.set_defaults(epochs=None, batch_size=None)


def add_hold_out(parser: Parser) -> None:
    """Adds the flag --hold-out, see `hold_out`."""
    parser.add_setting(
        "--hold-out",
        type=kinds.reader(int, lambda value: value >= 0, "a whole number of at least 0"),
        default=0,
        metavar="N",
        help="for tuning: measure on the last N training images instead of the test set",
    )


def complete(
    parser: Parser, args: argparse.Namespace, book: dict[str, Any], one_cycle: dict[str, Any]
) -> None:
    """Fills in the defaults of the chosen recipe, and refuses flags that it does not have."""
    chosen = book if args.recipe == "book" else one_cycle
    for name in one_cycle:
        if getattr(args, name) is None:
            setattr(args, name, chosen.get(name))
        elif name not in chosen:
            parser.error(f"--{name.replace('_', '-')} needs --recipe one-cycle")


def compile_one_cycle(model: keras.Model, steps: int, settings: dict[str, Any]) -> None:
    """Compiles a classifier with one cycle of the learning rate over `steps` steps.

    `settings` are those of the run. The weight decay of SGD is that of the papers, which add
    weight_decay * kernel to the gradient. Keras shrinks the kernel itself by learning rate * weight
    decay, which momentum does not multiply, so Keras gets weight_decay / (1 - momentum). Adam takes
    the weight decay as Keras does. The regularizers of the network are removed.
    """
    import keras

    for variable in model.trainable_variables:
        variable.regularizer = None
    warm_up = min(round(settings["warm_up"] * steps), steps - 1)  # Keras needs a step for the fall
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else settings["learning_rate"],
        steps - warm_up,
        warmup_target=settings["learning_rate"] if warm_up else None,
        warmup_steps=warm_up,
    )
    decay = settings["weight_decay"]
    if settings["optimizer"] == "sgd":
        momentum = {"momentum": MOMENTUM, "nesterov": True}
        optimizer = keras.optimizers.SGD(schedule, **momentum, weight_decay=decay / (1 - MOMENTUM))
    else:
        optimizer = keras.optimizers.Adam(schedule, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    loss: Any = "sparse_categorical_crossentropy"
    if settings["label_smoothing"]:
        loss = smoothed_cross_entropy(settings["label_smoothing"])
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])


def smoothed_cross_entropy(smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy with label probability 1 - smoothing, and smoothing spread over all classes."""
    from keras import losses, ops

    def cross_entropy(labels, probabilities):
        labels = ops.one_hot(ops.reshape(labels, (-1,)), probabilities.shape[-1])
        return losses.categorical_crossentropy(labels, probabilities, label_smoothing=smoothing)

    return cross_entropy


def hold_out(data: Data, count: int) -> Data:
    """Returns (train, test) in which the last `count` training examples replace the test set.

    A count of 0 returns the data as they are. A UserError is raised if none are left to train on.
    """
    (x_train, y_train), _ = data
    if not count:
        return data
    if count >= len(x_train):
        raise UserError(f"--hold-out: expected less than {len(x_train)}, found {count}")
    return (x_train[:-count], y_train[:-count]), (x_train[-count:], y_train[-count:])


def less_pixel_mean(data: Data) -> Data:
    """Subtracts the mean training image from all images in (train, test), in place."""
    (x_train, _), (x_test, _) = data
    pixel_mean = x_train.mean(axis=0)
    x_train -= pixel_mean
    x_test -= pixel_mean
    return data
