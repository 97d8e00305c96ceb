"""The engine and the restart points on JAX and PyTorch, where these are installed."""

import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_engine_and_training_pass_on(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n0",
            "tests/test_alternating.py",
            "tests/test_training.py",
        ],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:]
