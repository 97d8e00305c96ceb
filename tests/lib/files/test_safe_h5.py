"""Which weight files are opened directly: pretrained ones, and those that this user wrote."""

import os
import stat
from pathlib import Path

import fuzz_weights
import h5py
import keras
import numpy as np
import pytest
from conftest import ROOT

from lib.files import safe_h5, secret, weights
from lib.files.errors import UserError

PRETRAINED = sorted([*ROOT.glob("chapter*/weights/*.h5"), *ROOT.glob("lib/weights/*.h5")])
COMMAND = "sha256sum chapter*/weights/*.h5 lib/weights/*.h5 > lib/files/pretrained.sha256"


def build():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder of the user."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def copies(monkeypatch):
    """A list with an entry for each file that the protected process reads."""
    made, copy = [], safe_h5._copy_in_a_process

    def count(source, target):
        made.append(source)
        copy(source, target)

    monkeypatch.setattr(safe_h5, "_copy_in_a_process", count)
    return made


@pytest.fixture
def saved(tmp_path):
    """A network and its weight file."""
    model, path = build(), tmp_path / "net.h5"
    weights.save(model, path)
    return model, path


def assert_loads(model, path):
    loaded = build()
    weights.load(loaded, path)
    for mine, its in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_the_list_names_the_pretrained_files_and_no_other():
    lines = [line.split() for line in safe_h5.PRETRAINED.read_text().splitlines()]
    expected = {
        str(path.relative_to(ROOT)): safe_h5._digest(path.read_bytes()).decode()
        for path in PRETRAINED
    }
    assert {name: digest for digest, name in lines} == expected, f"run: {COMMAND}"


def test_pretrained_files_are_opened_directly(copies):
    assert len(PRETRAINED) > 40
    for path in PRETRAINED:
        with safe_h5.opened(path) as file:
            assert file.driver == "core"
    assert not copies


def test_a_saved_file_is_opened_directly(saved, copies, cache):
    assert_loads(*saved)
    assert not copies
    path = cache / "adlk" / "secret"
    assert [*path.parent.iterdir()] == [path]
    assert len(path.read_bytes()) == 32 and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_secret_is_made_once(saved, copies, tmp_path):
    first = secret.place().read_bytes()
    weights.save(build(), tmp_path / "other.h5")
    assert secret.place().read_bytes() == first
    assert_loads(*saved)
    assert not copies


def break_secret(kind):
    path = secret.place()
    if kind in ("readable by others", "another"):
        path.write_bytes(path.read_bytes() if kind[0] == "r" else bytes(32))
        path.chmod(0o644 if kind[0] == "r" else 0o600)
        return
    contents = path.read_bytes()
    path.unlink()
    if kind == "short":
        path.write_bytes(contents[:31])
        path.chmod(0o600)
    elif kind == "folder":
        path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "link":
        path.with_name("elsewhere").write_bytes(contents)
        path.with_name("elsewhere").chmod(0o600)
        path.symlink_to("elsewhere")


KINDS = ("missing", "short", "another", "readable by others", "folder", "pipe", "link")


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_secret_a_file_loads_the_protected_way(saved, copies, kind):
    break_secret(kind)
    assert_loads(*saved)
    assert copies == [saved[1]]
    # The next save makes another secret where it can.
    weights.save(*saved)
    assert_loads(*saved)
    assert len(copies) == (2 if kind == "folder" else 1)


def test_a_file_is_saved_and_loaded_where_no_secret_can_be_made(tmp_path, monkeypatch, copies):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    model = build()
    weights.save(model, tmp_path / "net.h5")
    assert_loads(model, tmp_path / "net.h5")
    assert len(copies) == 1


@pytest.mark.parametrize("value", ["", "relative"])
def test_the_cache_of_the_platform_is_the_default(value, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert secret.place().is_absolute() and Path.home() in secret.place().parents


def old_mark(contents):
    """The contents as an older version of this project wrote them: with a checksum only."""
    contents = contents.rpartition(safe_h5.KEY_MARK)[0]
    return contents + safe_h5.MARK + safe_h5._digest(contents)


def test_a_file_with_the_old_mark_loads_the_protected_way(saved, copies):
    model, path = saved
    path.write_bytes(old_mark(path.read_bytes()))
    assert_loads(model, path)
    assert len(copies) == 1


def test_no_mark_of_others_is_trusted(saved):
    contents = saved[1].read_bytes()
    assert safe_h5.is_trusted(contents)
    body, _, rest = contents.rpartition(safe_h5.KEY_MARK)
    rng = np.random.default_rng(0)
    for forged in (
        body,
        old_mark(contents),
        fuzz_weights.forged(body, rng, keyed=True),
        # the keyed checksum of another file
        (changed := body + b"x" + safe_h5.KEY_MARK + rest[: safe_h5.HEX])
        + safe_h5.MARK
        + safe_h5._digest(changed),
        contents + b"x",
        body + safe_h5.KEY_MARK + rest[: safe_h5.HEX],
        safe_h5.KEY_MARK + safe_h5.MARK,
        b"",
    ):
        assert not safe_h5.is_trusted(forged)


@pytest.mark.parametrize("make", [lambda contents: contents, old_mark], ids=["mark", "old mark"])
def test_a_changed_byte_is_named_in_one_line(saved, make):
    model, path = saved
    contents = bytearray(make(path.read_bytes()))
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    with pytest.raises(UserError, match="is damaged: its contents do not match its checksum"):
        weights.load(model, path)


def test_a_file_that_is_exchanged_after_the_check_is_not_opened(saved, monkeypatch):
    model, path = saved
    read = safe_h5.read

    def read_and_exchange(path):
        contents = read(path)
        with h5py.File(path, "w") as file:
            file["evil"] = np.zeros(3)
        return contents

    monkeypatch.setattr(safe_h5, "read", read_and_exchange)
    assert_loads(model, path)


def test_the_copy_has_no_configuration(tmp_path, copies):
    build().save(tmp_path / "net.h5")
    with safe_h5.opened(tmp_path / "net.h5") as file:
        assert set(file.attrs) == set()
        assert set(file["model_weights"].attrs) == {"layer_names"}
    assert copies
