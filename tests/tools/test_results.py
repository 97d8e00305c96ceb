"""Records of runs, and the json files that hold them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, read_json

from lib.files import records
from lib.files.errors import UserError


def test_record_holds_what_is_needed_to_repeat_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/gan.py", "--train-steps=50", "--seed=3"])
    losses = {"critic": [0.5, 0.25]}
    records.record(tmp_path / "metrics.json", seed=3, minutes=1.5, losses=losses)

    written = read_json(tmp_path / "metrics.json")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", written.pop("date"))
    # Python with Keras loaded: over 100 MB, and in the unit that was meant.
    assert 100 < written.pop("peak_rss_mb") < 20_000
    versions = written.pop("versions")
    assert versions["keras"] == keras.__version__ and versions["numpy"] == np.__version__
    assert sys.version.startswith(versions["python"])
    assert written == {
        "command": "python3 gan.py --train-steps=50 --seed=3",
        "commit": records.COMMIT,
        "backend": f"{keras.backend.backend()}, Keras {keras.__version__}",
        "device": records.device(),
        "precision": "float32",
        "seed": 3,
        "minutes": 1.5,
        "losses": {"critic": [0.5, 0.25]},
    }


def test_the_command_is_without_the_folder_of_the_outputs():
    argv = ["/some/where/gan.py", "--output-dir", "/tmp/a", "--seed=3", "--output-dir=b", "--show"]
    assert records.command(argv) == "python3 gan.py --seed=3 --show"


def test_the_command_can_be_typed():
    argv = ["gan.py", "--generator=my weights.h5", "--noise=0.5,1.0"]
    assert records.command(argv) == "python3 gan.py '--generator=my weights.h5' --noise=0.5,1.0"


def test_the_commit_is_one_of_this_repository():
    if not records._output("git", "-C", ROOT, "rev-parse", "HEAD"):
        pytest.skip("no git, or no checkout")
    revision = records.COMMIT.removesuffix("-dirty")
    done = subprocess.run(
        ["git", "-C", ROOT, "cat-file", "-t", revision], capture_output=True, text=True
    )
    assert done.stdout.strip() in ("commit", "tag")


RECORDS = sorted((ROOT / "results").glob("*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_published_record_tells_how_it_was_made(path):
    record = read_json(path)
    facts = {"command", "commit", "date", "device"}
    if record["command"].startswith("python3 benchmarks/"):
        measured = {"devices": "networks", "long-run": "growth"}.get(path.stem, "contenders")
        facts |= {"versions", measured}
    else:
        facts |= {"backend", "precision", "seed"}
    if path.stem.endswith("-train"):
        facts |= {"minutes", "batch_size"}
    # Older ones lack them, and so does a run that an older commit started.
    if record["date"] >= "2026-12" and record["commit"] != "351d1ec":
        facts.add("versions")
    assert facts <= set(record)
    assert re.fullmatch(r"[0-9a-f]{7,}", record["commit"]), "not of one clean commit"


def test_a_command_that_is_not_there_gives_an_empty_text():
    assert records._output("no-such-command-anywhere") == ""


def test_the_device_without_a_gpu_is_the_processor_and_its_cores():
    if "cpu" not in str(keras.ops.zeros(1).device).lower():
        pytest.skip("Keras computes on a GPU here")
    assert re.search(rf"\b{len(os.sched_getaffinity(0))} CPU cores?$", records.device())


def test_write_json_replaces_the_former_file(tmp_path):
    records.write_json(tmp_path / "numbers.json", {"a": 1})
    records.write_json(tmp_path / "numbers.json", {"b": [2, 3]})
    assert read_json(tmp_path / "numbers.json") == {"b": [2, 3]}
    assert os.listdir(tmp_path) == ["numbers.json"]


def test_write_json_of_what_is_no_json_leaves_the_former_file_and_nothing_else(tmp_path):
    records.write_json(tmp_path / "numbers.json", {"a": 1})
    with pytest.raises(TypeError):
        records.write_json(tmp_path / "numbers.json", {"b": object()})
    assert records.read(tmp_path / "numbers.json") == {"a": 1}
    assert os.listdir(tmp_path) == ["numbers.json"]


def test_write_json_that_fails_leaves_the_former_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "numbers.json"
    records.write_json(path, {"a": 1})

    def fail(source, target, **kwargs):
        # All of the new file is written before it replaces the former one.
        assert json.loads(Path(source).read_text()) == {"b": 2}
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space left"):
        records.write_json(path, {"b": 2})
    assert records.read(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["numbers.json"]


def test_read_of_a_missing_file_is_empty(tmp_path):
    assert records.read(tmp_path / "metrics.json") == {}


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\x89PNG\xff"])
def test_read_of_a_broken_file_is_one_line_that_names_it(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        records.read(path)
    assert f"cannot read '{path}': expected json" in str(error.value)
    assert "\n" not in str(error.value)
