"""Where a factory's multipliers begin to make another network: found by counting, since its rounding is its own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from itertools import groupby

from scalesearch.nets.factory import measure
from scalesearch.spec.factory import FactoryArch, multiplied
from scalesearch.spec.spaces import Range

STEPS = 128  # of the range of a multiplier; what begins and ends between two steps is not seen
MOST = 16  # networks per dimension: their pairs are all counted, and a run trains a few dozen


def identity(arch: FactoryArch) -> Hashable:
    """Equal for equal networks, whatever multipliers they were asked for by."""
    found = measure(arch)
    return found.structure, found.cost, arch.resolution


def factory_cells(base: FactoryArch, dimension: str, bounds: Range) -> list[tuple[float, float, float]]:
    """(a multiplier, lowest, highest) of each distinct network that multipliers of one dimension give.

    Lowest and highest were tried; between them, and on either side of the bisection that looks for changes, networks
    are taken to grow with the multiplier. Past MOST, evenly spaced ones are kept, the first and the last among them.
    """
    seen: dict[int, Hashable] = {}

    def at(index: int) -> float:
        return bounds.low + (bounds.high - bounds.low) * index / STEPS

    def look(index: int) -> Hashable:
        if index not in seen:
            value = multiplied(getattr(base, dimension), at(index))
            seen[index] = identity(replace(base, **{dimension: value}))  # type: ignore[arg-type]
        return seen[index]

    def fill(first: int, last: int) -> None:
        same = look(first) == look(last)
        if last - first < 2 or same:
            seen.update(dict.fromkeys(range(first, last + 1), look(first)) if same else {})
            return
        middle = (first + last) // 2
        fill(first, middle)
        fill(middle, last)

    fill(0, STEPS)
    runs = [list(group) for _, group in groupby(range(STEPS + 1), key=lambda index: seen[index])]
    if len(runs) > MOST:
        runs = [runs[round(index * (len(runs) - 1) / (MOST - 1))] for index in range(MOST)]
    return [(at(run[len(run) // 2]), at(run[0]), at(run[-1])) for run in runs]
