"""The engine and the restart points on JAX and PyTorch, where these are installed."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

# The faster batch normalization is TensorFlow's alone, and refusals are the same everywhere.
SELECTED = "(test_alternating and not batch_normalization) or killed or outlives"


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
            "-k",
            SELECTED,
        ],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 18
