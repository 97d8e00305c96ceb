"""The pages of the site, built from the repository as it is."""

import ast
import importlib.util
import re
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "site"))
import build_pages

needs_sphinx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")),
    reason="Sphinx is not installed: pip install -r requirements-site.txt",
)
DOCSTRING = """Draws digits.

Two networks <compete>, see `a*b`.

    python3 a.py      # train

    python3 a.py -x

Departures:
 1. First, over
    two lines.
 2. Second.
"""


def test_a_docstring_becomes_markdown():
    assert build_pages.prose(DOCSTRING).split("\n\n") == [
        "Draws digits.",
        "Two networks \\<compete\\>, see `a*b`.",
        "```text\npython3 a.py      # train",
        "python3 a.py -x\n```",
        "Departures:",
        "1. First, over\n    two lines.\n2. Second.",
    ]


def test_sections_hold_every_line_of_code_once():
    for path in sorted(ROOT.glob("chapter*/*.py")):
        source = path.read_text()
        _, pairs = build_pages.sections(source)
        code = "\n".join(code for _, code in pairs)
        assert ast.dump(ast.Module(ast.parse(source).body[1:], [])) == ast.dump(ast.parse(code))
        names = {title.removeprefix("class ") for title, _ in pairs}
        assert "main" in names, path


def test_links_to_code_become_links_to_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(build_pages, "SOURCE", tmp_path)
    text = "[a](dcgan-mnist-4.2.1.py) [b](../lib/gan.py#L3) [c](../README.md) [d](weights) `[e](f)`"
    folder = ROOT / "chapter4-gan"
    found = build_pages.adjusted(text, folder, None)
    assert found.startswith("[a](dcgan-mnist-4.2.1.md) [b](../lib/gan.md#L3) [c](../index.md) d ")
    found = build_pages.adjusted(text, folder, "https://host/name")
    assert "[d](https://host/name/chapter4-gan/weights)" in found
    build_pages.adjusted("![x](figures/dcgan-evolution.png)", folder, None)
    assert (tmp_path / "chapter4-gan/figures/dcgan-evolution.png").exists()


def test_a_script_is_linked_to_the_panels_that_run_it():
    found = build_pages.panels_of(ROOT / "chapter4-gan/dcgan-mnist-4.2.1.py")
    assert found.count("<a ") == 1 and "../explorer/index.html#noise" in found
    found = build_pages.panels_of(ROOT / "chapter10-policy/policygradient-car-10.1.1.py")
    assert "#car" in found and "#learn-policy" in found
    assert build_pages.panels_of(ROOT / "chapter2-deep-networks/cnn-y-network-2.1.2.py") == ""


@needs_sphinx
def test_the_pages_build_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(build_pages, "BUILD", tmp_path)
    monkeypatch.setattr(build_pages, "SOURCE", tmp_path / "source")
    monkeypatch.setattr(build_pages, "HTML", tmp_path / "html")
    monkeypatch.setattr(sys, "argv", ["build_pages.py"])
    with pytest.raises(SystemExit) as ended:
        build_pages.main()
    assert ended.value.code == 0
    for path in ROOT.glob("chapter*/*.py"):
        page = (tmp_path / "html" / path.relative_to(ROOT).with_suffix(".html")).read_text()
        assert 'class="next-page"' in page or 'class="prev-page"' in page, path
        assert 'id="main"' in page, path
    home = (tmp_path / "html/index.html").read_text()
    home = home[home.index("<article") :]
    assert "make site" not in home
    assert re.findall(r'<a [^>]*href="([^"#]+)"', home)[0] == "explorer/index.html"
    for chapter in build_pages.CHAPTERS:
        page = (tmp_path / "html" / chapter.name / "README.html").read_text()
        page = page[page.index("<article") :]
        assert all(f'href="{path.stem}.html"' in page for path in build_pages.scripts(chapter))
    assert (tmp_path / "html/_static/favicon.svg").exists()
    assert (tmp_path / "html/searchindex.js").stat().st_size > 10_000
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".h5", ".npy", ".npz")]
