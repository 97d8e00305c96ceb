"""What import-linter cannot say about the floors of lib; `make lint` checks the rest."""

import ast
import re

import pytest
from conftest import ROOT

LIB = ROOT / "lib"
MODULES = sorted(path for path in LIB.rglob("*.py") if path.name != "__init__.py")
CODE = [*MODULES, *sorted((ROOT / "tools").rglob("*.py"))]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_has_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_map_of_lib_names_every_module_and_no_other():
    linked = re.findall(r"\]\(([\w/]+\.py)\)", (LIB / "README.md").read_text())
    assert sorted(linked) == [path.relative_to(LIB).as_posix() for path in MODULES]


def test_no_module_of_lib_opens_a_script():
    opens = re.compile(r"load_script|spec_from_file_location|runpy|\bexec\(|chapter\d*\*")
    assert [path.name for path in MODULES if opens.search(path.read_text())] == []


def test_the_parsed_flags_end_where_a_run_begins():
    taking = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                named = [*node.args.args, *node.args.kwonlyargs]
                taking += [
                    path.relative_to(LIB)
                    for arg in named
                    if "Namespace" in str(arg.annotation and ast.unparse(arg.annotation))
                ]
    # These complete or check the flags of a script while it parses them.
    own = {"cyclegan/tasks.py", "one_cycle.py"}
    elsewhere = {path.as_posix() for path in taking if path.parts[0] != "run"}
    assert elsewhere <= own


def test_no_chapter_imports_another_or_a_tool():
    for path in ROOT.glob("chapter*/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.partition(".")[0] not in {"tools", "site", "benchmarks"}, path


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("chapter[4-7]*/*.py")), ids=lambda path: path.stem
)
def test_a_training_step_fits_on_half_a_page(path):
    (step,) = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "step"
    ]
    docstring = 1 if ast.get_docstring(step) else 0
    assert step.end_lineno - step.lineno - docstring <= 15
