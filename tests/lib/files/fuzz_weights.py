"""Loads damaged weight files: each is refused in one line or loads finite values, and none hangs.

    python3 tests/lib/files/fuzz_weights.py --files 2000 --seed 0

Every third file also has a mark that anyone can forge. The suite tries some files, see
test_weights.py.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import keras
import numpy as np
from keras import layers

from lib.files import safe_h5, weights
from lib.files.errors import UserError

SUFFIXES = (".h5", ".signed.h5", ".weights.h5", ".keras")


def build():
    """A network with two kinds of layers and a nested model."""
    images = keras.Input((8, 8, 1))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(images))
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Flatten(), layers.Dense(3)])
    return keras.Model(images, inner(x), name="net")


def write(model, folder):
    """Writes the model in each format; returns {suffix: contents}."""
    for suffix in SUFFIXES:
        path = folder / f"whole{suffix}"
        if suffix == ".signed.h5":
            weights.save(model, path)
        elif suffix == ".weights.h5":
            model.save_weights(path)
        else:
            model.save(path)
    return {suffix: (folder / f"whole{suffix}").read_bytes() for suffix in SUFFIXES}


def damaged(data, rng):
    """The contents with one kind of damage, and its name."""
    size = len(data)
    changed = np.frombuffer(data, "uint8").copy()
    kind = rng.choice(["truncated", "flipped", "header", "zeroed", "cut", "random", "grown"])
    start, length = int(rng.integers(size)), int(rng.integers(1, 1 + size // 4))
    if kind == "truncated":
        changed = changed[:start]
    elif kind in ("flipped", "header"):
        # The first bytes hold the structure that HDF5 follows.
        places = rng.integers(0, size if kind == "flipped" else min(size, 4096), rng.integers(1, 9))
        changed[places] ^= rng.integers(1, 256, len(places)).astype("uint8")
    elif kind == "zeroed":
        changed[start : start + length] = 0
    elif kind == "cut":
        changed = np.delete(changed, slice(start, start + length))
    elif kind == "random":
        changed[start : start + length] = rng.integers(0, 256, len(changed[start : start + length]))
    else:
        changed = np.concatenate([changed, rng.integers(0, 256, length).astype("uint8")])
    return changed.tobytes(), str(kind)


def forged(data, rng, keyed=False):
    """The contents with a mark that anyone can make: a checksum, and maybe a keyed one."""
    if keyed or rng.random() < 0.5:
        data += safe_h5.KEY_MARK + rng.bytes(safe_h5.HEX // 2).hex().encode()
    return data + safe_h5.MARK + hashlib.sha256(data).hexdigest().encode()


def try_files(count, seed, folder):
    """Loads `count` damaged files; returns {outcome: how often}.

    Raises:
        AssertionError: if a file changed the model although it was refused, or left values that are
            not finite, or if the refusal is longer than one line.
    """
    rng = np.random.default_rng(seed)
    model = build()
    whole = write(model, folder)
    outcomes = {}
    for number in range(count):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        data, kind = damaged(whole[suffix], rng)
        if number % 3 == 0:
            data, kind = forged(data, rng), f"{kind}, forged"
        path = folder / f"damaged{suffix}"
        path.write_bytes(data)
        before = model.get_weights()
        try:
            weights.load(model, path)
            outcome = "loaded"
        except UserError as error:
            outcome = "refused"
            assert len(str(error).splitlines()) == 1, (number, suffix, kind, str(error))
            for now, then in zip(model.get_weights(), before, strict=True):
                np.testing.assert_array_equal(now, then, err_msg=f"{number} {suffix} {kind}")
        assert all(np.isfinite(w).all() for w in model.get_weights()), (number, suffix, kind)
        if suffix == ".signed.h5" and data.endswith(whole[suffix][-safe_h5.HEX :]):
            # An intact checksum means intact contents.
            assert outcome == "refused" or data == whole[suffix], (number, suffix, kind)
        model.set_weights(before)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = try_files(args.files, args.seed, Path(folder))
    print(f"{args.files} files: {outcomes}, {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
