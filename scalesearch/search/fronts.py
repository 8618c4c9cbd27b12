"""The measured networks against what they cost: Pareto fronts, hypervolume and knee on any axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scalesearch.nets.timing import Spread
from scalesearch.search.stats import hypervolume, knee, pareto_front
from scalesearch.spec.axes import AXES


@dataclass(frozen=True, slots=True)
class Point:
    """A measured proxy network: base, candidate or family member."""

    label: str
    digest: str
    flops: int
    params: int
    activations: int
    accuracy: float
    error: float
    seeds: int
    measured: Mapping[str, Spread]  # by axis, where it was measured: seconds or bytes

    def cost(self, axis: str) -> float:
        """On one of AXES; NaN where it was not measured."""
        if AXES[axis].measured:
            return self.measured[axis].median if axis in self.measured else math.nan
        return float(getattr(self, axis))


@dataclass(frozen=True, slots=True)
class Front:
    """The points that no other beats in cost and accuracy, by rising cost.

    `hypervolume` is the area under the front, of 1: up to the largest cost measured and down to chance, each axis
    from 0 to 1. `knee` is None where the front has fewer than three points or does not bend.
    """

    axis: str
    points: tuple[Point, ...]
    hypervolume: float
    knee: Point | None


def front_of(points: Sequence[Point], axis: str, chance: float) -> Front:
    """The front over the points whose cost on `axis` is known; `chance` is the accuracy of guessing."""
    known = [point for point in points if not math.isnan(point.cost(axis))]
    if not known:
        return Front(axis, (), 0.0, None)
    costs = [point.cost(axis) for point in known]
    pairs = [(one, point.accuracy) for one, point in zip(costs, known, strict=True)]
    bend = knee(pairs)
    area = hypervolume([(one / max(costs), accuracy) for one, accuracy in pairs], (1.0, chance)) / (1 - chance)
    front = tuple(known[index] for index in pareto_front(pairs))
    return Front(axis, front, area, None if bend is None else known[bend])
