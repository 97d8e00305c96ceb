"""Every constant of every script has a rule, and a wrong value is one line before Keras loads."""

import ast

import pytest
from conftest import ROOT, assert_one_line_error, load_script, run_script

from lib.run import kinds

SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("chapter*/*.py"))
# Values that no rule for numbers takes, and none for texts.
WRONG = (None, True, (), {}, float("nan"), -1, "not a 1")
CLASSIFIER = "chapter1-keras-quick-tour/cnn-mnist-1.4.1.py"
MLP = "chapter1-keras-quick-tour/mlp-mnist-1.3.2.py"
RNN = "chapter1-keras-quick-tour/rnn-mnist-1.5.1.py"
RESNET = "chapter2-deep-networks/resnet-cifar10-2.2.1.py"
AUTOENCODER = "chapter3-autoencoders/autoencoder-mnist-3.2.1.py"
DCGAN = "chapter4-gan/dcgan-mnist-4.2.1.py"
CYCLEGAN = "chapter7-cross-domain-gan/cyclegan-7.1.1.py"
LAKE = "chapter9-drl/q-frozenlake-9.5.1.py"
DQN = "chapter9-drl/dqn-cartpole-9.6.1.py"


def constants(path):
    """The names in capitals that the top of a script assigns."""
    found = []
    for node in ast.parse((ROOT / path).read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        found += [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return [name for name in found if name.isupper()]


def refused(script, name, value):
    """Whether a script with this constant ends with one line that names it and exit code 2."""
    module = {**vars(script), name: value}
    try:
        kinds.check_constants(module)
    except SystemExit as stop:
        return stop.code == 2
    return False


def test_there_are_constants_in_all_scripts():
    assert len(SCRIPTS) == 27
    assert all(constants(path) for path in SCRIPTS)


@pytest.mark.parametrize("path", SCRIPTS)
def test_each_constant_has_a_rule_that_takes_it_and_refuses_others(path, capsys):
    script = load_script(path)
    kinds.check_constants(vars(script))
    for name in constants(path):
        if kinds.SETTINGS.fullmatch(name) or name == "SWEEP":
            continue
        stem = path.rpartition("/")[2].removesuffix(".py")
        assert kinds.rule(stem, name), f'add to RULES in lib/run/kinds.py: (r"{name}", KIND, ONE)'
        # A goal and a mean may be negative, and the text is a name.
        wrong = [value for value in WRONG if value != -1 or name not in ("GOAL", "NOISE_MEAN")]
        for value in wrong:
            assert refused(script, name, value), f"{name} = {value!r}"
            (line,) = capsys.readouterr().err.splitlines()
            assert f"{name}: expected " in line and f"found {value!r}" in line


@pytest.mark.parametrize(
    ("path", "name", "value", "part"),
    [
        (CLASSIFIER, "LEARNING_RATES", {"adam": "fast"}, "each value a number above 0"),
        (CLASSIFIER, "FILTERS", (32, 64), "expected a whole number of at least 1, found (32, 64)"),
        (CLASSIFIER, "SWEEP", [("adam", 2.0, 99, 99)], "SWEEP, row 1, dropout: expected a number"),
        (CLASSIFIER, "SWEEP", [("adam", 0.2)], "SWEEP, row 1: expected a tuple of 2 settings"),
        (MLP, "HIDDEN_LAYERS", 256, "expected a text of numbers of units, as '256-256', found 256"),
        (RNN, "MOMENTUM", 1, "expected a number from 0 to below 1"),
        (RESNET, "LEARNING_RATE", "fast", "expected a number above 0, found 'fast'"),
        (RESNET, "ONE_CYCLE", {"warm_up": 2}, "ONE_CYCLE, warm_up: expected a number from 0"),
        (RESNET, "BOOK", 5, "expected a dictionary of settings, found 5"),
        (RESNET, "MILESTONES", (), "expected a tuple that is not empty"),
        (AUTOENCODER, "FILTERS", 64, "expected a tuple that is not empty, each a whole number"),
        (AUTOENCODER, "IMAGE_SHAPE", (28, 28), "expected a tuple of three, each a whole number"),
        (DCGAN, "BATCH_SIZE", 0, "expected a whole number of at least 1, found 0"),
        (DCGAN, "KERNEL_SIZE", 2.5, "expected one or a pair, each a whole number of at least 1"),
        (DCGAN, "LEARNING_RATE", -1e-4, "expected a number above 0, found -0.0001"),
        (DCGAN, "GENERATOR_FILTERS", [], "expected a tuple that is not empty"),
        (DCGAN, "EMA", 1.5, "expected a number from 0 to below 1, found 1.5"),
        (CYCLEGAN, "LOSS_WEIGHTS", (1, -1, 0), "expected a tuple of three, each a number"),
        (LAKE, "EPSILON", 2, "expected a number above 0 and at most 1, found 2"),
        (DQN, "EPISODES", "many", "expected a whole number of at least 1, found 'many'"),
    ],
)
def test_a_wrong_constant_is_one_line(path, name, value, part, capsys):
    assert refused(load_script(path), name, value)
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line and part in line


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [(RESNET, "LEARNING_RATE", "fast"), (AUTOENCODER, "FILTERS", ()), (LAKE, "GAMMA", 2)],
)
def test_a_script_with_a_wrong_constant_does_nothing(path, name, value, tmp_path):
    done = run_script(path, folder=tmp_path, data=tmp_path, edits={name: value})
    assert_one_line_error(done, f"{name}: expected ", f"found {value!r}")
    assert not list(tmp_path.iterdir())


def test_a_wrong_default_of_a_setting_is_one_line(tmp_path):
    source = (ROOT / DQN).read_text()
    assert "setting(5e-4" in source
    script = tmp_path / "dqn.py"
    source = source.replace("setting(5e-4", 'setting("fast"')
    script.write_text(source.replace("__file__", repr(str(ROOT / DQN))))
    done = run_script(script, folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "learning_rate: expected a number of at least 0, found 'fast'")
