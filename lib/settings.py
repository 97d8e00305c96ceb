"""Hyper-parameters in a frozen dataclass, each of which is also a flag.

@dataclass(frozen=True)
class Settings:
    gamma: float = setting(0.99, "discount of later rewards", cli.fraction)

add_flags(parser, Settings)             # --gamma 0.9
settings = chosen(args, Settings())     # the defaults, changed by the flags
"""

import argparse
from dataclasses import field, fields, replace

from lib import cli


def setting(default, help, read=cli.not_negative):
    """Returns a dataclass field.

    Args:
        default: value without the flag; a bool makes a pair of flags, --name and --no-name.
        help: what the field means, for `--help`.
        read: reads the text of the flag, see `cli.reader`; not used for a bool.
    """
    return field(default=default, metadata={"help": help, "read": read})


def add_flags(parser, settings):
    """Adds a flag for each field of the dataclass `settings`; without it, the default holds."""
    group = parser.add_argument_group("settings, for experiments")
    for each in fields(settings):
        flag = f"--{each.name.replace('_', '-')}"
        text = f"{each.metadata['help']} (default {each.default})"
        if isinstance(each.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        else:
            group.add_argument(flag, type=each.metadata["read"], metavar="X", help=text)
        group.set_defaults(**{each.name: None})


def changed(args, default):
    """Returns a dict of the fields that flags set to another value than in `default`."""
    given = {each.name: getattr(args, each.name) for each in fields(default)}
    return {
        name: value
        for name, value in given.items()
        if value is not None and value != getattr(default, name)
    }


def chosen(args, default):
    """Returns `default` with the fields that flags set."""
    return replace(default, **changed(args, default))
