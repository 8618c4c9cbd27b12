"""Base networks within a budget: drawn at random from a space, their share of it, and the nearest where there are none.

Every search here ends: after a stated number of networks, with what it found.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from scalesearch.spec.arch import Arch
from scalesearch.spec.axes import AXES
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, SettingsError
from scalesearch.spec.options import beside
from scalesearch.spec.proportion import wilson
from scalesearch.spec.schema import near

DRAWS = 10_000  # of `draw` before it takes the nearest and walks on from there
_COUNTED = ("flops", "params", "activations")


class Excess(NamedTuple):
    """How far a network is outside a budget: sums of |log(cost / bound)|, 0 within. Networks compare as tuples.

    What must be measured is only measured of networks that keep the `counted` bounds, and 0 of others.
    """

    counted: float
    measured: float

    @property
    def within(self) -> bool:
        return self == (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Budget:
    """Realised FLOPs from `low` to `high`, and no more of other costs than `limits` says, by name of `axes.AXES`.

    `measures` gives the costs that no record tells (latency and training step in seconds, memory in bytes) of a
    network; they are called for the networks that are looked at and keep the other bounds. Since that takes seconds,
    random draws and walks end after `measured_looks` such networks each.
    """

    low: int
    high: int
    limits: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, Callable[[Arch], float]] = field(default_factory=dict)
    measured_looks: int = 25

    def __post_init__(self) -> None:
        """Raises SettingsError for bounds that no network could keep, or that nothing here can tell."""
        if not 1 <= self.low <= self.high:
            raise SettingsError(
                f"budget: FLOPs must rise from at least 1, got {self.low:,} to {self.high:,}; swap them"
            )
        for name, most in self.limits.items():
            if name not in AXES or name == "flops":
                known = tuple(axis for axis in AXES if axis != "flops")
                raise SettingsError(f"budget: there is no limit of {name!r}; {near(name, known)}")
            if not most > 0:
                raise SettingsError(f"budget: the limit of {name} must be positive, got {most:g}; raise it")
            if name not in _COUNTED and name not in self.measures:
                raise SettingsError(
                    f"budget: {name} is measured, and nothing here does so; give a measure, or no limit"
                )

    @classmethod
    def around(cls, target: int, tolerance: float, limits: Mapping[str, float] | None = None) -> Budget:
        """FLOPs within `tolerance`, a share, of the target on either side."""
        return cls(max(1, math.ceil(target * (1 - tolerance))), math.floor(target * (1 + tolerance)), limits or {})

    def excess(self, arch: Arch) -> Excess:
        found = cost(arch)
        counted = max(0.0, math.log(self.low / found.flops), math.log(found.flops / self.high))
        counted += sum(_over(getattr(found, name), most) for name, most in self.limits.items() if name in _COUNTED)
        if counted:
            return Excess(counted, 0.0)
        pairs = ((self.measures[name](arch), most) for name, most in self.limits.items() if name not in _COUNTED)
        return Excess(0.0, sum((_over(value, most) for value, most in pairs), 0.0))

    def spelled(self) -> str:
        """`380.0M FLOPs to 420.0M FLOPs, at most 5.000M parameters`."""
        limits = [f", at most {limit(name, most)}" for name, most in self.limits.items()]
        return f"{AXES['flops'].spell(self.low)} to {AXES['flops'].spell(self.high)}{''.join(limits)}"


def limit(name: str, most: float) -> str:
    """`5.000M parameters`, `40 ms of latency`."""
    axis = AXES[name]
    return f"{axis.spell(most)} of {axis.title}" if axis.unit else axis.spell(most)


class Reached(NamedTuple):
    """A point of a space, its network, and how far it is outside the budget."""

    point: Point
    arch: Arch
    excess: Excess


@dataclass(frozen=True, slots=True)
class Share:
    """The share of a space's random points that a budget leaves, from `hits` of `draws`, and its interval (Wilson)."""

    hits: int
    draws: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.hits / self.draws


def feasible_share(
    space: BaseSpace, budget: Budget, rng: random.Random, draws: int = 1_000, confidence: float = 0.95
) -> Share:
    """The share of points, not of distinct networks, as `space.sample` draws them, that are within the budget.

    Of no hits, the interval says how many there might still be.
    """
    hits = sum(budget.excess(space.decode(space.sample(rng))).within for _ in range(draws))
    low, high = wilson(hits / draws, draws, confidence)
    return Share(hits, draws, low, high)


