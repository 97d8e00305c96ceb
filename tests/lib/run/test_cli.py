"""Flags, exit codes and errors of one line."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, assert_one_line_error, run_script

from lib.files.errors import Stopped, UserError
from lib.run import flags, kinds, program

SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("chapter*/**/*.py"))

# Parses flags as every script does, and prints them.
SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from lib.run import flags, kinds
parser = flags.training_parser("Shows flags.", train_steps=100, batch_size=8)
parser.add_argument("--digit", type=kinds.digit)
args = parser.parse_args()
print(args.train_steps, args.batch_size, args.seed, args.digit)
"""


def call(*command):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kinds.positive_int, "1", 1),
        (kinds.positive_int, "40000", 40_000),
        (kinds.seed_int, "0", 0),
        (kinds.seed_int, "2147483647", 2**31 - 1),
        (kinds.digit, "0", 0),
        (kinds.digit, "9", 9),
    ],
)
def test_a_good_number_is_taken(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((kinds.positive_int, text) for text in ("0", "-1", "1.5", "1e3", "ten", "")),
        *((kinds.seed_int, text) for text in ("-1", "2147483648", "0.5", "x", "")),
        *((kinds.digit, text) for text in ("10", "-1", "08", "²", "x", "")),
    ],
)
def test_a_bad_number_is_refused_by_name(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"expected a .* found '{text}'"):
        kind(text)


def test_an_unknown_backend_is_one_line(script, monkeypatch):
    for backend in ("numpy", "none"):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        assert_one_line_error(call(script), f"cannot load Keras with the backend {backend}: ")


def test_flags_override_the_defaults(script, tmp_path):
    def shown(*flags):
        return run_script(script, *flags, folder=tmp_path, data=tmp_path).stdout.split()

    assert shown() == ["100", "8", "0", "None"]
    flags = ("--train-steps=7", "--batch-size=3", "--seed=5", "--digit=8")
    assert shown(*flags) == ["7", "3", "5", "8"]


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--no-such-flag", "--no-such-flag"),
        ("--train-step=5", "--train-step=5"),  # no abbreviations: they change with new flags
        ("--train-steps=-5", "at least 1, found '-5'"),
        ("--train-steps=many", "at least 1, found 'many'"),
        ("--train-steps", "expected one argument"),
        ("--seed=-1", "found '-1'"),
        ("--digit=ten", "from 0 to 9, found 'ten'"),
        ("word", "word"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(script, flag, named):
    done = call(script, flag)
    assert done.stdout == ""
    assert done.stderr.startswith("script.py: error: ")
    assert_one_line_error(done, named)


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        (["–p0"], {"p0": True}),
        (["–generator=a–b.h5"], {"generator": "a–b.h5"}),
        (["—generator", "a.h5"], {"generator": "a.h5"}),
        (["––generator=a.h5"], {"generator": "a.h5"}),
        (["–-generator=a.h5"], {"generator": "a.h5"}),
        (["–s", "–t=1"], {"slippery": True, "delay": 1.0}),
        (["–t1"], {"delay": 1.0}),
        (["–t", "–0.5"], {"delay": -0.5}),
        (["a–b", "–s"], {"word": "a–b", "slippery": True}),
    ],
)
def test_a_dash_pasted_from_an_e_book_is_a_hyphen(typed, parsed, monkeypatch):
    parser = flags.Parser("")
    parser.add_argument("word", nargs="?")
    parser.add_argument("--p0", action="store_true")
    parser.add_argument("--generator")
    parser.add_argument("-s", "--slippery", action="store_true")
    parser.add_argument("-t", "--delay", type=float)
    expected = {**vars(parser.parse_args([])), **parsed}
    assert vars(parser.parse_args(typed)) == expected
    # Records and hints show the command with hyphens.
    monkeypatch.setattr(sys, "argv", ["script.py", *typed])
    assert vars(parser.parse_args()) == expected
    assert not any(word[0] in flags.DASHES for word in sys.argv)


