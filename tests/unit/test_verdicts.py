"""Comparisons by bootstrap replicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_runs import Builder, candidates, pool

from scalesearch.search.places import POOL, stored
from scalesearch.search.run import Run
from scalesearch.search.stats import interval
from scalesearch.search.verdicts import bootstrap_best, bootstrap_difference, unbeaten


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


def test_networks_never_tried_have_a_standing(tmp_path: Path) -> None:
    """The region is one of the whole pool; a run of an older version stored none, and speaks of what it tried."""
    builder = Builder(tmp_path / "run", seeds=2)
    for index, candidate in enumerate(candidates(8)):
        for seed in range(2 if index < 5 else 1):  # a run that ended early: unequal seeds
            builder.add_candidate(candidate, 0.80 + 0.01 * index + 0.002 * seed, seed)
    run = builder.finish()
    assert len(run.standings) == len(run.candidates) == 8
    assert run.recommended.candidate.digest == candidates(8)[7].digest
    everything = pool()[2].candidates
    builder.ledger.set_fact(POOL, stored(everything))
    wide = Run.load(tmp_path / "run")
    assert [place.digest for place, _ in wide.standings] == [one.digest for one in everything]
    for (place, _), one in zip(wide.standings, everything, strict=True):
        assert place.shares == pytest.approx(one.shares, abs=1e-6)
    assert sum(standing.chance for _, standing in wide.standings) == pytest.approx(1)
    tried = {result.candidate.digest for result in wide.candidates}
    assert wide.recommended.candidate.digest in tried
    assert any(standing.may_be_best for place, standing in wide.standings if place.digest not in tried)
    assert all(standing.low <= standing.expected <= standing.high for _, standing in wide.standings)
    lead = wide.lead_over("paper")
    assert lead is not None and lead.low < lead.mean < lead.high
