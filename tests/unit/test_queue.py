"""`queue_next`: the order of a run's trainings, for every sampler, with several in flight, and resumed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import Trial

from scalesearch.fit.data import Dataset
from scalesearch.search.candidates import Feasible, realised
from scalesearch.search.ledger import Ledger, open_ledger
from scalesearch.search.plan import Plan, Speed
from scalesearch.search.problem import Problem
from scalesearch.search.queue import queue_next
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import read_candidate
from scalesearch.search.samplers import CORNERS, POINTS, SAMPLERS, make_pool, simplex_to_square
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError
from scalesearch.spec.scaling import Rounding
from scalesearch.spec.settings import Settings
from scalesearch.spec.spaces import CoefficientRanges, Range

BASE = Arch(
    "tiny", 24, Stage("conv", channels=8, stride=2),
    (
        Stage("mbconv", channels=8, se=0.25),
        Stage("mbconv", channels=12, repeats=2, stride=2, expand=3),
        Stage("mbconv", channels=20, repeats=3, stride=2, expand=3),
    ),
    head=Stage("conv", channels=40, kernel=1), classes=10, in_channels=1,
)  # fmt: skip
TOLERANCE = 0.06
DATASET = Dataset(Path("nowhere"), "none", tuple("0123456789"), 1, 64, 1_000, 1_000, False, "0", (), ())


@cache
def problem() -> Problem:
    ranges = CoefficientRanges(Range(1.0, 2.0), Range(1.0, 1.6), Range(1.0, 1.6), 0.05)
    found = realised(BASE, ranges, Rounding("ceil", 2, 0.9, 1), TOLERANCE)
    feasible = Feasible(found.candidates[:15], found.rejected)  # few enough for the slow samplers
    pool = make_pool(feasible.candidates)
    return Problem(BASE, "", BASE, DATASET, "the images of digits", DATASET.fingerprint, feasible, pool)


def plan(networks: int, seeds: int) -> Plan:
    return Plan(networks, seeds, 1, 64, 64, 1, "cpu", Speed(1, 1, 1, 1), 0.0, 0.0)


def settings(sampler: str) -> Settings:
    return Settings(target_flops=1_000_000, sampler=sampler)


def accuracy_of(record: TrialRecord) -> float:
    """A function of the network and the seed, as trainings are."""
    return 0.5 + (int(record.digest, 16) % 1_000 + record.seed) / 4_000


def finish(ledger: Ledger, trial: Trial, fail: bool = False) -> None:
    record = ledger.record(trial)
    if fail:
        ledger.fail(trial, "the loss became nan")
        return
    result = {"epochs": [{"epoch": 1, "accuracy": accuracy_of(record)}], "seconds": 1.0, "notes": []}
    ledger.rung_done(trial, 0, result)
    ledger.finish(trial, accuracy_of(record))


def go(
    ledger: Ledger, sampler: str, networks: int, seeds: int, in_flight: int = 1, limit: int = 10_000, **given: Any
) -> None:
    """As the engine does it: keep so many running, finish the one that has run longest."""
    running: list[Trial] = ledger.running()
    while len(ledger.records()) < limit:
        while len(running) < in_flight and queue_next(ledger, problem(), plan(networks, seeds), settings(sampler)):
            trial = ledger.start()
            assert trial is not None
            running.append(trial)
        if not running:
            return
        finish(ledger, running[0], fail=running[0].number in given.get("failures", ()))
        running.pop(0)


def told(ledger: Ledger) -> list[tuple[str, str, int]]:
    return [(record.role, record.digest, record.seed) for record in ledger.records()]


@cache
def uninterrupted(sampler: str) -> tuple[tuple[str, str, int], ...]:
    """One worker, 8 networks, 2 seeds, in memory."""
    ledger = Ledger(InMemoryStorage(), "whole")
    go(ledger, sampler, networks=8, seeds=2)
    return tuple(told(ledger))


every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


@every_sampler
def test_no_repeat_and_nothing_infeasible_with_three_in_flight(tmp_path: Path, sampler: str) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    go(ledger, sampler, networks=12, seeds=2, in_flight=3)
    records = ledger.records()
    assert max(Counter(told(ledger)).values()) == 1
    assert Counter((record.role, record.seed) for record in records) == {
        ("base", 0): 1,
        ("base", 1): 1,
        ("candidate", 0): 12,
        ("candidate", 1): 12,
    }
    for record in records:
        ratio = cost(record.arch).flops / cost(BASE).flops
        assert abs(ratio - 2) <= 2 * TOLERANCE if record.role == "candidate" else record.arch == BASE
        assert record.flops == cost(record.arch).flops


@every_sampler
def test_base_then_anchors_then_the_rest_and_the_first_seed_first(sampler: str) -> None:
    order = uninterrupted(sampler)
    anchors = list(dict.fromkeys(anchor.digest for anchor in problem().pool.anchors.values()))
    assert order[0] == ("base", BASE.digest, 0)
    assert [digest for _, digest, _ in order[1 : 1 + len(anchors)]] == anchors
    first = [digest for _, digest, _ in order[:9]]
    for seed in range(2):
        wanted = [("candidate" if digest != BASE.digest else "base", digest, seed) for digest in first]
        assert list(order[9 * seed : 9 * seed + 9]) == wanted
    assert len(order) == len(set(order)) == 18


@every_sampler
@pytest.mark.parametrize("cut", [6, 12])
def test_a_resumed_run_proposes_what_an_uninterrupted_one_does(tmp_path: Path, sampler: str, cut: int) -> None:
    go(open_ledger(tmp_path, "run", None), sampler, networks=8, seeds=2, limit=cut)
    again = open_ledger(tmp_path, "run", None)
    assert len(again.records()) == cut
    go(again, sampler, networks=8, seeds=2)
    assert told(again) == list(uninterrupted(sampler))


def test_a_run_killed_while_a_trial_is_queued_or_running_repeats_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    go(ledger, "tpe", networks=8, seeds=1, limit=6)
    assert queue_next(ledger, problem(), plan(8, 1), settings("tpe"))  # and killed here
    assert ledger.records()[-1].status == "waiting"
    again = open_ledger(tmp_path, "run", None)
    assert again.start() is not None  # and here
    last = open_ledger(tmp_path, "run", None)
    assert len(last.running()) == 1
    go(last, "tpe", networks=8, seeds=1)
    assert max(Counter(told(last)).values()) == 1
    assert [record.status for record in last.records()] == ["done"] * 9


@every_sampler
def test_a_failed_network_is_not_tried_again(tmp_path: Path, sampler: str) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    go(ledger, sampler, networks=6, seeds=2, failures=(2, 5))
    failed = {record.digest for record in ledger.records() if record.status == "failed"}
    assert len(failed) == 2
    assert {seed for _, digest, seed in told(ledger) if digest in failed} == {0}
    assert len(ledger.records()) == 2 + 6 + 4


def test_a_pool_smaller_than_the_plan_ends_the_run(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    go(ledger, "random", networks=99, seeds=1)
    assert len(ledger.records()) == 1 + 15
    assert not queue_next(ledger, problem(), plan(99, 1), settings("random"))


def test_what_is_queued_can_be_read_back(tmp_path: Path) -> None:
    """The candidate with its intervals and the point of the simplex that Optuna sees."""
    ledger = open_ledger(tmp_path, "run", None)
    go(ledger, "lattice", networks=15, seeds=1)
    by_digest = {candidate.digest: candidate for candidate in problem().pool.candidates}
    names = set()
    for record in ledger.records()[1:]:
        assert read_candidate(record) == by_digest[record.digest]
        names |= set(record.attributes["anchors"])
        square = simplex_to_square(by_digest[record.digest].shares)
        assert 0 <= square["u"] <= 1 and 0 <= square["v"] <= 1
    assert names == {*CORNERS, *POINTS}


def test_a_pruned_network_gets_no_other_seed(tmp_path: Path) -> None:
    ledger = Ledger(InMemoryStorage(), "run")
    while queue_next(ledger, problem(), plan(6, 2), settings("tpe")):
        trial = ledger.start()
        assert trial is not None
        if trial.number in (2, 5):
            ledger.rung_done(trial, 0, {"epochs": [{"epoch": 1, "accuracy": 0.2}], "seconds": 1.0, "notes": []})
            ledger.prune(trial, "pruned by median after epoch 1 of 3")
        else:
            finish(ledger, trial)
    records = ledger.records()
    stopped = {records[2].digest, records[5].digest}
    assert {r.digest for r in records if r.seed == 1} == {r.digest for r in records if r.seed == 0} - stopped


def test_with_inherit_every_seed_of_the_base_is_trained_first(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    inheriting = replace(settings("lattice"), inherit=True)

    def more() -> bool:
        return queue_next(ledger, problem(), plan(8, 2), inheriting)

    assert more() and more() and not more()
    assert told(ledger) == [("base", BASE.digest, 0), ("base", BASE.digest, 1)]
    bases = [ledger.start(), ledger.start()]
    assert not more()
    assert bases[0] is not None and bases[1] is not None
    finish(ledger, bases[0])
    assert not more()
    finish(ledger, bases[1])
    assert more()
    assert told(ledger)[2] == uninterrupted("lattice")[1]


def test_with_inherit_a_failed_base_ends_the_run(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    inheriting = replace(settings("lattice"), inherit=True)
    assert queue_next(ledger, problem(), plan(8, 1), inheriting)
    trial = ledger.start()
    assert trial is not None
    finish(ledger, trial, fail=True)
    with pytest.raises(RunError) as caught:
        queue_next(ledger, problem(), plan(8, 1), inheriting)
    assert str(caught.value) == (
        "seed 0: the base's training failed, and no network can start from its weights: the loss became nan; start the "
        "run anew, or without --set inherit=true"
    )


def test_the_surface_chooses_networks_and_seeds_resumed_or_not(tmp_path: Path) -> None:
    """Base, anchors, then what the surface asks for, 12 trainings in all; failed networks are left alone."""
    whole = Ledger(InMemoryStorage(), "whole")
    go(whole, "surface", networks=6, seeds=2, failures=(3,))
    order = told(whole)
    anchors = list(dict.fromkeys(anchor.digest for anchor in problem().pool.anchors.values()))
    assert order[: 1 + len(anchors)] == [("base", BASE.digest, 0), *(("candidate", digest, 0) for digest in anchors)]
    assert Counter(role for role, _, _ in order) == {"candidate": 12, "base": 2}
    assert max(Counter(order).values()) == 1
    assert [seed for _, digest, seed in order if digest == order[3][1]] == [0]
    assert {seed for role, _, seed in order if role == "candidate"} > {0}  # some were repeated
    assert len({digest for _, digest, _ in order}) > 1 + len(anchors)  # and new ones tried
    go(open_ledger(tmp_path, "run", None), "surface", networks=6, seeds=2, limit=9, failures=(3,))
    again = open_ledger(tmp_path, "run", None)
    go(again, "surface", networks=6, seeds=2)
    assert told(again) == order


def test_the_surface_ends_the_search_when_nothing_is_left_to_gain() -> None:
    ledger = Ledger(InMemoryStorage(), "whole")
    precise = replace(settings("surface"), precision=30.0)  # points: nothing here differs by as much
    while queue_next(ledger, problem(), plan(15, 2), precise):
        trial = ledger.start()
        assert trial is not None
        finish(ledger, trial)
    anchors = {anchor.digest for anchor in problem().pool.anchors.values()}
    # The anchors, three repeats each of the leader and the paper's point less the seeds' three effects, and no more.
    assert Counter(record.role for record in ledger.records()) == {"candidate": len(anchors) + 6, "base": 2}
    assert set(ledger.networks("candidate")) == anchors


def test_the_surface_asks_for_other_trainings_while_some_run() -> None:
    ledger = Ledger(InMemoryStorage(), "whole")
    go(ledger, "surface", networks=8, seeds=2, in_flight=4)
    assert max(Counter(told(ledger)).values()) == 1
    assert sum(record.role == "candidate" for record in ledger.records()) == 16
