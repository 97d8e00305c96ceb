"""Data sets from a local file, Keras' loader and lib/data; nothing reaches the network."""

import hashlib

import keras
import numpy as np
import pytest
import scipy.io

from lib.data import datasets
from lib.files.errors import UserError

DATA_SETS = ("mnist", "cifar10")
SVHN_FILES = ("train_32x32.mat", "test_32x32.mat")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def fail():
        raise OSError("no route to host\nand a second line")

    for name in DATA_SETS:
        monkeypatch.setattr(getattr(keras.datasets, name), "load_data", fail)
    monkeypatch.setattr(keras.utils, "get_file", lambda *args, **kwargs: fail())


@pytest.fixture
def change(data_dir):
    """A function that replaces arrays in mnist.npz (None: leaves them out); returns the path."""
    path = data_dir / "mnist.npz"

    def write(**changes):
        with np.load(path) as file:
            arrays = {**file, **changes}
        np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
        return path

    return write


def refusal(name="mnist"):
    with pytest.raises(UserError) as error:
        getattr(datasets, name)()
    return str(error.value)


@pytest.mark.parametrize(("name", "shape"), [("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_a_local_file_becomes_float_images_and_integer_labels(data_dir, name, shape):
    with np.load(data_dir / f"{name}.npz") as file:
        raw = dict(file)

    for part, (x, y) in zip(("train", "test"), getattr(datasets, name)(), strict=True):
        n = len(raw[f"y_{part}"])
        assert x.shape == (n, *shape)
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, raw[f"x_{part}"].reshape(x.shape).astype("f4") / 255)
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y, raw[f"y_{part}"])


def test_pixels_range_from_0_to_1(change):
    images = np.zeros((2, 28, 28), "uint8")
    images[1] = 255
    change(x_test=images, y_test=np.arange(2))
    (_, _), (x, _) = datasets.mnist()
    assert (x.min(), x.max()) == (0, 1)


def test_labels_in_a_column_become_a_vector(change):
    # CIFAR-10's labels have this shape in the file of Keras.
    change(y_train=np.arange(64)[:, None] % 10)
    (_, y), _ = datasets.mnist()
    np.testing.assert_array_equal(y, np.arange(64) % 10)


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_a_missing_array_is_named(change, key):
    path = change(**{key: None})
    message = refusal()
    assert str(path) in message
    assert f"no array {key}" in message
    assert "expected an npz file with x_train, y_train, x_test, y_test" in message


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"x_train": np.zeros((64, 32, 32), "uint8")}, "uint8 (64, 32, 32)"),
        ({"x_test": np.zeros((32, 28, 28, 1), "uint8")}, "uint8 (32, 28, 28, 1)"),
        ({"x_train": np.zeros((64, 28, 28), "float32")}, "float32 (64, 28, 28)"),
        ({"y_train": np.zeros(63, "uint8")}, "uint8 labels (63,)"),
        ({"x_test": np.zeros((0, 28, 28), "uint8"), "y_test": np.zeros(0, "uint8")}, "(0, 28, 28)"),
        ({"y_test": np.eye(10, dtype="uint8")[np.zeros(32, int)]}, "uint8 labels (32, 10)"),
        ({"y_test": np.uint8(7)}, "uint8 labels ()"),
        ({"y_train": np.full(64, 10)}, "int64 labels (64,) from 10 to 10"),
        ({"y_train": np.full(64, -1)}, "int64 labels (64,) from -1 to -1"),
        ({"y_train": np.full(64, 0.5)}, "float64 labels (64,)"),
    ],
    ids=[
        "image size",
        "channel axis",
        "image type",
        "too few labels",
        "no images",
        "one-hot labels",
        "one single label",
        "label too large",
        "label too small",
        "label type",
    ],
)
def test_unfit_arrays_are_refused_with_what_was_expected_and_found(change, changes, found):
    path = change(**changes)
    expected, described = refusal().split(", found ")
    assert expected == (
        f"'{path}' is unusable: expected uint8 images of shape (n, 28, 28) with n labels in 0..9"
    )
    assert found in described


