"""A run that is killed, or whose disk is full, at any write of its files loses nothing.

A killed process leaves on the disk what was there at that moment. So one run is enough for all
moments: its folder is copied before and after each write, flush to the disk, rename and removal,
and each of the different copies is continued to its end.
"""

import builtins
import errno
import fcntl
import io
import itertools
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, load_script, read_csv, read_json, without_times
from PIL import Image
from test_hostile import test_a_second_run_in_a_folder_is_refused_until_the_first_ends as locked

from lib.files import records
from lib.files.errors import UserError
from lib.files.whole import write_whole
from lib.measure import plots
from lib.rl import agent_runs
from lib.run import checkpoints, console, logs, program, training

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
    monkeypatch.setattr(plots, "finish", lambda figure, path, show=False: draw(Path(path), figure))
    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


def draw(path, figure=None):
    """Writes an empty figure: drawing takes longer than these trainings."""
    plt.close(figure)
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


def state(folder, figures=True):
    """The files of a folder, without unfinished ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    kept = (path for path in files if figures or path.suffix != ".png")
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_run_killed_at_any_write_ends_as_a_whole_one(
    kind, tmp_path, data_dir, monkeypatch, at_once
):
    folder, copies = tmp_path / "whole", []

    def copy(event, path):
        # A figure changes no number.
        if not copies or state(copies[-1][1], figures=False) != state(folder, figures=False):
            target = tmp_path / f"copy{len(copies)}"
            shutil.copytree(folder, target)
            copies.append((f"{event} {path.name}", target))

    with monkeypatch.context() as patched:
        Disk(patched, folder, copy)
        start(kind, folder, patched)
    whole = result(folder)
    assert len(copies) > 6
    for moment, target in copies:
        # Without a checkpoint, the run has not reached its first one, or has ended.
        more = ["--resume"] if list(target.rglob("restart*.npz")) else []
        with monkeypatch.context() as patched:
            start(kind, target, patched, *more)
        assert result(target) == whole, moment


# The files of a run that replaces those of a former one, in the order of writing.
FILES = ("log.csv", "restart.npz", "log.png", "mlp_mnist.h5", "metrics.json")


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_is_one_line(name, tmp_path, data_dir, monkeypatch, at_once, capsys):
    former, step = {}, ["open", "flush", "rename"][FILES.index(name) % 3]
    # The second time where there is one, so that a former file is there.
    times = iter([name not in ("log.csv", "restart.npz"), True])

    def fail(event, path):
        # At a flush, the path is that of the temporary file.
        if event == step and path.name.endswith(name) and next(times):
            former.update(state(tmp_path / "run"))
            if event == "flush":
                os.truncate(path, path.stat().st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        Disk(patched, tmp_path / "run", fail)
        with pytest.raises(SystemExit) as stop:
            start("epochs", tmp_path / "run", patched)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot write '{tmp_path}" in line and name in line and "No space left" in line
    assert state(tmp_path / "run") == former
    assert any(file.endswith(name) for file in former) == (name in ("log.csv", "restart.npz"))
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.is_file()]


@pytest.mark.parametrize("kind", [kind for kind in LISTINGS if kind != "epochs"])
@pytest.mark.parametrize(("ending", "step", "time"), [(".npz", "flush", 2), (".h5", "rename", 1)])
def test_a_full_disk_keeps_the_checkpoint_of_each_kind(
    kind, ending, step, time, tmp_path, data_dir, monkeypatch, at_once, capsys
):
    former, touched = {}, []

    def fail(event, path):
        if event == step and path.name.endswith(ending):
            touched.append(path.name)
            if len(touched) == time:
                former.update(state(tmp_path / "run"))
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        Disk(patched, tmp_path / "run", fail)
        with pytest.raises(SystemExit) as stop:
            start(kind, tmp_path / "run", patched)
    assert stop.value.code == 2
    assert "No space left" in capsys.readouterr().err.splitlines()[-1]
    assert any("restart" in file for file in former)
    assert state(tmp_path / "run") == former


MOMENTS = ("open", "flush", "rename", "renamed", "removed")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("half", [False, True])
def test_a_killed_process_leaves_one_of_two_files(moment, half, tmp_path, monkeypatch):
    """The process really ends, in a fork: this is what the copies of a folder stand for."""
    path = tmp_path / "run" / "file"
    path.parent.mkdir()
    path.write_bytes(b"former")
    child = os.fork()
    if not child:
        try:

            def die(event, touched):
                if event == moment:
                    if half and event == "flush":
                        os.truncate(touched, 1)
                    os._exit(9)

            Disk(monkeypatch, path.parent, die)
            write_whole(path, lambda temporary: temporary.write_bytes(b"later"))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    # Nothing is removed by a write that succeeds.
    assert os.waitstatus_to_exitcode(status) == (0 if moment == "removed" else 9)
    new = moment in ("renamed", "removed")
    assert path.read_bytes() == (b"later" if new else b"former")


# Two processes, folders, clocks and records


def test_a_read_only_folder_is_one_line(tmp_path, data_dir, monkeypatch, capsys):
    def refuse(event, path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    folder = tmp_path / "run"
    folder.mkdir()
    touch = Path.touch

    def touched(path, *args, **kwargs):
        if folder in path.parents:
            refuse("open", path)
        touch(path, *args, **kwargs)

    monkeypatch.setattr(Path, "touch", touched)
    with pytest.raises(SystemExit) as stop:
        start("epochs", folder, monkeypatch)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot write to" in line and "Read-only file system" in line and "--output-dir" in line
    assert not state(folder)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EACCES])
def test_a_folder_without_locks_is_unlocked(code, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    program.lock_folder(tmp_path)
    program.make_folder(tmp_path, "model")
    monkeypatch.setattr(os, "open", refuse)
    program.lock_folder(tmp_path)


@pytest.mark.parametrize("kind", ["epochs", "episodes with a memory"])
def test_a_clock_that_is_set_back_has_no_effect(kind, tmp_path, data_dir, monkeypatch, at_once):
    results = []
    for jump in (0, -3600):
        folder, now = tmp_path / f"run{jump}", itertools.count(time.time(), jump or 0.01)
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda now=now: next(now))
            start(kind, folder, patched)
        results.append(result(folder))
        for log in folder.rglob("log*.csv"):
            seconds = [float(row["seconds"]) for row in read_csv(log)]
            assert seconds == sorted(seconds) and seconds[0] >= 0
    assert results[0] == results[1]


@pytest.mark.parametrize("content", [None, "", "script,measure\nmlp-mnist-1.3.2,x\n", "\0\xff"])
def test_published_numbers_may_be_missing(content, tmp_path, monkeypatch, capsys):
    path = tmp_path / "published.csv"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    monkeypatch.setattr(console, "PUBLISHED", path)
    monkeypatch.setattr(sys, "argv", ["mlp-mnist-1.3.2.py"])
    (tmp_path / "run").mkdir()
    console.conclude(SimpleNamespace(output_dir=tmp_path), tmp_path / "run")
    assert "Published" not in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 10**5, "\xff"])
def test_a_damaged_record_is_one_line(content, tmp_path):
    (tmp_path / "sweep.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"cannot read '.*sweep.json': expected json") as error:
        records.read(tmp_path / "sweep.json")
    assert len(str(error.value).splitlines()) == 1


# Checkpoints of agents


FORGED = {
    "too short": lambda arrays: {"kept_ended": arrays["kept_ended"][:-1]},
    "other states": lambda arrays: {"kept_states": arrays["kept_states"][:, :-1]},
    "no rows": lambda arrays: {"kept_rewards": arrays["kept_rewards"].sum()},
    "fractions as actions": lambda arrays: {"kept_actions": arrays["kept_rewards"]},
    "no memory": lambda arrays: {"kept_actions": None},
    "another name": lambda arrays: {"kept_actions": None, "kept_other": arrays["kept_actions"]},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_memory_is_one_line(name, tmp_path):
    memory, model = agent_runs.Memory(4), keras.Sequential([keras.Input((1,))])
    for _ in range(3):
        memory.remember(np.zeros(4), 1, 1.0, np.zeros(4), 0)
    path = tmp_path / "restart-0.npz"
    checkpoints.save_restart(path, model, {}, {}, memory.stored())
    checkpoints.load_restart(path, model, {}, lambda _, arrays: memory.restore(arrays))
    with np.load(path) as file:
        arrays = {**file}
    arrays |= FORGED[name](arrays)
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match="is not a usable checkpoint") as error:
        checkpoints.load_restart(path, model, {}, lambda _, arrays: memory.restore(arrays))
    assert len(str(error.value).splitlines()) == 1 and memory.size == 3


# What SECURITY.md says: (moment, what happens, exit code, the test that shows it).
WHOLE = test_a_run_killed_at_any_write_ends_as_a_whole_one
OUTCOMES = [
    ("killed before a checkpoint", "starts again, same end", "-9", WHOLE),
    ("killed at a checkpoint", "resumes, same end", "-9", WHOLE),
    ("killed at another file", "resumes, same end", "-9", WHOLE),
    ("killed after the last one", "nothing to resume", "-9", WHOLE),
    ("killed inside a write", "former file", "-9", test_a_killed_process_leaves_one_of_two_files),
    ("disk full at a write", "former file, one line", "2", test_a_full_disk_is_one_line),
    ("second run in the folder", "refused, one line", "2", locked),
    ("folder is read-only", "refused, one line", "2", test_a_read_only_folder_is_one_line),
    ("folder has no locks", "runs without a lock", "0", test_a_folder_without_locks_is_unlocked),
    ("clock is set back", "no effect", "0", test_a_clock_that_is_set_back_has_no_effect),
    ("no published numbers", "runs, shows none", "0", test_published_numbers_may_be_missing),
    ("damaged json to resume", "refused, one line", "2", test_a_damaged_record_is_one_line),
    ("forged replay memory", "refused, one line", "2", test_a_forged_memory_is_one_line),
]


def test_the_table_of_outcomes_is_in_the_page():
    page = (ROOT / "SECURITY.md").read_text()
    rows = [f"| {moment} | {then} | {code} |" for moment, then, code, _ in OUTCOMES]
    assert "\n".join(["|---|---|---|", *rows, ""]) in page, "\n".join(rows)
    assert all(callable(test) for *_, test in OUTCOMES)
