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

    Its chance is exact for errors that are all different, and too high, if anything, for ties.
    """
    own, others = len(one.errors), len(other.errors)
    places = sorted({*one.errors, *other.errors})
    ends = [*places[1:], math.nextafter(places[-1], math.inf)]  # just past each error

    def gap(end: float) -> int:  # times own · others, in whole numbers
        return bisect_left(one.errors, end) * others - bisect_left(other.errors, end) * own

    error = max(ends, key=lambda end: abs(gap(end)))
    return Gap(error, gap(error) / (own * others), _chance(own, others, abs(gap(error))))


def _chance(own: int, others: int, gap: int) -> float:
    """How often two samples of one space reach this gap, times own · others.

    All orders of the errors are as likely then; `inside[j]` is the share of the orders of the first i errors of one and
    j of the other that stay within (Hodges 1958).
    """
    inside = [0.0] * (others + 1)
    for i in range(own + 1):
        for j in range(others + 1):
            if abs(i * others - j * own) >= gap:
                inside[j] = 0.0
            elif i + j == 0:
                inside[j] = 1.0
            else:
                inside[j] = (i * inside[j] + (j * inside[j - 1] if j else 0.0)) / (i + j)
    return 1.0 - inside[others]
