"""Rank agreement: seeds never compared with themselves, and a bias that was put in is found."""

from __future__ import annotations

import numpy as np
import pytest

from scalesearch.search.cheap_ranks import cheap_agreement
from scalesearch.search.stats import Scores
from scalesearch.spec.errors import RunError

Shares = tuple[float, float, float]


def table(values: np.ndarray) -> Scores:
    """Rows are networks, columns seeds."""
    return {f"{row:02}": dict(enumerate(map(float, columns))) for row, columns in enumerate(values)}


def simplex(count: int, rng: np.random.Generator) -> dict[str, Shares]:
    drawn = rng.dirichlet([1, 1, 1], count)
    return {f"{row:02}": (float(a), float(b), float(c)) for row, (a, b, c) in enumerate(drawn)}


def test_the_same_order_agrees_and_the_reverse_does_not() -> None:
    rng = np.random.default_rng(1)
    truth = np.linspace(0.5, 0.9, 20)[:, None] + np.zeros((1, 3))
    shares = simplex(20, rng)
    same = cheap_agreement(table(truth[:, :2] / 2), table(truth), shares, draws=50)
    assert (same.tau.value, same.tau.low, same.tau.high) == (1, 1, 1)
    assert same.miss.value == 0
    assert all(abs(bias.value) < 1e-9 for bias in same.bias.values())
    assert (same.networks, same.seeds) == (20, (0, 1))
    reverse = cheap_agreement(table(-truth), table(truth), shares, draws=50)
    assert reverse.tau.value == -1
    assert reverse.miss.value == pytest.approx(0.4)


def test_a_training_is_not_compared_with_its_own_end() -> None:
    """Pure noise: a seed agrees with itself perfectly, and with others not at all."""
    noise = np.random.default_rng(2).normal(size=(100, 3))
    found = cheap_agreement(table(noise), table(noise), simplex(100, np.random.default_rng(3)), draws=100)
    assert abs(found.tau.value) < 0.15
    assert found.tau.low < found.tau.value < found.tau.high


def test_a_bias_against_depth_is_found() -> None:
    """Networks lose half of all places by spending all on depth; what the others gain by it is spread evenly."""
    rng = np.random.default_rng(4)
    shares = simplex(60, rng)
    truth = rng.normal(size=60)
    ranks = truth.argsort().argsort() - 30 * np.array([share[0] for share in shares.values()])
    cheap, full = np.repeat(ranks[:, None], 2, 1), np.repeat(truth[:, None], 3, 1)
    found = cheap_agreement(table(cheap), table(full), shares, draws=100)
    depth, width, resolution = (found.bias[name] for name in ("depth", "width", "resolution"))
    assert depth.high < 0 < min(width.low, resolution.low)
    assert depth.value < -10
    assert found.tau.value < 0.9


def test_networks_and_seeds_that_are_not_complete_are_left_out() -> None:
    values = np.random.default_rng(5).normal(size=(10, 3))
    full = table(values)
    shares = simplex(10, np.random.default_rng(6))
    full = {digest: dict(row) for digest, row in full.items()}
    partial = {digest: {0: row[0], 1: row[1], 2: row[2]} if digest < "04" else {0: row[0], 1: row[1]}
               for digest, row in full.items()}  # fmt: skip
    found = cheap_agreement(full, partial, shares, draws=10)
    assert found.networks == 10  # by seeds 0 and 1: the third has only begun
    del partial["09"]
    assert cheap_agreement(full, partial, shares, draws=10).networks == 9


@pytest.mark.parametrize(("networks", "seeds"), [(2, 3), (10, 1)])
def test_too_little_to_compare_is_refused(networks: int, seeds: int) -> None:
    values = np.random.default_rng(7).normal(size=(networks, seeds))
    with pytest.raises(RunError) as caught:
        cheap_agreement(table(values), table(values), simplex(networks, np.random.default_rng(8)))
    assert str(caught.value) == (
        "rank agreement needs at least 3 networks in both runs and 2 seeds of full trainings, got "
        f"{networks} and {seeds}; let the runs go on"
    )
