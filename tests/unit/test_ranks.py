"""Kendall's τ_b and its interval: known values, edges, and how often the interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from scalesearch.search.ranks import kendall, signs, tau_b, weighted_tau_b


@pytest.mark.parametrize("levels", [3, 10, 10_000])
def test_tau_b_is_that_of_scipy_with_ties_too(levels: int) -> None:
    a, b = np.random.default_rng(levels).integers(levels, size=(2, 40)).astype(float)
    assert tau_b(a, b) == pytest.approx(float(kendalltau(a, b).statistic), abs=1e-12)


def test_networks_counted_more_than_once() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, (2, 15)).astype(float)
    weights = rng.multinomial(15, np.full(15, 1 / 15), size=20).astype(float)
    found = weighted_tau_b(signs(a), signs(b), weights)
    for weight, tau in zip(weights.astype(int), found, strict=True):
        assert tau == pytest.approx(kendalltau(np.repeat(a, weight), np.repeat(b, weight)).statistic)


def test_a_judgement_that_is_the_same_for_all() -> None:
    assert math.isnan(tau_b(np.zeros(4), np.arange(4.0)))
    assert tau_b([1, 2, 3], [5, 5, 5], undefined=0.0) == 0


def test_pairs_counted_by_hand() -> None:
    # Of the ten pairs of five, two (2, 3) and (4, 5) are swapped: τ = (8 − 2)/10.
    assert kendall([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]).tau == pytest.approx(0.6)
    # τ_b with one tie in b: (5 − 0)/√(6·5), of the six pairs of four.
    assert kendall([1, 2, 3, 4], [1, 2, 2, 3]).tau == pytest.approx(5 / math.sqrt(30))


def test_turned_ranks_turn_the_interval() -> None:
    up, down = kendall([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]), kendall([1, 2, 3, 4, 5], [5, 3, 4, 1, 2])
    assert (down.tau, down.low, down.high) == pytest.approx((-up.tau, -up.high, -up.low))
    assert up.low < up.tau < up.high < 1


def test_five_that_agree_in_full_still_leave_a_wide_interval() -> None:
    found = kendall([1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
    assert (found.tau, found.high) == pytest.approx((1, 1))
    # 400,000 samples of five from a bivariate normal law: of τ = 0.35 and 0.42, 4.4 and 6.0 % agree in full.
    assert 0.33 < found.low < 0.45


@pytest.mark.parametrize(("a", "b"), [([1, 2], [1, 2]), ([], []), ([1, 1, 1], [1, 2, 3])])
def test_not_defined(a: list[float], b: list[float]) -> None:
    found = kendall(a, b)
    assert all(math.isnan(value) for value in (found.tau, found.low, found.high))
    assert found.networks == len(a)


def test_lengths_must_be_equal() -> None:
    with pytest.raises(ValueError, match="same networks, got 3 and 2"):
        kendall([1, 2, 3], [1, 2])


@pytest.mark.parametrize(("count", "truth"), [(5, 0.9), (5, 0.3), (12, 0.7), (42, 0.5)])
def test_the_interval_holds_the_truth_as_often_as_it_says(count: int, truth: float) -> None:
    """300 samples of a bivariate normal law with Kendall's τ = `truth`; four standard errors below 90 % are 83 %."""
    rng = np.random.default_rng(count)
    correlation = math.sin(math.pi * truth / 2)
    held = 0
    for _ in range(300):
        a = rng.standard_normal(count)
        b = correlation * a + math.sqrt(1 - correlation**2) * rng.standard_normal(count)
        found = kendall(list(a), list(b), confidence=0.9)
        held += found.low <= truth <= found.high
    assert held >= 249
