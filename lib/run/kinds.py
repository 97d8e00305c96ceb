"""What the value of a flag, or of a constant at the top of a script, may be."""

import argparse
import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lib.files.errors import fail

Value = TypeVar("Value")


@dataclass(frozen=True)
class Reader(Generic[Value]):
    """Reads the value of a flag for argparse."""

    convert: Callable[[str], Value]  # makes the value of the text, or raises a ValueError
    fits: Callable[[Value], bool]  # whether the value may be given
    expected: str  # what may be given, for the error message

    def __call__(self, text: str) -> Value:
        try:
            value = self.convert(text)
            if self.fits(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected {self.expected}, found '{text}'")

    def takes(self, constant: object) -> bool:
        """Whether a constant, as it is written in a script, may have the value."""
        try:
            self(repr(constant))
        except argparse.ArgumentTypeError:
            return False
        return True


reader = Reader


def floats(text: str) -> list[float]:
    """Returns the numbers in a text with commas; raises ValueError if it has others."""
    return [float(part) for part in text.split(",")]


def _literal(text):
    """The value of a Python literal; raises ValueError for another text."""
    try:
        return ast.literal_eval(text)
    except SyntaxError:
        raise ValueError from None


def _text(pattern, expected):
    """A reader of Python texts that match a regular expression."""
    return reader(
        _literal,
        lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value)),
        expected,
    )


