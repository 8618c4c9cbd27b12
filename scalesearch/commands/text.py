"""Plain text tables, and reading command-line values into their rules."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import AnyArch, is_factory
from scalesearch.spec.files import load_arch
from scalesearch.spec.rules import Rule


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1, text_last: bool = False) -> str:
    """Aligned columns; the first `left` ones flush left, numbers flush right, and a last column of text flush left."""
    cells = [list(map(str, row)) for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if column < left or (text_last and column == len(row) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


ARCH = "a shipped name (efficientnet_b0), a .toml/.json file, or a factory of yours, package.module:function"


def read_network(name: str) -> AnyArch:
    """ARCH from the command line. A factory's code is run, and checked: only a person's own words may come here.

    Raises SpaceError, and CountError for a factory whose counts disagree.
    """
    if is_factory(name):
        from scalesearch.nets.probe import open_factory

        return open_factory(name)
    return load_arch(name)


def folder(text: str) -> Path:
    """A folder to write to; an empty text would silently mean the current one."""
    if not text.strip():
        raise SettingsError("must be a folder, got an empty text")
    return Path(text)


def integer(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`. It raises SettingsError."""

    def read(text: str) -> int:
        value = int(text) if text.strip().lstrip("+-").isdecimal() else None
        if value is None or not low <= value <= high:
            raise SettingsError(f"must be an integer from {low} to {high:,}, got {text!r}")
        return value

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    """A reader of numbers from `low` to `high`. It raises SettingsError."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise SettingsError(f"must be a number from {low:g} to {high:g}, got {text!r}")
        return value

    return read


def absolute(path: str) -> str:
    """The same file, from wherever the command is given again."""
    return str(Path(path).expanduser().resolve())


def setting(rule: Rule) -> Callable[[str], Any]:
    """A reader of one setting by its rule. It raises SettingsError."""

    def read(text: str) -> Any:
        try:
            value = rule.read(text)
        except SettingsError:
            raise
        except (ValueError, KeyError):
            value = None
        if value is None or not rule.holds(value):
            raise SettingsError(f"must be {rule.text}, got {text!r}")
        return value

    return read


def argument(read: Callable[[str], object]) -> Callable[[str], object]:
    """A reader for argparse: its error keeps the rule's own words."""

    def convert(text: str) -> object:
        try:
            return read(text)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
