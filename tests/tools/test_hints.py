"""Each public function, method and class of lib has type hints."""

import ast

import pytest
from conftest import ROOT

MODULES = sorted((ROOT / "lib").rglob("*.py"))


def public_functions(node, prefix=""):
    """Yields (name, definition, whether it is a method), without functions inside of functions.

    Definitions under `if`, of which one backend has each, count.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            special = child.name.startswith("__") and child.name.endswith("__")
            if special or not child.name.startswith("_"):
                yield prefix + child.name, child, bool(prefix)
        elif isinstance(child, ast.ClassDef):
            if not child.name.startswith("_"):
                yield from public_functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.stmt):
            yield from public_functions(child, prefix)


def missing_hints(function, method):
    """Returns the names of the parameters without a hint, and "return" if that has none."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    static = any(
        isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list
    )
    if method and not static:
        del positional[0]
    others = [each for each in (given.vararg, given.kwarg) if each is not None]
    missing = [
        each.arg for each in [*positional, *given.kwonlyargs, *others] if each.annotation is None
    ]
    return missing + ["return"] * (function.returns is None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_public_functions_have_type_hints(path):
    found = {
        name: missing
        for name, function, method in public_functions(ast.parse(path.read_text()))
        if (missing := missing_hints(function, method))
    }
    assert not found


def test_missing_hints_are_found():
    source = """
if True:
    def f(a, *b, c: int = 0, **d) -> None: ...
class C:
    def g(self, a: int): ...
    def _h(self, a): ...
class _D:
    def i(self, a): ...
"""
    found = {name: missing_hints(f, m) for name, f, m in public_functions(ast.parse(source))}
    assert found == {"f": ["a", "b", "d"], "C.g": ["return"]}
