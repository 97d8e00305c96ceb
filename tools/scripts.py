"""Loads a script of a chapter as a module."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def load_script(path: str | Path) -> ModuleType:
    """Imports a script, whose name has dots and dashes, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem.replace("-", "_"), ROOT / path)
    assert spec is not None and spec.loader is not None  # None only for unknown suffixes
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # `inspect` looks there for the source of a class
    spec.loader.exec_module(module)
    return module
