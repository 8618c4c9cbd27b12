"""How far two judgements rank the same networks alike: Kendall's τ_b, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's τ_b over so many `networks`, from −1 to 1, and its interval; all NaN where it is not defined."""

    tau: float
    low: float
    high: float
    networks: int


def kendall(a: Sequence[float], b: Sequence[float], confidence: float = 0.9) -> Agreement:
    """τ_b of the two judgements, entry by entry of the same networks (equal lengths).

    Not defined (NaN) for fewer than three networks, or where one judgement gives all the same value. The interval is
    of the τ that many more such networks would give, their noise included: all τ whose own sampling error does not
    exclude the one found. Unlike a bootstrap's it is no point where five networks happen to agree in full.
    """
    from scipy.stats import kendalltau

    count = len(a)
    if count != len(b):
        raise ValueError(f"both judgements must be of the same networks, got {count} and {len(b)}")
    tau = float(kendalltau(a, b).statistic) if count > 2 else math.nan
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
