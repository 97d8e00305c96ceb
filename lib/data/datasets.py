"""The data sets of the book as arrays ready to use.

A data set is looked for in the folder `$ADLK_DATA_DIR`, then in Keras' own cache, then downloaded.
The folder has mnist.npz, cifar10.npz and svhn.npz with the uint8 arrays x_train, y_train, x_test
and y_test. MNIST also has a last resort without a network: 5,000 of its digits in lib/data. SVHN is
also read from the files of its official site, if the folder has them.
"""

import hashlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lib.files.arrays import read_npz
from lib.files.errors import UserError, one_line
from lib.files.whole import check_regular

FEW_DIGITS = Path(__file__).parent / "mnist-5000.npz"
KEYS = ("x_train", "y_train", "x_test", "y_test")
GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue in the luminance (ITU-R BT.601)
SVHN_SITE = "http://ufldl.stanford.edu/housenumbers/"
LARGEST_MAT = 2**28  # bytes; the official files have 182 and 64 MB
SVHN_SHA256 = {
    "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
}
Examples = tuple[np.ndarray, np.ndarray]  # images and labels
Data = tuple[Examples, Examples]  # for training and for test
_Arrays = Sequence[np.ndarray]  # the uint8 arrays of KEYS

DIGITS = tuple("0123456789")
CIFAR10_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def mnist() -> Data:
    """Returns (x_train, y_train), (x_test, y_test) of MNIST.

    Images are float32 of shape (n, 28, 28, 1) in [0, 1], labels int64 of shape (n,) in 0..9; 60,000
    for training and 10,000 for test (4,000 and 1,000 from lib/data). Raises a UserError if the data
    set is not found, or a file is unusable.
    """
    return _ready(_find("mnist", (28, 28), _few_digits))


def cifar10() -> Data:
    """Returns (x_train, y_train), (x_test, y_test) of CIFAR-10.

    Images are float32 of shape (n, 32, 32, 3) in [0, 1], labels int64 of shape (n,) in 0..9; 50,000
    for training and 10,000 for test. Raises a UserError if the data set is not found, or a file is
    unusable.
    """
    return _ready(_find("cifar10", (32, 32, 3)))


def svhn() -> Data:
    """Returns (x_train, y_train), (x_test, y_test) of SVHN, house numbers cropped to a digit each.

    Images are float32 of shape (n, 32, 32, 3) in [0, 1], labels int64 of shape (n,) in 0..9: the
    digit, also where it is 0, which the official files call 10; 73,257 for training and 26,032 for
    test.

    Source: Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning
    (2011). Raises a UserError if the data set is not found, or a file is unusable.
    """
    return _ready(_find("svhn", (32, 32, 3), load=_svhn_files))


def rgb_to_gray(images: np.ndarray) -> np.ndarray:
    """Color images (n, height, width, 3) -> their luminance (n, height, width, 1), float32."""
    return (images @ np.array(GRAY_WEIGHTS, "float32"))[..., None]


def _ready(arrays: _Arrays) -> Data:
    def ready(x, y):
        images = np.divide(x.reshape(*x.shape[:3], -1), 255, dtype="float32")
        return images, y.reshape(-1).astype("int64")

    x_train, y_train, x_test, y_test = arrays
    return ready(x_train, y_train), ready(x_test, y_test)


def _find(
    name: str,
    shape: tuple[int, ...],
    last_resort: Callable[[], _Arrays] | None = None,
    load: Callable[[], _Arrays] | None = None,
) -> _Arrays:
    """Returns the four uint8 arrays, of images of a shape, from the first place that has them.

    `load` returns the arrays if no npz file is found, by default Keras' loader; `last_resort` does
    so if this fails.
    """
    folder = os.environ.get("ADLK_DATA_DIR")
    tried = "ADLK_DATA_DIR is not set"
    if folder:
        path = Path(folder) / f"{name}.npz"
        tried = f"no '{path}' ($ADLK_DATA_DIR)"
        try:
            found = path.exists()
        except OSError as error:  # a folder above it cannot be searched
            raise UserError(f"cannot read '{path}' ($ADLK_DATA_DIR): {error.strerror}") from None
        if found:
            return _from_npz(path, shape)
    try:
        return load() if load else _from_keras(name)
    except UserError:
        raise
    except Exception as error:
        reason = one_line(error)
    if last_resort is not None:
        print(f"{name}: {tried}; download failed ({reason})", file=sys.stderr)
        return last_resort()
    files = f"{name}.npz (uint8 {', '.join(KEYS)})"
    if name == "svhn":
        files += f", or {' and '.join(SVHN_SHA256)}"
    raise UserError(
        f"data set {name} not found: {tried}; download failed ({reason}).\n"
        f"Put {files} into a folder and set ADLK_DATA_DIR to it."
    )


