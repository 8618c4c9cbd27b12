"""Solving scaling for a budget: the φ, or the side, whose realised FLOPs come nearest to it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Generic

from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.factory import LARGEST, A, AnyArch, FactoryArch
from scalesearch.spec.scaling import MAX_BLOCKS, ROUNDINGS, Coefficients, Rounding, scale, widened
from scalesearch.spec.units import format_flops


@dataclass(frozen=True, slots=True)
class Scaled(Generic[A]):
    """The result of solving for a budget: `arch` is `scale(base, coefficients, phi)` and costs `flops`."""

    arch: A
    phi: float
    flops: int


PHI_RANGE = (-10.0, 20.0)
_NO_NETWORK = 100_000  # FLOPs; who asks for fewer has left out the unit
_CLOSE = 1e-6  # of φ: two networks nearer than this have none between them


def _phi_range(arch: AnyArch, coefficients: Coefficients) -> tuple[float, float]:
    """PHI_RANGE, shortened where α^φ would pass MAX_BLOCKS, or α^φ or β^φ what may be asked of a factory."""
    lowest, highest = PHI_RANGE
    if isinstance(arch, FactoryArch):
        limits = [(coefficients.alpha, LARGEST / arch.depth), (coefficients.beta, LARGEST / arch.width)]
    else:
        blocks = sum(stage.repeats for stage in arch.stages)
        limits = [(coefficients.alpha, MAX_BLOCKS / blocks)] if 0 < blocks < MAX_BLOCKS else []
    for base, most in limits:
        if base != 1 and most > 1:
            # A little less, so that φ still holds when it is printed with eight digits.
            limit = math.log(0.9999 * most) / math.log(base)
            lowest, highest = (lowest, min(highest, limit)) if limit > 0 else (max(lowest, limit), highest)
    return lowest, highest


def to_flops(
    arch: A,
    target: int,
    coefficients: Coefficients,
    rounding: Rounding = ROUNDINGS["official"],
    tolerance: float = 0.03,
) -> Scaled[A]:
    """The φ whose realised network comes nearest to `target` FLOPs, for coefficients of at least 1.

    Realised FLOPs change with φ in steps (a step of the depth adds a block to many stages at once), so a budget
    can lie between two networks. They rise, but for three places: where the group width jumps, because the hidden
    channels then go to the multiples of another number (`scaling.widened`); where a block's input gets as many
    channels as its output, because a projection of its shortcut goes; and at φ = 0, where sizes off the rounding's
    grid stay as they are. So the unit of φ in which the budget is passed, and one more on each side, are cut there,
    and each piece is bisected. Of networks as near, it is the one nearest to φ = 0.

    Raises BudgetError, with the nearest networks on both sides, if none is within `tolerance` (a share of the target).
    """

    def at(phi: float) -> Scaled[A]:
        scaled = scale(arch, coefficients, phi, rounding)
        return Scaled(scaled, phi, cost(scaled).flops)

    def around(below: Scaled[A], above: Scaled[A]) -> tuple[Scaled[A], Scaled[A]]:
        """Both sides of the target between two φ where FLOPs rise; these themselves, if it is not between them."""
        inside = below.flops <= target <= above.flops
        while inside and above.phi - below.phi > _CLOSE and target not in (below.flops, above.flops):
            middle = at((below.phi + above.phi) / 2)
            below, above = (middle, above) if middle.flops < target else (below, middle)
        return below, above

    # From φ = 0, the network itself, outwards: the ends of the range can be huge networks.
    lowest, highest = _phi_range(arch, coefficients)
    below = above = at(0.0)
    while above.flops < target and above.phi < highest:
        below, above = above, at(min(above.phi + 1, highest))
    while below.flops > target and below.phi > lowest:
        below, above = at(max(below.phi - 1, lowest)), below
    pieces = _rising(arch, coefficients, rounding, max(below.phi - 1, lowest), min(above.phi + 1, highest))
    if len(pieces) == 1:
        found = list(around(below, above))
    else:
        found = [side for low, high in pieces for side in around(at(low), at(high))]
    lower = [side for side in found if side.flops <= target]
    upper = [side for side in found if side.flops >= target]
    # Of equal networks, the end of the range where the budget is beyond it, and else the one nearest to the base.
    beyond = not (lower and upper)
    sides = [
        min(side, key=lambda one: (abs(one.flops - target), -abs(one.phi) if beyond else abs(one.phi)))
        for side in (lower, upper)
        if side
    ]
    nearest = min(sides, key=lambda one: abs(one.flops - target))
    if abs(nearest.flops - target) <= tolerance * target:
        return nearest
    # Enough digits of φ to tell two sides apart that are less than 1e-6 from each other.
    named = " and ".join(f"{format_flops(side.flops)} at φ = {side.phi:.8g}" for side in sides)
    what = "choose one of these, or allow a wider tolerance"
    if target < _NO_NETWORK:
        what = f"did you mean {target:g}M?"
    raise BudgetError(
        f"{arch.name}: no φ gives {format_flops(target)} FLOPs within {tolerance:.0%} after rounding; "
        f"the nearest reachable are {named}; {what}"
    )


def _rising(
    arch: AnyArch, coefficients: Coefficients, rounding: Rounding, low: float, high: float
) -> list[tuple[float, float]]:
    """[low, high] in pieces on each of which FLOPs rise with φ; the gaps between them are at most _CLOSE wide.

    While the group width stays, channels rise with φ, and FLOPs with them, as long as no stage of stride 1 starts or
    ends to have as many input as output channels. A factory's network is one piece: its code is not known here.
    """
    if isinstance(arch, FactoryArch):
        return [(low, high)]
    parts = {"stem": arch.stem} | {str(index): stage for index, stage in enumerate(arch.stages)}
    parts |= {} if arch.head is None else {"head": arch.head}
    groups = sorted({stage.group_width for stage in parts.values() if stage.group_width and coefficients.group != 1})
    pairs = [(one, other) for one, other in itertools.pairwise(parts) if parts[other].stride == 1]

    def widths(phi: float) -> list[int]:
        return [rounding.group_width(group * coefficients.group**phi) for group in groups]

    def channels(part: str, phi: float) -> int:
        return (parts[part] if part in arch.fixed else widened(parts[part], coefficients.at(phi), rounding)).channels

    def apart(one: str, other: str, low: float, high: float) -> bool:
        """Whether both channels stay as they are, or never meet: those of one are below the other's throughout."""
        first, second = ((channels(one, phi), channels(other, phi)) for phi in (low, high))
        return (
            first == second
            or max(first[0], second[0]) < min(first[1], second[1])
            or (max(first[1], second[1]) < min(first[0], second[0]))
        )

    def whole(low: float, high: float) -> bool:
        return widths(low) == widths(high) and all(apart(one, other, low, high) for one, other in pairs)

    def cut(low: float, high: float) -> list[tuple[float, float]]:
        if whole(low, high):
            return [(low, high)]
        if high - low <= _CLOSE:
            return [(low, low), (high, high)]
        middle = (low + high) / 2
        left, right = cut(low, middle), cut(middle, high)
        return [*left[:-1], (left[-1][0], right[0][1]), *right[1:]]

    if not low < -_CLOSE < _CLOSE < high:
        return cut(low, high)
    return [*cut(low, -_CLOSE), (0.0, 0.0), *cut(_CLOSE, high)]


def solve_resolution(arch: A, target: float, low: int, high: int, step: int = 1) -> A:
    """`arch` at that side in low, low + step, … high px whose FLOPs come nearest to `target`.

    FLOPs do not fall as the side grows, so the place is found by bisection.
    """

    def at(index: int) -> A:
        return replace(arch, resolution=low + index * step)

    first, last = 0, max(0, (high - low) // step)
    while last - first > 1:
        middle = (first + last) // 2
        if cost(at(middle)).flops < target:
            first = middle
        else:
            last = middle
    return min((at(first), at(last)), key=lambda found: abs(cost(found).flops - target))