def draw(space: BaseSpace, budget: Budget, rng: random.Random, draws: int = DRAWS) -> Reached:
    """A random network within the budget, as `space.sample` draws those.

    If none of `draws` is, the nearest of them is improved (`approach`), with as many networks again; what that finds is
    within the budget, too, but no fair draw. Raises BudgetError with the nearest network reached if it finds none.
    """
    draws = min(draws, 10 * space.size)  # as good as all of a small space
    best: Reached | None = None
    measured = 0
    for _ in range(draws):
        found = reach(space, budget, space.sample(rng))
        if found.excess.within:
            return found
        measured += found.excess.counted == 0  # so it was measured
        if best is None or found.excess < best.excess:
            best = found
        if measured == budget.measured_looks:
            break
    assert best is not None
    best = approach(space, budget, best.point, rng, draws)
    if best.excess.within:
        return best
    looked = f"of all {space.size:,} points" if space.size <= draws else f"among {2 * draws:,} looked at"
    if budget.measures and best.excess.counted == 0:
        looked = f"among {2 * budget.measured_looks} measured"
    raise BudgetError(
        f"{space.name}: no network of this space has {budget.spelled()}, {looked}; the nearest has "
        f"{_costs(best.arch, budget)}; move the budget there, or choose another space or resolution"
    )


def some(space: BaseSpace, budget: Budget, rng: random.Random, count: int) -> list[Reached]:
    """Up to `count` random networks within the budget, of at most DRAWS looked at; if none is, the one of `draw`.

    Raises BudgetError if that finds none.
    """
    looked = (reach(space, budget, space.sample(rng)) for _ in range(DRAWS))
    found = list(itertools.islice((one for one in looked if one.excess.within), count))
    return found or [draw(space, budget, rng)]


def approach(space: BaseSpace, budget: Budget, start: Point, rng: random.Random, most: int = DRAWS) -> Reached:
    """The nearest network to the budget that is found by looking at `most` networks, at the most.

    Of a space with no more points than that, it is the nearest there is. Of another, it is the end of a walk from
    `start`: one choice after the other takes what is better, until none is; then random changes of two that improve.
    """
    if space.size <= most:
        return min((reach(space, budget, point) for point in space.points()), key=lambda found: found.excess)
    best, looked, places = reach(space, budget, start), 1, list(enumerate(space.choices.values()))
    measured = 0
    while not best.excess.within and measured < budget.measured_looks:
        before = best
        for place, options in rng.sample(places, len(places)):
            for index in beside(options, best.point[place]):
                point = (*best.point[:place], index, *best.point[place + 1 :])
                ended = looked == most or measured == budget.measured_looks or best.excess.within
                if not ended and space.sound(point):
                    found, looked = reach(space, budget, point), looked + 1
                    measured += found.excess.counted == 0
                    best = min(best, found, key=lambda reached: reached.excess)
        if best is before:
            break
    for _ in range(most - looked):
        if best.excess.within or measured == budget.measured_looks:
            break
        found = reach(space, budget, space.mutate(space.mutate(best.point, rng), rng))
        measured += found.excess.counted == 0
        if found.excess < best.excess:
            best = found
    return best


def reach(space: BaseSpace, budget: Budget, point: Point) -> Reached:
    """The network of a point, and how far it is outside the budget. Raises SpaceError if the point makes none."""
    arch = space.decode(point)
    return Reached(point, arch, budget.excess(arch))


def _over(value: float, most: float) -> float:
    return max(0.0, math.log(value / most)) if value > 0 else 0.0


def _costs(arch: Arch, budget: Budget) -> str:
    """The costs that the budget bounds; those that are measured where they were asked for."""
    found = cost(arch)
    limited = [name for name in budget.limits if name in _COUNTED]
    texts = [AXES[name].spell(getattr(found, name)) for name in ("flops", *limited)]
    if budget.excess(arch).counted == 0:
        texts += [AXES[name].spell(budget.measures[name](arch)) for name in budget.limits if name not in _COUNTED]
    return ", ".join(texts)
