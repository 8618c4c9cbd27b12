"""Statistics against hand computation, published tables, scipy and simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as reference

from scalesearch.search.stats import (
    critical_difference,
    hypervolume,
    knee,
    may_be_best,
    mean_and_error,
    paired_difference,
    pareto_front,
    pooled_noise,
    reward,
)


def test_soft_reward_by_hand() -> None:
    assert reward(0.8, 400e6, 400e6) == 0.8
    # MnasNet, section 3: twice the cost is worth 5 % accuracy, so w = −0.07: 2^−0.07 = 0.95264.
    assert reward(0.8, 800e6, 400e6) / reward(0.8, 400e6, 400e6) == pytest.approx(0.952638, abs=1e-6)
    assert reward(0.8, 200e6, 400e6) == pytest.approx(0.8 * 1.049717, abs=1e-6)


def test_hard_reward_by_hand() -> None:
    """MnasNet, figure 3 above: flat up to the target, in inverse proportion beyond."""
    assert reward(0.8, 100e6, 400e6, "hard") == 0.8
    assert reward(0.8, 400e6, 400e6, "hard") == 0.8
    assert reward(0.8, 800e6, 400e6, "hard") == pytest.approx(0.4, rel=1e-12)


def test_efficientnetv2s_reward_by_hand() -> None:
    """2^−0.05 = 0.965936; parameters count in this form alone."""
    assert reward(0.8, 10.0, 10.0, "efficientnetv2", 2.0) == pytest.approx(0.8 * 0.965936, abs=1e-6)
    assert reward(0.8, 20.0, 10.0, "efficientnetv2", 2.0) == pytest.approx(0.8 * 0.952638 * 0.965936, abs=1e-6)
    assert reward(0.8, 20.0, 10.0, "soft", 2.0) == reward(0.8, 20.0, 10.0)


def table(rows: Sequence[Sequence[float]]) -> dict[str, dict[int, float]]:
    """Rows are candidates, columns seeds."""
    return {f"n{row:02d}": dict(enumerate(values)) for row, values in enumerate(rows)}


def test_noise_of_a_two_way_layout_by_hand() -> None:
    """1 2 / 3 6: means 1.5, 4.5 and 2, 4, in all 3; residuals ±0.5, so 4 · 0.25 on 1 degree of freedom."""
    noise = pooled_noise(table([[1, 2], [3, 6]]))
    assert (noise.deviation, noise.freedom) == (pytest.approx(1.0, abs=1e-9), 1)


def test_effects_of_candidates_and_seeds_are_no_noise() -> None:
    noise = pooled_noise(table([[0.7, 0.8, 0.75], [0.6, 0.7, 0.65]]))
    assert noise.deviation == pytest.approx(0, abs=1e-9)
    assert noise.freedom == 2


def test_noise_with_missing_cells_against_the_residuals_of_a_regression() -> None:
    """A candidate with one seed only fits itself: it must not change the estimate."""
    full = table([[1, 2], [3, 6]])
    assert pooled_noise({**full, "alone": {0: 9.0}}).deviation == pytest.approx(1.0, abs=1e-9)
    assert pooled_noise({**full, "alone": {0: 9.0}}).freedom == 1


@pytest.mark.parametrize("scores", [{}, table([[0.5], [0.6]]), table([[0.5, 0.6]])])
def test_without_repeats_nothing_is_known_of_the_noise(scores: dict[str, dict[int, float]]) -> None:
    noise = pooled_noise(scores)
    assert math.isinf(noise.deviation)
    assert noise.freedom == 0


def test_the_pooled_variance_is_unbiased() -> None:
    rng = np.random.default_rng(1)
    variances = []
    for _ in range(1_500):
        effects = rng.normal(0, 3, (5, 1)) + rng.normal(0, 2, (1, 3))
        noise = pooled_noise(table(effects + rng.normal(0, 0.5, (5, 3))))
        assert noise.freedom == 8  # (5 − 1) · (3 − 1)
        variances.append(noise.deviation**2)
    # The mean of 1,500 variances with 8 degrees of freedom has a relative error of sqrt(2 / 8 / 1500) = 1.3 %.
    assert sum(variances) / len(variances) == pytest.approx(0.25, rel=0.06)


# Dunnett 1955, JASA 50, table 1a: one-sided, joint confidence 95 %, rows by degrees of freedom.
DUNNETT = [
    (1, 5, 2.02), (2, 5, 2.44), (3, 5, 2.68), (4, 5, 2.85), (9, 5, 3.30),
    (1, 10, 1.81), (2, 10, 2.15), (3, 10, 2.34), (4, 10, 2.47), (9, 10, 2.81),
    (1, 20, 1.72), (2, 20, 2.03), (3, 20, 2.19), (4, 20, 2.30), (9, 20, 2.60),
]  # fmt: skip


def dunnett_probability(constant: float, rivals: int, freedom: int) -> float:
    """Dunnett's integral, P(max (Z_j − Z_0) / (√2 S) <= constant), by Simpson's rule over Z_0 and S."""
    z, s = np.linspace(-8, 8, 801), np.linspace(1e-9, 4, 801)
    inner = reference.norm.cdf(constant * math.sqrt(2) * s[:, None] + z) ** rivals * reference.norm.pdf(z)
    density = reference.chi.pdf(s * math.sqrt(freedom), freedom) * math.sqrt(freedom)
    return float(integrate.simpson(integrate.simpson(inner, x=z) * density, x=s))


@pytest.mark.parametrize(("rivals", "freedom", "constant"), DUNNETT)
def test_critical_differences_agree_with_dunnetts_table(rivals: int, freedom: int, constant: float) -> None:
    assert critical_difference(rivals, freedom, 0.95) == pytest.approx(constant, abs=0.04)


@pytest.mark.parametrize(("rivals", "freedom", "confidence"), [(4, 5, 0.9), (11, 11, 0.9), (11, 22, 0.99)])
def test_critical_differences_agree_with_dunnetts_integral(rivals: int, freedom: int, confidence: float) -> None:
    constant = critical_difference(rivals, freedom, confidence)
    assert dunnett_probability(constant, rivals, freedom) == pytest.approx(confidence, abs=0.005)


def test_the_tables_values_solve_the_integral() -> None:
    """The table was copied right."""
    for rivals, freedom, constant in DUNNETT[::5]:
        assert dunnett_probability(constant, rivals, freedom) == pytest.approx(0.95, abs=0.002)


def test_one_rival_is_students_t() -> None:
    for freedom in (3, 12):
        assert critical_difference(1, freedom, 0.9) == pytest.approx(reference.t.ppf(0.9, freedom), abs=0.03)


def test_critical_difference_without_rivals_or_freedom() -> None:
    assert critical_difference(0, 5, 0.9) == 0
    assert critical_difference(3, 0, 0.9) == math.inf


def test_the_true_best_stays_in_the_set_as_often_as_promised() -> None:
    """All equal but for the best, by nothing: the least favourable case, where the promise is tight."""
    rng = np.random.default_rng(2)
    replays, networks, seeds = 1_000, 5, 3
    kept = 0
    for _ in range(replays):
        values = rng.normal(0, 1, (networks, seeds)) + rng.normal(0, 5, (1, seeds))
        kept += "n00" in may_be_best(table(values), 0.9)
    # Three standard errors of a share of 0.9 in 1,000 replays are 0.028.
    assert 0.9 - 0.028 < kept / replays < 0.9 + 0.028


def test_a_better_best_stays_more_often_and_the_others_leave() -> None:
    rng = np.random.default_rng(3)
    kept = sizes = 0
    for _ in range(150):
        values = rng.normal(0, 0.01, (6, 3)) + np.array([[0.9], [0.85], [0.85], [0.8], [0.8], [0.7]])
        found = may_be_best(table(values), 0.9)
        kept += "n00" in found
        sizes += len(found)
    assert kept == 150
    assert sizes / 150 < 1.4


def test_one_seed_excludes_nobody() -> None:
    assert may_be_best(table([[0.1], [0.5], [0.9]]), 0.9) == {"n00", "n01", "n02"}
    assert may_be_best(table([[0.1, 0.2]]), 0.9) == {"n00"}
    assert may_be_best({}, 0.9) == frozenset()


def test_a_clear_winner_stands_alone() -> None:
    scores = table([[0.90, 0.92, 0.91], [0.70, 0.71, 0.70], [0.60, 0.62, 0.62]])
    assert may_be_best(scores, 0.9) == {"n00"}


def test_candidates_are_compared_over_the_seeds_both_have() -> None:
    """Seed 1 is worth 0.2 more; the candidate that lacks it must not lose by that."""
    scores = table([[0.50, 0.70], [0.51, 0.70], [0.40, 0.61]])
    scores["short"] = {0: 0.51}
    found = may_be_best(scores, 0.9)
    assert "short" in found
    assert "n02" not in found
    assert "apart" in may_be_best({**scores, "apart": {7: 0.0}}, 0.9)


def test_paired_difference_against_scipy() -> None:
    """With two candidates the pooled noise is that of their differences, over √2: the paired t interval."""
    a, b = [0.71, 0.74, 0.69, 0.75], [0.70, 0.70, 0.68, 0.71]
    wanted = reference.ttest_rel(a, b).confidence_interval(0.9)
    found = paired_difference(table([a, b]), "n00", "n01", 0.9)
    assert found.mean == pytest.approx(np.mean(np.subtract(a, b)), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_paired_differences_that_cannot_be_known() -> None:
    one = paired_difference(table([[0.7], [0.6]]), "n00", "n01", 0.9)
    assert one.mean == pytest.approx(0.1)
    assert (one.low, one.high) == (-math.inf, math.inf)
    apart = paired_difference({"a": {0: 0.7}, "b": {1: 0.6}}, "a", "b", 0.9)
    assert math.isnan(apart.mean)
    assert (apart.low, apart.high) == (-math.inf, math.inf)


def test_mean_and_error_against_scipy() -> None:
    values = [0.71, 0.74, 0.69]
    assert mean_and_error(values) == pytest.approx((np.mean(values), reference.sem(values)), rel=1e-12)
    mean, error = mean_and_error([0.5])
    assert mean == 0.5
    assert math.isnan(error)


def test_pareto_front_by_hand() -> None:
    points = [(3, 0.8), (1, 0.5), (2, 0.7), (2, 0.6), (4, 0.8), (1, 0.5), (5, 0.9)]
    assert pareto_front(points) == [1, 2, 0, 6]
    assert pareto_front([]) == []


def test_hypervolume_of_rectangles_by_hand() -> None:
    # Up to cost 4 and down to 0.1: 0.4 from 1 to 2, 0.6 from 2 to 4.
    assert hypervolume([(1, 0.5), (2, 0.7)], (4, 0.1)) == pytest.approx(0.4 * 1 + 0.6 * 2)
    assert hypervolume([(1, 0.5), (2, 0.7), (3, 0.6)], (4, 0.1)) == pytest.approx(1.6)  # (3, 0.6) is dominated
    assert hypervolume([(1, 0.5), (9, 0.9)], (4, 0.1)) == pytest.approx(0.4 * 3)  # beyond the reference
    assert hypervolume([(1, 0.05), (2, 0.7)], (4, 0.1)) == pytest.approx(1.2)  # below it
    assert hypervolume([], (4, 0.1)) == 0


POINTS = st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 1)), min_size=1, max_size=25)


@given(POINTS)
def test_a_front_is_what_no_point_beats(points: list[tuple[float, float]]) -> None:
    front = [points[index] for index in pareto_front(points)]
    for cost, accuracy in front:
        assert not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in points)
    for cost, accuracy in points:
        assert any(c <= cost and a >= accuracy for c, a in front)
    assert front == sorted(front)


@given(POINTS, st.tuples(st.floats(0.1, 100), st.floats(0, 1)))
def test_another_point_never_shrinks_the_hypervolume(
    points: list[tuple[float, float]], point: tuple[float, float]
) -> None:
    corner = (80.0, 0.2)
    before, after = hypervolume(points, corner), hypervolume([*points, point], corner)
    assert after >= before - 1e-9
    assert 0 <= after <= 80 * 0.8 + 1e-9


def test_the_knee_by_hand() -> None:
    """Costs 1, 10, 100 are 0, ½, 1 on a log scale; 0.8 is ¾ of the way from 0.5 to 0.9, ¼ above the chord."""
    assert knee([(100, 0.9), (10, 0.8), (1, 0.5)]) == 1
    assert knee([(1, 0.5), (2, 0.55), (10, 0.8), (50, 0.82), (100, 0.9)]) == 2
    assert knee([(1, 0.5), (100, 0.9)]) is None
    assert knee([(1, 0.5), (10, 0.7), (100, 0.9)]) is None  # on the chord
    assert knee([(1, 0.5), (10, 0.6), (100, 0.9)]) is None  # below it