def _from_npz(path: Path, shape: tuple[int, ...]) -> _Arrays:
    check_regular(path, f"an npz file with {', '.join(KEYS)}")
    try:
        found = read_npz(path, KEYS)
    except Exception as error:
        raise UserError(
            f"'{path}' is unusable: expected an npz file with {', '.join(KEYS)}, found: "
            f"{one_line(error)[:200]}"
        ) from None
    arrays = [found[key] for key in KEYS]
    x_train, y_train, x_test, y_test = arrays
    _check(path, x_train, y_train, shape)
    _check(path, x_test, y_test, shape)
    return arrays


def _check(path: str | Path, x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuses arrays that are not images of this shape with one label each."""
    if not (
        x.shape[1:] == shape
        and x.dtype == np.uint8
        and y.shape in ((len(x),), (len(x), 1))
        and y.dtype.kind in "iu"
        and len(x)
        and 0 <= y.min() <= y.max() <= 9
    ):
        span = f" from {y.min()} to {y.max()}" if y.size and y.dtype.kind in "iuf" else ""
        raise UserError(
            f"'{path}' is unusable: expected uint8 images of shape (n, "
            f"{', '.join(map(str, shape))}) with n labels in 0..9, found {x.dtype} {x.shape} "
            f"with {y.dtype} labels {y.shape}{span}"
        )


def _from_keras(name: str) -> _Arrays:
    """Keras' loaders look into their own cache (~/.keras/datasets) first."""
    import keras

    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    return x_train, y_train, x_test, y_test


def _svhn_files() -> _Arrays:
    """The arrays in the two files of the official site: from $ADLK_DATA_DIR, else by download."""
    folder = os.environ.get("ADLK_DATA_DIR", "")
    arrays: list[np.ndarray] = []
    for name, sha256 in SVHN_SHA256.items():
        path = Path(folder) / name
        if not (folder and path.exists()):
            import keras

            path = keras.utils.get_file(
                name, SVHN_SITE + name, file_hash=sha256, cache_subdir="datasets/svhn"
            )
        arrays += _from_mat(path, sha256)
    return arrays


def _from_mat(path: str | Path, sha256: str) -> Examples:
    """Images (n, 32, 32, 3) and digits (n, 1); the file has images (32, 32, 3, n), and 10 for 0."""
    import scipy.io

    check_regular(path, "a .mat file with X and y")
    try:
        with open(path, "rb") as opened:
            # The parser reads the bytes that were checked, also if the file is exchanged.
            contents = opened.read(LARGEST_MAT)
        if hashlib.sha256(contents).hexdigest() != sha256:
            raise ValueError(f"another file than that of {SVHN_SITE}, whose SHA-256 is {sha256}")
        file = scipy.io.loadmat(io.BytesIO(contents), variable_names=("X", "y"))
        x, y = np.ascontiguousarray(np.moveaxis(file["X"], -1, 0)), file["y"] % 10
    except Exception as error:
        raise UserError(
            f"'{path}' is unusable: expected a .mat file with X and y, found: {one_line(error)}"
        ) from None
    _check(path, x, y, (32, 32, 3))
    return x, y


def _few_digits() -> _Arrays:
    print(
        "mnist: USING 5,000 DIGITS (4,000 train, 1,000 test) INSTEAD OF THE 70,000 OF MNIST: good "
        "for a trial, not for numbers",
        file=sys.stderr,
    )
    return _from_npz(FEW_DIGITS, (28, 28))
