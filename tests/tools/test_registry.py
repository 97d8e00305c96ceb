"""Each script and each weight file has a row of the registry; what is missing is told."""

import csv
import json
import os
import shlex
import sys

import pytest
from conftest import ROOT, load_script

from lib.files import records
from lib.files.errors import UserError
from lib.run import console, flags
from tools import readme, registry
from tools.tables import cells


def test_every_script_and_weight_file_has_a_row_and_every_row_a_script():
    assert registry.omissions() == []


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A root with empty scripts and weight files, and a registry that can be changed."""
    for path in [*ROOT.glob("chapter*/*.py"), *ROOT.glob("chapter*/weights/*")]:
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.relative_to(ROOT)).touch()
    (tmp_path / "registry.csv").write_text(registry.REGISTRY.read_text())
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "registry.csv")
    return tmp_path


def add(path, line):
    path.write_text(f"{path.read_text()}{line}\n")


def test_a_new_listing_needs_the_line_that_the_error_tells(copy):
    assert registry.omissions() == []
    (copy / "chapter5-improved-gan/new-mnist-5.99.1.py").touch()
    (error,) = registry.omissions()
    told, _, line = error.partition(": ")
    assert told == "new-mnist-5.99.1.py has no row; add to tools/registry.csv"
    add(copy / "registry.csv", line)
    assert registry.omissions() == []
    # All else follows from that row: the tiny run and the tables, where nothing is measured yet.
    command = "chapter5-improved-gan/new-mnist-5.99.1.py --train-steps 2 --batch-size 4"
    assert command in registry.tiny()
    for name in ("results", "gans-10000", "gans-40000"):
        (row,) = (
            line
            for line in readme.TABLES[name]().splitlines()
            if "new-mnist" in line or "| NEW " in line
        )
        assert cells.NOT_MEASURED in row, name
    assert "new-mnist" not in readme.published()


@pytest.mark.parametrize("chapter", range(1, 11))
def test_the_line_for_a_listing_of_each_chapter_is_complete(chapter, copy):
    (folder,) = copy.glob(f"chapter{chapter}-*")
    (folder / f"new-{chapter}.99.1.py").touch()
    (error,) = registry.omissions()
    add(copy / "registry.csv", error.partition(": ")[2])
    assert registry.omissions() == []
    assert len(registry.rows(script=f"new-{chapter}.99.1")) == 1


def test_a_weight_file_without_a_row_and_a_row_without_a_file_are_told(copy):
    (copy / "chapter5-improved-gan/weights/new_mnist.h5").touch()
    (error,) = registry.omissions()
    assert error == (
        "chapter5-improved-gan/weights/new_mnist.h5 is in no row; write it into the columns "
        "files and flags of tools/registry.csv"
    )
    (copy / "chapter5-improved-gan/weights/new_mnist.h5").unlink()
    (copy / "chapter5-improved-gan/weights/lsgan_mnist.h5").unlink()
    (error,) = registry.omissions()
    assert error.startswith("no weights 'lsgan_mnist.h5' of lsgan-mnist-5.2.1; train them, or")


def test_a_row_without_a_script_is_told(copy):
    (copy / "chapter9-drl/q-learning-9.3.1.py").unlink()
    (error,) = registry.omissions()
    assert error == (
        "no script chapter9-drl/q-learning-9.3.1.py; remove its row from tools/registry.csv"
    )


@pytest.mark.parametrize("row", registry.rows(), ids=lambda row: row.command)
def test_a_row_is_whole(row):
    # A number has a name and a format; weights have data, flags that load them, and a number.
    assert bool(row.measure) == bool(row.key) == bool(row.format)
    assert bool(row.files) == bool(row.data)
    assert not row.files or (row.flags and row.key)
    assert not row.card or row.files


@pytest.mark.parametrize("name", [n for n in readme.TABLES if n != "departures"])
def test_a_table_without_records_has_cells_that_say_so(name, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    header, _, *lines = readme.TABLES[name]().splitlines()
    assert lines and all(line.count("|") == header.count("|") for line in lines)
    # These show which of several runs have a record.
    if name not in ("cyclegan-orientation", "policy-ablation"):
        assert cells.NOT_MEASURED in "".join(lines)


@pytest.mark.parametrize("name", [n for n in readme.TABLES if n != "departures"])
def test_a_table_without_one_of_its_records_is_made(name, monkeypatch):
    read, missing, asked = cells.record, set(), {}

    def record(name):
        asked[name] = read(name)
        return cells.Record(name, {}) if name in missing else asked[name]

    for module in (cells, *readme.MODULES):
        if hasattr(module, "record"):
            monkeypatch.setattr(module, "record", record)
    whole = readme.TABLES[name]()
    changed = []
    # Twelve records suffice: all cells of a table come from the same functions.
    for each in [name for name, found in asked.items() if found][:12]:
        missing.clear()
        missing.add(each)
        changed.append(readme.TABLES[name]() != whole)
    assert any(changed) or not asked  # a table of logs


@pytest.mark.parametrize(("key", "form"), [("fid", ".1f"), ("fid_mnist", "q"), ("rows/7", "d")])
def test_a_wrong_key_or_format_names_row_and_record(key, form, tmp_path, monkeypatch):
    (tmp_path / "dcgan-mnist-4.2.1-evaluate.json").write_text(
        json.dumps({"fid_mnist": 1.5, "rows": [1]})
    )
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    row = registry.rows(script="dcgan-mnist-4.2.1")[0]
    wrong = registry.Row(**{**vars(row), "key": key, "format": form})
    with pytest.raises(UserError) as error:
        wrong.value()
    told = "tools/registry.csv, dcgan-mnist-4.2.1: "
    expected = {
        "fid": "no 'fid' in results/dcgan-mnist-4.2.1-evaluate.json",
        "rows/7": "no 'rows/7' in results/dcgan-mnist-4.2.1-evaluate.json",
        "fid_mnist": "cannot show 'fid_mnist' as 'q'",
    }
    assert str(error.value).startswith(told + expected[key])


@pytest.mark.parametrize("script", sorted({row.script for row in registry.published()}))
def test_a_run_with_the_published_flags_is_compared(script, monkeypatch):
    monkeypatch.setattr(flags, "load_keras", lambda: None)
    (path,) = ROOT.glob(f"chapter*/{script}.py")
    module, seen = load_script(path), 0
    for row in registry.published():
        if row.script == script and (row.flags or not script.startswith("cyclegan")):
            words = shlex.split(row.flags)
            monkeypatch.setattr(sys, "argv", [str(path), *words])
            module.parse_args()
            assert console.same_settings(words), row.flags
            seen += 1
    assert seen


@pytest.fixture
def last_lines(tmp_path, monkeypatch, capsys):
    """Function that concludes a run of ACGAN and returns its last lines."""
    monkeypatch.setattr(sys, "argv", ["acgan-mnist-5.3.1.py"])
    monkeypatch.setattr(records, "COMMIT", "abc")
    monkeypatch.setattr(console, "RESULTS", {"fid_mnist": 31.25})
    parser = flags.Parser(None)
    parser.add_setting("--ema", type=float, default=0.999)
    parser.add_argument("--generator")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--output-dir", default=tmp_path)
    parser.add_argument("--train-steps", default=2)

    def conclude(*words):
        console.conclude(parser.parse_args(words), tmp_path)
        return capsys.readouterr().out.splitlines()

    return conclude


def test_the_last_lines_of_a_run_say_what_to_look_at_and_what_to_try(last_lines, tmp_path):
    with console.PUBLISHED.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["script"] == "acgan-mnist-5.3.1"]
    fid, requested = (f"Published: {r['measure']} {r['value']}, {r['budget']}" for r in rows)
    for name in ("00500.png", "evolution.png", "acgan.h5"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name)
    assert last_lines() == [
        "Result: FID-MNIST 31.2",
        f"{fid} (the book shows pictures)",
        f"{requested} (the book shows pictures)",
        f"Picture: {tmp_path}/evolution.png",
        f"Weights: {tmp_path}/acgan.h5",
        f"Next: python3 acgan-mnist-5.3.1.py --generator={tmp_path}/acgan.h5 --evaluate",
    ]
    assert last_lines("--generator=some.h5")[-1] == (
        "Next: python3 acgan-mnist-5.3.1.py --train-steps 1000"
    )


def test_a_run_of_something_else_is_not_compared(last_lines, monkeypatch, tmp_path):
    assert last_lines("--ema", "0") == []
    monkeypatch.setattr(records, "COMMIT", "abc-dirty")  # as after an edit of the script
    assert last_lines() == []
    monkeypatch.setattr(records, "COMMIT", "abc")
    assert len(last_lines()) == 3
    monkeypatch.setattr(console, "PUBLISHED", tmp_path / "none.csv")
    assert last_lines() == []


def test_the_published_numbers_are_those_of_the_records():
    assert console.PUBLISHED.read_text() == readme.published()
