"""Scaling: `Arch -> Arch`. Coefficients, multipliers, rounding rules, and solving for a FLOPs budget.

Words: *requested* is what the formula asks for, *realised* is what is left after repeats, channels and
pixels are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage, hidden_channels
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
    """Factors on repeats, channels and side length (Tan & Le 2019, equation 2: d, w, r).

    `group_width` is the factor on the channels per group, where there are groups (Dollár et al. 2021, section 4.3).
    """

    depth: float
    width: float
    resolution: float
    group_width: float = 1.0

    def __post_init__(self) -> None:
        _require_positive(
            "multipliers",
            depth=self.depth,
            width=self.width,
            resolution=self.resolution,
            group_width=self.group_width,
        )


@dataclass(frozen=True, slots=True)
class Coefficients:
    """α, β, γ: the multipliers per unit of φ (Tan & Le 2019, equation 3); `group` is that of the group width."""

    alpha: float
    beta: float
    gamma: float
    group: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("coefficients", alpha=self.alpha, beta=self.beta, gamma=self.gamma, group=self.group)

    @classmethod
    def from_shares(cls, depth: float, width: float, resolution: float, group_width: float = 0.0) -> Coefficients:
        """From budget shares, the exponents e_d, e_w, e_r of Dollár et al. (2021, equation 4).

        Any numbers: shares that do not add up to 1 make a φ that is not one doubling. A share of 0 leaves its
        dimension alone. Those of the group width (e_g) do not count towards the sum.
        """
        return cls(2**depth, 2 ** (width / 2), 2 ** (resolution / 2), 2 ** (group_width / 2))

    def at(self, phi: float) -> Multipliers:
        """d = α^φ, w = β^φ, r = γ^φ."""
        return Multipliers(self.alpha**phi, self.beta**phi, self.gamma**phi, self.group**phi)

    @property
    def nominal_ratio(self) -> float:
        """α·β²·γ²: what one unit of φ multiplies FLOPs by, before rounding."""
        return self.alpha * self.beta**2 * self.gamma**2


def _even(*letters: str) -> Coefficients:
    """An even split between the named dimensions; the group width, if named, goes with the width."""
    share = {letter: 1 / len(set(letters) - {"g"}) for letter in letters}
    return Coefficients.from_shares(*(share.get(letter, 0.0) for letter in "dwrg"))


# Dollár et al. 2021, tables 1 to 4: what a doubling of the FLOPs is spent on. dWr is their fast compound scaling.
RULES: Mapping[str, Coefficients] = {
    **{rule: _even(*rule) for rule in ("d", "w", "r", "dw", "wr", "dr", "dwr", "wg", "dwg", "wgr", "dwgr")},
    "dWr": Coefficients.from_shares(0.1, 0.8, 0.1),
    "dWGr": Coefficients.from_shares(0.1, 0.8, 0.1, 0.8),  # with groups (RegNet): d1_w8_g8_r1 in pycls
}


def fast_compound(
    factor: float, depth: float, width: float, resolution: float, group_width: float = 0.0
) -> Multipliers:
    """d = s^e_d, w = s^(e_w/2), r = s^(e_r/2) for s = `factor` times the FLOPs (Dollár et al. 2021, equation 4)."""
    _require_positive("the factor on FLOPs", factor=factor)
    return Coefficients.from_shares(depth, width, resolution, group_width).at(math.log2(factor))


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
        return max(1, self.nearest(requested))

    def channels(self, requested: float) -> int:
        step = self.channels_step
        rounded = max(step, self.nearest(requested / step) * step)
        if rounded < self.channels_floor * requested - _SLACK:
            rounded += step
        return rounded

    def group_width(self, requested: float) -> int:
        """Channels per group, as the pycls scaler has them: an integer, from 3 to 5 four, then multiples of 8."""
        whole = max(1, self.nearest(requested))
        if whole <= 2:
            return whole
        return 4 if whole <= 5 else self.nearest(whole / 8) * 8

    def side(self, requested: float) -> int:
        step = self.resolution_step
        return max(step, self.nearest(requested / step) * step)

    def nearest(self, value: float) -> int:
        """The nearest integer; half-way, as `ties` says."""
        if self.ties == "even":
            return round(round(value, 9))
        return math.floor(value + 0.5 + _SLACK)


ROUNDINGS: Mapping[str, Rounding] = {
    # tensorflow/tpu models/official/efficientnet/efficientnet_model.py: round_filters, round_repeats.
    "official": Rounding(depth="ceil", channels_step=8, channels_floor=0.9, resolution_step=1),
    # facebookresearch/pycls pycls/models/scaler.py: max(1, round(depth)), max(1, round(width / 8)) * 8 and
    # round(side / 4) * 4, with Python's round, which takes halves to the even neighbour.
    "pycls": Rounding("nearest", channels_step=8, channels_floor=0.0, resolution_step=4, ties="even"),
    # google/automl efficientnetv2/utils.py: round_filters without the 90 % rule.
    "automl": Rounding(depth="ceil", channels_step=8, channels_floor=0.0, resolution_step=1),
}


def multiply(
    arch: Arch, multipliers: Multipliers, rounding: Rounding = ROUNDINGS["official"], name: str | None = None
) -> Arch:
    """`arch` with every stage's repeats, all channels (stem, head too) and the side multiplied and rounded.

    What `arch.fixed` names stays as it is. A multiplier of 1 leaves its dimension as it is: φ = 0 is the base itself,
    and scaling the depth alone does not move channels that are off the rounding's grid.
    """
    blocks = sum(stage.repeats for stage in arch.stages) * multipliers.depth
    if blocks > MAX_BLOCKS:
        raise SettingsError(
            f"{arch.name}: depth × {multipliers.depth:.4g} asks for {blocks:.4g} blocks; "
            f"at most {MAX_BLOCKS:,} are allowed; lower α or φ"
        )

    def deepened(index: int, stage: Stage) -> Stage:
        at_end = index in (0, len(arch.stages) - 1)
        if multipliers.depth == 1 or (at_end and "ends" in arch.fixed):
            return stage
        return replace(stage, repeats=rounding.repeats(stage.repeats * multipliers.depth))

    def outer(part: str, stage: Stage) -> Stage:
        return stage if part in arch.fixed else _widened(stage, multipliers, rounding)

    side = arch.resolution
    if multipliers.resolution != 1:
        side = rounding.side(side * multipliers.resolution)
    return replace(
        arch,
        name=arch.name if name is None else name,
        resolution=side,
        stem=outer("stem", arch.stem),
        stages=tuple(
            deepened(index, _widened(stage, multipliers, rounding)) for index, stage in enumerate(arch.stages)
        ),
        head=None if arch.head is None else outer("head", arch.head),
    )


def _widened(stage: Stage, multipliers: Multipliers, rounding: Rounding) -> Stage:
    """Channels, and channels per group, multiplied; the group width then divides the hidden channels.

    As in pycls (models/scaler.py, adjust_block_compatibility), the hidden channels go to the nearest multiple of the
    group width.
    """
    channels, group = stage.channels, stage.group_width
    if multipliers.width != 1:
        channels = rounding.channels(channels * multipliers.width)
    if not group or (multipliers.width == 1 and multipliers.group_width == 1):
        return replace(stage, channels=channels)
    if multipliers.group_width != 1:
        group = rounding.group_width(group * multipliers.group_width)
    hidden = hidden_channels(channels, stage.ratio)
    group = min(group, hidden)
    hidden = max(group, rounding.nearest(hidden / group) * group)
    return replace(stage, channels=round(hidden / stage.ratio), group_width=group)


def scale(arch: Arch, coefficients: Coefficients, phi: float, rounding: Rounding = ROUNDINGS["official"]) -> Arch:
    """Compound scaling of `arch` by d = α^φ, w = β^φ, r = γ^φ; φ < 0 scales down.

    Dropout goes with φ as in the published family (`family_dropout`); the rate of stochastic depth stays, as there.
    """
    scaled = multiply(arch, coefficients.at(phi), rounding, name=f"{arch.name}-phi{phi:g}")
    return replace(scaled, dropout=family_dropout(arch.dropout, phi))


def family_dropout(base: float, phi: float) -> float:
    """Dropout of a member: from the base's rate linearly to 0.3 more at φ = 7, to one decimal, at most 0.5.

    From 0.2 this is B0's 0.2 to B7's 0.5 and every published rate between (Tan & Le 2019, section 5.2; the released
    efficientnet_builder.py). A base without dropout, and one scaled down, keeps its rate.
    """
    if base == 0 or phi <= 0:
        return base
    return max(base, min(0.5, round(base + 0.3 * phi / 7, 1)))


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
        # A little less, so that φ still holds when it is printed with eight digits.
        limit = math.log(0.9999 * MAX_BLOCKS / blocks) / math.log(coefficients.alpha)
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