@pytest.mark.parametrize("kept", [0, 3, 10_000, -1], ids=["empty", "stub", "cut", "last byte"])
def test_a_truncated_file_is_refused_in_one_line(data_dir, kept):
    path = data_dir / "mnist.npz"
    path.write_bytes(path.read_bytes()[:kept])
    message = refusal()
    assert str(path) in message
    assert "expected an npz file" in message
    assert "\n" not in message


def test_a_file_with_a_flipped_byte_is_refused(data_dir):
    path = data_dir / "mnist.npz"
    content = bytearray(path.read_bytes())
    content[5_000] ^= 255
    path.write_bytes(content)
    assert str(path) in refusal()


def test_a_text_file_named_npz_is_refused(data_dir):
    (data_dir / "mnist.npz").write_text("<html>404 Not Found</html>")
    assert "is unusable: expected an npz file" in refusal()


def loader(value, labels):
    """What Keras' loader returns: one image of `value` in each part."""
    part = np.full((1, 28, 28), value, "uint8"), np.array(labels, "uint8")
    return lambda: (part, part)


def test_the_local_folder_comes_before_keras_loader(data_dir, monkeypatch):
    monkeypatch.setattr(keras.datasets.mnist, "load_data", loader(51, [3]))
    (x, _), _ = datasets.mnist()
    assert len(x) == 64


def test_keras_loader_comes_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADLK_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(keras.datasets.mnist, "load_data", loader(51, [3]))
    for x, y in datasets.mnist():
        np.testing.assert_allclose(x, np.full((1, 28, 28, 1), 0.2), rtol=1e-6)
        assert y.tolist() == [3]
    assert capsys.readouterr().err == ""


def test_a_broken_local_file_is_not_skipped(data_dir, monkeypatch):
    monkeypatch.setattr(keras.datasets.mnist, "load_data", loader(51, [3]))
    (data_dir / "mnist.npz").write_bytes(b"")
    assert "mnist.npz" in refusal()


def test_mnist_falls_back_to_few_digits_with_a_loud_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADLK_DATA_DIR", str(tmp_path))

    for (x, y), n in zip(datasets.mnist(), (4000, 1000), strict=True):
        assert x.shape == (n, 28, 28, 1)
        assert (x.min(), x.max()) == (0, 1)
        assert sorted(set(y.tolist())) == list(range(10))

    output = capsys.readouterr()
    tried, loud = output.err.splitlines()
    assert str(tmp_path / "mnist.npz") in tried
    assert "no route to host" in tried
    assert "USING 5,000 DIGITS" in loud
    assert output.out == ""


def test_the_few_digits_are_all_different():
    assert datasets.FEW_DIGITS.stat().st_size < 1.2 * 2**20
    with np.load(datasets.FEW_DIGITS) as file:
        images = np.concatenate([file["x_train"], file["x_test"]])
        labels = np.concatenate([file["y_train"], file["y_test"]])
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000
    assert np.bincount(labels).tolist() == [500] * 10
    # Their mean brightness is that of MNIST.
    assert images.mean() / 255 == pytest.approx(0.13, abs=0.005)


def test_cifar10_has_no_stand_in_but_two_lines_that_help(tmp_path, monkeypatch):
    monkeypatch.setenv("ADLK_DATA_DIR", str(tmp_path))
    tried, help_ = refusal("cifar10").splitlines()
    assert str(tmp_path / "cifar10.npz") in tried
    assert "no route to host" in tried
    assert "cifar10.npz" in help_
    assert "ADLK_DATA_DIR" in help_


def test_without_the_variable_the_message_says_so(monkeypatch):
    monkeypatch.delenv("ADLK_DATA_DIR", raising=False)
    tried, _ = refusal("cifar10").splitlines()
    assert "ADLK_DATA_DIR is not set" in tried


