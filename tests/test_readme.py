"""The numbers of the README files are those that runs wrote to results/."""

import json

import pytest

from lib import readme
from lib.cli import UserError


def test_every_number_is_that_of_its_json():
    assert [line for path in readme.pages() for line in readme.differences(path)] == []


def test_no_number_in_a_table_is_without_a_result():
    assert [cell for path in readme.pages() for cell in readme.unproven(path.read_text())] == []


def test_numbers_in_tables_without_a_result_are_found():
    text = (
        "99.5 % in a text is not looked at\n\n"
        "| 1.5 | here | the book | dropout | run |\n|---|---|---|---|---|\n"
        "| 1.5 | 98.0 %<!--=run accuracy .1%--> | 99.1 % | 0.45 | `--noise 0.5` |\n"
        "| 2.5 | 98.1 % | 99.1 % | 0.45 | [3.5](figure-1.2.png) |\n"
        "| 3.5 | 9 | | | 1,000.5 ms |\n"
    )
    assert readme.unproven(text) == ["98.1 %", "1,000.5 ms"]


def test_numbers_are_rewritten_and_the_rest_is_kept(tmp_path):
    content = {"accuracy": 0.99417, "levels": {"0.5": {"psnr": 17.916}}, "rows": [{"ms": 3}]}
    (tmp_path / "run.json").write_text(json.dumps(content))
    text = (
        "| book 99.4 % | 98.00 %<!--=run accuracy .2%--> | 1<!--=run levels/0.5/psnr .1f--> dB |\n"
        "in **7<!--=run rows/0/ms d-->** ms\n"
    )
    new = (
        "| book 99.4 % | 99.42 %<!--=run accuracy .2%--> "
        "| 17.9<!--=run levels/0.5/psnr .1f--> dB |\n"
        "in **3<!--=run rows/0/ms d-->** ms\n"
    )
    assert readme.updated(text, tmp_path) == new
    assert readme.updated(new, tmp_path) == new


def test_a_number_without_a_json_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no results/none\.json"):
        readme.updated("1<!--=none x d-->", tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"no 'x' in results/run\.json"):
        readme.updated("1<!--=run x d-->", tmp_path)
