"""The commands in docstrings, pages, records and tables: flags are accepted, weights exist."""

import ast
import re
import shlex
import sys

import pytest
import smoke
from conftest import ROOT, load_script, read_json

from tools import readme, registry

SCRIPTS = {path.name: path for path in ROOT.glob("chapter*/*.py")}
# Abbreviations in the docstrings.
SHORT = {
    "ENCODER": "--encoder-weights=car_encoder.h5",
    "GEN": "--generator0=stackedgan_mnist-gen0.h5 --generator1=stackedgan_mnist-gen1.h5",
}
# SVHN was not available for training, so a reader has to train these.
NOT_SHIPPED = {f"cyclegan_mnist_svhn-g_{domain}.h5" for domain in ("source", "target")}


def commands_in(text):
    """Yields the words after python3 in the indented lines, blocks and code spans of a text.

    A backslash continues a line; two spaces or # begin a remark.
    """
    text = re.sub(r"\s*\\\n\s*", " ", text)
    lines = re.findall(r"^ *python3 (.*)$|`python3 ([^`]*)`", text, flags=re.MULTILINE)
    for line in lines:
        yield re.split(r"  +|#", "".join(line))[0].strip()


def all_commands():
    """{command: pages that show it} of the listings."""
    pages = {path.parent.name + "/" + path.name: path.read_text() for path in readme.pages()}
    for path in SCRIPTS.values():
        pages[path.name] = ast.get_docstring(ast.parse(path.read_text()))
    for path in (ROOT / "results").glob("*.json"):
        pages[path.name] = f"`{read_json(path)['command']}`"
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = read_json(path)["cells"]
        pages[path.name] = "\n".join("".join(cell["source"]) for cell in cells)
    listed = [f"`python3 {row.command}`" for row in registry.rows() if row.flags or row.pictures]
    pages[registry.REGISTRY.name] = "\n".join(listed)
    tiny = [f"`python3 {command.partition('/')[2]}`" for command in smoke.RUNS]
    pages["smoke.py"] = "\n".join(tiny)
    found = {}
    for page, text in pages.items():
        for command in commands_in(text):
            if command.split()[0] in SCRIPTS:
                found.setdefault(command, []).append(page)
    return found


COMMANDS = all_commands()


# Flags that a record of an earlier commit has, and the script no longer.
RETIRED = {
    "dqn-cartpole-9.6.1.py": {"--book", "--no-huber", "--no-bootstrap-at-limit", "--memory"},
    "policygradient-car-10.1.1.py": {"--book"},
}


def test_commands_are_found_in_every_docstring():
    shown = {page for pages in COMMANDS.values() for page in pages}
    assert {*SCRIPTS, *(f"chapter{chapter}.ipynb" for chapter in range(1, 11))} <= shown
    assert registry.REGISTRY.name in shown
    assert len(COMMANDS) > 150
    text = "    python3 a.py --x=1 \\\n        --y 2    both\n`python3 b.py -z`\npython3 c.py # no"
    assert list(commands_in(text)) == ["a.py --x=1 --y 2", "b.py -z", "c.py"]


def test_every_script_has_a_run_on_a_tiny_budget():
    run = {command.split()[0] for command, pages in COMMANDS.items() if "smoke.py" in pages}
    assert run == set(SCRIPTS)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_the_flags_and_weights_of_each_command_exist(name, monkeypatch):
    script = load_script(SCRIPTS[name])
    for command in COMMANDS:
        words = shlex.split(" ".join(SHORT.get(word, word) for word in command.split()))
        of_records = all(page.endswith(".json") for page in COMMANDS[command])
        if words[0] != name or (of_records and RETIRED.get(name, set()) & set(words)):
            continue
        monkeypatch.setattr(sys, "argv", words)
        try:
            args = script.parse_args()
        except SystemExit:
            pytest.fail(f"{command}: shown in {COMMANDS[command]}")
        if of_records:
            continue  # the weights of a record need not be in the repository
        if not registry.pretrained(script=SCRIPTS[name].stem):
            continue  # not trained yet
        for value in vars(args).values():
            for file in value if isinstance(value, list) else [value]:
                if str(file).endswith(".h5") and file not in NOT_SHIPPED:
                    folder = SCRIPTS[name].parent
                    assert (folder / "weights" / file).exists() or (folder / file).exists(), command
