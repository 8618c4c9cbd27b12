"""The loop on real trainings: order, failures, restarts, deadlines, and going on after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from scalesearch.fit.data import DataRequest, Dataset, load_dataset
from scalesearch.fit.recipe import Origin, Recipe, Rung
from scalesearch.search.engine import Progress, Task, run_trials
from scalesearch.search.executor import HereExecutor, WorkerDied
from scalesearch.search.ledger import Ledger, open_ledger
from scalesearch.search.plan import BASE_EPOCHS
from scalesearch.search.records import TrialRecord
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import DataError, RunError, TrainingError

NET = Arch("net", 16, Stage("conv", channels=4, stride=2), (Stage("mbconv", channels=4),), classes=10, in_channels=1)
FOREVER = float("inf")
pytestmark = pytest.mark.usefixtures("one_thread")


class Here(HereExecutor):
    """Remembers the rungs it was given. `before` sees each rung first and may raise."""

    def __init__(self, workers: int = 1, before: Callable[[Rung], None] = lambda rung: None) -> None:
        self.workers = workers
        self.before = before
        self.rungs: list[Rung] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        self.rungs.append(arguments[0])

        def work() -> Any:
            self.before(arguments[0])
            return function(*arguments)

        return super().submit(work)

    @property
    def done(self) -> list[tuple[int, int, int]]:
        """(seed, first epoch, last epoch) of every rung submitted."""
        return [(rung.seed, rung.start_epoch, rung.stop_epoch) for rung in self.rungs]


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return load_dataset(DataRequest("digits", size=16), cache)


@pytest.fixture
def task(digits: Dataset, tmp_path: Path) -> Task:
    (tmp_path / "checkpoints").mkdir()
    return Task(
        data=digits.folder,
        checkpoints=tmp_path / "checkpoints",
        recipe=Recipe(epochs=3, batch=32, learning_rate=0.1),
        rung_stops=[1, 2, 3],
        train_images=48,
        val_images=48,
        device="cpu",
    )


def queue(ledger: Ledger, seed: int, arch: Arch = NET, role: str = "candidate") -> None:
    found = cost(arch)
    attributes = {"role": role, "arch": arch.to_dict(), "digest": arch.digest, "seed": seed, "flops": found.flops}
    params = {"u": 0.5, "v": 0.5} if role == "candidate" else {}
    ledger.queue({**attributes, "params": found.params, "activations": found.activations}, params)


def score(record: TrialRecord, accuracy: float) -> float:
    return accuracy + record.seed


def work(
    ledger: Ledger,
    executor: Here,
    task: Task,
    queue_next: Callable[[], bool] = lambda: False,
    deadline: float = FOREVER,
    observer: Callable[[Progress], None] = lambda progress: None,
) -> None:
    run_trials(ledger, executor, task, queue_next, score, deadline, 3, observer)


def statuses(ledger: Ledger) -> list[str]:
    return [record.status for record in ledger.records()]


@pytest.mark.parametrize("workers", [1, 2])
def test_queued_trials_are_trained_rung_by_rung_and_scored(tmp_path: Path, task: Task, workers: int) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    executor = Here(workers)
    for seed in range(3):
        queue(ledger, seed)
    work(ledger, executor, task)
    assert statuses(ledger) == ["done"] * 3
    assert sorted(executor.done) == [(seed, stop - 1, stop) for seed in range(3) for stop in (1, 2, 3)]
    for record in ledger.records():
        assert [epoch["epoch"] for epoch in record.epochs] == [1, 2, 3]
        assert len(record.rungs) == 3
        assert record.accuracy is not None
        assert record.score == record.accuracy + record.seed
    # Of each trial the last checkpoint is left.
    assert {path.name for path in task.checkpoints.iterdir()} == {f"{NET.digest}-s{seed}.pt" for seed in range(3)}
    for rung in executor.rungs:
        assert (rung.arch, rung.train_images, rung.val_images) == (NET, 48, 48)


def test_two_workers_change_no_result(tmp_path: Path, task: Task) -> None:
    scores = []
    for workers in (1, 3):
        ledger = open_ledger(tmp_path, f"run{workers}", None)
        for seed in range(3):
            queue(ledger, seed)
        work(ledger, Here(workers), task)
        scores.append([record.score for record in ledger.records()])
    assert scores[0] == scores[1]


def test_more_is_queued_until_there_is_no_more(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)

    def queue_next() -> bool:
        count = len(ledger.records())
        if count < 3:
            queue(ledger, count)
        return count < 3

    work(ledger, Here(), task, queue_next)
    assert [(record.seed, record.status) for record in ledger.records()] == [(0, "done"), (1, "done"), (2, "done")]


def test_decisions_leave_the_cores_to_the_workers(tmp_path: Path, task: Task) -> None:
    """Linear algebra has one thread while the loop runs, and the caller's own number again after an error."""
    ledger, seen = open_ledger(tmp_path, "run", None), list[int]()

    def more() -> bool:
        seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        raise RunError("enough")

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(RunError, match="enough"):
            run_trials(ledger, HereExecutor(), task, more, score, FOREVER, 1, lambda progress: None)
        after = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    assert set(seen) == {1} and set(after) == {2}


