"""No damaged file gets more than one line out of the readers: coverage-guided fuzzing."""

import importlib.util
import subprocess
import sys

import pytest
from conftest import ROOT

FILES = 400


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="Atheris is not installed")
def test_mutated_files_are_refused_in_one_line():
    program = ROOT / "tests/lib/files/fuzz_readers.py"
    command = [sys.executable, str(program), "--files", str(FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(f"{FILES} files: ")
