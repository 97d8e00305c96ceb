"""The stored notebooks: complete, run from top to bottom, small, and without traces of a machine.

`make notebooks` runs them on a tiny budget.
"""

import json
import re

import pytest
from conftest import ROOT

LARGEST = 300_000  # bytes of a notebook
SOURCES = [
    path.read_text() for folder in ("chapter*", "lib") for path in ROOT.glob(f"{folder}/**/*.py")
]
TRACES = re.compile(r"/tmp/|/home/|/root/|site-packages|\r|\x1b|\x08|absl|oneDNN|cuda")


def cells_of(chapter, kind=None):
    found = json.loads((ROOT / f"notebooks/chapter{chapter}.ipynb").read_text())
    assert found["nbformat"] == 4
    return [cell for cell in found["cells"] if kind in (None, cell["cell_type"])]


def text_of(outputs):
    """All texts of outputs, without pictures."""
    return "".join(
        "".join(text)
        for output in outputs
        for name, text in {**output.get("data", {}), "text": output.get("text", "")}.items()
        if name != "image/png"
    )


@pytest.fixture(params=range(1, 11))
def chapter(request):
    return request.param


def test_it_ran_from_top_to_bottom_without_an_error(chapter):
    cells = cells_of(chapter, "code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [each for each in outputs if each["output_type"] == "error"]
    assert not [each for each in outputs if each.get("name") == "stderr"]
    assert sum("image/png" in each.get("data", {}) for each in outputs) >= 2


def test_it_is_small_and_has_no_traces_of_a_machine(chapter):
    assert (ROOT / f"notebooks/chapter{chapter}.ipynb").stat().st_size < LARGEST
    cells = cells_of(chapter)
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert not cell["metadata"]
        assert not TRACES.search("".join(cell["source"]) + text_of(cell.get("outputs", [])))


def test_it_has_its_parts(chapter):
    cells = cells_of(chapter)
    text = ["".join(cell["source"]) for cell in cells]
    assert text[0].startswith(f"# Chapter {chapter}: ")
    assert "ADDRESS = " in text[1] and "ADLK_TINY" in text[2]
    headings = "\n".join(re.findall(r"^## .*", "\n".join(text), flags=re.MULTILINE))
    assert re.search(r"## Experiment: .*\n## Three questions to try$", headings)
    assert len(re.findall(r"^\d\. ", text[-1], flags=re.MULTILINE)) == 3
    # A text stands after each experiment, and says what the outputs show.
    assert cells[-2]["cell_type"] == "markdown" and "@" not in cells[-2]["source"][0]


def test_it_loads_scripts_and_shows_their_present_code(chapter):
    code = "\n".join("".join(cell["source"]) for cell in cells_of(chapter, "code"))
    scripts = re.findall(r'load_script\("(.*?)"\)', code)
    assert scripts and all((ROOT / script).is_file() for script in scripts)
    outputs = [output for cell in cells_of(chapter, "code") for output in cell["outputs"]]
    shown = re.findall(r"```python\n(.*?)```", text_of(outputs), flags=re.DOTALL)
    assert len(shown) >= 3
    for block in shown:
        found = any(block in source for source in SOURCES)
        assert found, f"run python3 -m tools.notebooks --chapters {chapter}"


def test_its_links_exist(chapter):
    for cell in cells_of(chapter, "markdown"):
        for target in re.findall(r"\]\((\.\.[^)#]*)", "".join(cell["source"])):
            assert (ROOT / "notebooks" / target).exists(), target
