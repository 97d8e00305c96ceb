"""The flags of all scripts.

A script builds its parser and parses before it imports Keras, so that `--help` and a wrong flag
answer at once; nothing in this module's top level may import Keras.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from lib.files.errors import fail
from lib.run import console
from lib.run.kinds import check_constants, fraction, positive_int, reader, seed_int
from lib.run.program import load_keras

DASHES = "\N{EN DASH}\N{EM DASH}"  # e-books print these for one or two hyphens
LARGEST_IMAGE = 1024  # height and width


class Parser(argparse.ArgumentParser):
    """Answers a wrong flag or constant with one line, and shows the script's docstring as it is.

    A flag that was pasted from an e-book may begin with an en dash or an em dash. With `keras`,
    parsing also loads Keras.
    """

    def __init__(self, doc: str | None, keras: bool = False) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(description=doc, formatter_class=form, allow_abbrev=False)
        self.keras = keras
        self.setting_names: list[str] = []
        check_constants(vars(sys.modules["__main__"]))

    def add_setting(self, *names: str, **options: Any) -> None:
        """`add_argument` for a hyper-parameter.

        The record of a run and its weight files have the value, and a continuation must not change
        it, see `program.Run`.
        """
        self.setting_names.append(self.add_argument(*names, **options).dest)

    # Any, because the hints of argparse have several forms of these methods.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses `args`; without them `sys.argv`, in which it also corrects the dashes."""
        for action in self._actions:
            if action.choices and action.default not in (None, *action.choices):
                known = ", ".join(map(str, action.choices))
                what = f"{action.dest.upper()}, the default of {action.option_strings[-1]}"
                self.error(f"{what}: expected one of {known}, found '{action.default}'")
        words = [self._with_hyphens(word) for word in (sys.argv[1:] if args is None else args)]
        if args is None:
            sys.argv[1:] = words
        return super().parse_known_args(words, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None, *, check: Any = None) -> Any:
        """Parses, then loads Keras, so that a wrong flag does not wait for it.

        `check` is called with the flags before the wait; it may complete them, or call `error`.
        """
        parsed = super().parse_args(args, namespace)
        parsed.setting_names = self.setting_names
        settings = {name: getattr(parsed, name) for name in self.setting_names}
        console.same_settings = partial(self._same_settings, settings)
        if check is not None:
            check(parsed)
        given = vars(parsed)
        devices, batch_size = given.get("devices", 1), given.get("batch_size", 0)
        if self.keras and devices > 1 and batch_size % devices:
            self.error(f"--devices {devices} must divide the batch size, which is {batch_size}")
        if given.get("images"):
            self._check_images(given)
        for name in ("image_size", "color"):
            if given.get(name) and not given.get("images"):
                self.error(f"--{name.replace('_', '-')} needs --images")
        if self.keras:
            load_keras()
        return parsed

    def _same_settings(self, settings, words):
        """Whether the flags `words` give each hyper-parameter its value in `settings`."""
        other, _ = super().parse_known_args(words)
        return all(getattr(other, name) == value for name, value in settings.items())

    def _check_images(self, given):
        """Refuses flags that do not go together with --images."""
        if given["export"]:
            self.error("--export writes trained weights; leave out --images")
        # Only the GANs load a generator, and they measure MNIST digits.
        if given.get("generator"):
            self.error("--generator draws and does not train; leave out --images")
        if given["evaluate"] and "generator" in given:
            self.error("--evaluate measures MNIST digits only; leave it out with --images")
        if given.get("cgan") or given.get("digit") is not None:
            self.error("--cgan and --digit are for MNIST; leave them out with --images")

    def _with_hyphens(self, word):
        """Returns a word that begins with a dash as the flag or negative number that it means."""
        rest = word.lstrip(DASHES + "-")
        if not rest or word[0] not in DASHES:
            return word
        if "--" + rest.partition("=")[0] in self._option_string_actions:
            return "--" + rest
        short = "-" + rest[0] in self._option_string_actions
        return "-" + rest if short or rest[0] in ".0123456789" else "--" + rest

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (--help lists the flags)")


def add_record(parser: argparse.ArgumentParser) -> None:
    """Adds `--record`; older commands name its kind."""
    text = "write a video of the trained agent, agent.gif"
    parser.add_argument("--record", nargs="?", const="gif", choices=("gif",), help=text)


def _add_seed_and_folder(parser):
    add = parser.add_argument
    add("--seed", type=seed_int, default=0, help="random seed (default %(default)s)")
    add("--output-dir", type=Path, default=Path(), help="output directory (default: current)")


