"""Networks that the tests export once: a worker uses the files that another one has exported."""

import fcntl
import os
from pathlib import Path
from unittest import mock

from lib.run import export
from tools import networks


def shared_folder(tmp_path_factory):
    """A temporary folder that the workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def networks_of(name):
    """{suffix of the exported file: Keras model} of pretrained weights; no file is written."""
    kept = {}
    with mock.patch.object(export, "write", lambda found, *_, **__: kept.update(found)):
        networks.export_all([name], Path())
    return kept


def export_once(name, root):
    """Exports the networks of a pretrained model into root/onnx, unless they are there already.

    Returns:
        dict: {path: largest difference from Keras}.
    """
    folder = root / "onnx"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = root / f"{name}.txt"
        if not record.exists():
            found, write = {}, export.write
            with mock.patch.object(export, "write", lambda *a, **k: found.update(write(*a, **k))):
                networks.export_all([name], folder)
            lines = [f"{path.name} {difference}" for path, difference in found.items()]
            record.write_text("\n".join(lines))
        lines = [line.split() for line in record.read_text().splitlines()]
    return {folder / file: float(difference) for file, difference in lines}
