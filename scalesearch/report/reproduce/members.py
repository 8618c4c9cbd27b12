"""Which α, β, γ and φ the published members B1–B7 follow (Tan & Le 2019, equation 3)."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalesearch.report.published import rows
from scalesearch.spec.scaling import Coefficients, Multipliers

BASE_SIDE = 224  # px
_TENTH = 0.05  # depth and width are printed to one decimal, the side to one pixel
_PIXEL = 0.5
_NODES = 801  # of the grid over the two ratios of logarithms


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

    `coefficients` are the middle of them all, `low` and `high` their ends, each on its own.
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

    With t = φ·ln α, p = ln β / ln α and q = ln γ / ln α, a member asks for t, p·t and q·t in three intervals. A
    grid over (p, q) finds where every member has such a t.
    """
    intervals = [_intervals(member) for member in members]
    p, q = (
        np.linspace(
            max(low[axis] / high[0] for low, high in intervals),
            min(high[axis] / low[0] for low, high in intervals),
            _NODES,
        )
        for axis in (1, 2)
    )
    p, q = np.meshgrid(p, q)
    possible = np.ones_like(p, dtype=bool)
    for low, high in intervals:
        possible &= np.maximum(np.maximum(low[0], low[1] / p), low[2] / q) <= np.minimum(
            np.minimum(high[0], high[1] / p), high[2] / q
        )
    if not possible.any():
        return None
    p, q = p[possible], q[possible]
    logs = np.stack([np.ones_like(p), p, q]) * (math.log(2) / (1 + 2 * p + 2 * q))
    lowest, highest = (Coefficients(*map(float, np.exp(end))) for end in (logs.min(axis=1), logs.max(axis=1)))
    return Followed(_doubling(np.array([1.0, p.mean(), q.mean()])), lowest, highest)


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
