"""Scaling: `Arch -> Arch`. Coefficients, multipliers, rounding rules, and solving for a FLOPs budget.

Words: *requested* is what the formula asks for, *realised* is what is left after repeats, channels and
pixels are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scalesearch.spec.arch import Arch, Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, SettingsError
from scalesearch.spec.units import format_flops

# Multipliers come from powers and logarithms; a product that ought to be an integer may miss it by an ulp.
_SLACK = 1e-9
MAX_BLOCKS = 20_000  # far above any published network; keeps a slip in φ from filling the memory


def _require_positive(what: str, **values: float) -> None:
    wrong = {key: value for key, value in values.items() if not (math.isfinite(value) and value > 0)}
    if wrong:
        found = ", ".join(f"{key}={value!r}" for key, value in wrong.items())
        raise SettingsError(f"{what} must be positive and finite, got {found}; B0's are 1.2, 1.1 and 1.15")


@dataclass(frozen=True, slots=True)
class Multipliers:
    """Factors on repeats, channels and side length (Tan & Le 2019, equation 2: d, w, r)."""

    depth: float
    width: float
    resolution: float

    def __post_init__(self) -> None:
        _require_positive("multipliers", depth=self.depth, width=self.width, resolution=self.resolution)


@dataclass(frozen=True, slots=True)
class Coefficients:
    """α, β, γ: the multipliers per unit of φ (Tan & Le 2019, equation 3)."""

    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        _require_positive("coefficients", alpha=self.alpha, beta=self.beta, gamma=self.gamma)

    def at(self, phi: float) -> Multipliers:
        """d = α^φ, w = β^φ, r = γ^φ."""
        return Multipliers(self.alpha**phi, self.beta**phi, self.gamma**phi)

    @property
    def nominal_ratio(self) -> float:
        """α·β²·γ²: what one unit of φ multiplies FLOPs by, before rounding."""
        return self.alpha * self.beta**2 * self.gamma**2


PAPER_COEFFICIENTS = Coefficients(1.2, 1.1, 1.15)  # Tan & Le 2019, section 4; their product is 1.92027


@dataclass(frozen=True, slots=True)
class Rounding:
    """How requested sizes become integers.

    Channels go to the nearest multiple of `channels_step`, at least one step; where that falls below
    `channels_floor` of the request, one step is added. Repeats go up (`ceil`) or to the nearest integer
    (`nearest`), at least 1. The side goes to the nearest multiple of `resolution_step` px, at least one step.
    Half-way between two, `ties` decides: `up`, or to the `even` multiple (Python's `round`).
    """

    depth: str
    channels_step: int
    channels_floor: float
    resolution_step: int
    ties: str = "up"

    def repeats(self, requested: float) -> int:
        if self.depth == "ceil":
            return max(1, math.ceil(requested - _SLACK))
        return max(1, self._nearest(requested))

    def channels(self, requested: float) -> int:
        step = self.channels_step
        rounded = max(step, self._nearest(requested / step) * step)
        if rounded < self.channels_floor * requested - _SLACK:
            rounded += step
        return rounded

    def side(self, requested: float) -> int:
        step = self.resolution_step
        return max(step, self._nearest(requested / step) * step)

    def _nearest(self, value: float) -> int:
        if self.ties == "even":
            return round(round(value, 9))
        return math.floor(value + 0.5 + _SLACK)


ROUNDINGS: Mapping[str, Rounding] = {
    # tensorflow/tpu models/official/efficientnet/efficientnet_model.py: round_filters, round_repeats.
    "official": Rounding(depth="ceil", channels_step=8, channels_floor=0.9, resolution_step=1),
    # facebookresearch/pycls pycls/models/scaler.py: max(1, round(depth)), max(1, round(width / 8)) * 8 and
    # round(side / 4) * 4, with Python's round, which takes halves to the even neighbour.
    "pycls": Rounding("nearest", channels_step=8, channels_floor=0.0, resolution_step=4, ties="even"),
}


def multiply(
    arch: Arch, multipliers: Multipliers, rounding: Rounding = ROUNDINGS["official"], name: str | None = None
) -> Arch:
    """`arch` with every stage's repeats, all channels (stem, head too) and the side multiplied and rounded.

    A multiplier of 1 leaves its dimension as it is: φ = 0 is the base itself, and scaling the depth alone
    does not move channels that are off the rounding's grid.
    """
    blocks = sum(stage.repeats for stage in arch.stages) * multipliers.depth
    if blocks > MAX_BLOCKS:
        raise SettingsError(
            f"{arch.name}: depth × {multipliers.depth:.4g} asks for {blocks:.4g} blocks; "
            f"at most {MAX_BLOCKS:,} are allowed; lower α or φ"
        )

    def widened(stage: Stage) -> Stage:
        if multipliers.width == 1:
            return stage
        return replace(stage, channels=rounding.channels(stage.channels * multipliers.width))

    def deepened(stage: Stage) -> Stage:
        if multipliers.depth == 1:
            return stage
        return replace(stage, repeats=rounding.repeats(stage.repeats * multipliers.depth))

    side = arch.resolution
    if multipliers.resolution != 1:
        side = rounding.side(side * multipliers.resolution)
    return replace(
        arch,
        name=arch.name if name is None else name,
        resolution=side,
        stem=widened(arch.stem),
        stages=tuple(deepened(widened(stage)) for stage in arch.stages),
        head=None if arch.head is None else widened(arch.head),
    )


def scale(arch: Arch, coefficients: Coefficients, phi: float, rounding: Rounding = ROUNDINGS["official"]) -> Arch:
    """Compound scaling of `arch` by d = α^φ, w = β^φ, r = γ^φ; φ < 0 scales down."""
    return multiply(arch, coefficients.at(phi), rounding, name=f"{arch.name}-phi{phi:g}")


@dataclass(frozen=True, slots=True)
class Scaled:
    """The result of solving for a budget: `arch` is `scale(base, coefficients, phi)` and costs `flops`."""

    arch: Arch
    phi: float
    flops: int


def dimension_logs(base: Arch, arch: Arch) -> tuple[float, float, float]:
    """log2 of what the depth, the width and the side of `arch`, each alone, do to the base's FLOPs.

    `arch` must have the base's stages. After rounding, this is how many doublings each dimension was given.
    """
    start = cost(base).flops
    pairs = list(zip(base.stages, arch.stages, strict=True))
    alone = (
        replace(base, stages=tuple(replace(own, repeats=other.repeats) for own, other in pairs)),
        replace(
            base,
            stem=arch.stem,
            head=arch.head,
            stages=tuple(replace(other, repeats=own.repeats) for own, other in pairs),
        ),
        replace(base, resolution=arch.resolution),
    )
    depth, width, resolution = (math.log2(cost(single).flops / start) for single in alone)
    return depth, width, resolution


PHI_RANGE = (-10.0, 20.0)


def _phi_range(arch: Arch, coefficients: Coefficients) -> tuple[float, float]:
    """PHI_RANGE, shortened where α^φ would pass MAX_BLOCKS."""
    lowest, highest = PHI_RANGE
    blocks = sum(stage.repeats for stage in arch.stages)
    if coefficients.alpha != 1 and 0 < blocks < MAX_BLOCKS:
        limit = math.log((1 - _SLACK) * MAX_BLOCKS / blocks) / math.log(coefficients.alpha)
        lowest, highest = (lowest, min(highest, limit)) if limit > 0 else (max(lowest, limit), highest)
    return lowest, highest


def to_flops(
    arch: Arch,
    target: int,
    coefficients: Coefficients,
    rounding: Rounding = ROUNDINGS["official"],
    tolerance: float = 0.03,
) -> Scaled:
    """The φ whose realised network comes nearest to `target` FLOPs.

    Realised FLOPs rise with φ in steps (a step of the depth adds a block to many stages at once), so a budget
    can lie between two networks. Raises BudgetError, with the nearest networks on both sides, if neither is
    within `tolerance` (a share of the target).
    """

    def at(phi: float) -> Scaled:
        scaled = scale(arch, coefficients, phi, rounding)
        return Scaled(scaled, phi, cost(scaled).flops)

    # From φ = 0, the network itself, outwards: the ends of the range can be huge networks.
    lowest, highest = _phi_range(arch, coefficients)
    below = above = at(0.0)
    while above.flops < target and above.phi < highest:
        below, above = above, at(min(above.phi + 1, highest))
    while below.flops > target and below.phi > lowest:
        below, above = at(max(below.phi - 1, lowest)), below
    reachable = below.flops <= target <= above.flops
    while reachable and above.phi - below.phi > 1e-6 and target not in (below.flops, above.flops):
        middle = at((below.phi + above.phi) / 2)
        below, above = (middle, above) if middle.flops < target else (below, middle)
    nearest = min((below, above), key=lambda found: abs(found.flops - target))
    if abs(nearest.flops - target) <= tolerance * target:
        return nearest
    # Enough digits of φ to tell two sides apart that are less than 1e-6 from each other.
    sides = " and ".join(
        f"{format_flops(found.flops)} at φ = {found.phi:.8g}" for found in ((below, above) if reachable else (nearest,))
    )
    raise BudgetError(
        f"{arch.name}: no φ gives {format_flops(target)} FLOPs within {tolerance:.0%} after rounding; "
        f"the nearest reachable are {sides}; choose one of these, or allow a wider tolerance"
    )


def solve_resolution(arch: Arch, target: float, low: int, high: int, step: int = 1) -> Arch:
    """`arch` at that side in low, low + step, … high px whose FLOPs come nearest to `target`.

    FLOPs do not fall as the side grows, so the place is found by bisection.
    """

    def at(index: int) -> Arch:
        return replace(arch, resolution=low + index * step)

    first, last = 0, max(0, (high - low) // step)
    while last - first > 1:
        middle = (first + last) // 2
        if cost(at(middle)).flops < target:
            first = middle
        else:
            last = middle
    return min((at(first), at(last)), key=lambda found: abs(cost(found).flops - target))
