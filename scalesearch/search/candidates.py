"""The feasible, distinct networks at one unit of φ, found before anything is trained.

On a base, rounding turns the surface αβ²γ² = 2 into a staircase: a whole interval of α gives the same repeats, a
whole interval of β the same channels. So the networks are enumerated, not sampled: every reachable (repeats,
channels) pair, each with the side that brings its *realised* FLOPs to the wanted ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from scalesearch.search.factory_cells import factory_cells, identity
from scalesearch.spec.cost import cost
from scalesearch.spec.dimensions import dimension_logs
from scalesearch.spec.factory import A, AnyArch, FactoryArch
from scalesearch.spec.scaling import Coefficients, Multipliers, Rounding, multiply, scale
from scalesearch.spec.solving import solve_resolution
from scalesearch.spec.spaces import CoefficientRanges, Range

Shares = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Interval:
    """The values of a coefficient that realise one network, and the one to quote."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One distinct network at φ = 1 and everything that leads to it.

    `shares` are the realised budget shares (depth, width, resolution): log2 of what each dimension alone does to
    the base's FLOPs, normalised to sum 1. `ratio` is the realised ratio to the base's FLOPs.
    """

    arch: AnyArch
    alpha: Interval
    beta: Interval
    gamma: Interval
    shares: Shares
    flops: int
    params: int
    activations: int
    ratio: float

    @property
    def coefficients(self) -> Coefficients:
        return Coefficients(self.alpha.value, self.beta.value, self.gamma.value)

    @property
    def digest(self) -> str:
        return self.arch.digest


@dataclass(frozen=True, slots=True)
class Feasible:
    """`candidates` within the budget; `rejected` are (network, realised ratio) pairs that cannot get there."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[tuple[AnyArch, float], ...]


def realised(base: A, ranges: CoefficientRanges, rounding: Rounding, tolerance: float, ratio: float = 2.0) -> Feasible:
    """Every distinct network within `tolerance` of `ratio` times the base's realised FLOPs.

    For each reachable (repeats, channels) pair the side is solved on the rounding's pixel grid; it never falls
    below the base's, nor leaves the range of γ.
    """
    start = cost(base)
    target = ratio * start.flops
    candidates: list[Candidate] = []
    rejected: list[tuple[AnyArch, float]] = []
    for alpha in depth_cells(base, ranges.alpha, rounding):
        for beta in width_cells(base, ranges.beta, rounding):
            pair = multiply(base, Multipliers(alpha.value, beta.value, 1.0), rounding)
            arch = pair
            if cost(pair).flops < target:  # a larger side would only lead away from it
                arch = _at_best_side(pair, target, ranges.gamma, rounding)
            found = cost(arch).flops
            if abs(found - target) > tolerance * target:
                rejected.append((arch, found / start.flops))
            else:
                gamma = _gamma_cell(base, arch, rounding)
                candidates.append(_candidate(base, arch, alpha, beta, gamma))
    return Feasible(_distinct(candidates), tuple(rejected))


def nominal_grid(base: A, ranges: CoefficientRanges, rounding: Rounding, tolerance: float) -> Feasible:
    """The paper's procedure: the grid of α, β, γ with |αβ²γ² − 2| <= tolerance, whatever its realised FLOPs.

    Tan & Le 2019, section 4, step 1. Several nodes can realise one network; it is kept once, with the hull of
    their coefficients.
    """
    nodes: dict[Hashable, list[Coefficients]] = {}
    archs: dict[Hashable, A] = {}
    for alpha in _steps(ranges.alpha, ranges.step):
        for beta in _steps(ranges.beta, ranges.step):
            for gamma in _steps(ranges.gamma, ranges.step):
                coefficients = Coefficients(alpha, beta, gamma)
                if abs(coefficients.nominal_ratio - 2) <= tolerance + 1e-9:
                    arch = replace(scale(base, coefficients, 1.0, rounding), name=base.name)
                    key: Hashable = identity(arch) if isinstance(arch, FactoryArch) else arch.digest
                    nodes.setdefault(key, []).append(coefficients)
                    archs.setdefault(key, arch)
    candidates = []
    for network, found in nodes.items():
        best = min(found, key=lambda node: abs(node.nominal_ratio - 2))
        sides = [
            Interval(getattr(best, name), min(values), max(values))
            for name in ("alpha", "beta", "gamma")
            for values in [[getattr(node, name) for node in found]]
        ]
        candidates.append(_candidate(base, archs[network], sides[0], sides[1], sides[2], quoted=True))
    return Feasible(_distinct(candidates), ())


def depth_cells(base: AnyArch, bounds: Range, rounding: Rounding) -> list[Interval]:
    """The intervals of α that give distinct repeats."""
    if isinstance(base, FactoryArch):
        return [Interval(*cell) for cell in factory_cells(base, "depth", bounds)]
    offset = 0.0 if rounding.depth == "ceil" else 0.5
    breaks = [(k + offset) / n for n in {stage.repeats for stage in base.stages} for k in range(1, 5 * n + 1)]
    return _cells(breaks, bounds, lambda alpha: multiply(base, Multipliers(alpha, 1.0, 1.0), rounding).stages)


