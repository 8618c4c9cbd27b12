"""Scaling: `Arch -> Arch`, and a factory's likewise. Coefficients, multipliers, rounding rules.

Words: *requested* is what the formula asks for, *realised* is what is left after repeats, channels and
pixels are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scalesearch.spec.blocks import Stage, hidden_channels
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import LARGEST, A, FactoryArch, multiplied

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

        That equation's d = s^e_d, w = s^(e_w/2), r = s^(e_r/2), for s times the FLOPs, are `.at(log2 s)`. Any numbers:
        shares that do not add up to 1 make a φ that is not one doubling. A share of 0 leaves its dimension alone.
        Those of the group width (e_g) do not count towards the sum.
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
    arch: A, multipliers: Multipliers, rounding: Rounding = ROUNDINGS["official"], name: str | None = None
) -> A:
    """`arch` with every stage's repeats, all channels (stem, head too) and the side multiplied and rounded.

    What `arch.fixed` names stays as it is. A multiplier of 1 leaves its dimension as it is: φ = 0 is the base itself,
    and scaling the depth alone does not move channels that are off the rounding's grid. A factory rounds its depth and
    width by itself: its multipliers are multiplied, to four significant digits, and only its side is rounded here.
    """
    side = arch.resolution
    if multipliers.resolution != 1:
        side = rounding.side(side * multipliers.resolution)
    if isinstance(arch, FactoryArch):
        return _asked(arch, multipliers, side, name)
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
        return stage if part in arch.fixed else widened(stage, multipliers, rounding)

    return replace(
        arch,
        name=arch.name if name is None else name,
        resolution=side,
        stem=outer("stem", arch.stem),
        stages=tuple(deepened(index, widened(stage, multipliers, rounding)) for index, stage in enumerate(arch.stages)),
        head=None if arch.head is None else outer("head", arch.head),
    )


def _asked(arch: FactoryArch, multipliers: Multipliers, side: int, name: str | None) -> FactoryArch:
    depth, width = multiplied(arch.depth, multipliers.depth), multiplied(arch.width, multipliers.width)
    for what, value in (("depth", depth), ("width", width)):
        if value > LARGEST:
            raise SettingsError(
                f"{arch.name}: {what} × {value:.4g} is asked of {arch.factory}; at most {LARGEST:g} is allowed; lower φ"
            )
    return replace(arch, name=arch.name if name is None else name, depth=depth, width=width, resolution=side)


def widened(stage: Stage, multipliers: Multipliers, rounding: Rounding) -> Stage:
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


def scale(arch: A, coefficients: Coefficients, phi: float, rounding: Rounding = ROUNDINGS["official"]) -> A:
    """Compound scaling of `arch` by d = α^φ, w = β^φ, r = γ^φ; φ < 0 scales down.

    Dropout goes with φ as in the published family (`family_dropout`); the rate of stochastic depth stays, as there.
    A factory's dropout is its own.
    """
    return with_family_dropout(multiply(arch, coefficients.at(phi), rounding, name=f"{arch.name}-phi{phi:g}"), phi)


def with_family_dropout(arch: A, phi: float) -> A:
    """`arch`, that has the base's dropout, with the one that its φ asks for."""
    return arch if isinstance(arch, FactoryArch) else replace(arch, dropout=family_dropout(arch.dropout, phi))


def family_dropout(base: float, phi: float) -> float:
    """Dropout of a member: from the base's rate linearly to 0.3 more at φ = 7, to one decimal, at most 0.5.

    From 0.2 this is B0's 0.2 to B7's 0.5 and every published rate between (Tan & Le 2019, section 5.2; the released
    efficientnet_builder.py). A base without dropout, and one scaled down, keeps its rate.
    """
    if base == 0 or phi <= 0:
        return base
    return max(base, min(0.5, round(base + 0.3 * phi / 7, 1)))
