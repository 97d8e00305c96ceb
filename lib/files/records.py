"""The record of a run: its numbers with all that is needed to repeat it, as json.

A script that has not loaded Keras writes its records without loading it.
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.files.errors import UserError
from lib.files.whole import write_whole

PACKAGES = ("numpy", "keras", "tensorflow", "jax", "torch", "gymnasium")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` to `path` as json, whole or not at all."""
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text))


def record(path: Path, *, seed: int, **numbers: Any) -> None:
    """Writes the numbers of a run to `path`, with command, commit, date, versions, device, seed.

    The numbers are the measured values, and the facts of the run: budget, batch size, minutes.
    """
    backend, precision = f"NumPy {np.__version__}, without Keras", "float64"
    if "keras" in sys.modules:
        import keras

        backend = f"{keras.backend.backend()}, Keras {keras.__version__}"
        precision = keras.config.dtype_policy().name
    facts = {
        "command": command(sys.argv),
        "commit": COMMIT,
        "date": time.strftime("%Y-%m-%d"),
        "backend": backend,
        "versions": versions(),
        "device": device(with_keras="keras" in sys.modules),
        "precision": precision,
        "peak_rss_mb": peak_rss_mb(),
        "seed": seed,
    }
    write_json(path, {**facts, **numbers})


def versions() -> dict[str, str]:
    """{package: version} of Python and of the packages that this process has loaded."""
    loaded = {name: sys.modules[name] for name in PACKAGES if name in sys.modules}
    found = {name: getattr(module, "__version__", "") for name, module in loaded.items()}
    return {"python": platform.python_version(), **{k: v for k, v in found.items() if v}}


def command(argv: Sequence[str]) -> str:
    """Returns the command of a run, without `--output-dir`, which names a place on this machine."""
    words, rest = ["python3", Path(argv[0]).name], iter(argv[1:])
    for word in rest:
        if word == "--output-dir":
            next(rest, None)
        elif not word.startswith("--output-dir="):
            words.append(word)
    return shlex.join(words)


def read(path: str | Path) -> dict[str, Any]:
    """Returns the numbers that `record` wrote to `path`, or an empty dict if there are none.

    Raises a UserError if the file exists and is not a json dictionary.
    """
    try:
        content = json.loads(Path(path).read_text())
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__} instead of a dictionary")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"cannot read '{path}': expected json, found: {error}; make it again or remove it"
        ) from None
    return content


def peak_rss_mb() -> int | None:
    """The most main memory that this process has held so far, in MB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    # Kilobytes on Linux, bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def device(with_keras: bool = True) -> str:
    """The device of the run: the name of the GPU, else the processor and the available cores.

    A run that does not use Keras, and then does not load it, passes `with_keras=False`.
    """
    where = ""
    if with_keras:
        import keras

        where = str(keras.ops.zeros(1).device).lower()
    if "gpu" in where or "cuda" in where:
        names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
        return names[0] if names else "GPU"
    cpuinfo = Path("/proc/cpuinfo")  # on Linux
    named = cpuinfo.exists() and re.search(r"model name\s*: (.*)", cpuinfo.read_text())
    available = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if available else os.cpu_count() or 1
    return f"{f'{named[1]}, ' if named else ''}{cores} CPU core{'s' if cores > 1 else ''}"


def _output(*command: str | Path) -> str:
    """The output of a command, or an empty text if it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


# Read at the start: the working tree may change during a long run.
COMMIT = _output("git", "-C", Path(__file__).parent, "describe", "--always", "--dirty")
