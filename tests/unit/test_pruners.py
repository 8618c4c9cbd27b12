"""Pruners in the engine: who is stopped and why, what is left of it, and that a killed run decides alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import Trial

from scalesearch.fit.checkpoint import CheckpointError
from scalesearch.fit.recipe import Epoch, Recipe, Rung, RungResult
from scalesearch.search.engine import Progress, Task, run_trials
from scalesearch.search.ledger import Ledger, open_ledger
from scalesearch.search.pruners import PRUNERS, Pruning
from scalesearch.search.records import TrialRecord
from scalesearch.spec import settings as spec
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import TrainingError

NET = Arch("one", 16, Stage("conv", channels=4), (Stage("mbconv", channels=4),), classes=2)
STOPS = [2, 4, 6]
NETWORKS = 12
QUALITY = [0.70, 0.62, 0.74, 0.80, 0.66, 0.71, 0.90, 0.60, 0.78, 0.64, 0.85, 0.68]  # of network i at the end


def network(number: int) -> Arch:
    return replace(NET, classes=2 + number)


BASE = replace(NET, classes=100)


def accuracy(arch: Arch, seed: int, epoch: int) -> float:
    """A rising curve with a little of its seed in it. The base is far below all, a family member far above."""
    end = {100: 0.2, 200: 0.99}.get(arch.classes) or QUALITY[arch.classes - 2]
    return end * (1 - math.exp(-epoch / 2)) + 0.01 * math.sin(7 * seed + 3 * epoch + arch.classes)


class Curves:
    """An executor whose trainings follow known curves; each goes on from its checkpoint, as real ones do."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.done: list[tuple[int, int, int]] = []  # (classes, seed, last epoch)

    def submit(self, function: Callable[..., Any], rung: Rung) -> Future[Any]:
        future: Future[Any] = Future()
        if rung.start_epoch > 0 and (rung.previous is None or not rung.previous.exists()):
            future.set_exception(CheckpointError(f"{rung.previous}: is missing"))
            return future
        assert isinstance(rung.arch, Arch)
        self.done.append((rung.arch.classes, rung.seed, rung.stop_epoch))
        rung.checkpoint.write_text(str(rung.stop_epoch))
        epochs = tuple(
            Epoch(epoch, 1.0, 1.0, accuracy(rung.arch, rung.seed, epoch), 1.0, 100.0, 1.0)
            for epoch in range(rung.start_epoch + 1, rung.stop_epoch + 1)
        )
        future.set_result(RungResult(epochs, float(len(epochs)), 1))
        return future

    def close(self) -> None:
        pass


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "checkpoints").mkdir()
    return Task(tmp_path, tmp_path / "checkpoints", Recipe(STOPS[-1]), STOPS, 64, 64, "cpu")


def queue(ledger: Ledger, arch: Arch, seed: int = 0, role: str = "candidate", **more: Any) -> None:
    found = cost(arch)
    attributes = {"role": role, "arch": arch.to_dict(), "digest": arch.digest, "seed": seed, "flops": found.flops}
    params = {"u": 0.5, "v": 0.5} if role == "candidate" else {}
    ledger.queue({**attributes, "params": found.params, "activations": found.activations, **more}, params)


def score(record: TrialRecord, value: float) -> float:
    return value


def queued(ledger: Ledger, seeds: int = 1) -> Callable[[], bool]:
    """The base, then every network on its first seed, then those that were not stopped on the others."""

    def queue_next() -> bool:
        tried, stopped = ledger.networks("candidate"), []
        for trainings in tried.values():
            stopped += [r.digest for r in trainings.values() if r.status in ("pruned", "failed")]
        if not ledger.networks("base"):
            queue(ledger, BASE, role="base")
            return True
        for seed in range(seeds):
            for number in range(NETWORKS):
                arch = network(number)
                if seed not in tried.get(arch.digest, {}) and arch.digest not in stopped:
                    queue(ledger, arch, seed)
                    return True
        return False

    return queue_next


def go(
    ledger: Ledger,
    task: Task,
    pruner: str,
    executor: Curves | None = None,
    seeds: int = 1,
    observer: Callable[[Progress], None] = lambda progress: None,
    value: Callable[[TrialRecord, float], float] = score,
    queue_next: Callable[[], bool] | None = None,
) -> None:
    pruning = Pruning(pruner, task.rung_stops, value, ledger.records())
    total = seeds * (NETWORKS + 1)
    more = queued(ledger, seeds) if queue_next is None else queue_next
    run_trials(ledger, executor or Curves(), task, more, value, math.inf, total, observer, pruning=pruning, seeds=seeds)


Row = tuple[str, str, int, str, str, int, float | None]


def table(ledger: Ledger) -> list[Row]:
    return [(r.role, r.digest, r.seed, r.status, r.reason, len(r.rungs), r.score) for r in ledger.records()]


def memory() -> Ledger:
    return Ledger(InMemoryStorage(), "run")


def test_settings_and_pruners_have_the_same_names() -> None:
    assert tuple(PRUNERS) == spec.PRUNERS