def _add_checkpoint_and_export(parser):
    add = parser.add_argument
    text = "continue an interrupted run from its last checkpoint"
    add("--resume", action="store_true", help=text)
    add(
        "--export",
        type=reader(Path, lambda path: path.suffix == ".onnx", "a file name that ends in .onnx"),
        metavar="FILE.onnx",
        help="write the pretrained network, or the weights that another flag names, as ONNX; "
        "do not train (requirements-export.txt)",
    )
    add("--summary", action="store_true", help="print the layers of the networks")


def training_parser(
    doc: str | None, *, batch_size: int, train_steps: int | None = None, epochs: int | None = None
) -> Parser:
    """A parser with the flags that every training script shares; parsing also loads Keras.

    Args:
        doc, batch_size: the script's docstring, and the default of `--batch-size`.
        train_steps, epochs: exactly one of them, the default budget; it names the flag.
    """
    parser = Parser(doc, keras=True)
    number = partial(parser.add_argument, type=positive_int)
    switch = partial(parser.add_argument, action="store_true")
    # A script with two recipes replaces the defaults, so the texts do not take them from there.
    if epochs is None:
        text = f"training steps (default {train_steps})"
        number("--train-steps", default=train_steps, help=text)
    else:
        text = f"passes over the training data (default {epochs})"
        number("--epochs", default=epochs, help=text)
    number("--batch-size", default=batch_size, help=f"(default {batch_size})")
    _add_seed_and_folder(parser)
    _add_checkpoint_and_export(parser)
    switch(
        "--mixed-precision",
        help="compute in bfloat16 with float32 weights: faster if the GPU or processor has "
        "instructions for it, otherwise many times slower",
    )
    switch("--evaluate", help="measure the loaded or trained weights")
    switch("--show", help="also open the figures in windows")
    text = "divide each batch between N GPUs, counted over all machines (default 1)"
    number("--devices", default=1, metavar="N", help=text)
    text = "training steps in one call of the compiled function (default: 1 on processors, else 8)"
    number("--steps-per-execution", metavar="N", help=text)
    text = "also write losses and figures for TensorBoard (requirements-tensorboard.txt)"
    switch("--tensorboard", help=text)
    return parser


def gan_parser(doc: str | None, *, batch_size: int, train_steps: int, ema: float) -> Parser:
    """`training_parser` with `--ema`, see `lib.engine.averaging`; `ema` is its default."""
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
    add = parser.add_setting
    add("-m", "--mse", action="store_true", help="squared error instead of cross-entropy")
    add("--latent-dim", type=positive_int, default=2, help="numbers in a code (default 2)")
    return parser


def episodes_parser(
    doc: str | None, *, env_id: str, episodes: int, what: str = "episodes", keras: bool = True
) -> Parser:
    """A parser with the flags that every reinforcement learning script shares.

    Args:
        doc, keras: see `Parser`.
        env_id: the default environment, the one positional argument.
        episodes, what: default and help text of `--episodes`.
    """
    parser = Parser(doc, keras)
    add = parser.add_argument
    add("env_id", nargs="?", default=env_id, help=f"(default {env_id})")
    add("--episodes", type=positive_int, default=episodes, help=f"{what} (default {episodes})")
    _add_seed_and_folder(parser)
    parser.set_defaults(show=False, mixed_precision=False, devices=1)
    return parser


def agents_parser(doc: str | None, *, env_id: str, episodes: int, what: str = "episodes") -> Parser:
    """`episodes_parser` with the further flags of the agents that learn by networks."""
    parser = episodes_parser(doc, env_id=env_id, episodes=episodes, what=what)
    add = parser.add_argument
    add("--seeds", type=positive_int, default=1, help="number of runs, with consecutive seeds")
    _add_checkpoint_and_export(parser)
    add_record(parser)
    add("--show", action="store_true", help="watch in a window")
    return parser


def check_size(parser: argparse.ArgumentParser, size: int, multiple: int) -> None:
    """Refuses images of size x size pixels, which must be a multiple for a network's strides."""
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
    """Adds the flags `--images`, `--image-size` and `--color`, see `lib.run.images`.

    Args:
        parser: from `training_parser`.
        size, multiple: the default of `--image-size`, see `check_size`.
        classes: the class folders are labels; also adds `--class`.
        color: whether there is a choice between gray and color.
        folders: the number of folders, 1 or 2.
    """
    check_size(parser, size, multiple)
    add = parser.add_argument_group("your own images").add_argument
    several = folders > 1
    text = f"train on the images in {'these folders' if several else 'this folder'}"
    add(
        "--images",
        type=Path,
        nargs=folders if several else None,
        metavar=("SOURCE", "TARGET") if several else "FOLDER",
        help=f"{text} with a folder for each class" if classes else text,
    )
    add(
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
        add("--color", action="store_true", help="in color (default: gray)")
    if classes:
        add("--class", dest="class_name", metavar="NAME", help="draw this class (default: all)")
