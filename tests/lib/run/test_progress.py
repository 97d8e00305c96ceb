"""A run in a terminal: one line that changes, none that is broken, and what the last lines say."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pyte
import pytest
from conftest import ROOT

from lib.run import console
from lib.run.progress import Progress

SIZES = [(80, 24), (120, 40)]
RUNS = {
    "epochs": ("chapter1-keras-quick-tour/mlp-mnist-1.3.2.py", "--epochs", "2"),
    "steps": ("chapter4-gan/dcgan-mnist-4.2.1.py", "--train-steps", "2", "--batch-size", "2"),
    "episodes": ("chapter9-drl/dqn-cartpole-9.6.1.py", "--episodes", "3"),
}


def screens(command, size, **options):
    """Runs a command in a terminal; returns its screen after each output, and its exit code."""
    columns, lines = size
    screen = pyte.HistoryScreen(columns, lines, history=1000)
    stream, seen = pyte.ByteStream(screen), []
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, **options)
    os.close(theirs)
    while True:
        try:
            output = os.read(ours, 2**16)
        except OSError:  # the end of the output
            break
        if not output:
            break
        stream.feed(output)
        seen.append([line.rstrip() for line in screen.display])
    os.close(ours)
    return seen, process.wait()


DEMO = """
import sys, time
sys.path.insert(0, sys.argv[1])
from lib.run import progress
progress.SECONDS = 0.02
line = progress.Progress("step", 40_000)
losses = {"discriminator": 0.5512, "accuracy": 0.7123, "adversarial": 1.498, "mutual info": 2.25}
for step in range(1, 61):
    time.sleep(0.02)
    line.update(step, losses)
    if step % 20 == 0:
        line.keep(losses)
        print(f"epoch {step // 20}: test accuracy 97.1 %", flush=True)
line.close()
print("end")
"""


@pytest.mark.parametrize("size", SIZES)
def test_the_line_that_changes_fits_the_terminal(size):
    seen, code = screens([sys.executable, "-c", DEMO, str(ROOT)], size)
    assert code == 0
    changing = {line for lines in seen for line in lines if "━" in line or "/40000 " in line}
    bars = [line for line in changing if "━" in line]
    assert len(bars) > 1
    assert all(line.startswith("step ") and len(line) <= size[0] for line in bars)
    # At every moment, at most one line changes; all others are whole.
    assert all(sum("━" in line for line in lines) <= 1 for lines in seen)
    *_, last = seen
    kept = [line for line in last if line]
    assert kept[-1] == "end"
    assert [line for line in kept if line.startswith("epoch")] == [
        f"epoch {i}: test accuracy 97.1 %" for i in (1, 2, 3)
    ]
    assert sum(line.startswith("step") for line in kept) == 3


def test_a_log_gets_a_line_for_each_interval(capsys):
    line = Progress("episode", 300, done=100, title="seed 1: ")
    for episode in range(101, 201):
        line.update(episode, {"reward": 9.5})
    line.keep({"reward": 9.5})
    assert capsys.readouterr().out == "seed 1: episode 200/300  0:00:00 left  reward 9.5\n"


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_in_a_terminal_breaks_no_line(kind, data_dir, tmp_path):
    script, *words = RUNS[kind]
    size = SIZES[0]
    env = dict(os.environ, ADLK_DATA_DIR=str(data_dir), MPLBACKEND="Agg", TERM="xterm-256color")
    command = [sys.executable, str(ROOT / script), *words]
    seen, code = screens(command, size, cwd=tmp_path, env=env)
    assert code == 0, "\n".join(seen[-1])
    assert all(sum("━" in line for line in lines) <= 1 for lines in seen)
    lines = [line for line in seen[-1] if line]
    assert any(line.startswith("Picture: ") for line in lines[-6:])
    assert not any(line.startswith(("I0000", "WARNING", "E0000")) for line in lines)


def test_measured_numbers_are_shown_with_their_names(capsys):
    console.show({"fid_mnist": 24.6, "noise_levels": {"0.5": {"psnr": 17.9}}, "gap": [0.1, 0.2]})
    assert capsys.readouterr().out.splitlines() == [
        "fid mnist: 24.6",
        "noise levels, 0.5, psnr: 17.9",
        "gap: [0.1, 0.2]",
    ]
