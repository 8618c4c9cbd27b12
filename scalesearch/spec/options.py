"""What one choice of a search space may take: a list of values, or an evenly stepped range of numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_REACH = 0.1  # standard deviation of a mutation on a grid, as a share of the grid's extent


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers low, low + step … high: a continuous parameter, quantised.

    With `log`, draws are uniform in the logarithm and then go to the nearest step, and steps near a value are a share
    of it.
    """

    low: float
    high: float
    step: float
    log: bool = False

    def __len__(self) -> int:
        return round((self.high - self.low) / self.step) + 1

    def __getitem__(self, index: int) -> float:
        if not 0 <= index < len(self):
            raise IndexError(index)
        value = self.low + index * self.step
        return value if isinstance(value, int) else round(value, 9)  # 36.44, where the sum is 36.440000000000005

    def __iter__(self) -> Iterator[float]:
        return (self[index] for index in range(len(self)))

    def index(self, value: float) -> int:
        """Of a number on the grid; of another, the nearest step's, which may lie outside."""
        return round((value - self.low) / self.step)

    def drawn(self, rng: random.Random) -> int:
        return self._at(rng.uniform(0, 1))

    def near(self, index: int, rng: random.Random) -> int:
        """Another index, normally distributed around this one, a tenth of the extent wide, at least a step away.

        Needs two values.
        """
        found = self._at(min(1.0, max(0.0, rng.gauss(self._place(index), _REACH))))
        if found != index:
            return found
        return rng.choice([other for other in (index - 1, index + 1) if 0 <= other < len(self)])

    def _at(self, place: float) -> int:
        """The index at a place from 0 (low) to 1 (high)."""
        if self.log:
            return self.index(math.exp(math.log(self.low) + place * math.log(self.high / self.low)))
        return self.index(self.low + place * (self.high - self.low))

    def _place(self, index: int) -> float:
        if len(self) == 1:
            return 0.0
        if self.log:
            return math.log(self[index] / self.low) / math.log(self.high / self.low)
        return index / (len(self) - 1)


Options = tuple[Any, ...] | Grid


def place_of(options: Options, value: Any) -> int | None:
    """The index of a value, or None if it is no option."""
    if isinstance(options, Grid):
        index = options.index(value)
        return index if 0 <= index < len(options) and options[index] == value else None
    return options.index(value) if value in options else None


def drawn(options: Options, rng: random.Random) -> int:
    """A random index: of a list, each as likely."""
    return options.drawn(rng) if isinstance(options, Grid) else rng.randrange(len(options))


def changed(options: Options, index: int, rng: random.Random) -> int:
    """Another random index: of a list, each as likely; of a grid, rather near. Needs two options."""
    if isinstance(options, Grid):
        return options.near(index, rng)
    return (index + rng.randrange(1, len(options))) % len(options)


def beside(options: Options, index: int) -> list[int]:
    """The indices one move away: of a list, all others; of a grid, 1, 2, 4, 8 … steps below and above."""
    if not isinstance(options, Grid):
        return [other for other in range(len(options)) if other != index]
    steps = [2**power for power in range(len(options).bit_length())]
    return [index + sign * step for step in steps for sign in (-1, 1) if 0 <= index + sign * step < len(options)]


def spelled(options: Options) -> str:
    """For people: `3, 5`; `8 to 256 by 0.01, logarithmic`; `mbconv expand 3` where an option sets several keys."""
    if isinstance(options, Grid):
        return f"{options.low:g} to {options.high:g} by {options.step:g}{', logarithmic' if options.log else ''}"
    return ", ".join(_spelled(option) for option in options)


def _spelled(option: Any) -> str:
    if isinstance(option, dict):
        return " ".join(str(value) if key == "kind" else f"{key} {value}" for key, value in option.items())
    return str(option)
