"""Statistics against hand computation, published tables, scipy and simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from scalesearch.search.stats import (
    fitted_exponent,
    hypervolume,
    knee,
    mean_and_error,
    mean_by_digest,
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


def test_absolute_reward_by_hand() -> None:
    """TuNAS: a tenth of the relative distance from the target, on either side."""
    assert reward(0.8, 500e6, 400e6, "absolute") == pytest.approx(0.775, abs=1e-12)
    assert reward(0.8, 300e6, 400e6, "absolute") == pytest.approx(0.775, abs=1e-12)
    assert reward(0.8, 400e6, 400e6, "absolute") == 0.8


def test_accuracy_alone_and_another_exponent() -> None:
    assert reward(0.8, 800e6, 400e6, "accuracy", 2.0) == 0.8
    assert reward(0.8, 800e6, 400e6, exponent=-1.0) == pytest.approx(0.4)
    assert reward(0.8, 800e6, 400e6, exponent=0.0) == 0.8
    assert reward(0.8, 800e6, 400e6, "efficientnetv2", 2.0, -1.0) == pytest.approx(0.4 * 0.965936, abs=1e-6)


def test_the_fitted_exponent_follows_mnasnets_own_rule() -> None:
    """MnasNet, section 3: 5 % more accuracy for twice the cost gives −log2(1.05) = −0.0704."""
    found = fitted_exponent([(200e6, 0.70), (400e6, 0.735)], 0.9)
    assert found is not None
    assert found.value == pytest.approx(-math.log2(1.05), abs=1e-12)
    assert (found.low, found.high) == (-1.0, 0.0)  # two points say nothing of the noise


@given(st.floats(-0.9, -0.01), st.floats(0.1, 0.9))
def test_an_exact_power_law_is_fitted_exactly(exponent: float, level: float) -> None:
    points = [(cost, level * (cost / 4e8) ** -exponent) for cost in (1e8, 2e8, 4e8, 9e8)]
    found = fitted_exponent(points, 0.9)
    assert found is not None
    assert found.value == pytest.approx(exponent, abs=1e-9)
    assert found.high - found.low < 1e-6
    # At that exponent all these points are worth the same.
    rewards = [reward(accuracy, cost, 4e8, exponent=found.value) for cost, accuracy in points]
    assert max(rewards) == pytest.approx(min(rewards), rel=1e-6)


def test_the_fitted_exponents_interval_is_that_of_a_regression() -> None:
    rng = np.random.default_rng(2)
    points = [(cost, 0.7 * (cost / 4e8) ** 0.2 * math.exp(rng.normal(0, 0.03))) for cost in (1e8, 2e8, 3e8, 4e8, 8e8)]
    line = reference.linregress(np.log([cost for cost, _ in points]), np.log([accuracy for _, accuracy in points]))
    half = reference.t.ppf(0.95, 3) * line.stderr
    found = fitted_exponent(points, 0.9)
    assert found is not None
    assert found.value == pytest.approx(-line.slope)
    assert (found.low, found.high) == pytest.approx((-line.slope - half, -line.slope + half))


def test_a_line_that_falls_or_is_too_steep_is_kept_within_bounds() -> None:
    falling = fitted_exponent([(1e8, 0.8), (2e8, 0.7), (4e8, 0.6)], 0.9)
    steep = fitted_exponent([(1e8, 0.1), (2e8, 0.4), (3e8, 0.9)], 0.9)
    assert falling is not None and falling.value == 0.0
    assert steep is not None and steep.value == -1.0


@pytest.mark.parametrize("points", [[], [(1e8, 0.5)], [(1e8, 0.5), (1e8, 0.6)], [(1e8, 0.5), (2e8, 0.0)]])
def test_no_line_without_two_costs(points: list[tuple[float, float]]) -> None:
    assert fitted_exponent(points, 0.9) is None


def test_means_are_over_the_seeds_that_all_have() -> None:
    scores = {"a": {1: 0.5, 2: 0.7, 3: 0.0}, "b": {2: 0.9, 1: 0.1}}
    assert mean_by_digest(scores) == pytest.approx({"a": 0.6, "b": 0.5})
    assert mean_by_digest({"a": {1: 0.5}, "b": {2: 0.5}}) == {}
    assert mean_by_digest({"a": {1: 0.5}, "b": {}}) == {} == mean_by_digest({})


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
