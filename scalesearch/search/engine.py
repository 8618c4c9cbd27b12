"""The loop: take a trial, submit one rung, record its result, ask the pruner, submit the next or finish.

Only this process writes to the ledger. Rungs are stateless, so a dead worker costs one rung.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

from optuna.trial import Trial

from scalesearch.fit.checkpoint import CheckpointError
from scalesearch.fit.recipe import Origin, Recipe, Rung, RungResult
from scalesearch.fit.train import train_rung
from scalesearch.search.executor import Executor, WorkerDied, one_blas_thread
from scalesearch.search.ledger import Ledger
from scalesearch.search.plan import BASE_EPOCHS
from scalesearch.search.pruners import Pruning
from scalesearch.search.records import TrialRecord
from scalesearch.spec.errors import DataError, RunError, TrainingError
from scalesearch.spec.factory import AnyArch

WORKER_DEATHS = 3  # of one trial, before it counts as failed
MOST_SEEDS = 1_000  # per candidate, so that no two runs share one
HOPELESS = 3  # failures without one success, before the run stops


@dataclass(frozen=True, slots=True)
class Task:
    """What every training of a run shares.

    With `base`, all other networks start from its weights, those of the same seed or of the one that a trial names as
    its `origin`: it has to be trained before they are queued, and trains BASE_EPOCHS times as long.
    """

    data: Path
    checkpoints: Path
    recipe: Recipe
    rung_stops: Sequence[int]
    train_images: int
    val_images: int
    device: str
    seed: int = 0  # the run's; trials add their own, so that runs with other seeds train other networks
    base: AnyArch | None = None
    train: Callable[[Rung], RungResult] = train_rung  # does a rung's work, on a worker


@dataclass(slots=True)
class _Active:
    trial: Trial
    record: TrialRecord
    rung: int
    deaths: int = 0
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a run, for display. `running` are (trial, its rung, rungs)."""

    done: int
    failed: int
    total: int
    running: tuple[tuple[int, int, int], ...]
    images_per_second: float  # of all workers
    best: TrialRecord | None
    finished: TrialRecord | None = None  # the trial that ended just now
    notes: tuple[str, ...] = field(default=())
    pruned: int = 0

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.pruned


Observer = Callable[[Progress], None]


