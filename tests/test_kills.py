"""A run that is killed, or whose disk is full, at any write of its files loses nothing.

A killed process leaves on the disk what was there at that moment. So one run is enough for all
moments: its folder is copied before and after each write, flush to the disk, rename and removal,
and each of the different copies is continued to its end.
"""

import builtins
import io
import os
import shutil
import sys
import time
from pathlib import Path

import h5py
import keras
import pytest
from conftest import ROOT, load_script, read_csv, read_json, without_times
from PIL import Image

from lib.files.whole import write_whole
from lib.measure import plots
from lib.rl import agent_runs
from lib.run import logs, program, training

# One listing of each kind of training: {kind: (script, flags, constants)}.
LISTINGS = {
    "epochs": (
        "chapter1-keras-quick-tour/mlp-mnist-1.3.2.py",
        ("--epochs=2", "--batch-size=32", "--layers=4"),
        {},
    ),
    "steps of a GAN": (
        "chapter4-gan/dcgan-mnist-4.2.1.py",
        ("--train-steps=2", "--batch-size=2"),
        {"GENERATOR_FILTERS": (2,), "DISCRIMINATOR_FILTERS": (2,)},
    ),
    "episodes with a memory": (
        "chapter9-drl/dqn-cartpole-9.6.1.py",
        ("--episodes=3", "--replays=2", "--batch-size=8"),
        {"HIDDEN_LAYERS": (4,), "TEST_EPISODES": 1},
    ),
    "episodes with a policy": (
        "chapter10-policy/policygradient-car-10.1.1.py",
        ("--episodes=2", "-e", "car_encoder.h5"),
        {"TEST_EPISODES": 1},
    ),
}
# What differs between equal runs, besides seconds.
FACTS = {"command", "commit", "date", "minutes", "peak_rss_mb"}


class Disk:
    """Calls `act(event, path)` at each write below a folder.

    The events are "open" and "flush", before a file is opened for writing and before it is flushed
    to the disk, "rename" and "remove", and "renamed" and "removed" after them.
    """

    def __init__(self, monkeypatch, folder, act):
        self.folder, self.act = folder, act
        opened, flush, replace, unlink = io.open, os.fsync, os.replace, os.unlink

        def open_(file, mode="r", *args, **kwargs):
            if set(mode) & set("wax"):
                self.tell("open", file)
            return opened(file, mode, *args, **kwargs)

        def fsync(descriptor):
            self.tell("flush", os.readlink(f"/proc/self/fd/{descriptor}"))
            flush(descriptor)

        def rename(source, target):
            self.tell("rename", target)
            replace(source, target)
            self.tell("renamed", target)

        def remove(path, **kwargs):
            self.tell("remove", path)
            unlink(path, **kwargs)
            self.tell("removed", path)

        monkeypatch.setattr(io, "open", open_)
        monkeypatch.setattr(builtins, "open", open_)
        for name, patched in (("fsync", fsync), ("replace", rename), ("unlink", remove)):
            monkeypatch.setattr(os, name, patched)

    def tell(self, event, path):
        if isinstance(path, (str, os.PathLike)) and self.folder in Path(path).parents:
            self.act(event, Path(path))


@pytest.fixture
def at_once(monkeypatch):
    """Every interval is saved, and no step waits for a compiler."""
    tensorflow = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs TensorFlow")
    monkeypatch.setattr(training, "SECONDS_UNSAVED", -1)
    monkeypatch.setattr(training, "SAVING_SHARE", 1e9)
    monkeypatch.setattr(training._Progress, "steps_in", lambda self, seconds: 1)
    monkeypatch.setattr(agent_runs.TrainingRun, "SECONDS_BETWEEN", 0)
    monkeypatch.setattr(logs.Log, "draw", lambda self, _: draw(self.path.with_suffix(".png")))
    monkeypatch.setattr(plots, "finish", lambda figure, path, show=False: draw(Path(path)))
    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


def draw(path):
    """Writes an empty figure: drawing takes longer than these trainings."""
    path.parent.mkdir(exist_ok=True)
    write_whole(path, lambda temporary: Image.new("L", (2, 2)).save(temporary))


def start(kind, folder, monkeypatch, *more):
    """Runs the listing of a kind in this process, as its command would."""
    path, flags, constants = LISTINGS[kind]
    script = load_script(path)
    for name, value in constants.items():
        monkeypatch.setattr(script, name, value)
    if kind == "steps of a GAN":
        monkeypatch.setattr(script.gan_training, "QUICK_SAMPLES", 10)
    folder.mkdir(exist_ok=True)
    words = [str(ROOT / path), *flags, *more, f"--output-dir={folder}"]
    monkeypatch.setattr(sys, "argv", words)
    program.run(script.main, script.parse_args())


def without_facts(value):
    """A value of a record without what differs between equal runs."""
    if isinstance(value, dict):
        kept = (key for key in value if key not in FACTS and "second" not in key)
        return {key: without_facts(value[key]) for key in kept}
    return [*map(without_facts, value)] if isinstance(value, list) else value


def result(folder):
    """All numbers that a finished run wrote, without times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".h5":
            found[name] = arrays = []
            with h5py.File(path) as file:
                file.visititems(
                    lambda _, item, to=arrays: (
                        to.append(item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
                    )
                )
        elif path.suffix == ".csv":
            found[name] = without_times(read_csv(path))
        elif path.suffix == ".json":
            found[name] = without_facts(read_json(path))
        elif path.suffix == ".png":
            found[name] = "a figure"
    return found


def state(folder):
    """The files of a folder, without unfinished ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_run_killed_at_any_write_ends_as_a_whole_one(
    kind, tmp_path, data_dir, monkeypatch, at_once, capsys
):
    folder, copies = tmp_path / "whole", []
    began = time.process_time()

    def copy(event, path):
        if not copies or state(copies[-1][1]) != state(folder):
            target = tmp_path / f"copy{len(copies)}"
            shutil.copytree(folder, target)
            copies.append((f"{event} {path.name}", target))

    with monkeypatch.context() as patched:
        Disk(patched, folder, copy)
        start(kind, folder, patched)
    whole = result(folder)
    assert len(copies) > 8
    for moment, target in copies:
        more = ["--resume"] if list(target.rglob("restart*.npz")) else []
        with monkeypatch.context() as patched:
            start(kind, target, patched, *more)
        assert result(target) == whole, moment
    print(kind, time.process_time() - began, [moment for moment, _ in copies])