def svhn_file(path, n, seed=0):
    """Writes a tiny file as the official site has them; returns its images and digits."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype="uint8")
    digits = np.arange(n) % 10
    # Images are counted by the last axis, and the digit 0 is called 10.
    labels = np.where(digits == 0, 10, digits).astype("uint8")[:, None]
    scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels})
    return images, digits


def assert_svhn(expected):
    for (images, digits), (x, y) in zip(expected, datasets.svhn(), strict=True):
        np.testing.assert_array_equal(x, images.astype("f4") / 255)
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(y, digits)


def use_checksums(folder, monkeypatch):
    """Takes the files in a folder for those of the official site."""
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.mat")}
    monkeypatch.setattr(datasets, "SVHN_SHA256", {name: sums[name] for name in SVHN_FILES})


@pytest.fixture
def svhn_files(data_dir, monkeypatch):
    made = [
        svhn_file(data_dir / name, n, seed=n) for name, n in zip(SVHN_FILES, (23, 11), strict=True)
    ]
    use_checksums(data_dir, monkeypatch)
    return made


def test_svhn_from_the_official_files_in_the_local_folder(svhn_files):
    assert_svhn(svhn_files)


def test_svhn_from_npz_comes_before_the_official_files(svhn_files, data_dir):
    (x, y), (x_test, y_test) = svhn_files
    np.savez(data_dir / "svhn.npz", x_train=255 - x, y_train=y, x_test=x_test, y_test=y_test)
    assert_svhn([(255 - x, y), svhn_files[1]])


def test_svhn_is_downloaded_with_its_checksums(svhn_files, data_dir, tmp_path, monkeypatch):
    asked = []

    def get_file(name, origin, file_hash, cache_subdir):
        asked.append((origin, len(file_hash), cache_subdir))
        return str(data_dir / name)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    monkeypatch.setenv("ADLK_DATA_DIR", str(tmp_path))
    assert_svhn(svhn_files)
    site = "http://ufldl.stanford.edu/housenumbers/"
    assert asked == [(f"{site}{part}_32x32.mat", 64, "datasets/svhn") for part in ("train", "test")]


def test_svhn_has_no_stand_in_but_two_lines_that_help(data_dir):
    tried, help_ = refusal("svhn").splitlines()
    assert str(data_dir / "svhn.npz") in tried
    assert "no route to host" in tried
    for name in ("svhn.npz", "train_32x32.mat", "test_32x32.mat", "ADLK_DATA_DIR"):
        assert name in help_


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "expected a .mat file with X and y"),
        (b"<html>404 Not Found</html>" * 10, "expected a .mat file with X and y"),
        ({"x": 1}, "'X'"),
        ({"X": np.zeros((32, 32, 3, 2), "uint8"), "y": np.ones((3, 1))}, "(2, 32, 32, 3)"),
        ({"X": np.zeros((28, 28, 3, 2), "uint8"), "y": np.ones((2, 1), "uint8")}, "(2, 28, 28, 3)"),
    ],
    ids=["empty", "text", "no images", "too many labels", "image size"],
)
def test_an_unfit_svhn_file_is_refused_in_one_line(
    svhn_files, data_dir, content, found, monkeypatch
):
    path = data_dir / "test_32x32.mat"
    if isinstance(content, dict):
        scipy.io.savemat(path, content)
    else:
        path.write_bytes(content)
    use_checksums(data_dir, monkeypatch)
    message = refusal("svhn")
    assert message.startswith(f"'{path}' is unusable: expected")
    assert found in message and "\n" not in message


def test_a_truncated_svhn_file_is_refused_in_one_line(svhn_files, data_dir):
    path = data_dir / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:20_000])
    message = refusal("svhn")
    assert str(path) in message and "whose SHA-256 is" in message and "\n" not in message
