"""The files of requirements agree with each other."""

import tomllib

from conftest import ROOT
from packaging.requirements import Requirement


def listed(name):
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


def test_uv_and_pip_install_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dependencies"] == listed("requirements.txt")
    assert project["tool"]["uv"] == {"package": False}


def test_the_tested_versions_are_in_the_ranges():
    tested = dict(line.lower().split("==") for line in listed("constraints.txt"))
    for file in sorted(ROOT.glob("requirements*.txt")):
        for line in listed(file.name):
            requirement = Requirement(line)
            version = tested.get(requirement.name.lower())
            # PyTorch comes as a build for the device, TensorBoard is optional.
            if version is None:
                assert requirement.name in ("torch", "tensorboard", "tensorboardX"), line
            else:
                assert version in requirement.specifier, line


def test_no_file_names_a_host():
    for name in ("constraints.txt", "pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(), name
