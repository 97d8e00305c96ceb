"""Measures contenders side by side: one process each, of which one at a time computes, in rounds.

Every contender is a process of its own, so that the thread pools of TensorFlow and PyTorch do not
meet. The rounds go around (A B C, A B C, ...), so that a machine that slows down does so for all.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib import cli
from lib.cli import UserError

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ["float32", "bfloat16"]


def parser(doc, number_of_rounds, steps):
    """A parser with the flags of every benchmark, with the defaults of `--rounds` and `--steps`."""
    made = cli.Parser(doc)
    made.add_argument(
        "--rounds",
        type=cli.positive_int,
        default=number_of_rounds,
        help=f"(default {number_of_rounds})",
    )
    made.add_argument(
        "--steps", type=cli.positive_int, default=steps, help=f"steps a round (default {steps})"
    )
    made.add_argument("--output", type=Path, metavar="FILE.json", help="write the numbers there")
    made.add_argument("--contender", help=argparse.SUPPRESS)  # be this one
    return made


def names_out_of(known):
    """Returns a reader of names of `known` separated by commas, for argparse."""
    return cli.reader(
        lambda text: list(dict.fromkeys(text.split(","))),
        lambda names: set(names) <= set(known),
        f"names out of {', '.join(known)} separated by commas",
    )


def add_precisions(parser):
    """Adds `--precisions` to a benchmark whose contenders end in the name of one."""
    parser.add_argument(
        "--precisions",
        type=cli.reader(
            lambda text: text.split(","),
            lambda names: "float32" in names and set(names) <= set(PRECISIONS),
            "float32 or float32,bfloat16",
        ),
        default=PRECISIONS,
        metavar="NAMES",
        help="float32 alone where the processor has no instructions for bfloat16, which then "
        f"takes many times as long (default {','.join(PRECISIONS)})",
    )


def load_script(path):
    """Imports a script, whose name holds dots and dashes, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem.replace("-", "_"), ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def milliseconds(function, steps):
    """How long a step of `function()` takes, which makes so many."""
    started = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - started) / steps


def contend(ready):
    """Is a contender: gets ready, then plays a round for each line of stdin; replies in json.

    Args:
        ready: function that returns (facts, play): facts about the contender, and a function that
            plays one round and returns {variant: measured value}.
    """
    import resource

    replies, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no reply
    facts, play = ready()
    print(json.dumps(facts), file=replies, flush=True)
    for _ in sys.stdin:
        values = play()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory /= 2**20 if sys.platform == "darwin" else 2**10
        print(json.dumps({"values": values, "peak_rss_mb": memory}), file=replies, flush=True)


class Contender:
    """A contender as the referee sees it: a process that computes when it is told to.

    Args:
        script: the benchmark's `__file__`.
        name: goes to the process as `--contender`.
        flags: dict of further flags and their values.
        backend: of Keras in the process.
    """

    def __init__(self, script, name, flags, backend="tensorflow"):
        self.name = name
        self.facts = {}
        self.values = {}
        self.peak_rss_mb = 0.0
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, close() closes it
        flags = {"--contender": name, **flags}
        self.process = subprocess.Popen(
            [sys.executable, script, *(str(word) for flag in flags.items() for word in flag)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # one contender must not take all memory
            },
        )

    def reply(self):
        """The next line that the process writes.

        Raises:
            UserError: if it ended instead.
        """
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().split("\n")
        reason = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
        raise UserError(f"contender '{self.name}' failed: {reason}")

    def play(self):
        """Plays a round."""
        with contextlib.suppress(BrokenPipeError):  # it ended: reply() says why
            print("round", file=self.process.stdin, flush=True)
        reply = self.reply()
        for variant, value in reply["values"].items():
            self.values.setdefault(variant, []).append(value)
        self.peak_rss_mb = reply["peak_rss_mb"]

    def fastest(self):
        """(variant, its values) of the lowest median."""
        return min(self.values.items(), key=lambda item: statistics.median(item[1]))

    def close(self):
        """Ends the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def play(script, names, flags, number_of_rounds, backend="tensorflow"):
    """Starts the contenders, plays all rounds and returns the contenders by name."""
    contenders = []
    try:
        names = available(names)
        print(f"{len(names)} contenders get ready.", flush=True)
        for name in names:
            contenders.append(Contender(script, name, flags, backend))
            contenders[-1].facts = contenders[-1].reply()
        for number in range(number_of_rounds):
            print(f"Round {number + 1} of {number_of_rounds}", flush=True)
            for contender in contenders:
                contender.play()
    finally:
        for contender in contenders:
            contender.close()
    return {contender.name: contender for contender in contenders}


def available(names):
    """The contenders that can play here; prints why others cannot."""
    if importlib.util.find_spec("torch") is None:
        skipped = [name for name in names if "torch" in name.split()]
        if skipped:
            print(f"Skipped: {', '.join(skipped)}: PyTorch is not installed (pip install torch).")
        names = [name for name in names if name not in skipped]
    return names


def times(values, digits):
    """The median, the least and the most of some milliseconds, rounded to so many digits."""
    return {
        "median_ms": round(statistics.median(values), digits),
        "min_ms": round(min(values), digits),
        "max_ms": round(max(values), digits),
    }


def record(args, contenders, /, **numbers):
    """Writes the numbers of a benchmark to `--output`, if that is given.

    Args:
        args: the parsed flags.
        contenders: dict of those that played, as `play` returns it; the first one's process tells
            commit and device.
        numbers: what was measured.
    """
    if not args.output:
        return
    from lib import results

    first = next(iter(contenders.values())).facts
    versions = {}
    for contender in contenders.values():
        versions |= contender.facts.get("versions", {})
    results.write_json(
        args.output,
        {
            "command": shlex.join(
                ["python3", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
            ),
            "commit": first["commit"],
            "date": time.strftime("%Y-%m-%d"),
            "device": first["device"],
            "versions": versions,
            "rounds": args.rounds,
            "steps": args.steps,
            **numbers,
        },
    )


def check_output(path):
    """Raises UserError unless a file can be written at `path`, or `path` is None."""
    if path and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        raise UserError(f"cannot write '{path}': expected a file name in a writable folder")
