"""The distribution of errors of a design space."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from scalesearch.search.edf import edf, largest_gap
from scalesearch.spec.errors import RunError


def test_the_function_counts_networks_below_an_error() -> None:
    """Radosavovic et al. 2020, equation 1: F(e) is the mean of 1[e_i < e]."""
    found = edf([0.4, 0.2, 0.3, 0.2])
    assert found.errors == (0.2, 0.2, 0.3, 0.4)
    assert [found.below(error) for error in (0.1, 0.2, 0.25, 0.3, 0.4, 0.5)] == [0, 0, 0.5, 0.5, 0.75, 1]
    assert found.steps() == [(0.2, 0.5), (0.3, 0.75), (0.4, 1.0)]


def test_the_band_holds_the_true_function_at_its_confidence() -> None:
    """Of 400 samples of 50 uniform errors, whose function is the identity."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = edf(rng.uniform(size=50))
        steps = np.array(found.errors), np.arange(51) / 50
        furthest = max(np.abs(steps[1][1:] - steps[0]).max(), np.abs(steps[1][:-1] - steps[0]).max())
        held += furthest <= found.band(0.9)
    assert found.band(0.9) == pytest.approx(math.sqrt(math.log(20) / 100))
    assert held / 400 > 0.9 - 3 * math.sqrt(0.09 / 400)


@pytest.mark.parametrize(("one", "other"), [(5, 7), (12, 10), (15, 40), (60, 30)])
def test_the_largest_gap_is_kolmogorovs_and_smirnovs(one: int, other: int) -> None:
    """Against scipy's two-sample test with exact chances."""
    rng = np.random.default_rng(one)
    for shift in (0.0, 0.05, 0.1, 0.2):
        left, right = rng.uniform(0.1, 0.5, one), rng.uniform(0.1, 0.5, other) + shift
        gap = largest_gap(edf(left), edf(right))
        exact = stats.ks_2samp(left, right, method="exact")
        assert gap.share == pytest.approx(exact.statistic * exact.statistic_sign)
        assert gap.share == pytest.approx(edf(left).below(gap.error) - edf(right).below(gap.error))
        assert gap.chance == pytest.approx(exact.pvalue, abs=1e-9)


def test_ties_and_equal_spaces() -> None:
    same = edf([0.1, 0.1, 0.2])
    assert (largest_gap(same, same).share, largest_gap(same, same).chance) == (0, 1)
    apart = largest_gap(edf([0.1] * 20), edf([0.2] * 20))
    assert (apart.share, apart.error) == (1, 0.2)  # all of one lie below 0.2, none of the other
    # Of all orders of 20 and 20 errors, two keep the samples apart.
    assert apart.chance == pytest.approx(2 / math.comb(40, 20), abs=1e-15)
    assert largest_gap(edf([0.2] * 20), edf([0.1] * 20)).share == -1


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ([], "edf: needs the error of at least one network, got none; take a run with finished trainings"),
        ([0.1, math.nan], "edf: errors must be from 0 to 1, got nan; leave failed trainings out"),
        ([0.1, 12.0], "edf: errors must be from 0 to 1, got 12; leave failed trainings out"),
    ],
)
def test_faulty_errors(errors: list[float], message: str) -> None:
    with pytest.raises(RunError) as caught:
        edf(errors)
    assert str(caught.value) == message
