"""`make address` writes the address of the repository into a copy of the files."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from tools import address

FILES = ("CITATION.cff", "README.md")


@pytest.fixture
def copy(tmp_path):
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


def texts(folder):
    return {path: path.read_text() for path in folder.rglob("*.*") if path.is_file()}


def test_the_address_is_everywhere_and_a_second_call_changes_nothing(copy):
    url = "https://github.com/someone/adlk"
    address.write(copy, url)
    once = texts(copy)
    assert f'repository-code: "{url}"' in once[copy / "CITATION.cff"]
    assert f"git clone {url} adlk && cd adlk\nmake demo" in once[copy / "README.md"]
    assert "[explorer](https://someone.github.io/adlk/explorer/)" in once[copy / "README.md"]
    for chapter in range(1, 11):
        text = once[copy / f"notebooks/chapter{chapter}.ipynb"]
        assert f'ADDRESS = \\"{url}\\"' in text
        assert f"github/someone/adlk/blob/main/notebooks/chapter{chapter}.ipynb)" in text
    address.write(copy, url)
    assert texts(copy) == once


def test_another_host_has_no_links_to_colab(copy):
    first, second = "https://github.com/someone/adlk", "https://example.org/else/name"
    address.write(copy, first)
    address.write(copy, second)
    for path, text in texts(copy).items():
        assert first not in text and "colab.research" not in text and second in text, path
    assert "[explorer](#try-it-in-the-browser)" in (copy / "README.md").read_text()


def test_without_an_address_no_page_has_a_placeholder():
    for path in [ROOT / "README.md", ROOT / "GUIDE.md", *(ROOT / "notebooks").glob("*.ipynb")]:
        text = path.read_text()
        assert not [word for word in ("OWNER/NAME", "ADDRESS-OF") if word in text], path


@pytest.mark.parametrize("words", [[], ["http://github.com/a/b"], ["OWNER/NAME"]])
def test_a_bad_address_is_one_line_and_exit_code_2(words):
    command = [sys.executable, "-m", "tools.address", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("no address '") and done.stderr.count("\n") == 1