def by_network(ledger: Ledger, seed: int = 0) -> dict[int, TrialRecord]:
    """Candidates' trainings on one seed, by the number of the network."""
    return {r.arch.classes - 2: r for r in ledger.records() if r.role == "candidate" and r.seed == seed}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_poor_networks_are_stopped_and_the_best_is_trained_to_its_end(task: Task, pruner: str) -> None:
    ledger, executor = memory(), Curves()
    seen: list[Progress] = []
    go(ledger, task, pruner, executor, observer=seen.append)
    records = by_network(ledger)
    pruned = {number for number, record in records.items() if record.status == "pruned"}
    assert records[QUALITY.index(max(QUALITY))].status == "done"
    assert ledger.records()[0].status == "done"  # the base, below all of them
    assert bool(pruned) == (pruner != "none")
    for number, record in records.items():
        last = record.epochs[-1]["epoch"]
        assert [epoch["epoch"] for epoch in record.epochs] == list(range(1, last + 1))
        if number in pruned:
            assert last in STOPS[:-1]
            assert record.score is None
            assert record.reason.startswith(f"pruned by {pruner} after epoch {last} of 6: {record.accuracy:.4f} there")
        else:
            assert (record.status, record.reason, last) == ("done", "", 6)
            assert record.score == record.accuracy
    # Of a pruned training no checkpoint is left, of the others the last.
    left = {path.name for path in task.checkpoints.iterdir()}
    assert left == {f"{r.digest}-s0.pt" for r in ledger.records() if r.status == "done"}
    assert len(executor.done) == sum(len(record.rungs) for record in ledger.records())
    assert (seen[-1].done, seen[-1].pruned, seen[-1].failed, seen[-1].total) == (13 - len(pruned), len(pruned), 0, 13)
    assert seen[-1].ended == 13


def test_the_median_pruner_stops_what_lies_below_the_median_of_the_finished(tmp_path: Path, task: Task) -> None:
    """Worked out by hand from the curves: the first five go on; then who is below the median of those that ended."""
    ledger = memory()
    go(ledger, task, "median")
    at_two = [accuracy(network(number), 0, 2) for number in range(NETWORKS)]
    at_four = [accuracy(network(number), 0, 4) for number in range(NETWORKS)]

    def middle(values: list[float]) -> float:
        values = sorted(values)
        half = len(values) // 2
        return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2

    finished = list(range(5))
    for number in range(5, NETWORKS):
        curve = [accuracy(network(number), 0, epoch) for epoch in range(1, 5)]
        goes_on = max(curve[:2]) >= middle([at_two[one] for one in finished])
        goes_on = goes_on and max(curve) >= middle([at_four[one] for one in finished])
        finished += [number] if goes_on else []
    assert {number for number, r in by_network(ledger).items() if r.status == "done"} == set(finished)
    assert 5 < len(finished) < NETWORKS


@pytest.mark.parametrize("pruner", PRUNERS)
def test_only_candidates_are_judged_and_compared(task: Task, pruner: str) -> None:
    """With the base on more seeds and a family member far above everything, the same ones are stopped, as early."""
    plain, mixed = memory(), memory()
    go(plain, task, pruner)
    others = [(BASE, seed, "base") for seed in range(4)] + [(replace(NET, classes=200), s, "family") for s in range(4)]
    more = queued(mixed)

    def queue_next() -> bool:
        if others and mixed.networks("base"):
            arch, seed, role = others.pop()
            if seed not in mixed.networks(role).get(arch.digest, {}):
                queue(mixed, arch, seed, role)
                return True
        return more()

    go(mixed, task, pruner, queue_next=queue_next)
    assert [row for row in table(plain) if row[0] == "candidate"] == [r for r in table(mixed) if r[0] == "candidate"]
    assert [row[3] for row in table(mixed) if row[0] != "candidate"] == ["done"] * 8


def test_a_stopped_network_gets_no_other_seed_and_a_finished_one_is_never_stopped(task: Task) -> None:
    ledger = memory()
    seen: list[Progress] = []
    go(ledger, task, "median", seeds=3, observer=seen.append)
    first = by_network(ledger)
    survivors = {number for number, record in first.items() if record.status == "done"}
    assert 0 < len(survivors) < NETWORKS
    for seed in (1, 2):
        later = by_network(ledger, seed)
        assert set(later) == survivors
        assert {record.status for record in later.values()} == {"done"}
    # What they are spared leaves the plan: of 3 × 13, the base was trained once here, and is not stopped.
    assert seen[0].total == 39
    assert seen[-1].total == 39 - 2 * (NETWORKS - len(survivors))


def test_the_papers_point_is_trained_to_its_end(task: Task) -> None:
    worst = QUALITY.index(min(QUALITY))
    for anchors, status in (["depth only"], "pruned"), (["depth only", "paper"], "done"):
        ledger = memory()
        more = queued(ledger)

        def queue_next(ledger: Ledger = ledger, anchors: list[str] = anchors, more: Any = more) -> bool:
            if len(ledger.networks("candidate")) == worst:
                queue(ledger, network(worst), anchors=anchors)
                return True
            return bool(more())

        go(ledger, task, "median", queue_next=queue_next)
        assert by_network(ledger)[worst].status == status


