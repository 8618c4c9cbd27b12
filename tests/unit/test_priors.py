"""What a score is worth: the bootstrap, and what is known of made-up networks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scalesearch.search.priors import Appraisal, Worth, judge
from scalesearch.search.ranks import tau_b


def worth(appraisal: Appraisal, name: str) -> Worth:
    return next(entry for entry in appraisal.worths if entry.score == name)


def made_up(
    count: int = 42, seeds: int = 3, noise: float = 0.002, seed: int = 0
) -> tuple[dict[str, list[list[float]]], list[dict[int, float]], np.ndarray]:
    """Networks of true accuracy ~ N(0.95, 0.01²); a perfect score, its reverse, one at random, one that is constant."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.95, 0.01, count)
    seen = [{k: float(value + rng.normal(0, noise)) for k in range(seeds)} for value in truth]
    scores = {
        "perfect": [[value] for value in truth],
        "reversed": [[-value] for value in truth],
        "params": [list(rng.normal(0, 1, 3)) for _ in truth],
        "flops": [[2.0]] * count,
    }
    return scores, seen, truth


def test_a_perfect_score_its_reverse_and_a_constant() -> None:
    scores, seen, truth = made_up(noise=1e-6)
    appraisal = judge(scores, seen)
    perfect, turned, constant = (worth(appraisal, name) for name in ("perfect", "reversed", "flops"))
    assert (perfect.tau.value, perfect.tau.low, perfect.tau.high) == pytest.approx((1, 1, 1))
    assert (perfect.place, perfect.upper_half, perfect.loss) == (1, 1, 0)
    assert perfect.needed < 0.06  # one of the 27 or so that a bootstrap draws
    assert (turned.tau.value, turned.place, turned.upper_half) == (-1, 42, 0)
    assert 0.01 < turned.loss < truth.max() - truth.min()
    assert (constant.tau.value, constant.tau.low, constant.tau.high) == (0, 0, 0)
    assert constant.place == 21.5
    assert 0.46 < constant.upper_half < 0.56  # a coin; half of an odd number is rounded up
    assert perfect.over["flops"].low == 1
    assert perfect.over["params"].low > 0
    assert appraisal.ceiling > 0.99


def test_partial_tau_by_hand() -> None:
    """Of the six pairs of four: τ(score, accuracy) = 4/6, τ(score, params) = 2/6, τ(params, accuracy) = 4/6."""
    order = {"score": [1, 2, 4, 3], "params": [2, 1, 3, 4]}
    assert tau_b(order["score"], order["params"]) == pytest.approx(2 / 6)
    scores = {name: [[value] for value in values] for name, values in order.items()} | {"flops": [[1.0]] * 4}
    found = worth(judge(scores, [{0: float(i)} for i in range(4)], draws=50), "score").partial.value
    # As correlations of a normal law these are sin 60°, sin 30° and sin 60°; (√3/2 − √3/4) / √(3/4 · 1/4) = 1.
    assert found == pytest.approx(1)


def test_what_holds_at_given_parameters() -> None:
    """A score that is the parameters and some noise says nothing more; one that knows the rest does."""
    rng = np.random.default_rng(4)
    params, rest = rng.normal(size=80), rng.normal(size=80)
    scores = {
        "echo": (params + 0.3 * rng.normal(size=80))[:, None],
        "rest": rest[:, None],
        "params": params[:, None],
        "flops": np.ones((80, 1)),
    }
    accuracies = [{0: float(p + r)} for p, r in zip(params, rest, strict=True)]
    found = judge({k: v.tolist() for k, v in scores.items()}, accuracies)
    echo, other = worth(found, "echo"), worth(found, "rest")
    assert echo.tau.low > 0.1
    assert echo.partial.low < 0 < echo.partial.high
    assert other.partial.low > 0.3
    assert worth(found, "params").partial.value == 0
    assert worth(found, "params").over["params"].value == 0


def test_noise_that_is_not_known_is_said() -> None:
    scores, seen, _ = made_up(seeds=1)
    appraisal = judge(scores, seen, draws=200)
    assert appraisal.noise.freedom == 0
    assert math.isnan(appraisal.ceiling)
    assert worth(appraisal, "perfect").repeatable != worth(appraisal, "perfect").repeatable  # one initialisation: NaN
    assert abs(worth(appraisal, "params").repeatable) < 0.2
    assert (appraisal.networks, appraisal.trainings) == (42, 42)


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_the_ceiling_is_that_of_two_normal_laws(noise: float) -> None:
    """Truth and mean of three seeds correlate with √(V/(V + s²/3)), and τ = 2/π·asin of that (Kendall & Gibbons)."""
    scores, seen, _ = made_up(150, noise=noise, seed=2)
    expected = 2 / math.pi * math.asin(math.sqrt(1 / (1 + (noise / 0.01) ** 2 / 3)))
    assert judge(scores, seen, draws=200).ceiling == pytest.approx(expected, abs=0.06)


def test_noise_makes_the_best_uncertain() -> None:
    """With noise as large as the spread, the truly best is not always where the measured best is."""
    _, seen, _ = made_up(noise=0.02)
    means = [[float(np.mean(list(row.values())))] for row in seen]
    scores = {"measured": means, "params": [[0.0]] * 42, "flops": [[0.0]] * 42}
    found = worth(judge(scores, seen), "measured")
    assert (found.tau.value, found.place) == (1, 1)
    assert 0.6 < found.upper_half < 0.99
    assert found.needed > 0.2


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """100 samples of 42 from a bivariate normal law with τ = 0.4; four standard errors below 90 % are 78 %."""
    rng = np.random.default_rng(0)
    correlation = math.sin(math.pi * 0.4 / 2)
    held = 0
    for _ in range(100):
        a = rng.normal(size=42)
        b = correlation * a + math.sqrt(1 - correlation**2) * rng.normal(size=42)
        scores = {"score": a[:, None].tolist(), "params": [[0.0]] * 42, "flops": [[0.0]] * 42}
        tau = worth(judge(scores, [{0: float(value)} for value in b], draws=200), "score").tau
        held += tau.low <= 0.4 <= tau.high
    assert held >= 78
