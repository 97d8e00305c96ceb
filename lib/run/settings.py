"""Hyper-parameters in a frozen dataclass, each of which is also a flag.

A script declares its settings, adds their flags and reads them:

    @dataclass(frozen=True)
    class Settings:
        gamma: float = setting(0.99, "discount of later rewards", cli.fraction)

    add_flags(parser, Settings)             # --gamma 0.9
    settings = chosen(args, Settings())     # the defaults, changed by the flags
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from lib.run import flags

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


def setting(default: Any, help: str, read: Callable[[str], Any] = flags.not_negative) -> Any:
    """Returns a dataclass field.

    Args:
        default: value without the flag; a bool makes a pair of flags, --name and --no-name.
        help: what the field means, for `--help`.
        read: reads the text of the flag, see `cli.reader`; not used for a bool.
    """
    return field(default=default, metadata={"help": help, "read": read})


def add_flags(parser: argparse.ArgumentParser, settings: type[DataclassInstance]) -> None:
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


def changed(args: argparse.Namespace, default: DataclassInstance) -> dict[str, Any]:
    """Returns a dict of the fields that flags set to another value than in `default`."""
    given = {each.name: getattr(args, each.name) for each in fields(default)}
    return {
        name: value
        for name, value in given.items()
        if value is not None and value != getattr(default, name)
    }


def chosen(args: argparse.Namespace, default: Settings) -> Settings:
    """Returns `default` with the fields that flags set."""
    return replace(default, **changed(args, default))
