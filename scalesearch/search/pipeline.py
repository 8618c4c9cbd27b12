"""One run from its settings to its answer: data, proxy, candidates, plan, trainings, family.

Each step is stored before the next begins, so that the same command continues wherever it was stopped.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from scalesearch.nets.count import checked_flops
from scalesearch.search.costs import Bench, make_score, measure
from scalesearch.search.engine import Observer, Task, run_trials
from scalesearch.search.executor import Executor, LocalExecutor, run_all
from scalesearch.search.folder import discard, environment, locked
from scalesearch.search.ledger import JOURNAL, Ledger, mask, open_ledger
from scalesearch.search.plan import CALIBRATION_SECONDS, Plan, calibrate, make_plan, recipe_of
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.problem import Problem, describe, pose
from scalesearch.search.queue import attributes_of, queue_next
from scalesearch.search.run import RUN_FILE, Run, read_run_file
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, ScaleSearchError
from scalesearch.spec.settings import Settings, difference

FVCORE_LIMIT = 200_000_000_000  # FLOPs; fvcore runs a real forward, which past this takes minutes and gigabytes


def run(
    settings: Settings,
    folder: Path,
    observer: Observer = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    storage: str | None = None,
    resume: bool = False,
) -> Run:
    """Do what is left to do of this run, and return it. `say` gets one line per step.

    Raises the errors of its steps, and RunError if the folder belongs to other settings, is in use, or its disk is
    full; what has been finished stays in the ledger.
    """
    started = time.monotonic()
    if resume and not (folder / RUN_FILE).exists():
        raise RunError(f"--resume {folder}: there is no run to resume; leave --resume out to start it")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            return _run(settings, folder, observer, say, storage, started)
    except ScaleSearchError:
        if new and not (folder / RUN_FILE).exists():
            discard(folder)  # refused before it began: nothing of it is worth keeping
        raise
    except (OptunaError, SQLAlchemyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{folder}: the storage failed: {first}; finished work is kept, give the same command again"
        ) from error
    except OSError as error:
        where = error.filename or folder
        raise RunError(
            f"{where}: {error.strerror or error}; finished work is kept; mend this and give the same command again"
        ) from error


def _run(
    settings: Settings,
    folder: Path,
    observer: Observer,
    say: Callable[[str], None],
    storage: str | None,
    started: float,
) -> Run:
    study, storage = _where(folder, storage)
    ledger = open_ledger(folder, study, storage)
    for note in ledger.notes:
        say(note)
    facts = ledger.facts()
    changed = difference(facts.get("settings", settings.to_dict()), settings.to_dict())
    if changed:
        raise RunError(
            f"{folder}: holds a run with other settings ({'; '.join(changed)}); give the same ones, or another --out"
        )
    if "finished" in facts:
        say(f"{folder}: this run is finished ({facts['finished']}); nothing was changed")
        return Run(folder, ledger)
    workers, device = choose_workers(settings)
    problem = pose(settings, workers)
    _start(ledger, folder, settings, problem, facts, study, storage, device)
    for line in describe(problem, settings):
        say(line)
    (folder / "checkpoints").mkdir(exist_ok=True)
    executor: Executor = LocalExecutor(workers)
    try:
        plan = _plan(ledger, executor, settings, problem, workers, device, time.monotonic() - started)
        say(_describe_plan(plan, settings))
        ended = _train(ledger, executor, settings, problem, plan, folder, observer, started)
        members = Run(folder, ledger).family
        say(f"counting {members[0].name} to {members[-1].name} a second time, with fvcore")
        bench = _bench(executor, settings, problem, plan)
        bench = replace(bench, seconds=bench.seconds / 4)  # nothing depends on these
        measure(ledger, bench, "latency", [record.arch for record in ledger.records() if record.status == "done"])
        countable = [member for member in reversed(members) if member.cost.flops <= FVCORE_LIMIT]
        counts = run_all(executor, checked_flops, [(member.arch,) for member in countable])
    finally:
        executor.close()
    ledger.set_fact("family_fvcore", {m.arch.digest: n for m, n in zip(countable, counts, strict=True)})
    ledger.set_fact("finished", ended)
    return Run(folder, ledger, fresh=True)


def _where(folder: Path, storage: str | None) -> tuple[str, str | None]:
    """The study's name and storage: those of `run.json` once there is one, whatever the folder is called now.

    In a shared storage the name is unique, so that two runs with equal settings do not meet.
    """
    if not (folder / RUN_FILE).exists():
        return (folder.name if storage is None else f"{folder.name}-{uuid.uuid4().hex[:8]}"), storage
    table = read_run_file(folder)
    stored = table["storage"]
    if storage is not None and mask(storage) != stored:
        raise RunError(
            f"{folder}: keeps its trials in {stored or JOURNAL}, not in {mask(storage)}; leave --storage out"
        )
    return table["study"], storage or stored


def choose_workers(settings: Settings) -> tuple[int, str]:
    """Worker processes and their device: one per core on CPU, one on CUDA."""
    import torch

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: torch finds no CUDA device here; use --device cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return settings.workers or (cores if device == "cpu" else 1), device


def _describe_plan(plan: Plan, settings: Settings) -> str:
    ends = time.strftime("%H:%M:%S", time.localtime(time.time() + plan.seconds + plan.family_seconds))
    return (
        f"plan: {plan.networks} networks × {plan.seeds} seeds + the base, {plan.epochs} epochs of "
        f"{plan.train_images:,} images; {plan.speed.candidate_train:.0f} images/s per worker measured "
        f"(base {plan.speed.base_train:.0f}), {plan.workers} workers, about {plan.seconds:.0f} s and "
        f"{plan.family_seconds:.0f} s for the family; expected end {ends}"
    )


def _plan(
    ledger: Ledger,
    executor: Executor,
    settings: Settings,
    problem: Problem,
    workers: int,
    device: str,
    elapsed: float,
) -> Plan:
    """The stored plan, or a new one from a calibration."""
    stored = ledger.facts().get("plan")
    if stored is not None:
        plan = plan_from_dict(stored)
        if plan.device != device:
            raise RunError(f"the run began on {plan.device} and cannot go on, on {device}; give --device {plan.device}")
        return plan
    seconds = CALIBRATION_SECONDS * (0.1 if settings.time_budget is None else 1)
    anchors = {candidate.digest: candidate.arch for candidate in problem.pool.anchors.values()}
    speed = calibrate(executor, problem.proxy, list(anchors.values()), recipe_of(settings, 1), device, seconds)
    plan = make_plan(
        settings,
        speed,
        pool_size=len(problem.pool.candidates),
        train_count=problem.dataset.train_count,
        val_count=problem.dataset.val_count,
        workers=workers,
        device=device,
        elapsed=elapsed,
    )
    ledger.set_fact("plan", plan.to_dict())
    return plan


def _train(
    ledger: Ledger,
    executor: Executor,
    settings: Settings,
    problem: Problem,
    plan: Plan,
    folder: Path,
    observer: Observer,
    started: float,
) -> str:
    """All trainings; says how it ended."""
    task = Task(
        data=problem.dataset.folder,
        checkpoints=folder / "checkpoints",
        recipe=recipe_of(settings, plan.epochs),
        rung_stops=plan.rung_stops(settings.rungs),
        train_images=plan.train_images,
        val_images=plan.val_images,
        device=plan.device,
        seed=settings.seed,
    )
    start = cost(problem.proxy).flops
    score = make_score(ledger, _bench(executor, settings, problem, plan), settings)
    # Time spent before an interruption counts: it is what the ledger says was trained.
    spent = sum(record.seconds for record in ledger.records()) / executor.workers
    ends = float("inf")
    if settings.time_budget is not None:
        ends = started + settings.time_budget - spent
    search_end = ends - plan.family_seconds / 2 - plan.trial_seconds(2) / 2
    total = plan.seeds * (plan.networks + 1)

    def next_candidate() -> bool:
        return queue_next(ledger, problem, plan, settings)

    run_trials(ledger, executor, task, next_candidate, score, search_end, total, observer)
    trained = sum(record.role == "candidate" for record in ledger.records())
    ended = "all planned trainings done"
    if trained < plan.networks * plan.seeds and time.monotonic() >= search_end:
        ended = f"time budget used up after {trained} of {plan.networks * plan.seeds} candidate trainings"
    result = Run(folder, ledger)
    if not result.candidates:
        return ended

    members = [
        member
        for member in result.proxy_family
        if member.name not in ("B0", "B1")  # B1 is the recommended candidate itself
        and member.arch.resolution <= problem.dataset.size
    ]

    def next_member() -> bool:
        existing = {(r.digest, r.seed) for r in ledger.records() if r.role == "family"}
        left = ends - time.monotonic()
        for member in members:
            ratio = member.cost.flops / start
            if settings.time_budget is None and ratio > 4.5:
                return False  # without a budget, B2 is measured and no more
            for seed in range(plan.seeds):
                if (member.arch.digest, seed) in existing:
                    continue
                if plan.trial_seconds(ratio) * 1.1 > left - 20:
                    return False
                ledger.queue(attributes_of("family", member.arch, seed, member=member.name, budget=ratio), {})
                return True
        return False

    run_trials(ledger, executor, task, next_member, score, ends, total, observer)
    return ended


def _bench(executor: Executor, settings: Settings, problem: Problem, plan: Plan) -> Bench:
    return Bench(executor, problem.proxy, recipe_of(settings, plan.epochs), plan.device, settings.measure_seconds)


def _rejected(arch: Arch, ratio: float) -> list[Any]:
    repeats = " ".join(str(stage.repeats) for stage in arch.stages)
    channels = " ".join(str(stage.channels) for stage in arch.stages)
    return [repeats, channels, arch.resolution, round(ratio, 5)]


def _start(
    ledger: Ledger,
    folder: Path,
    settings: Settings,
    problem: Problem,
    facts: Mapping[str, Any],
    study: str,
    storage: str | None,
    device: str,
) -> None:
    """Store what the run is; refuse to go on with other images or another base than it began with."""
    for key, arch in (("base", problem.base), ("proxy_base", problem.proxy)):
        if facts.get(key, arch.to_dict()) != arch.to_dict():
            raise RunError(
                f"{folder}: {settings.base} has changed since the run began (its {key.replace('_', ' ')} is another "
                "network); restore it, or use another --out"
            )
    fingerprint = problem.dataset.fingerprint
    if facts.get("data_fingerprint", fingerprint) != fingerprint:
        raise RunError(
            f"{folder}: the images of {settings.data} have changed since the run began (fingerprint "
            f"{facts['data_fingerprint'][:12]} before, {fingerprint[:12]} now); restore them, or use another --out"
        )
    if "settings" not in facts:
        ledger.set_fact("base", problem.base.to_dict())
        ledger.set_fact("base_note", problem.base_note)
        ledger.set_fact("proxy_base", problem.proxy.to_dict())
        ledger.set_fact("data_fingerprint", fingerprint)
        ledger.set_fact("notes", describe(problem, settings))
        ledger.set_fact("rejected", [_rejected(arch, ratio) for arch, ratio in problem.feasible.rejected])
        ledger.set_fact("environment", environment(device))
        ledger.set_fact("settings", settings.to_dict())  # last: with it the run counts as begun
    table = {
        "study": study,
        "storage": None if storage is None else mask(storage),
        **{key: ledger.facts()[key] for key in ("settings", "data_fingerprint", "environment")},
    }
    temporary = folder / f"{RUN_FILE}.tmp"
    temporary.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(folder / RUN_FILE)
