"""Tiny data sets, scripts as modules and as commands, and readers of what they write."""

import csv
import importlib.util
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from smoke import write_data

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 300  # seconds for one run of a script
sys.path.insert(0, str(ROOT))

import lib.run.program  # noqa: E402, F401, before Keras: it sets TensorFlow's log level
from lib.run.stop import StopOnSignal  # noqa: E402


def pytest_configure(config):
    """Keeps tests from seeing or changing a reader's data sets in ~/.keras, and the secret."""
    home = tempfile.TemporaryDirectory()
    os.environ["KERAS_HOME"] = home.name
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Matplotlib needs long to make its cache of fonts again.
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(cache, "matplotlib"))
    os.environ["XDG_CACHE_HOME"] = home.name
    config.add_cleanup(home.cleanup)


def load_script(path):
    """Imports a script, whose name holds dots and dashes, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem.replace("-", "_"), ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Processes fork from one that has loaded Keras, because loading it takes most of a short run.
WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["keras", "matplotlib.pyplot"])
# In the scripts of GANs, thousands of samples take longer than the training of a test.
FEW_SAMPLES = {"lib.gan_training": {"QUICK_SAMPLES": 40}, "lib.latent_codes": {"SAMPLES": 60}}


def run_script(path, *flags, folder, data, fresh=False, patch=None, edits=None, **environment):
    """Runs a script from `folder` as a reader would; returns the finished process.

    Args:
        path: the script.
        flags: its flags.
        folder: the current folder of the run.
        data: folder of the data sets.
        fresh: in an interpreter of its own, instead of one that has loaded Keras already.
        patch: {module: {name: value}}, which are set before the script runs.
        edits: {name: value} of constants at the script's top.
        environment: further environment variables.
    """
    # Keras imports JAX if it is installed, which sets a log level that a reader does not have.
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment = {**inherited, "ADLK_DATA_DIR": str(data), "MPLBACKEND": "Agg", **environment}
    command = [str(ROOT / path), *map(str, flags)]
    if fresh:
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    patch = {**(FEW_SAMPLES if "gan-mnist" in command[0] else {}), **(patch or {})}
    with tempfile.TemporaryDirectory() as outputs:
        streams = [Path(outputs) / name for name in ("stdout", "stderr")]
        process = WARM.Process(
            target=_run_as_main, args=(command, folder, environment, streams, patch, edits or {})
        )
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
        texts = [stream.read_text() for stream in streams]
    return subprocess.CompletedProcess(command, process.exitcode, *texts)


def _run_as_main(command, folder, environment, streams, patch, edits):
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    for module, names in patch.items():
        vars(importlib.import_module(module)).update(names)
    source = Path(command[0]).read_text()
    for name, value in edits.items():
        source, found = re.subn(rf"^{name} = .*", f"{name} = {value!r}", source, flags=re.MULTILINE)
        assert found == 1, f"{name} in {command[0]}"
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = command[0]
    exec(compile(source, command[0], "exec"), vars(main))


def interrupt_script(path, *flags, after, folder):
    """Runs a script until it prints `after`, then presses Ctrl-C; returns (exit code, stderr)."""
    running = subprocess.Popen(
        [sys.executable, "-u", ROOT / path, *map(str, flags)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in running.stdout:
        if after in line:
            break
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=TIMEOUT)
    return running.returncode, errors


def assert_one_line_error(done, *parts):
    """A finished process has refused its input, in one line with these parts and exit code 2."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    for part in parts:
        assert part in line


def read_json(path):
    return json.loads(path.read_text())


def read_csv(path):
    """The rows of a file as dicts of texts."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(rows):
    """The rows of a log without the columns that differ between equal runs."""
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def numbers(tensor):
    """A tensor as a float64 array."""
    import keras

    return keras.ops.convert_to_numpy(tensor).astype("float64")


def break_off(script, monkeypatch, episode):
    """Makes the `episode`-th episode from now on fail; returns a list with an entry per episode."""
    play, played = script.run_episode, []

    def run_episode(*args, **kwargs):
        played.append(1)
        if len(played) == episode:
            raise RuntimeError("power cut")
        return play(*args, **kwargs)

    monkeypatch.setattr(script, "run_episode", run_episode)
    return played


def need_data_set(name):
    """Skips a test of the real data where ADLK_DATA_DIR has no such data set."""
    path = Path(os.environ.get("ADLK_DATA_DIR", "")) / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in ADLK_DATA_DIR")


@pytest.fixture
def ctrl_c_at_once(monkeypatch):
    """Presses Ctrl-C just before the first step or episode of a training loop."""
    enter = StopOnSignal.__enter__

    def enter_and_press(self):
        stop = enter(self)
        signal.raise_signal(signal.SIGINT)
        return stop

    monkeypatch.setattr(StopOnSignal, "__enter__", enter_and_press)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A folder with tiny mnist.npz and cifar10.npz, named by ADLK_DATA_DIR."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_data(folder)
    monkeypatch.setenv("ADLK_DATA_DIR", str(folder))
    return folder
