"""Hyper-parameters in a frozen dataclass, each of which is also a flag.

A script declares its settings, adds their flags and reads them:

    @dataclass(frozen=True)
    class Settings:
        gamma: float = setting(0.99, "discount of later rewards", kinds.fraction)

    add_flags(parser, Settings)             # --gamma 0.9
    settings = chosen(args, Settings())     # the defaults, changed by the flags
"""

from __future__ import annotations

import argparse
from dataclasses import field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from lib.run import kinds

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


def setting(default: Any, help: str, read: kinds.Reader[Any] = kinds.not_negative) -> Any:
    """Returns a dataclass field with a default, a text for `--help` and a reader of its flag.

    A default that is a bool makes a pair of flags, --name and --no-name, without a reader.
    """
    return field(default=default, metadata={"help": help, "read": read})


def add_flags(parser: argparse.ArgumentParser, settings: type[DataclassInstance]) -> None:
    """Adds a flag for each field of the dataclass `settings`; without it, the default holds.

    A default that its flag would refuse ends the program with one line.
    """
    group = parser.add_argument_group("settings, for experiments")
    for each in fields(settings):
        flag, read = f"--{each.name.replace('_', '-')}", each.metadata["read"]
        text = f"{each.metadata['help']} (default {each.default})"
        if isinstance(each.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif read.takes(each.default):
            group.add_argument(flag, type=read, metavar="X", help=text)
        else:
            parser.error(f"{each.name}: expected {read.expected}, found {each.default!r}")
        group.set_defaults(**{each.name: None})


def changed(args: argparse.Namespace, default: DataclassInstance) -> dict[str, Any]:
    """Returns a dict of the fields that flags set to another value than in `default`."""
    given = {each.name: getattr(args, each.name) for each in fields(default)}
    return {k: v for k, v in given.items() if v not in (None, getattr(default, k))}


def chosen(args: argparse.Namespace, default: Settings) -> Settings:
    """Returns `default` with the fields that flags set."""
    return replace(default, **changed(args, default))