def width_cells(base: AnyArch, bounds: Range, rounding: Rounding) -> list[Interval]:
    """The intervals of β that give distinct channels (stem and head included)."""
    if isinstance(base, FactoryArch):
        return [Interval(*cell) for cell in factory_cells(base, "width", bounds)]
    stages = [base.stem, *base.stages, *([base.head] if base.head is not None else [])]
    widths = sorted({stage.channels for stage in stages})
    step = rounding.channels_step
    breaks = []
    for width in widths:
        for k in range(1, math.ceil(width * bounds.high / step) + 2):
            breaks.append((k + 0.5) * step / width)
            if rounding.channels_floor:
                breaks.append(k * step / rounding.channels_floor / width)

    def decode(beta: float) -> object:
        arch = multiply(base, Multipliers(1.0, beta, 1.0), rounding)
        return arch.stem, arch.stages, arch.head

    return _cells(breaks, bounds, decode)


def _cells(breaks: Iterable[float], bounds: Range, decode: Callable[[float], object]) -> list[Interval]:
    """Maximal intervals between breaks on which `decode` is constant; a point of its own is one too."""
    inner = sorted({value for value in breaks if bounds.low < value < bounds.high})
    edges = [bounds.low, *inner, bounds.high]
    # Which side a break belongs to depends on the rule, so edges are tried as well as the middles between them.
    points = [edges[0]]
    for left, right in pairwise(edges):
        points += [(left + right) / 2, right]
    cells: list[tuple[object, float, float]] = []
    for index, point in enumerate(points):
        value = decode(point)
        # An even index is an edge, an odd one stands for the open interval between its neighbours.
        low = point if index % 2 == 0 else points[index - 1]
        high = point if index % 2 == 0 else points[index + 1]
        if cells and cells[-1][0] == value:
            cells[-1] = (value, cells[-1][1], high)
        else:
            cells.append((value, low, high))
    # The middle is inside for certain; an edge of a half-open interval may not be.
    return [Interval((low + high) / 2, low, high) for _, low, high in cells]


def _at_best_side(arch: A, target: float, bounds: Range, rounding: Rounding) -> A:
    """`arch` at the side nearest to `target` FLOPs, of its own and the multiples of the pixel step above it."""
    step = rounding.resolution_step
    first = math.ceil(arch.resolution / step) * step
    highest = math.floor(arch.resolution * bounds.high / step) * step
    solved = solve_resolution(arch, target, first, highest, step) if first <= highest else arch
    return min((arch, solved), key=lambda found: abs(cost(found).flops - target))


def _gamma_cell(base: AnyArch, arch: AnyArch, rounding: Rounding) -> Interval:
    half = rounding.resolution_step / 2
    middle = arch.resolution / base.resolution
    if middle == 1 and rounding.side(base.resolution) != base.resolution:
        return Interval(1.0, 1.0, 1.0)  # a side off the pixel grid is kept by γ = 1 alone
    low = max(1.0, (arch.resolution - half) / base.resolution)
    return Interval(middle, low, (arch.resolution + half) / base.resolution)


def _candidate(base: A, arch: A, alpha: Interval, beta: Interval, gamma: Interval, quoted: bool = False) -> Candidate:
    arch = replace(arch, name=base.name)
    start, found = cost(base).flops, cost(arch)
    logs = [max(0.0, value) for value in dimension_logs(base, arch)]
    total = sum(logs) or 1.0
    if not quoted:
        alpha, beta, gamma = _quote(alpha, beta, gamma)
    return Candidate(
        arch=arch,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        shares=(logs[0] / total, logs[1] / total, logs[2] / total),
        flops=found.flops,
        params=found.params,
        activations=found.activations,
        ratio=found.flops / start,
    )


def _quote(alpha: Interval, beta: Interval, gamma: Interval) -> tuple[Interval, Interval, Interval]:
    """The point to quote: the one of the box nearest to αβ²γ² = 2, started from its middle.

    In logarithms the surface is the plane a + b + c = 1, so the middle is moved along (1, 1, 1) and clipped to the
    box until the sum is 1, or the box ends.
    """
    powers = (1, 2, 2)
    boxes = [
        (power * math.log2(side.low), power * math.log2(side.high))
        for power, side in zip(powers, (alpha, beta, gamma), strict=True)
    ]

    def moved(by: float) -> list[float]:
        return [min(max((low + high) / 2 + by, low), high) for low, high in boxes]

    low, high = -4.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(moved(middle)) < 1 else (low, middle)
    values = [2 ** (share / power) for share, power in zip(moved(low), powers, strict=True)]
    return (
        replace(alpha, value=_inside(values[0], alpha)),
        replace(beta, value=_inside(values[1], beta)),
        replace(gamma, value=_inside(values[2], gamma)),
    )


def _inside(value: float, side: Interval) -> float:
    """`value` kept off the open ends of its interval, where rounding would fall to the neighbour."""
    margin = (side.high - side.low) * 0.01
    return min(max(value, side.low + margin), side.high - margin)


def _distinct(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    kept: dict[str, Candidate] = {}
    for candidate in candidates:
        kept.setdefault(candidate.digest, candidate)
    return tuple(kept.values())


def _steps(bounds: Range, step: float) -> list[float]:
    count = math.floor((bounds.high - bounds.low) / step + 1e-9)
    return [round(bounds.low + index * step, 10) for index in range(count + 1)]
