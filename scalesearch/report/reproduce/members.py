"""Which α, β, γ and φ the published members B1–B7 follow (Tan & Le 2019, equation 3)."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from scalesearch.report.published import rows
from scalesearch.spec.scaling import Coefficients, Multipliers

BASE_SIDE = 224  # px
_TENTH = 0.05  # depth and width are printed to one decimal, the side to one pixel
_PIXEL = 0.5
# Where the multipliers of the members are printed.
SOURCE = "tensorflow/tpu@7dc921f models/official/efficientnet/efficientnet_builder.py"


@dataclass(frozen=True, slots=True)
class Published:
    """A member's printed multipliers; `side` in px."""

    name: str
    depth: str
    width: str
    side: int

    @property
    def multipliers(self) -> Multipliers:
        return Multipliers(float(self.depth), float(self.width), self.side / BASE_SIDE)


@dataclass(frozen=True, slots=True)
class Followed:
    """The coefficients, of αβ²γ² = 2, whose networks at free φ have every printed multiplier.

    `coefficients` are the mean of the corners of that region, `low` and `high` its ends, each on its own.
    """

    coefficients: Coefficients
    low: Coefficients
    high: Coefficients


def published_members() -> list[Published]:
    """B0 to B7 as the official code has them; the paper prints no multipliers."""
    return [
        Published(
            row["model"].removeprefix("efficientnet-").upper(),
            row["depth_coefficient"],
            row["width_coefficient"],
            int(row["resolution_px"]),
        )
        for row in rows("efficientnet_coefficients")
    ]


def single_phis(member: Published, coefficients: Coefficients) -> tuple[float, float, float]:
    """The φ that depth, width and side each ask for."""
    asked, per_phi = _logs(member.multipliers), _logs(coefficients.at(1))
    depth, width, side = (a / b for a, b in zip(asked, per_phi, strict=True))
    return depth, width, side


def least_squares_phi(member: Published, coefficients: Coefficients) -> float:
    """The one φ nearest to all three, in squares of the logarithms."""
    asked, per_phi = _logs(member.multipliers), _logs(coefficients.at(1))
    return sum(a * b for a, b in zip(asked, per_phi, strict=True)) / sum(b * b for b in per_phi)


def side_phi(member: Published, coefficients: Coefficients) -> float:
    """The φ that gives the printed side, which is known to the pixel."""
    return single_phis(member, coefficients)[2]


def fits(member: Published, coefficients: Coefficients) -> bool:
    """Whether some φ gives every multiplier of the member as printed."""
    low, high = _intervals(member)
    per_phi = _logs(coefficients.at(1))
    lowest, highest = max(map(operator.truediv, low, per_phi)), min(map(operator.truediv, high, per_phi))
    return bool(lowest <= highest)


def prints_as(member: Published, requested: Multipliers) -> bool:
    """Whether multipliers, rounded as printed, are the member's."""
    return (
        f"{requested.depth:.1f}" == member.depth
        and f"{requested.width:.1f}" == member.width
        and round(BASE_SIDE * requested.resolution) == member.side
    )


def least_squares_coefficients(members: Sequence[Published]) -> Coefficients:
    """α, β, γ of αβ²γ² = 2 that, with a φ of its own per member, come nearest in squares of the logarithms.

    The logarithms of the multipliers are a matrix of rank one then; its nearest is the first singular vector.
    """
    logs = np.array([_logs(member.multipliers) for member in members])
    return _doubling(np.abs(np.linalg.svd(logs)[2][0]))


def followed(members: Sequence[Published]) -> Followed | None:
    """All coefficients that give every multiplier of `members` as it is printed; None if there are none.

    With t = φ·ln α, p = ln β / ln α and q = ln γ / ln α, a member asks for t, p·t and q·t in three intervals. Some t
    is in all three where every two of them can meet, which bounds p, q and q / p: a polygon of up to six sides. The
    coefficients are ratios of linear functions of p and q, so that each has its ends at corners of the polygon.
    """
    bounds = []
    for one, other in ((1, 0), (2, 0), (2, 1)):  # p, q, q / p
        ends = [(_over(low[one], high[other]), _over(high[one], low[other])) for low, high in map(_intervals, members)]
        bounds.append((max(end[0] for end in ends), min(end[1] for end in ends)))
    sides, heights, slopes = bounds
    corners = [
        *product(sides, heights),
        *((p, p * slope) for p, slope in product(sides, slopes)),
        *((q / slope, q) for q, slope in product(heights, slopes) if slope > 0),
    ]
    corners = [(p, q) for p, q in corners if p > 0 and q > 0 and _between(p, sides) and _between(q, heights)]
    corners = [(p, q) for p, q in corners if _between(q / p, slopes)]
    if not corners:
        return None
    logs = np.array([[1.0, p, q] for p, q in corners])
    made = np.exp(logs * (math.log(2) / (logs @ [1, 2, 2]))[:, None])
    lowest, highest = (Coefficients(*map(float, end)) for end in (made.min(axis=0), made.max(axis=0)))
    return Followed(_doubling(np.unique(logs.round(12), axis=0).mean(axis=0)), lowest, highest)


def _over(a: float, b: float) -> float:
    """a / b, as a bound on a ratio of positive numbers: none where the divisor may be 0."""
    return a / b if b > 0 else math.inf


def _between(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] * (1 - 1e-12) <= value <= ends[1] * (1 + 1e-12) and math.isfinite(value)


def _intervals(member: Published) -> tuple[list[float], list[float]]:
    """Ends of ln depth, ln width and ln side that are printed as the member's."""
    ends = []
    for sign in (-1, 1):
        values = (
            float(member.depth) + sign * _TENTH,
            float(member.width) + sign * _TENTH,
            (member.side + sign * _PIXEL) / BASE_SIDE,
        )
        ends.append([math.log(value) for value in values])
    return ends[0], ends[1]


def _logs(multipliers: Multipliers) -> list[float]:
    return [math.log(value) for value in (multipliers.depth, multipliers.width, multipliers.resolution)]


def _doubling(direction: np.ndarray) -> Coefficients:
    """The coefficients along `direction` in the logarithms that double nominal FLOPs per φ."""
    logs = direction * math.log(2) / (direction @ [1, 2, 2])
    return Coefficients(*(float(value) for value in np.exp(logs)))
