"""Hostile conditions: full disks, damaged data and checkpoints, two runs in one folder.

Each is one line and exit code 2, and the files that were there before remain as they were.
"""

import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, assert_one_line_error, run_script

from lib.data import datasets
from lib.files import records, weights
from lib.files.errors import UserError
from lib.measure import plots
from lib.run import checkpoints, program

MLP = "chapter1-keras-quick-tour/mlp-mnist-1.3.2.py"
RESNET = "chapter2-deep-networks/resnet-cifar10-2.2.1.py"
DCGAN = "chapter4-gan/dcgan-mnist-4.2.1.py"
AUTOENCODER = "chapter3-autoencoders/autoencoder-mnist-3.2.1.py"
VAE = "chapter8-vae/vae-mlp-mnist-8.1.1.py"
LOCKS = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from lib.run import program
program.lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


# A full disk


@pytest.fixture
def disk(tmp_path):
    """A file system of 512 kB; unmounted at the end."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        failed = done.returncode and done.stderr.strip()
    except OSError as error:
        failed = str(error)
    if failed:
        pytest.skip(f"cannot mount a small file system: {failed}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place, left):
    """Fills a file system up to about `left` bytes."""
    status = os.statvfs(place)
    (place / "filler").write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - left)))


def dense(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((100,)), keras.layers.Dense(100)])


def figure():
    made, axis = plt.subplots()
    axis.imshow(np.random.default_rng(0).random((100, 100)))
    return made


WRITERS = {
    "weights.h5": lambda path: weights.save(dense(0), path),
    "half.h5": lambda path: weights.save(dense(0), path, half=True),
    "restart.npz": lambda path: checkpoints.save_restart(path, dense(0), {}, {"step": 1}),
    "record.json": lambda path: records.write_json(path, list(range(10_000))),
    "figure.png": lambda path: plots.finish(figure(), path),
    "diagram.png": lambda path: plots.model_diagram(dense(0), path),
}


@pytest.mark.parametrize("left", [0, 8192])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_former_file(disk, name, left):
    if name == "diagram.png" and not (shutil.which("dot") and importlib.util.find_spec("pydot")):
        pytest.skip("needs pydot and Graphviz")
    path = disk / name
    WRITERS[name](path)
    before = path.read_bytes()
    left = min(left, len(before) // 2)
    fill(disk, left)
    with pytest.raises(UserError, match=f"cannot write '.*{name}'"):
        WRITERS[name](path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in disk.iterdir()) == sorted(["filler", name])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_wherever_it_shows(capsys, code):
    def main(args):
        raise OSError(code, os.strerror(code), "log.csv")

    with pytest.raises(SystemExit) as stop:
        program.run(main, None)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "log.csv" in line and os.strerror(code) in line


def test_another_error_of_the_system_keeps_its_traceback():
    def main(args):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        program.run(main, None)


# Data sets


@pytest.mark.parametrize("kind", ["folder", "pipe", "array of objects", "plain array"])
def test_data_that_are_no_archive_of_numbers_are_refused(data_dir, kind):
    path = data_dir / "mnist.npz"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "plain array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        arrays = dict.fromkeys(datasets.KEYS, np.array([{}], dtype=object))
        np.savez(path, **arrays)
    with pytest.raises(UserError, match=r"mnist\.npz' is unusable: expected an npz") as error:
        datasets.mnist()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("labels", [np.array(["a"] * 64), np.full(64, np.nan), np.zeros(64, bool)])
def test_labels_that_are_no_numbers_are_refused(data_dir, labels):
    path = data_dir / "mnist.npz"
    with np.load(path) as file:
        arrays = {**file, "y_train": labels}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=r"unusable: expected (uint8 images|an npz file)"):
        datasets.mnist()


# Checkpoints


@pytest.fixture
def checkpoint(tmp_path):
    """A model, its settings and its checkpoint."""
    path, settings = tmp_path / "restart.npz", {"seed": 0}
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    checkpoints.save_restart(path, model, settings, {"step": 3})
    return model, settings, path


def test_damaged_checkpoints_are_refused(checkpoint):
    model, settings, path = checkpoint
    whole = path.read_bytes()
    before = model.get_weights()
    rng = np.random.default_rng(0)
    damaged = [whole[: int(share * len(whole))] for share in (0, 0.3, 0.6, 0.99)]
    for _ in range(60):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            progress, _ = checkpoints.load_restart(path, model, settings)
            assert progress == {"step": 3}
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        # A flip that is not refused was in a byte that means nothing, such as a date.
        for a, b in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)
    assert refused > len(damaged) / 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": json.dumps({"settings": [], "progress": {}})}, "not a dictionary"),
        ({"header": json.dumps({"settings": {"seed": 0}, "progress": 3})}, "not a dictionary"),
        ({"header": "[]"}, "not a usable"),
        ({"v0": np.full((2, 3), np.nan, "float32")}, "not finite"),
        ({"v0": np.full((2, 3), "text")}, "not finite"),
        ({"v0": np.zeros((3, 3), "float32")}, "another network"),
    ],
)
def test_made_up_checkpoints_are_refused(checkpoint, changes, reason):
    model, settings, path = checkpoint
    before = model.get_weights()
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **{**content, **changes})
    with pytest.raises(UserError, match=reason):
        checkpoints.load_restart(path, model, settings)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_checkpoint_that_is_no_file_is_refused_before_data_are_loaded(tmp_path, kind):
    folder = tmp_path / "dcgan_mnist"
    folder.mkdir()
    (os.mkfifo if kind == "pipe" else os.mkdir)(folder / "restart.npz")
    done = run_script(DCGAN, "--resume", folder=tmp_path, data=tmp_path / "no data")
    assert_one_line_error(done, "restart.npz' is unusable: expected a checkpoint")


# Two runs, weights, folders


def test_a_second_run_in_a_folder_is_refused_until_the_first_ends(tmp_path):
    command = [sys.executable, "-c", LOCKS, tmp_path]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=r"another run is using .* --output-dir"):
            program.lock_folder(tmp_path)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    program.lock_folder(tmp_path)
    program.lock_folder(tmp_path)  # a process may lock its own folder again
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        (MLP, "--weights"),
        (RESNET, "--weights"),
        (DCGAN, "--generator"),
        (AUTOENCODER, "--weights"),
        (VAE, "--weights"),
    ],
)
def test_weights_of_another_network_are_refused_before_data_are_loaded(tmp_path, script, flag):
    weights.save(dense(0), tmp_path / "other.h5")
    done = run_script(script, f"{flag}=other.h5", folder=tmp_path, data=tmp_path / "no data")
    assert_one_line_error(done, "other.h5' belongs to another network")


def test_a_place_for_weights_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    touch = type(tmp_path).touch

    def refuse(path, *args, **kwargs):
        if path.parent == tmp_path:
            raise PermissionError(13, "Permission denied")
        touch(path, *args, **kwargs)

    monkeypatch.setattr(type(tmp_path), "touch", refuse)
    with pytest.raises(UserError, match=r"cannot write to .* --output-dir"):
        program.make_folder(tmp_path, "model")
