"""The evaluator `train`: trains candidates and family members on the proxy, and measures their latency."""

from __future__ import annotations

import time
from dataclasses import replace

from scalesearch.fit.data import Dataset
from scalesearch.search.confirmation import FACT, begin, fresh_seeds
from scalesearch.search.costs import Bench, make_score, measure
from scalesearch.search.engine import Task, run_trials
from scalesearch.search.plan import CALIBRATION_SECONDS, Plan, calibrate, make_plan, recipe_of
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.problem import describe_power
from scalesearch.search.pruners import describe as describe_pruner
from scalesearch.search.pruners import make_pruning
from scalesearch.search.queue import attributes_of, ending, queue_confirmation, queue_next, seeds_in_turn
from scalesearch.search.run import Run
from scalesearch.search.session import Session
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, TrainingError
from scalesearch.spec.settings import Settings


def train(session: Session) -> str:
    """Do the trainings that are left; says how it ended."""
    ledger, dataset = session.ledger, session.problem.dataset
    assert dataset is not None  # `pose` loaded it
    plan = _plan(session, dataset)
    (session.folder / "checkpoints").mkdir(exist_ok=True)
    session.say(_describe_plan(plan, session.settings))
    session.say(describe_power(plan.networks, session.settings))
    ended = _train(session, dataset, plan)
    bench = _bench(session, plan)
    bench = replace(bench, seconds=bench.seconds / 4)  # nothing depends on these
    try:
        measure(ledger, bench, "latency", [record.arch for record in ledger.records() if record.status == "done"])
    except (TrainingError, RuntimeError) as error:  # a worker that died, or torch out of memory
        session.say(f"the latency of some networks was not measured: {error}; the rest of the run is complete")
    return ended


def _describe_plan(plan: Plan, settings: Settings) -> str:
    seconds = plan.seconds + plan.confirm_seconds + plan.family_seconds
    ends = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    confirm = f", {plan.confirm_seconds:.0f} s for the confirmation" if plan.confirm_seconds else ""
    pruner = describe_pruner(settings.pruner, plan.rung_stops(settings.rungs))
    return (
        f"plan: {plan.networks} networks × {plan.seeds} seeds + the base, {plan.epochs} epochs of "
        f"{plan.train_images:,} images; {plan.speed.candidate_train:.0f} images/s per worker measured "
        f"(base {plan.speed.base_train:.0f}), {plan.workers} workers, about {plan.seconds:.0f} s of training"
        f"{confirm} and {plan.family_seconds:.0f} s for the family, until {ends}{pruner}"
    )


def _plan(session: Session, dataset: Dataset) -> Plan:
    """The stored plan, or a new one from a calibration."""
    ledger, settings, problem, device = session.ledger, session.settings, session.problem, session.device
    elapsed = time.monotonic() - session.started
    stored = ledger.facts().get("plan")
    if stored is not None:
        plan = plan_from_dict(stored)
        if plan.device != device:
            raise RunError(f"the run began on {plan.device} and cannot go on, on {device}; give --device {plan.device}")
        return plan
    seconds = CALIBRATION_SECONDS * (0.1 if settings.time_budget is None else 1)
    anchors = {candidate.digest: candidate.arch for candidate in problem.pool.anchors.values()}
    speed = calibrate(session.executor, problem.proxy, list(anchors.values()), recipe_of(settings, 1), device, seconds)
    plan = make_plan(
        settings,
        speed,
        pool_size=len(problem.pool.candidates),
        train_count=dataset.train_count,
        val_count=dataset.val_count,
        workers=session.executor.workers,
        device=device,
        elapsed=elapsed,
    )
    ledger.set_fact("plan", plan.to_dict())
    return plan


def _train(session: Session, dataset: Dataset, plan: Plan) -> str:
    """All trainings; says how it ended."""
    ledger, executor, settings, problem = session.ledger, session.executor, session.settings, session.problem
    folder, observer = session.folder, session.observer
    task = Task(
        data=dataset.folder,
        checkpoints=folder / "checkpoints",
        recipe=recipe_of(settings, plan.epochs),
        rung_stops=plan.rung_stops(settings.rungs),
        train_images=plan.train_images,
        val_images=plan.val_images,
        device=plan.device,
        seed=settings.seed,
        base=problem.proxy if settings.inherit else None,
    )
    start = cost(problem.proxy).flops
    score = make_score(ledger, _bench(session, plan), settings)
    # Time spent before an interruption counts: it is what the ledger says was trained.
    spent = sum(record.seconds for record in ledger.records()) / executor.workers
    ends = float("inf")
    if settings.time_budget is not None:
        ends = session.started + settings.time_budget - spent
    search_end = ends - plan.family_seconds / 2 - plan.trial_seconds(2) / 2
    if plan.confirm_seconds:  # and what the last trainings of the search run on for
        search_end -= plan.confirm_seconds + plan.trial_seconds(2) / 2
    total = plan.seeds * (plan.networks + 1) + 2 * settings.confirm

    def next_candidate() -> bool:
        return queue_next(ledger, problem, plan, settings)

    pruning = make_pruning(settings.pruner, task.rung_stops, score, ledger.records())
    seeds = seeds_in_turn(plan, settings)
    if FACT not in ledger.facts():  # once the confirmation has begun, nothing more may change the choice
        run_trials(
            ledger, executor, task, next_candidate, score, search_end, total, observer, pruning=pruning, seeds=seeds
        )
    ended = ending(ledger, problem.pool, plan, settings, time.monotonic() >= search_end)
    result = Run(folder, ledger)
    if not result.candidates:
        return ended
    if (pair := result.to_confirm) is not None:
        begin(ledger, *pair, fresh_seeds(settings.confirm))

    def next_confirmation() -> bool:
        in_time = time.monotonic() + plan.trial_seconds(2) <= ends
        return in_time and queue_confirmation(ledger, plan.seeds if settings.inherit else None)

    run_trials(ledger, executor, task, next_confirmation, score, ends, total, observer, seeds=seeds)

    members = [
        member
        for member in result.proxy_family
        if member.name not in ("B0", "B1")  # B1 is the recommended candidate itself
        and member.arch.resolution <= dataset.size
    ]

    def next_member() -> bool:
        existing = ledger.networks("family")
        left = ends - time.monotonic()
        for member in members:
            ratio = member.cost.flops / start
            if settings.time_budget is None and ratio > 4.5:
                return False  # without a budget, B2 is measured and no more
            for seed in range(plan.seeds):
                if seed in existing.get(member.arch.digest, {}):
                    continue
                if plan.trial_seconds(ratio) * 1.1 > left - 20:
                    return False
                ledger.queue(attributes_of("family", member.arch, seed, member=member.name, budget=ratio), {})
                return True
        return False

    run_trials(ledger, executor, task, next_member, score, ends, total, observer, seeds=seeds)
    return ended


def _bench(session: Session, plan: Plan) -> Bench:
    settings = session.settings
    recipe = recipe_of(settings, plan.epochs)
    return Bench(session.executor, session.problem.proxy, recipe, plan.device, settings.measure_seconds)