def test_progress_is_told(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    for seed, role in ((0, "base"), (1, "candidate"), (2, "candidate")):
        queue(ledger, seed, role=role)
    seen: list[Progress] = []
    work(ledger, Here(), task, observer=seen.append)
    finished = [progress.finished for progress in seen if progress.finished is not None]
    assert [record.number for record in finished] == [0, 1, 2]
    assert seen[0].running == ((0, 1, 3),)
    assert {running for progress in seen for running in progress.running} == {
        (number, rung, 3) for number in range(3) for rung in (1, 2, 3)
    }
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert (seen[-1].done, seen[-1].failed, seen[-1].total, seen[-1].running) == (3, 0, 3, ())
    # The base is no candidate; seed 2 scores higher than seed 1.
    assert [progress.best.number if progress.best else None for progress in seen if progress.finished] == [None, 1, 2]
    assert max(progress.images_per_second for progress in seen) > 0


def absurd(task: Task) -> Task:
    """Its two steps begin with a classifier of zeros: both losses are finite, and the validation's no longer is."""
    return replace(task, recipe=replace(task.recipe, learning_rate=1e30))


def test_a_failed_training_keeps_its_reason_and_the_run_goes_on(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    queue(ledger, 1, replace(NET, in_channels=3))  # digits have one
    queue(ledger, 2)
    seen: list[Progress] = []
    work(ledger, Here(), task, observer=seen.append)
    assert statuses(ledger) == ["done", "failed", "done"]
    failed = ledger.records()[1]
    assert "to have 3 channels, but got 1 channels instead" in failed.reason
    assert failed.score is None
    assert seen[-1].failed == 1


def test_a_network_whose_cost_cannot_be_measured_fails_with_the_reason(tmp_path: Path, task: Task) -> None:
    def unmeasured(record: TrialRecord, accuracy: float) -> float:
        if record.seed == 1:
            raise TrainingError("out of memory")
        return accuracy

    ledger = open_ledger(tmp_path, "run", None)
    for seed in range(3):
        queue(ledger, seed)
    run_trials(ledger, Here(), task, lambda: False, unmeasured, FOREVER, 3, lambda progress: None)
    assert statuses(ledger) == ["done", "failed", "done"]
    assert ledger.records()[1].reason == "trained, but its cost could not be measured: out of memory"


def test_a_failure_without_words_is_named_by_its_kind(tmp_path: Path, task: Task) -> None:
    def before(rung: Rung) -> None:
        if rung.seed == 0:
            raise KeyError

    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    queue(ledger, 1)
    work(ledger, Here(before=before), task)
    assert [(record.status, record.reason) for record in ledger.records()] == [("failed", "KeyError"), ("done", "")]


def test_images_that_do_not_fit_the_networks_stop_the_run(tmp_path: Path, task: Task) -> None:
    """Not the training's fault: the trial is left to go on once that is mended."""
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0, replace(NET, resolution=32))
    with pytest.raises(DataError, match="a resolution must lie between 1 and the 16 px"):
        work(ledger, Here(), task)
    assert statuses(ledger) == ["running"]


def test_failures_of_candidates_count_even_if_the_base_was_trained(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0, role="base")
    work(ledger, Here(), task)
    for seed in range(1, 5):
        queue(ledger, seed)
    with pytest.raises(RunError, match=r"^the first 3 trainings all failed; the last: the validation loss became "):
        work(ledger, Here(), absurd(task))


def test_three_failures_and_no_success_end_the_run(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    for seed in range(5):
        queue(ledger, seed)
    with pytest.raises(RunError) as caught:
        work(ledger, Here(), absurd(task))
    reason = ledger.records()[2].reason
    assert reason.startswith("the validation loss became ")
    assert str(caught.value) == f"the first 3 trainings all failed; the last: {reason}"
    assert statuses(ledger) == ["failed"] * 3 + ["waiting"] * 2


def test_after_a_success_failures_end_nothing(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    work(ledger, Here(), task)
    for seed in range(1, 6):
        queue(ledger, seed)
    work(ledger, Here(), absurd(task))
    assert statuses(ledger) == ["done"] + ["failed"] * 5


def test_a_lost_checkpoint_starts_the_trial_again(tmp_path: Path, task: Task) -> None:
    lost: list[Path] = []

    def before(rung: Rung) -> None:
        if rung.start_epoch == 2 and not lost:
            assert rung.previous is not None
            lost.append(rung.previous)
            rung.previous.unlink()

    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    executor = Here(before=before)
    seen: list[Progress] = []
    work(ledger, executor, task, observer=seen.append)
    assert statuses(ledger) == ["done"]
    assert [(start, stop) for _, start, stop in executor.done] == [(0, 1), (1, 2), (2, 3), (0, 1), (1, 2), (2, 3)]
    [note] = [note for progress in seen for note in progress.notes]
    assert note.startswith(f"trial 0: {lost[0]}: the checkpoint cannot be used: ")
    assert note.endswith("; it starts again")
    assert [epoch["epoch"] for epoch in ledger.records()[0].epochs] == [1, 2, 3]


def test_a_checkpoint_lost_twice_is_a_failure(tmp_path: Path, task: Task) -> None:
    def before(rung: Rung) -> None:
        if rung.start_epoch == 1:
            assert rung.previous is not None
            rung.previous.write_bytes(b"rubbish")

    ledger = open_ledger(tmp_path, "run", None)
    for seed in range(3):
        queue(ledger, seed)
    with pytest.raises(RunError, match=r"the first 3 trainings all failed; the last: .*the checkpoint cannot be used"):
        work(ledger, Here(before=before), task)
    assert statuses(ledger) == ["failed"] * 3


def test_a_checkpoint_that_cannot_be_written_stops_the_run_and_fails_nothing(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    with pytest.raises(RunError, match="the checkpoint cannot be written"):
        work(ledger, Here(), replace(task, checkpoints=tmp_path / "missing"))
    assert statuses(ledger) == ["running"]
    work(ledger, Here(), task)  # mended
    assert statuses(ledger) == ["done"]


def deaths(count: int) -> Callable[[Rung], None]:
    """The worker dies `count` times in the second rung of seed 0."""
    left = [count]

    def before(rung: Rung) -> None:
        if rung.seed == 0 and rung.start_epoch == 1 and left[0] > 0:
            left[0] -= 1
            raise WorkerDied("the worker process died")

    return before


def test_a_dead_worker_costs_one_rung(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    executor = Here(before=deaths(2))
    work(ledger, executor, task)
    assert statuses(ledger) == ["done"]
    assert [(start, stop) for _, start, stop in executor.done] == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]


def test_three_dead_workers_are_a_failure(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    queue(ledger, 1)
    work(ledger, Here(before=deaths(99)), task)
    first, second = ledger.records()
    assert (first.status, first.reason) == ("failed", "the worker process died, 3 times in rung 2")
    assert len(first.rungs) == 1
    assert second.status == "done"


class Stopped(Exception):
    pass


def stop_after(ledger: Ledger, rungs: int) -> Callable[[Progress], None]:
    """Ends the loop from outside, as Ctrl-C would, once so many rungs are stored.

    `Here` has then done the next rung already and written its checkpoint: a kill at the worst moment.
    """

    def observer(progress: Progress) -> None:
        if sum(len(record.rungs) for record in ledger.records()) >= rungs:
            raise Stopped

    return observer


@pytest.mark.parametrize("rungs", [1, 3, 5, 8])
def test_a_stopped_run_goes_on_without_training_anything_twice(tmp_path: Path, task: Task, rungs: int) -> None:
    whole = open_ledger(tmp_path, "whole", None)
    for seed in range(3):
        queue(whole, seed)
    work(whole, Here(), task)

    ledger = open_ledger(tmp_path, "run", None)
    for seed in range(3):
        queue(ledger, seed)
    before, after = Here(), Here()
    with pytest.raises(Stopped):
        work(ledger, before, task, observer=stop_after(ledger, rungs))
    stored = sum(len(record.rungs) for record in ledger.records())
    again = open_ledger(tmp_path, "run", None)
    work(again, after, task)
    assert statuses(again) == ["done"] * 3
    assert len(after.done) == 9 - stored
    assert len(before.done) <= stored + 1  # one was in flight
    assert [record.score for record in again.records()] == [record.score for record in whole.records()]
    assert [record.accuracy for record in again.records()] == [record.accuracy for record in whole.records()]


def test_a_trial_killed_between_its_last_rung_and_its_score_is_scored(tmp_path: Path, task: Task) -> None:
    class Killed(Ledger):
        def finish(self, trial: Any, score: float) -> None:
            raise Stopped

    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    ledger.__class__ = Killed
    with pytest.raises(Stopped):
        work(ledger, Here(), task)
    again = open_ledger(tmp_path, "run", None)
    assert statuses(again) == ["running"]
    executor = Here()
    work(again, executor, task)
    assert statuses(again) == ["done"]
    assert executor.done == []


def test_after_the_deadline_nothing_begins_but_what_began_is_finished(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0)
    queue(ledger, 1)
    with pytest.raises(Stopped):
        work(ledger, Here(), task, observer=stop_after(ledger, 1))
    asked: list[int] = []

    def queue_next() -> bool:
        asked.append(1)
        return False

    again = open_ledger(tmp_path, "run", None)
    work(again, Here(), task, queue_next, deadline=time.monotonic() - 1)
    assert statuses(again) == ["done", "waiting"]
    assert asked == []


def test_nothing_to_do_is_done_at_once(tmp_path: Path, task: Task) -> None:
    executor = Here()
    work(open_ledger(tmp_path, "run", None), executor, task)
    assert executor.done == []


def test_networks_inherit_from_the_base_of_their_seed_which_trains_longer(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    larger = replace(NET, stages=(Stage("mbconv", channels=4, repeats=2),))
    for seed in (0, 1):
        queue(ledger, seed, role="base")
    for seed in (0, 1):
        queue(ledger, seed, larger)
    here = Here()
    work(ledger, here, replace(task, base=NET, recipe=replace(task.recipe, epochs=2), rung_stops=[1, 2]))
    assert statuses(ledger) == ["done"] * 4
    found = [(one.arch, one.seed, one.start_epoch, one.stop_epoch, one.recipe.epochs) for one in here.rungs]
    rung = BASE_EPOCHS  # of the base: so many times the one epoch of the others'
    assert found == [
        *((NET, seed, k * rung, (k + 1) * rung, 2 * rung) for seed in (0, 1) for k in (0, 1)),
        *((larger, seed, start, start + 1, 2) for seed in (0, 1) for start in (0, 1)),
    ]
    for one in here.rungs:
        wanted = None
        if one.arch == larger and one.start_epoch == 0:
            wanted = Origin(NET, task.checkpoints / f"{NET.digest}-s{one.seed}.pt")
        assert one.origin == wanted


def test_a_base_whose_checkpoint_is_gone_stops_the_run_and_fails_nothing(tmp_path: Path, task: Task) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    queue(ledger, 0, replace(NET, stages=(Stage("mbconv", channels=4, repeats=2),)))
    with pytest.raises(RunError) as caught:
        work(ledger, Here(), replace(task, base=NET))
    assert str(caught.value) == (
        f"{task.checkpoints / NET.digest}-s0.pt: the base's checkpoint, from which the others start, cannot be used: "
        "[Errno 2] No such file or directory: "
        f"'{task.checkpoints / NET.digest}-s0.pt'; start the run anew, or without --set inherit=true"
    )
    assert statuses(ledger) == ["running"]
