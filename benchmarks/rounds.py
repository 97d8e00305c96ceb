"""Measures contenders side by side, in rounds. One contender computes at a time.

Every contender has its own process, because the thread pools of TensorFlow and PyTorch disturb each
other. In each round all contenders play once (A B C, A B C, ...). A machine that slows down thus
slows down all of them.
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

from lib.files.errors import UserError
from lib.run import flags, kinds

PRECISIONS = ["float32", "bfloat16"]


def parser(doc, number_of_rounds, steps):
    """A parser with the flags of every benchmark, with the defaults of `--rounds` and `--steps`."""
    made = flags.Parser(doc)
    made.add_argument(
        "--rounds",
        type=kinds.positive_int,
        default=number_of_rounds,
        help=f"(default {number_of_rounds})",
    )
    made.add_argument(
        "--steps", type=kinds.positive_int, default=steps, help=f"steps a round (default {steps})"
    )
    made.add_argument("--output", type=Path, metavar="FILE.json", help="write the numbers there")
    made.add_argument("--contender", help=argparse.SUPPRESS)  # be this one
    return made


def names_out_of(known):
    """Returns a reader of names of `known` separated by commas, for argparse."""
    return kinds.reader(
        lambda text: list(dict.fromkeys(text.split(","))),
        lambda names: set(names) <= set(known),
        f"names out of {', '.join(known)} separated by commas",
    )


def add_precisions(parser):
    """Adds `--precisions` to a benchmark whose contenders end in the name of one."""
    parser.add_argument(
        "--precisions",
        type=kinds.reader(
            lambda text: text.split(","),
            lambda names: "float32" in names and set(names) <= set(PRECISIONS),
            "float32 or float32,bfloat16",
        ),
        default=PRECISIONS,
        metavar="NAMES",
        help="only float32 if the processor has no instructions for bfloat16, which then "
        f"takes many times as long (default {','.join(PRECISIONS)})",
    )


def facts(*modules):
    """The device, the commit, and the versions of Python and of some modules."""
    from lib.files import records

    versions = {module.__name__: module.__version__ for module in modules}
    return {
        "device": records.device(with_keras="keras" in sys.modules),
        "commit": records.COMMIT,
        "versions": {"python": sys.version.split()[0], **versions},
    }


def milliseconds(function, steps):
    """Milliseconds per step of a call of `function`, which makes that many steps."""
    started = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - started) / steps


def contend(ready):
    """The process of a contender: prepares, then plays a round for each line of stdin.

    It replies in json: first the facts, then the measured values of each round.

    Args:
        ready: function that returns (facts, play): facts about the contender, and a function that
            plays one round and returns {variant: measured value}.
    """
    from lib.files import records

    replies, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not a reply
    facts, play = ready()
    print(json.dumps(facts), file=replies, flush=True)
    for _ in sys.stdin:
        reply = {"values": play(), "peak_rss_mb": records.peak_rss_mb()}
        print(json.dumps(reply), file=replies, flush=True)


class Contender:
    """A contender as the main program sees it: a process that computes on request.

    Args:
        script: the benchmark's `__file__`.
        name: value of the flag `--contender`, by which the process knows its part.
        flags: dict of further flags and their values.
        backend: of Keras in the process.
    """

    def __init__(self, script, name, flags, backend="tensorflow"):
        self.name = name
        self.facts = {}
        self.values = {}
        self.peak_rss_mb = 0
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
                # TensorFlow would reserve the whole memory of the GPU.
                "TF_FORCE_GPU_ALLOW_GROWTH": "true",
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
        with contextlib.suppress(BrokenPipeError):  # it has ended, and reply() raises the reason
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
    """The median, the least and the greatest of some milliseconds, rounded to `digits`."""
    return {
        "median_ms": round(statistics.median(values), digits),
        "min_ms": round(min(values), digits),
        "max_ms": round(max(values), digits),
    }


def record(args, contenders, /, **numbers):
    """Writes the numbers of a benchmark to `--output`, if that is given.

    Args:
        args: the parsed flags.
        contenders: dict that `play` returned. Commit and device are those of the first contender.
        numbers: what was measured.
    """
    if not args.output:
        return
    from lib.files import records

    first = next(iter(contenders.values())).facts
    versions = {}
    for contender in contenders.values():
        versions |= contender.facts.get("versions", {})
    records.write_json(
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
