"""Runs every listing of the collection on a tiny budget from the shell and prints a table.

    python3 tests/smoke.py              # all of them
    python3 tests/smoke.py dqn cyclegan     # the commands that contain one of these words

The data are random images in the real file format, so that no network is needed. The exit code is 1
if a run has failed.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools import registry  # noqa: E402

AT_ONCE = 2  # runs; each takes most of its time to start, on one core

RUNS = registry.tiny()


def write_data(folder):
    """Random images in mnist.npz and cifar10.npz."""
    rng = np.random.default_rng(0)
    for name, shape in (("mnist", (28, 28)), ("cifar10", (32, 32, 3))):
        parts = {}
        for part, size in (("train", 64), ("test", 32)):
            parts[f"x_{part}"] = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
            parts[f"y_{part}"] = np.arange(size, dtype=np.uint8) % 10
        np.savez(folder / f"{name}.npz", **parts)


def run(command):
    """Runs a listing; returns (exit code, seconds, peak memory in MB, last line of its errors)."""
    script, *flags = command.split()
    with (
        tempfile.TemporaryDirectory() as data,
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile("w+") as errors,
    ):
        write_data(Path(data))
        started = time.time()
        process = subprocess.Popen(
            [sys.executable, ROOT / script, *flags],
            cwd=folder,
            env={**os.environ, "ADLK_DATA_DIR": data, "MPLBACKEND": "Agg"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.time() - started
        errors.seek(0)
        lines = errors.read().strip().splitlines()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    code = os.waitstatus_to_exitcode(status)
    return code, seconds, usage.ru_maxrss / unit, lines[-1] if lines else ""


def main(words):
    wanted = [c for c in RUNS if not words or any(word in c for word in words)]
    failed = 0
    print(f"{'script':<78}{'seconds':>8}{'exit code':>10}{'peak MB':>9}")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for command, (code, seconds, megabytes, error) in zip(
            wanted, pool.map(run, wanted), strict=True
        ):
            failed += code != 0
            _, name = command.split("/", 1)
            print(f"{name:<78}{seconds:>8.1f}{code:>10}{megabytes:>9.0f}", flush=True)
            if code:
                print(f"    {error}")
    print(f"{len(wanted) - failed} of {len(wanted)} ran through")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
