"""What a setting's value must be, and how command-line text becomes one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scalesearch.spec.errors import SettingsError


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


def flag() -> Rule:
    values = {"true": True, "false": False}
    return Rule("true or false", lambda value: type(value) is bool, lambda text: values[text.lower()])


# Of images, alike for runs and full trainings.
IMAGE_RULES: Mapping[str, Rule] = {
    "data_images": integer(16, 100_000_000, optional=True),
    "glyph_classes": integer(2, 48),
    "glyph_zoom": number(0.5, 1.8),
    "glyph_bright": flag(),
    "holdout_fonts": flag(),
    "max_bad_share": number(0, 1),
}


def check(record: object, rules: Mapping[str, Rule]) -> None:
    """Raises SettingsError that names every field of `record` which breaks its rule."""
    faults = [
        f"{name}: must be {rule.text}, got {getattr(record, name)!r}"
        for name, rule in rules.items()
        if not rule.holds(getattr(record, name))
    ]
    if faults:
        raise SettingsError("; ".join(faults))


def unknown_key(key: str, rules: Mapping[str, Rule], kind: str) -> str:
    """The end of a message about a key that there is not: the nearest one, or all."""
    close = difflib.get_close_matches(key, rules, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{kind} are {', '.join(rules)}"
