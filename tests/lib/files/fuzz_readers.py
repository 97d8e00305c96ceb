"""Coverage-guided fuzzing of the readers of checkpoints, logs, data sets, images and tables.

    python3 tests/lib/files/fuzz_readers.py --files 20000 --seed 0

Atheris mutates valid files and keeps those that reach new lines of lib. Each must load, or be
refused in one line. The suite tries some hundred, see test_readers.py. For weight files, whose
reader is a process of its own, see fuzz_weights.py.
"""

import argparse
import contextlib
import io
import itertools
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import atheris
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

with atheris.instrument_imports(include=["lib.files", "lib.data", "lib.rl", "lib.run"]):
    import keras

    from lib.data import datasets, image_folders
    from lib.files import records
    from lib.files.errors import UserError
    from lib.rl import frozen_lake
    from lib.run import checkpoints, logs

ARRAYS = "x_train", "y_train", "x_test", "y_test"
LAKE = SimpleNamespace(observation_space=SimpleNamespace(n=16), action_space=SimpleNamespace(n=4))


def build():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


class Readers:
    """Reads a file in each format; a file is refused by a UserError of one line only."""

    def __init__(self, folder):
        self.folder, self.model = folder, build()
        self.kinds = (self.checkpoint, self.log, self.data, self.image, self.table, self.record)
        self.outcomes = {"loaded": 0, "refused": 0}
        self.slowest = 0.0

    def checkpoint(self, contents):
        path = self.file("restart.npz", contents)
        checkpoints.load_restart(path, self.model, {"seed": 0}, lambda progress, arrays: None)

    def log(self, contents):
        logs.Log(self.file("log.csv", contents), 3)

    def data(self, contents):
        datasets._from_npz(self.file("mnist.npz", contents), (2, 2))

    def image(self, contents):
        (self.folder / "images").mkdir(exist_ok=True)
        self.file("images/one.png", contents)
        image_folders.read(self.folder / "images", (4, 4, 1))

    def table(self, contents):
        frozen_lake.load_table(self.file("q.npy", contents), LAKE)

    def record(self, contents):
        records.read(self.file("record.json", contents))

    def file(self, name, contents):
        path = self.folder / name
        path.write_bytes(contents)
        return path

    def valid(self):
        """A valid file of each kind, with the number of its kind as the first byte."""
        weights = {f"v{i}": v for i, v in enumerate(self.model.get_weights())}
        header = '{"settings": {"seed": 0}, "progress": {"step": 2}}'
        images = np.zeros((2, 2, 2), "uint8"), np.zeros(2, "uint8")
        picture, table = io.BytesIO(), io.BytesIO()
        Image.fromarray(np.arange(64, dtype="uint8").reshape(8, 8)).save(picture, "PNG")
        np.save(table, np.zeros((16, 4)))
        files = (
            npz(header=header, **weights),
            b"step,seconds,loss\n1,0.5,0.25\n2,1.5,\n",
            npz(**dict(zip(ARRAYS, images * 2, strict=True))),
            picture.getvalue(),
            table.getvalue(),
            b'{"rows": [{"accuracy": 0.5}]}',
        )
        return [bytes([kind]) + contents for kind, contents in enumerate(files)]

    def try_one(self, data):
        if not data:
            return
        started = time.monotonic()
        try:
            unseen = io.StringIO()
            with contextlib.redirect_stderr(unseen), contextlib.redirect_stdout(unseen):
                self.kinds[data[0] % len(self.kinds)](data[1:])
            self.outcomes["loaded"] += 1
        except UserError as error:
            assert len(str(error).splitlines()) == 1, str(error)
            self.outcomes["refused"] += 1
        self.slowest = max(self.slowest, time.monotonic() - started)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        readers = Readers(Path(folder))
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, contents in enumerate(readers.valid()):
            readers.try_one(contents)
            (corpus / str(number)).write_bytes(contents)
        assert readers.outcomes == {"loaded": 6, "refused": 0}, readers.outcomes

        calls = itertools.count(1)

        def told(data):
            readers.try_one(data)
            tried = next(calls)
            if tried == args.files:  # Atheris ends the process without returning
                slowest = f"slowest {readers.slowest:.2f} s"
                print(f"{tried} files: {readers.outcomes}, {slowest}", flush=True)

        # The peak of this process includes that of the process that has started it.
        flags = [f"-rss_limit_mb={(records.peak_rss_mb() or 0) + 1024}", f"-runs={args.files}"]
        flags += [f"-seed={args.seed}", "-max_len=4096", "-timeout=20"]
        atheris.Setup([sys.argv[0], *flags, "-verbosity=0", str(corpus)], told)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
