"""Comparisons by bootstrap replicates."""

from __future__ import annotations

import numpy as np
import pytest

from scalesearch.search.statistics import bootstrap_best, bootstrap_difference, interval, unbeaten


def test_a_clear_best_is_alone_and_twins_stay_together() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, 400)  # what all predictions have in common tells nothing apart
    rows = {"best": shared + 1.0, "twin": shared + 1.0 + rng.normal(0, 0.1, 400), "worse": shared + 0.5}
    rows["worse"] = rows["worse"] + rng.normal(0, 0.1, 400)
    scores = {name: dict(enumerate(map(float, row))) for name, row in rows.items()}
    assert bootstrap_best(scores, 0.9) == {"best", "twin"}


def test_without_common_noise_nothing_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (5, 400)) + np.array([0.0, 0.1, 0.2, 0.3, 0.4])[:, None]
    assert unbeaten(table, 0.9) == [0, 1, 2, 3, 4]


def test_the_truly_best_stays_as_often_as_said() -> None:
    rng = np.random.default_rng(2)
    kept = 0
    for _ in range(100):
        truth = np.zeros(8)  # all are best: each must stay with at least 90 %
        seen = truth + rng.normal(0, 1, 8)
        table = seen[:, None] + rng.normal(0, 1, (8, 200))
        kept += 0 in unbeaten(table, 0.9)
    assert kept >= 85


def test_difference_is_paired_and_percentile() -> None:
    a = {index: float(index) + 1 for index in range(101)}
    b = {index: float(index) for index in range(101)}
    found = bootstrap_difference({"a": a, "b": b}, "a", "b", 0.9)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)
    assert interval(range(101), 0.9) == pytest.approx((5.0, 95.0))
