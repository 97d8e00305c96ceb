"""The notebooks hold the commands of their declaration, and these commands are understood."""

import json
import shlex

import pytest
from conftest import ROOT

from tools import notebooks

CHAPTERS = range(1, 11)


def test_the_notebooks_are_those_that_the_program_writes():
    for chapter in CHAPTERS:
        path = ROOT / f"notebooks/chapter{chapter}.ipynb"
        assert path.read_text() == notebooks.text_of(chapter), "run python3 -m tools.notebooks"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_notebook_has_all_its_parts(chapter):
    found = json.loads(notebooks.text_of(chapter))
    text = ["".join(cell["source"]) for cell in found["cells"]]
    assert "colab-badge" in text[0]
    assert [row["part"] for row in notebooks.rows(chapter)] == list(notebooks.TITLES)
    for heading in (*notebooks.TITLES.values(), "Things to try"):
        assert any(cell.startswith(f"## {heading}\n") for cell in text)
    assert all(not cell.get("outputs") for cell in found["cells"])
    assert len({cell["id"] for cell in found["cells"]}) == len(text)


def test_a_tiny_run_adds_its_flags_after_the_others():
    plain, tiny = notebooks.notebook(4), notebooks.notebook(4, tiny=True)
    commands = [
        shlex.split("".join(cell["source"]))
        for cell in tiny["cells"]
        if cell["source"][0].startswith("!python dcgan")
    ]
    assert len(commands) == 2
    for words in commands:
        assert words[-4:] == ["--train-steps", "2", "--batch-size", "4"]
    assert not any("--batch-size" in "".join(cell["source"]) for cell in plain["cells"][:-1])