positive_int = reader(int, lambda value: value >= 1, "a whole number of at least 1")
whole = reader(int, lambda value: value >= 0, "a whole number of at least 0")
seed_int = reader(int, lambda value: 0 <= value < 2**31, "a whole number from 0 to 2147483647")
finite = reader(float, math.isfinite, "a finite number")
positive = reader(float, lambda value: 0 < value < math.inf, "a number above 0")
not_negative = seconds = reader(
    float, lambda value: 0 <= value < math.inf, "a number of at least 0"
)
dropout_rate = fraction = reader(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")
share = reader(float, lambda value: 0 < value <= 1, "a number above 0 and at most 1")
percent = reader(float, lambda value: 0 <= value <= 100, "a number from 0 to 100")
digit = reader(list("0123456789").index, lambda value: True, "a digit from 0 to 9")
truth = reader(_literal, lambda value: isinstance(value, bool), "True or False")
word = _text(r"[\w./:-]+", "a text of letters, digits, dots, hyphens and underscores")
layers = _text(r"[1-9]\d*(-[1-9]\d*)*", "a text of numbers of units, as '256-256'")
axes = reader(
    _literal,
    lambda pair: isinstance(pair, tuple) and pair[:1] in ((-1,), (None,)) and len(pair) == 2,
    "an axis, -1 or None, and whether it is per image",
)

# A kind of value, and which values of this kind make a constant.
ONE, PAIR = "", "one or a pair, each "
THREE, SEVERAL = "a tuple of three, each ", "a tuple that is not empty, each "
TABLE = "a dictionary, each value "
# The kind and the form of each constant. The first row holds whose pattern is the whole name, or
# the name of a script, a space and the name.
RULES: list[tuple[str, Reader[Any], str]] = [
    (r"SEED", seed_int, ONE),
    (r"IMAGE_SHAPE", positive_int, THREE),
    (r"KERNEL_SIZE|POOL_SIZE", positive_int, PAIR),
    (r"KERNEL_SIZES|BOOK_EPISODES", positive_int, TABLE),
    (r"mlp.* (HIDDEN_)?LAYERS", layers, ONE),
    (r"(cnn-mnist|cnn-functional|resnet).* FILTERS|stackedgan.* \w+_FILTERS", positive_int, ONE),
    (r"(\w+_)?FILTERS|HIDDEN_LAYERS", positive_int, SEVERAL),
    (r"(\w+_)?(SIZE|STEPS|EPOCHS|EPISODES|WINS|IMAGES|LAYERS|UNITS|SAMPLES)", positive_int, ONE),
    (r"NUM_\w+|N_\w+|MEASURED_\w+|(\w+_)?(INTERVAL|EVERY|CELLS|BLOCKS)", positive_int, ONE),
    (r"N|DEPTH|FEATURES|GROWTH_RATE|HIDDEN|JOINT_FROM|PATIENCE|PIXELS", positive_int, ONE),
    (r"ROWS|COLUMNS|SETS|SHOWN|VERSION", positive_int, ONE),
    (r"START|HOLE|\S*mnist\S* SHIFT", whole, ONE),
    (r"SHIFT|(\w+_)?DROPOUT|EMA|MOMENTUM|GAMMA\w*|WARM_UP|LABEL_SMOOTHING", fraction, ONE),
    (r"MILESTONES", fraction, SEVERAL),
    (r"(\w+_)?LEARNING_RATE|COSINE_START|(CODE|Z)_STD|CLIP_VALUE|GRID_LIMIT", positive, ONE),
    (r"densenet.* EPSILON|SWEEP(_\d)?", positive, ONE),
    (r"FACTORS", positive, SEVERAL),
    (r"LEARNING_RATES", positive, TABLE),
    (r"(\w+_)?EPSILON(_\w+)?|COMPRESSION|RATE_FACTOR|RATE_EXPONENT|BOOK_RATE", share, ONE),
    (r"LOSS_WEIGHTS", not_negative, THREE),
    (r"NOISE_LEVELS", not_negative, SEVERAL),
    (r"(\w+_)?WEIGHT(_\d)?|(WEIGHT_)?DECAY|L2|R1|PENALTY|BETA|DELAY", not_negative, ONE),
    (r"LEAKY_SLOPE|MIN_DELTA|NOISE_STD", not_negative, ONE),
    (r"GOAL|NOISE_MEAN", finite, ONE),
    (r"REWARDS", finite, TABLE),
    (r"ACCURACY", percent, ONE),
    (r"RELU", truth, ONE),
    (r"NORMALIZATIONS", axes, TABLE),
    (r"SWEEP_COLUMNS|ACTIONS", word, SEVERAL),
    (r"FILES", word, TABLE),
    (r"(\w+_)?(NAME|ID|FILE)|OPTIMIZER|CELL|NOISE_HEAD|CODE_(LOSS|PRIOR)", word, ONE),
]
SETTINGS = re.compile("BOOK|ONE_CYCLE|A2C")  # dictionaries of settings with their own names


def rule(script: str, name: str) -> tuple[Reader[Any], str] | None:
    """The kind and the form of a constant of a script, None if RULES has no row for it."""
    for pattern, kind, form in RULES:
        if re.fullmatch(pattern, name) or re.fullmatch(pattern, f"{script} {name}"):
            return kind, form
    return None


def check_constants(module: dict[str, Any]) -> None:
    """Checks what a reader may edit at the top of a script, before it takes effect.

    A value that its rule refuses ends the program with one line and exit code 2.

    Args:
        module: {name: value} of the script. Only names in capitals are constants.
    """
    path = Path(module.get("__file__") or "").resolve()
    if not path.parent.name.startswith("chapter"):  # a tool, whose constants nobody edits
        return
    script = path.stem
    for name, value in module.items():
        if SETTINGS.fullmatch(name):
            if not isinstance(value, dict):
                fail(f"{name}: expected a dictionary of settings, found {value!r}; change it there")
            for key, part in value.items():
                _check(script, f"{name}, {key}", str(key).upper(), part)
        elif name == "SWEEP" and "SWEEP_COLUMNS" in module:
            _check_rows(script, value, module["SWEEP_COLUMNS"])
        elif name.isupper():
            _check(script, name, name, value)


def _check_rows(script, rows, columns):
    """Checks a table of the book: settings, then two accuracies in percent."""
    columns = (*columns, "accuracy", "accuracy")
    for number, row in enumerate(rows if isinstance(rows, list) and rows else [rows], start=1):
        if not isinstance(row, tuple) or len(row) != len(columns):
            expected = f"a tuple of {len(columns) - 2} settings and 2 accuracies"
            fail(f"SWEEP, row {number}: expected {expected}, found {row!r}; change it there")
        for column, value in zip(columns, row, strict=True):
            _check(script, f"SWEEP, row {number}, {column}", column.upper(), value)


def _check(script, shown, name, value):
    """Ends the program if the rule of `name` refuses the value; `shown` is its name for readers."""
    kind, form = rule(script, name) or (None, ONE)
    several = isinstance(value, (list, tuple))
    if form == TABLE:
        parts = [*value.values()] if isinstance(value, dict) else []
    elif several:
        length = {ONE: 0, PAIR: 2, THREE: 3, SEVERAL: len(value)}[form]
        parts = value if len(value) == length else []
    else:
        parts = [value] if form in (ONE, PAIR) else []
    if kind is not None and not (parts and all(map(kind.takes, parts))):
        fail(f"{shown}: expected {form}{kind.expected}, found {value!r}; change it in the script")
