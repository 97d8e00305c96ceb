"""The flags of all scripts.

A script builds its parser and parses before it imports Keras, so that `--help` and a wrong flag
answer at once; nothing in this module's top level may import Keras.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lib.files.errors import fail
from lib.run.program import load_keras

DASHES = "\N{EN DASH}\N{EM DASH}"  # e-books print these for one or two hyphens


class Parser(argparse.ArgumentParser):
    """Answers a wrong flag with one line, and shows the script's docstring as it is written.

    A flag that was pasted from an e-book may begin with an en dash or an em dash.
    """

    def __init__(self, doc: str | None) -> None:
        super().__init__(
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.setting_names: list[str] = []

    def add_setting(self, *names: str, **options: Any) -> None:
        """`add_argument` for a hyper-parameter.

        The record of a run and its weight files have the value, and a continuation must not change
        it, see `program.Run`.
        """
        self.setting_names.append(self.add_argument(*names, **options).dest)

    # Any, because the hints of argparse have several forms of this method.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses `args`; without them `sys.argv`, in which it also corrects the dashes."""
        self._check_defaults()
        if args is None:
            args = sys.argv[1:] = [self._with_hyphens(word) for word in sys.argv[1:]]
        else:
            args = [self._with_hyphens(word) for word in args]
        return super().parse_known_args(args, namespace)

    def _check_defaults(self):
        """Refuses constants at the top of a script that their flags would refuse."""
        for action in self._actions:
            default = action.default
            if default is None or not action.option_strings:
                continue
            if action.choices and default not in action.choices:
                expected = f"one of {', '.join(map(str, action.choices))}, found '{default}'"
                self.error(f"default of {action.option_strings[-1]}: expected {expected}")
            if callable(action.type):
                parts = default if isinstance(default, (list, tuple)) else (default,)
                try:
                    action.type(",".join(map(str, parts)))
                except argparse.ArgumentTypeError as error:
                    self.error(f"default of {action.option_strings[-1]}: {error}")

    def _with_hyphens(self, word):
        """Returns a word that begins with a dash as the flag or negative number that it means."""
        rest = word.lstrip(DASHES + "-")
        if not rest or word[0] not in DASHES:
            return word
        name = rest.partition("=")[0]
        if "--" + name in self._option_string_actions:
            return "--" + rest
        short = "-" + rest[0] in self._option_string_actions
        return "-" + rest if short or rest[0] in ".0123456789" else "--" + rest

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (--help lists the flags)")


class _ScriptParser(Parser):
    """Parses, then loads Keras, so that a wrong flag does not wait for it."""

    def parse_args(self, *args, check=None, **kwargs):
        """`check` gets the parsed flags before the wait; it may complete them, or call `error`."""
        parsed = super().parse_args(*args, **kwargs)
        parsed.setting_names = self.setting_names
        if check is not None:
            check(parsed)
        devices = getattr(parsed, "devices", 1)
        if devices > 1 and parsed.batch_size % devices:
            self.error(
                f"--devices {devices} must divide the batch size, which is {parsed.batch_size}"
            )
        if hasattr(parsed, "images"):
            _check_images(self, parsed)
        if getattr(parsed, "export", None) and getattr(parsed, "images", None):
            self.error("--export writes trained weights; leave out --images")
        load_keras()
        return parsed


Value = TypeVar("Value")


