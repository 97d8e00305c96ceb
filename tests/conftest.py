"""Tiny data sets of the real file format, and scripts as modules and as commands."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from smoke import write_data

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def load_script(path):
    """Imports a script, whose name holds dots and dashes, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem.replace("-", "_"), ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(path, *flags, folder, data, **environment):
    """Runs a script from `folder` as a reader would; returns the finished process."""
    # JAX, where Keras has found it, has set a log level for this process: a reader has none.
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, ROOT / path, *map(str, flags)],
        cwd=folder,
        env={**inherited, "ADLK_DATA_DIR": str(data), "MPLBACKEND": "Agg", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


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
    _, errors = running.communicate(timeout=60)
    return running.returncode, errors


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A folder with tiny mnist.npz and cifar10.npz, named by ADLK_DATA_DIR."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_data(folder)
    monkeypatch.setenv("ADLK_DATA_DIR", str(folder))
    return folder
