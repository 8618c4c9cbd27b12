"""The family: B0 … B7 from coefficients, each at its budget T·2^φ in realised FLOPs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scalesearch.spec.cost import Cost, cost
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.factory import A, AnyArch
from scalesearch.spec.scaling import Coefficients, Multipliers, Rounding, multiply, scale, with_family_dropout
from scalesearch.spec.solving import PHI_RANGE, solve_resolution, to_flops

BASE_TOLERANCE = 0.05  # B0's 385.8M is the paper's "400M"


@dataclass(frozen=True, slots=True)
class Member:
    """One network of a family. `phi` solves for `budget` (FLOPs); `requested` are the multipliers it asks for."""

    name: str
    phi: float
    requested: Multipliers
    arch: AnyArch
    budget: float
    cost: Cost

    @property
    def budget_ratio(self) -> float:
        """Realised FLOPs over the budget."""
        return self.cost.flops / self.budget


def family(base: A, coefficients: Coefficients, rounding: Rounding, count: int) -> list[Member]:
    """B0 … B`count`: the base, and for each k the φ whose network comes nearest to 2^k times the base's FLOPs.

    φ is solved because k itself misses the budget: rounding up repeats costs more than α at small φ, and a product
    αβ²γ² below 2 less at large ones. Where a step of the depth jumps over the budget, the nearest network is taken
    and its ratio to the budget is told.
    """
    start = cost(base)
    members = [Member("B0", 0.0, Multipliers(1.0, 1.0, 1.0), base, float(start.flops), start)]
    for k in range(1, count + 1):
        budget = start.flops * 2**k
        # Any distance is accepted (tolerance 1): the nearest is what a family is made of.
        found = to_flops(base, budget, coefficients, rounding, tolerance=1.0)
        arch = replace(found.arch, name=f"{base.name}-b{k}")
        members.append(Member(f"B{k}", found.phi, coefficients.at(found.phi), arch, float(budget), cost(arch)))
    return members


def base_for_budget(base: A, target: int, coefficients: Coefficients, rounding: Rounding) -> tuple[A, str]:
    """The base at the budget, and a sentence that says what was done to it.

    Within BASE_TOLERANCE it stays as it is. Else it is scaled by the coefficients; where no φ comes near enough
    (a step of the depth jumps over the budget), the next smaller network's side or width is solved instead. Raises
    BudgetError if even that misses the budget.
    """
    flops = cost(base).flops
    if abs(flops - target) <= BASE_TOLERANCE * target:
        return base, f"{base.name} is taken as it is: {flops:,} FLOPs are {flops / target:.1%} of the budget"
    try:
        found = to_flops(base, target, coefficients, rounding, tolerance=BASE_TOLERANCE)
    except BudgetError as error:
        single = _by_one_dimension(base, target, coefficients, rounding)
        if single is None:
            raise error
        arch, how = single
    else:
        arch, how = found.arch, _described(found.phi, coefficients)
    realised = cost(arch).flops
    arch = replace(arch, name=f"{base.name}-scaled")
    return arch, (
        f"{base.name} costs {flops:,} FLOPs, {flops / target:.1%} of the budget, and was scaled to {realised:,} "
        f"({realised / target:.1%}): {how}"
    )


def _described(phi: float, coefficients: Coefficients) -> str:
    values = f"{coefficients.alpha:g}, {coefficients.beta:g}, {coefficients.gamma:g}"
    return f"φ = {phi:.9g} with α, β, γ = {values}"


def _by_one_dimension(base: A, target: int, coefficients: Coefficients, rounding: Rounding) -> tuple[A, str] | None:
    """The largest scaled network below the budget with its side, or else its width, raised to meet it.

    None if neither does: a side past a multiple of the total stride costs a whole step more, widths have small steps.
    """

    def flops_at(phi: float) -> int:
        return cost(scale(base, coefficients, phi, rounding)).flops

    low, high = PHI_RANGE
    if flops_at(low) > target:
        return None
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if flops_at(middle) <= target else (low, middle)
    if low < 0 < high and cost(base).flops <= target:
        low = 0.0  # the base itself
    start = coefficients.at(low)
    base = with_family_dropout(base, low)  # as `scale` has it
    below = multiply(base, start, rounding)

    def widened(factor: float) -> A:
        return multiply(base, replace(start, width=start.width * factor), rounding)

    narrow, wide = 1.0, 2.0
    while wide - narrow > 1e-6:
        factor = (narrow + wide) / 2
        narrow, wide = (factor, wide) if cost(widened(factor)).flops <= target else (narrow, factor)
    factor = min((narrow, wide), key=lambda found: abs(cost(widened(found)).flops - target))
    larger = solve_resolution(below, target, below.resolution, below.resolution * 2, rounding.resolution_step)
    begin = f"the next depth jumps over the budget, so from {_described(low, coefficients)} only its"
    for arch, how in (
        (larger, f"side was raised, to {larger.resolution} px"),
        (widened(factor), f"width was raised, × {factor:.9g}"),
    ):
        if abs(cost(arch).flops - target) <= BASE_TOLERANCE * target:
            return arch, f"{begin} {how}"
    return None