@one_blas_thread()
def run_trials(
    ledger: Ledger,
    executor: Executor,
    task: Task,
    queue_next: Callable[[], bool],
    score: Callable[[TrialRecord, float], float],
    deadline: float,
    total: int,
    observer: Observer,
    pruning: Pruning | None = None,
    seeds: int = 1,
) -> None:
    """Run queued and interrupted trials, then what `queue_next` queues, until it returns False or time is up.

    `deadline` (of time.monotonic) only keeps new trials from starting. `score` maps a trial and its accuracy to the
    value told to Optuna. `pruning` is asked after each rung but a trial's last. `total` trainings are planned, `seeds`
    of each network; a network that is stopped takes its later ones with it. Raises RunError if nothing but failures
    comes back.
    """
    active: dict[Future[RungResult], _Active] = {}
    interrupted = ledger.running()
    speeds: dict[int, float] = {}
    best: TrialRecord | None = None
    for record in ledger.records():
        best = _better(best, record)
        total -= _spared(record, seeds)

    def longer(record: TrialRecord) -> int:
        return BASE_EPOCHS if task.base is not None and record.role == "base" else 1

    def origin(record: TrialRecord) -> Origin | None:
        if task.base is None or record.role == "base":
            return None
        seed = record.attributes.get("origin", record.seed)
        return Origin(task.base, task.checkpoints / f"{task.base.digest}-s{seed}.pt")

    def checkpoint(record: TrialRecord, rung: int) -> Path:
        """The last rung's is named for the trial; those before also for their epoch."""
        epoch = "" if rung + 1 == len(task.rung_stops) else f"-e{longer(record) * task.rung_stops[rung]}"
        return task.checkpoints / f"{record.digest}-s{record.seed}{epoch}.pt"

    def submit(entry: _Active) -> None:
        record = entry.record
        stops = [longer(record) * stop for stop in task.rung_stops]
        rung = Rung(
            arch=record.arch,
            data=task.data,
            train_images=task.train_images,
            val_images=task.val_images,
            recipe=task.recipe.times(longer(record)),
            seed=task.seed * MOST_SEEDS + record.seed,
            start_epoch=stops[entry.rung - 1] if entry.rung > 0 else 0,
            stop_epoch=stops[entry.rung],
            checkpoint=checkpoint(record, entry.rung),
            device=task.device,
            previous=checkpoint(record, entry.rung - 1) if entry.rung > 0 else None,
            origin=origin(record) if entry.rung == 0 else None,
        )
        active[executor.submit(task.train, rung)] = entry

    def next_trial() -> Trial | None:
        if interrupted:
            return interrupted.pop(0)
        if time.monotonic() >= deadline:
            return None
        trial = ledger.start()
        if trial is None and queue_next():
            trial = ledger.start()
        return trial

    def tell(finished: TrialRecord | None = None, notes: tuple[str, ...] = ()) -> None:
        observer(
            Progress(
                done=ledger.count("done"),
                failed=ledger.count("failed"),
                pruned=ledger.count("pruned"),
                total=total,
                running=tuple((e.trial.number, e.rung + 1, len(task.rung_stops)) for e in active.values()),
                images_per_second=sum(speeds.get(e.trial.number, 0.0) for e in active.values()),
                best=best,
                finished=finished,
                notes=notes,
            )
        )

    def ended(entry: _Active, notes: tuple[str, ...] = ()) -> None:
        nonlocal best, total
        record = ledger.record(entry.trial)
        if pruning is not None:
            pruning.see(record)
        best = _better(best, record)
        total -= _spared(record, seeds)
        tell(record, notes)
        if record.status == "failed":
            _stop_if_hopeless(ledger, record.reason)

    def prune(entry: _Active, reason: str, notes: tuple[str, ...] = ()) -> None:
        # Nothing goes on from its checkpoint; gone before the trial ends, so that a kill leaves none behind.
        checkpoint(entry.record, entry.rung - 1).unlink(missing_ok=True)
        ledger.prune(entry.trial, reason)
        ended(entry, notes)

    while True:
        while len(active) < executor.workers:
            trial = next_trial()
            if trial is None:
                break
            record = ledger.record(trial)
            if pruning is not None:
                pruning.see(record)
            entry = _Active(trial, record, rung=len(record.rungs))
            if record.stop:  # killed after this was decided, before it was told
                prune(entry, record.stop)
            elif entry.rung == len(task.rung_stops):  # killed after its last rung, before it was told
                _finish(ledger, entry, score)
                ended(entry)
            else:
                submit(entry)
        if not active:
            return
        tell()
        done, _ = wait(active, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            entry = active.pop(future)
            try:
                result = future.result()
            except CheckpointError as error:
                if entry.restarted:
                    ledger.fail(entry.trial, str(error))
                    ended(entry)
                else:
                    tell(notes=(f"trial {entry.trial.number}: {error}; it starts again",))
                    entry.rung, entry.restarted = 0, True
                    submit(entry)
                continue
            except WorkerDied as error:
                entry.deaths += 1
                if entry.deaths < WORKER_DEATHS:
                    submit(entry)
                else:
                    ledger.fail(entry.trial, f"{error}, {entry.deaths} times in rung {entry.rung + 1}")
                    ended(entry)
                continue
            except (RunError, DataError, OSError):  # a disk or the images are at fault, not the training
                raise
            except Exception as error:  # whatever a training raises is that trial's failure, with its reason
                ledger.fail(entry.trial, str(error) or type(error).__name__)
                ended(entry)
                continue
            stored = asdict(result)
            known = ledger.record(entry.trial).rungs
            if entry.rung < len(known):  # done before, and lost its checkpoint since: the same epochs, judged once
                stored |= {"pruner": known[entry.rung]["pruner"]} if "pruner" in known[entry.rung] else {}
            elif pruning is not None and entry.rung + 1 < len(task.rung_stops):
                try:
                    verdict = pruning.judge(ledger.record(entry.trial), stored["epochs"])
                except TrainingError as error:
                    ledger.rung_done(entry.trial, entry.rung, stored)
                    ledger.fail(entry.trial, f"its cost could not be measured: {error}")
                    ended(entry, result.notes)
                    continue
                stored |= {"pruner": verdict.to_dict()} if verdict is not None else {}
            ledger.rung_done(entry.trial, entry.rung, stored)
            speeds[entry.trial.number] = result.epochs[-1].images_per_second
            if entry.rung > 0:  # only now: had this rung's result been lost, it would start from there again
                checkpoint(entry.record, entry.rung - 1).unlink(missing_ok=True)
            entry.rung += 1
            if reason := ledger.record(entry.trial).stop:
                prune(entry, reason, result.notes)
            elif entry.rung < len(task.rung_stops):
                submit(entry)
            else:
                _finish(ledger, entry, score)
                ended(entry, result.notes)


def _finish(ledger: Ledger, entry: _Active, score: Callable[[TrialRecord, float], float]) -> None:
    record = ledger.record(entry.trial)
    accuracy = record.accuracy
    assert accuracy is not None  # all its rungs are stored
    try:
        value = score(record, accuracy)
    except TrainingError as error:
        ledger.fail(entry.trial, f"trained, but its cost could not be measured: {error}")
        return
    ledger.finish(entry.trial, value)


def _better(best: TrialRecord | None, record: TrialRecord) -> TrialRecord | None:
    """The candidate of the higher score."""
    if record.role != "candidate" or record.score is None:
        return best
    return record if best is None or record.score > (best.score or 0.0) else best


def _spared(record: TrialRecord, seeds: int) -> int:
    """How many trainings a network has been spared by a training that failed or was pruned."""
    stopped = record.role == "candidate" and record.status in ("failed", "pruned")
    return max(0, seeds - 1 - record.seed) if stopped else 0


def _stop_if_hopeless(ledger: Ledger, reason: str) -> None:
    # The base is the smallest network: that it was trained says little.
    failed = ledger.count("failed")
    if failed < HOPELESS:
        return
    records = [record for record in ledger.records() if record.role != "base"]
    failed = sum(record.status == "failed" for record in records)
    if failed >= HOPELESS and not any(record.status in ("done", "pruned") for record in records):
        raise RunError(f"the first {failed} trainings all failed; the last: {reason}")
