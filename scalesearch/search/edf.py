"""How good the networks of a design space are as a whole: the distribution of their errors, and two of them compared.

Radosavovic et al. 2019 (arXiv:1905.13214) and 2020 (arXiv:2003.13678, section 3.1): a space is the better one if more
of its random networks, trained alike and of like cost, have low errors; the best of each says less.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from scalesearch.spec.errors import RunError


@dataclass(frozen=True, slots=True)
class ErrorDistribution:
    """The empirical distribution function (EDF) of a sample of networks' errors, `errors` ascending."""

    errors: tuple[float, ...]

    def below(self, error: float) -> float:
        """The share of networks with less than this error: F(e) of equation 1 of the paper of 2020."""
        return bisect_left(self.errors, error) / len(self.errors)

    def steps(self) -> list[tuple[float, float]]:
        """(error, share of networks with at most that error) per distinct error, ascending: the function's corners."""
        last = {error: place for place, error in enumerate(self.errors, start=1)}
        return [(error, place / len(self.errors)) for error, place in last.items()]

    def band(self, confidence: float) -> float:
        """Half the height of a band around the whole function that holds the space's own function at this confidence.

        Dvoretzky, Kiefer & Wolfowitz 1956, with Massart's constant (1990): for networks drawn independently.
        """
        return math.sqrt(math.log(2 / (1 - confidence)) / (2 * len(self.errors)))


@dataclass(frozen=True, slots=True)
class Gap:
    """Where two distributions lie furthest apart, one's share below `error` less the other's, and its chance.

    `chance` is how often the sample sizes alone would give a gap of this size between equal spaces.
    """

    error: float
    share: float
    chance: float


def edf(errors: Iterable[float]) -> ErrorDistribution:
    """Of validation errors, 0 to 1, one per network. Raises RunError for none, or for one that is no error."""
    found = tuple(sorted(errors))
    if not found:
        raise RunError("edf: needs the error of at least one network, got none; take a run with finished trainings")
    if not all(0 <= error <= 1 for error in found):  # a NaN is no error either
        wrong = next(error for error in found if not 0 <= error <= 1)
        raise RunError(f"edf: errors must be from 0 to 1, got {wrong:g}; leave failed trainings out")
    return ErrorDistribution(found)


def largest_gap(one: ErrorDistribution, other: ErrorDistribution) -> Gap:
    """The largest vertical distance (Kolmogorov–Smirnov); positive where `one` has more networks of low error.

    Its chance is the asymptotic one (Smirnov 1948) at Stephens' (1970) effective size, within about a hundredth from
    ten networks each on.
    """
    places = sorted({*one.errors, *other.errors})
    ends = [*places[1:], math.nextafter(places[-1], math.inf)]  # just past each error
    error = max(ends, key=lambda end: abs(one.below(end) - other.below(end)))
    share = one.below(error) - other.below(error)
    size = math.sqrt(len(one.errors) * len(other.errors) / (len(one.errors) + len(other.errors)))
    scaled = (size + 0.12 + 0.11 / size) * abs(share)
    series = (2 * (-1) ** (term - 1) * math.exp(-2 * (term * scaled) ** 2) for term in range(1, 101))
    return Gap(error, share, min(1.0, max(0.0, sum(series))) if scaled > 0.2 else 1.0)
