"""`FactoryArch`: what a user's own Python function is asked to make, as a frozen record.

The record is data and runs nothing. Its code runs only where `nets.factory.allow` was called with the spelling that
a person has typed; no file, and no stored run, can name code to run.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from scalesearch.spec.arch import Arch

_SPELLING = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
LARGEST = 100.0  # multiplier of depth or width; keeps a slip in φ from filling the memory
DIGITS = 4  # significant ones of a multiplier: 0.1 %, so that what differs less is one network and is counted once


@dataclass(frozen=True, slots=True)
class FactoryArch:
    """One network of a factory: `module:function` called with these multipliers, side (px) and classes.

    `fingerprint` identifies what the factory makes (the parameters' shapes and FLOPs of its base and of its base at
    twice the depth and width), so that a run notices when its code has changed. The factory rounds by itself, so the
    multipliers here are the requested ones, and two records can make the same network.
    """

    name: str
    factory: str
    fingerprint: str
    resolution: int
    depth: float = 1.0
    width: float = 1.0
    classes: int = 1000
    in_channels: int = 3

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `read_factory_arch` reads back."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """16 hex digits that identify the request and the factory's fingerprint, whatever the name."""
        described = {key: value for key, value in self.to_dict().items() if key != "name"}
        text = json.dumps(described, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


AnyArch = Arch | FactoryArch
A = TypeVar("A", Arch, FactoryArch, Arch | FactoryArch)  # scaling keeps the kind of its network


def is_factory(name: object) -> bool:
    """Whether `name` is spelled as a factory, `package.module:function`, rather than as a network or a file."""
    return isinstance(name, str) and _SPELLING.fullmatch(name) is not None


def multiplied(value: float, factor: float) -> float:
    """The product to DIGITS significant digits: powers and logarithms leave no dust that would make another network."""
    return float(f"{value * factor:.{DIGITS}g}")


def read_factory_arch(table: Mapping[str, Any]) -> FactoryArch | None:
    """The record as a run has stored it, or None if it does not fit this version. Runs no code."""
    known = {field.name for field in fields(FactoryArch)}
    if set(table) != known:
        return None
    whole = all(type(table[key]) is int and table[key] >= 1 for key in ("resolution", "classes", "in_channels"))
    text = all(isinstance(table[key], str) for key in ("name", "fingerprint")) and is_factory(table["factory"])
    positive = all(
        type(table[key]) in (int, float) and math.isfinite(table[key]) and 0 < table[key] <= LARGEST
        for key in ("depth", "width")
    )
    return FactoryArch(**table) if whole and text and positive else None


__all__ = ["LARGEST", "A", "AnyArch", "FactoryArch", "is_factory", "multiplied", "read_factory_arch"]
