"""How far two judgements rank the same networks alike: Kendall's τ_b, its bootstrap, and its interval without one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's τ_b over so many `networks`, from −1 to 1, and its interval; all NaN where it is not defined."""

    tau: float
    low: float
    high: float
    networks: int


def common_seeds(trainings: Mapping[str, Collection[int]]) -> list[int]:
    """The seeds that at least half of the networks (by digest) have: of a run that goes on, the last is left out."""
    every = sorted(frozenset[int]().union(*trainings.values()))
    return [seed for seed in every if 2 * sum(seed in own for own in trainings.values()) >= len(trainings)]


def tau_b(a: npt.ArrayLike, b: npt.ArrayLike, undefined: float = math.nan) -> float:
    """Of two judgements of the same networks, entry by entry; `undefined` where one of them gives all the same value.

    Counted over pairs of networks; a tie is neither agreement nor disagreement (Kendall 1945).
    """
    one, other = (signs(np.asarray(values, dtype=np.float64)) for values in (a, b))
    return float(weighted_tau_b(one, other, np.ones((1, len(one))), undefined)[0])


def weighted_tau_b(a: Floats, b: Floats, weights: Floats, undefined: float = math.nan) -> Floats:
    """τ_b (draws,) from the `signs` (n, n) of both, networks counted as often as `weights` (draws, n) say.

    Two copies of one network are no pair, as τ_b leaves out what is tied.
    """

    def total(pairs: Floats) -> Floats:
        summed: Floats = ((weights @ pairs) * weights).sum(1)
        return summed

    norm: Floats = np.sqrt(total(np.abs(a)) * total(np.abs(b)))
    return np.asarray(np.divide(total(a * b), norm, out=np.full_like(norm, undefined), where=norm > 0))


def signs(values: Floats) -> Floats:
    """Of all differences, (n, n): 1 where the row's network is above the column's, 0 where they are tied."""
    return np.sign(values[:, None] - values[None, :])


def kendall(a: Sequence[float], b: Sequence[float], confidence: float = 0.9) -> Agreement:
    """τ_b of the two judgements, entry by entry of the same networks (equal lengths).

    Not defined (NaN) for fewer than three networks, or where one judgement gives all the same value. The interval is
    of the τ that many more such networks would give, their noise included: all τ whose own sampling error does not
    exclude the one found. Unlike a bootstrap's it is no point where five networks happen to agree in full.
    """
    count = len(a)
    if count != len(b):
        raise ValueError(f"both judgements must be of the same networks, got {count} and {len(b)}")
    tau = tau_b(a, b) if count > 2 else math.nan
    if math.isnan(tau):
        return Agreement(math.nan, math.nan, math.nan, count)
    return Agreement(tau, -_highest(-tau, count, confidence), _highest(tau, count, confidence), count)


def _highest(tau: float, count: int, confidence: float) -> float:
    """The largest τ that leaves `tau` within its sampling error; the smallest is the negative of −`tau`'s."""
    from scipy.special import ndtri

    reach = float(ndtri(0.5 + confidence / 2))
    low, high = tau, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        inside = middle - tau <= reach * math.sqrt(_variance(middle, count))
        low, high = (middle, high) if inside else (low, middle)
    return low


def _variance(tau: float, count: int) -> float:
    """Of Kendall's τ in samples of `count` from a bivariate normal law (Esscher 1924; Kendall & Gibbons, ch. 10)."""
    half = math.asin(math.sin(math.pi * tau / 2) / 2) * 2 / math.pi
    return 2 / (count * (count - 1)) * max(0.0, 1 - tau**2 + 2 * (count - 2) * (1 / 9 - half**2))