def test_what_is_compared_is_the_score_not_the_accuracy(task: Task) -> None:
    """On a cost axis a network may be worth more than a more accurate one."""
    worst = QUALITY.index(min(QUALITY))

    def value(record: TrialRecord, value: float) -> float:
        return value * (2.0 if record.arch.classes == 2 + worst else 1.0)

    ledger = memory()
    go(ledger, task, "median", value=value)
    assert by_network(ledger)[worst].status == "done"
    assert any(record.status == "pruned" for record in ledger.records())


def test_a_cost_that_cannot_be_measured_fails_the_training_that_is_to_be_judged(task: Task) -> None:
    def value(record: TrialRecord, value: float) -> float:
        if record.arch.classes == 4:
            raise TrainingError("out of memory")
        return value

    ledger = memory()
    go(ledger, task, "asha", value=value)
    record = by_network(ledger)[2]
    assert (record.status, record.reason) == ("failed", "its cost could not be measured: out of memory")
    assert len(record.rungs) == 1


def test_wilcoxon_needs_more_than_three_epochs(task: Task) -> None:
    """Of three signed ranks none is below one in ten: after epoch 2 it never stops, after epoch 4 it can."""
    ledger = memory()
    go(ledger, task, "wilcoxon")
    assert {len(record.epochs) for record in ledger.records() if record.status == "pruned"} == {4}


class Stopped(Exception):
    pass


def interrupted(storage: BaseStorage, task: Task, pruner: str, rungs: int, seeds: int) -> Curves:
    """A run that is killed after every `rungs` rungs, and started again until it is done."""
    executor = Curves()
    while True:
        ledger = Ledger(storage, "run")
        before = sum(len(record.rungs) for record in ledger.records())

        def observer(progress: Progress, ledger: Ledger = ledger, before: int = before) -> None:
            if sum(len(record.rungs) for record in ledger.records()) >= before + rungs:
                raise Stopped

        try:
            go(ledger, task, pruner, executor, seeds, observer)
        except Stopped:
            continue
        return executor


@pytest.mark.parametrize("pruner", list(PRUNERS)[1:])
@pytest.mark.parametrize("rungs", [2])
def test_a_run_killed_again_and_again_decides_as_an_undisturbed_one(task: Task, pruner: str, rungs: int) -> None:
    whole, storage = memory(), InMemoryStorage()
    go(whole, task, pruner, seeds=2)
    executor = interrupted(storage, task, pruner, rungs, seeds=2)
    ledger = Ledger(storage, "run")
    assert table(ledger) == table(whole)
    # What was in flight at a kill is done again, nothing else: one rung per kill.
    stored = sum(len(record.rungs) for record in ledger.records())
    assert len(executor.done) <= stored + stored // rungs + 1


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_killed_between_a_decision_and_its_end_a_trial_stays_decided(tmp_path: Path, task: Task, pruner: str) -> None:
    """What the pruner says is stored with the rung: nobody asks again when more is known."""

    class Killed(Ledger):
        def prune(self, trial: Trial, reason: str) -> None:
            raise Stopped

    whole = memory()
    go(whole, task, pruner)
    ledger = open_ledger(tmp_path, "run", None)
    ledger.__class__ = Killed
    with pytest.raises(Stopped):
        go(ledger, task, pruner)
    again = open_ledger(tmp_path, "run", None)
    [left] = [record for record in again.records() if record.status == "running"]
    assert left.stop.startswith(f"pruned by {pruner} after epoch ")
    executor = Curves()
    go(again, task, pruner, executor)
    assert table(again) == table(whole)
    assert (left.arch.classes if isinstance(left.arch, Arch) else 0) not in [classes for classes, _, _ in executor.done]


def test_a_training_that_lost_its_checkpoint_is_not_judged_twice(task: Task) -> None:
    """It starts again, its stored decisions stand."""

    class Losing(Curves):
        lost = False

        def submit(self, function: Callable[..., Any], rung: Rung) -> Future[Any]:
            if rung.start_epoch == 4 and rung.arch.classes == 4 and not self.lost:
                assert rung.previous is not None
                self.lost = True
                rung.previous.unlink()
            return super().submit(function, rung)

    whole, ledger, executor = memory(), memory(), Losing()
    go(whole, task, "asha")
    assert by_network(whole)[2].status == "done"
    go(ledger, task, "asha", executor)
    assert executor.lost
    assert table(ledger) == table(whole)
    marks = [rung["pruner"]["marks"] for rung in by_network(ledger)[2].rungs if "pruner" in rung]
    assert marks[0] == {"completed_rung_0": accuracy(network(2), 0, 2)}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_with_two_workers_everything_ends_and_the_best_survives(task: Task, pruner: str) -> None:
    ledger = memory()
    go(ledger, task, pruner, Curves(workers=2), seeds=2)
    records = by_network(ledger)
    assert {record.status for record in records.values()} <= {"done", "pruned"}
    assert records[QUALITY.index(max(QUALITY))].status == "done"
    assert len(records) == NETWORKS
