"""What the value of a setting must be, how that is said, and how it is read from text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """`text` finishes the sentence "must be …"; `read` turns command-line text into a value."""

    text: str
    holds: Callable[[Any], bool]
    read: Callable[[str], Any]


def integer(low: int, high: int, optional: bool = False) -> Rule:
    return Rule(
        f"an integer from {low} to {high:,}",
        lambda value: (optional and value is None) or (type(value) is int and low <= value <= high),
        lambda text: int(text.replace("_", "")),
    )


def number(low: float, high: float, optional: bool = False) -> Rule:
    return Rule(
        f"a number from {low:g} to {high:g}",
        lambda value: (
            (optional and value is None)
            or (type(value) in (int, float) and math.isfinite(value) and low <= value <= high)
        ),
        float,
    )


def one_of(names: tuple[str, ...]) -> Rule:
    return Rule("one of " + ", ".join(names), lambda value: value in names, str)


def text() -> Rule:
    return Rule("text", lambda value: isinstance(value, str) and value != "", str)


def flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]