def reader(
    convert: Callable[[str], Value], fits: Callable[[Value], bool], expected: str
) -> Callable[[str], Value]:
    """Returns a function for argparse that reads the value of a flag.

    Args:
        convert: makes the value of the text, or raises a ValueError.
        fits: function of the value that says whether it may be given.
        expected: what may be given, for the error message.
    """

    def read(text):
        try:
            value = convert(text)
            if fits(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected {expected}, found '{text}'")

    return read


def floats(text: str) -> list[float]:
    """Returns the numbers in a text with commas; raises ValueError if it has others."""
    return [float(part) for part in text.split(",")]


positive_int = reader(int, lambda value: value >= 1, "a whole number of at least 1")
seed_int = reader(int, lambda value: 0 <= value < 2**31, "a whole number from 0 to 2147483647")
finite = reader(float, math.isfinite, "a finite number")
positive = reader(float, lambda value: 0 < value < math.inf, "a number above 0")
not_negative = reader(float, lambda value: 0 <= value < math.inf, "a number of at least 0")
dropout_rate = fraction = reader(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")
seconds = reader(float, lambda value: 0 <= value < math.inf, "seconds of at least 0")
three_weights = reader(
    floats,
    lambda values: len(values) == 3 and all(0 <= value < math.inf for value in values),
    "three numbers of at least 0, as in 1,10,0.5",
)
chapters = reader(
    lambda text: sorted({int(part) for part in text.split(",")}),
    lambda numbers: set(numbers) <= set(range(1, 11)),
    "numbers of chapters, 1 to 10, separated by commas",
)
digit = reader(list("0123456789").index, lambda value: True, "a digit from 0 to 9")


def _add_seed_and_folder(parser):
    parser.add_argument(
        "--seed", type=seed_int, default=0, help="random seed (default %(default)s)"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path(), help="output directory (default: current)"
    )


def _add_resume(parser):
    parser.add_argument(
        "--resume", action="store_true", help="continue an interrupted run from its last checkpoint"
    )


def _add_summary(parser):
    parser.add_argument("--summary", action="store_true", help="print the layers of the networks")


def add_record(parser: argparse.ArgumentParser) -> None:
    """Adds `--record`: "auto" without a value, or the kind of video."""
    parser.add_argument(
        "--record",
        nargs="?",
        const="auto",
        choices=("auto", "mp4", "gif"),
        help="write a video of the trained agent: mp4, or gif where ffmpeg is missing",
    )


def _add_export(parser):
    parser.add_argument(
        "--export",
        type=reader(Path, lambda path: path.suffix == ".onnx", "a file name that ends in .onnx"),
        metavar="FILE.onnx",
        help="write the pretrained network, or the weights that another flag names, as ONNX; "
        "do not train (requirements-export.txt)",
    )


def training_parser(
    doc: str | None, *, batch_size: int, train_steps: int | None = None, epochs: int | None = None
) -> Parser:
    """A parser with the flags that every training script shares; parsing also loads Keras.

    Args:
        doc: the script's docstring, shown by `--help`.
        batch_size: default of `--batch-size`.
        train_steps, epochs: exactly one of them, the default budget; it names the flag.
    """
    parser = _ScriptParser(doc)
    if train_steps is not None:
        budget, what = "--train-steps", "training steps"
    else:
        budget, what = "--epochs", "passes over the training data"
    default = epochs if train_steps is None else train_steps
    parser.add_argument(
        budget, type=positive_int, default=default, help=f"{what} (default {default})"
    )
    parser.add_argument(
        "--batch-size", type=positive_int, default=batch_size, help=f"(default {batch_size})"
    )
    _add_seed_and_folder(parser)
    _add_resume(parser)
    _add_export(parser)
    parser.add_argument(
        "--mixed-precision",
        action="store_true",
        help="compute in bfloat16 with float32 weights: faster if the GPU or processor has "
        "instructions for it, otherwise many times slower",
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="measure the loaded or trained weights"
    )
    parser.add_argument("--show", action="store_true", help="also open the figures in windows")
    _add_summary(parser)
    parser.add_argument(
        "--devices",
        type=positive_int,
        default=1,
        metavar="N",
        help="divide each batch between N GPUs, counted over all machines (default 1)",
    )
    parser.add_argument(
        "--steps-per-execution",
        type=positive_int,
        metavar="N",
        help="training steps in one call of the compiled function (default: 1 on processors, "
        "else 8)",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write losses and figures for TensorBoard (requirements-tensorboard.txt)",
    )
    return parser


def gan_parser(doc: str | None, *, batch_size: int, train_steps: int, ema: float) -> Parser:
    """`training_parser` with the further flag of the GANs.

    Args:
        ema: default of `--ema`, see `lib.averaging.MovingAverage`.
    """
    parser = training_parser(doc, batch_size=batch_size, train_steps=train_steps)
    parser.add_setting(
        "--ema",
        type=fraction,
        default=ema,
        metavar="DECAY",
        help="draw and save a moving average of the generator's weights; 0 switches it off "
        f"(default {ema:g})",
    )
    return parser


def vae_parser(doc: str | None, *, batch_size: int, epochs: int) -> Parser:
    """`training_parser` with the further flags of the variational autoencoders."""
    parser = training_parser(doc, batch_size=batch_size, epochs=epochs)
    parser.add_argument("-w", "--weights", metavar="FILE", help="load these weights, do not train")
    parser.add_setting(
        "-m", "--mse", action="store_true", help="squared error instead of cross-entropy"
    )
    parser.add_setting(
        "--latent-dim", type=positive_int, default=2, help="numbers in a code (default 2)"
    )
    return parser


def episodes_parser(
    doc: str | None, *, env_id: str, episodes: int, what: str = "episodes", keras: bool = True
) -> Parser:
    """A parser with the flags that every reinforcement learning script shares.

    Args:
        doc: the script's docstring, shown by `--help`.
        env_id: the default environment, the one positional argument.
        episodes: default of `--episodes`.
        what: the help text of `--episodes`.
        keras: parsing also loads Keras; False for a script that does not use it.
    """
    parser = _ScriptParser(doc) if keras else Parser(doc)
    parser.add_argument("env_id", nargs="?", default=env_id, help=f"(default {env_id})")
    parser.add_argument(
        "--episodes", type=positive_int, default=episodes, help=f"{what} (default {episodes})"
    )
    _add_seed_and_folder(parser)
    parser.set_defaults(show=False, mixed_precision=False, devices=1)
    return parser


def agents_parser(doc: str | None, *, env_id: str, episodes: int, what: str = "episodes") -> Parser:
    """`episodes_parser` with the further flags of the agents that learn by networks."""
    parser = episodes_parser(doc, env_id=env_id, episodes=episodes, what=what)
    parser.add_argument(
        "--seeds", type=positive_int, default=1, help="number of runs, with consecutive seeds"
    )
    _add_resume(parser)
    _add_export(parser)
    add_record(parser)
    parser.add_argument("--show", action="store_true", help="watch in a window")
    _add_summary(parser)
    return parser


LARGEST_IMAGE = 1024  # height and width


def check_size(parser: argparse.ArgumentParser, size: int, multiple: int) -> None:
    """Refuses constants at the top of a script that do not fit together.

    Args:
        parser: from `training_parser`.
        size: height and width of the images.
        multiple: what the strides of the networks demand of the size.
    """
    if size % multiple:
        parser.error(
            f"images of {size} x {size} pixels do not fit the networks: expected a multiple of "
            f"{multiple}, because they halve the size {multiple.bit_length() - 1} times; change "
            "the size or the number of layers at the top of the script"
        )


def add_images(
    parser: argparse.ArgumentParser,
    size: int,
    multiple: int,
    classes: bool = False,
    color: bool = True,
    folders: int = 1,
) -> None:
    """Adds the flags `--images`, `--image-size` and `--color`, see `lib.images`.

    Args:
        parser: from `training_parser`.
        size: default of `--image-size`.
        multiple: what the strides of the networks demand of the size.
        classes: the class folders are labels; also adds `--class`.
        color: whether there is a choice between gray and color.
        folders: the number of folders.
    """
    check_size(parser, size, multiple)
    group = parser.add_argument_group("your own images")
    layout = " with a folder for each class" if classes else ""
    group.add_argument(
        "--images",
        type=Path,
        nargs=None if folders == 1 else folders,
        metavar="FOLDER" if folders == 1 else ("SOURCE", "TARGET"),
        help=f"train on the images in {'this folder' if folders == 1 else 'these folders'}{layout}",
    )
    group.add_argument(
        "--image-size",
        type=reader(
            int,
            lambda value: value % multiple == 0 and 2 * multiple <= value <= LARGEST_IMAGE,
            f"a multiple of {multiple} from {2 * multiple} to {LARGEST_IMAGE}",
        ),
        metavar="N",
        help=f"scale and crop them to N x N pixels (default {size})",
    )
    if color:
        group.add_argument("--color", action="store_true", help="in color (default: gray)")
    if classes:
        group.add_argument(
            "--class", dest="class_name", metavar="NAME", help="draw this class (default: all)"
        )


def _check_images(parser, args):
    """Refuses flags of `add_images` that do not go together."""
    if not args.images:
        for name in ("image_size", "color"):
            if getattr(args, name, None):
                parser.error(f"--{name.replace('_', '-')} needs --images")
        return
    # Only the GANs load a generator, and they measure MNIST digits.
    if getattr(args, "generator", None):
        parser.error("--generator draws and does not train; leave out --images")
    if args.evaluate and hasattr(args, "generator"):
        parser.error("--evaluate measures MNIST digits only; leave it out with --images")
    if getattr(args, "cgan", None) or getattr(args, "digit", None) is not None:
        parser.error("--cgan and --digit are for MNIST; leave them out with --images")