def test_a_dash_before_an_unknown_flag_is_still_one_line(script):
    assert_one_line_error(call(script, "–no-such-flag"), "--no-such-flag")


def test_the_budget_is_steps_or_epochs():
    steps = flags.training_parser("", batch_size=1, train_steps=5).parse_args([])
    epochs = flags.training_parser("", batch_size=1, epochs=6).parse_args([])
    assert steps.train_steps == 5
    assert not hasattr(steps, "epochs")
    assert epochs.epochs == 6
    assert not hasattr(epochs, "train_steps")


def test_help_shows_the_docstring_as_it_is_written(capsys):
    doc = "Title.\n\n    python3 script.py        a command\n    100 % of it"
    with pytest.raises(SystemExit, match="0"):
        flags.training_parser(doc, batch_size=64, epochs=20).parse_args(["--help"])
    shown = capsys.readouterr().out
    assert doc in shown
    assert "(default 20)" in shown


# The em dash shows that the script uses a parser of lib.run.flags.
@pytest.mark.parametrize("path", SCRIPTS)
@pytest.mark.parametrize(("flag", "code"), [("—help", 0), ("--no-such-flag", 2)])
def test_every_script_answers_in_under_a_second(path, flag, code):
    best = np.inf
    for _ in range(3):  # a busy machine delays one attempt, not each of three
        start = time.perf_counter()
        done = call(ROOT / path, flag)
        best = min(best, time.perf_counter() - start)
        assert done.returncode == code, done.stderr
        assert done.stdout.startswith("usage: ") == (code == 0)
        if best < 1:
            break
    assert best < 1


def arguments(*words):
    return flags.training_parser("", batch_size=1, epochs=1).parse_args(list(words))


def test_start_makes_the_folder_and_leaves_nothing_in_it(tmp_path):
    folder = program.start(arguments(f"--output-dir={tmp_path}/a/b"), "model").folder
    assert folder == tmp_path / "a" / "b" / "model"
    assert list(folder.iterdir()) == []


def test_start_keeps_what_is_in_the_folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "00500.png").write_text("kept")
    program.start(arguments(f"--output-dir={tmp_path}"), "model")
    assert (tmp_path / "model" / "00500.png").read_text() == "kept"


def test_start_refuses_a_folder_that_cannot_be_written(tmp_path):
    # Below a regular file, since a folder without permissions does not stop root.
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as error:
        program.start(arguments(f"--output-dir={tmp_path}/file/below"), "model")
    message = str(error.value)
    assert f"{tmp_path}/file/below/model" in message
    assert "Not a directory" in message
    assert "--output-dir" in message
    assert "\n" not in message


def test_start_makes_random_numbers_repeat(tmp_path):
    def draw(seed):
        program.start(arguments(f"--output-dir={tmp_path}", f"--seed={seed}"), "model")
        return [*np.random.random(3), *keras.ops.convert_to_numpy(keras.random.uniform((3,)))]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize(
    ("flags", "policy"), [((), "float32"), (("--mixed-precision",), "mixed_bfloat16")]
)
def test_start_sets_the_precision_asked_for(tmp_path, flags, policy):
    try:
        program.start(arguments(f"--output-dir={tmp_path}", *flags), "model")
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (UserError("no such file"), 2, f"{Path(sys.argv[0]).name}: error: no such file\n"),
        (Stopped("Stopped at step 7."), 130, "Stopped at step 7.\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
    ids=["UserError", "Stopped", "KeyboardInterrupt"],
)
def test_run_turns_what_is_raised_into_one_line_and_an_exit_code(capsys, raised, code, text):
    def main(args):
        raise raised

    with pytest.raises(SystemExit) as exit_:
        program.run(main, argparse.Namespace())
    assert exit_.value.code == code
    assert capsys.readouterr().err == text


def test_run_hands_the_arguments_on_and_lets_a_bug_through():
    def main(args):
        raise ZeroDivisionError(args)

    with pytest.raises(ZeroDivisionError, match="the arguments"):
        program.run(main, argparse.Namespace(word="the arguments"))
