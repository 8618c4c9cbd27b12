"""The evaluator `replay`: trainings come from a recording. Engine, ledger and all that decides are the real ones.

With `seed` 0 the recorded trainings themselves are replayed; any other seed draws fresh noise (`search/resample.py`).
Time is the recording's: a time budget counts the processor seconds that the trainings took when they were recorded.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from scalesearch.fit.recipe import Epoch, Rung, RungResult
from scalesearch.search.candidates import Feasible
from scalesearch.search.confirmation import FACT, begin, fresh_seeds
from scalesearch.search.costs import Bench, make_score
from scalesearch.search.engine import Task, run_trials
from scalesearch.search.landscape import Landscape, read_landscape
from scalesearch.search.plan import Plan, recipe_of
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.problem import Problem
from scalesearch.search.pruners import describe as describe_pruner
from scalesearch.search.pruners import make_pruning
from scalesearch.search.queue import ending, most_seeds, queue_confirmation, queue_next, seeds_in_turn
from scalesearch.search.resample import resampled
from scalesearch.search.run import Run
from scalesearch.search.samplers import make_pool
from scalesearch.search.session import Session
from scalesearch.spec.errors import DataError, SettingsError, TrainingError
from scalesearch.spec.settings import Settings
from scalesearch.spec.units import format_duration


def pose(settings: Settings, workers: int) -> Problem:
    """The recorded networks are the candidates. Raises DataError for a faulty recording."""
    path = Path(settings.data)
    found = read_landscape(path)
    feasible = Feasible(tuple(network.candidate for network in found.networks), ())
    return Problem(
        base=found.base,
        base_note=found.base_note,
        proxy=found.proxy_base,
        dataset=None,
        source=f"the recording {path.name}",
        fingerprint=hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest(),
        feasible=feasible,
        pool=make_pool(feasible.candidates),
        recording=found,
    )


def describe(problem: Problem, settings: Settings) -> list[str]:
    """What is replayed, and what it once was."""
    found = _recording(problem)
    noise = (
        "the recorded trainings themselves"
        if settings.seed == 0
        else f"fresh noise of the recorded size, drawn from seed {settings.seed}"
    )
    return [
        f"evaluator: replay of {Path(settings.data).name}, {noise}; nothing is trained, and a time budget counts the "
        "recorded processor seconds",
        f"recorded: {found.measured}; {len(found.networks)} networks, seeds {', '.join(map(str, found.seeds))}, "
        f"{found.epochs} epochs, on {found.environment.get('machine', 'an unknown machine')}",
        *(f"  {note}" for note in found.notes),
        f"candidates: the {len(problem.pool.candidates)} recorded networks; members of the family beyond B1 were not "
        "recorded, and have no accuracy",
    ]


def replay(session: Session) -> str:
    """Do the trainings that are left, from the recording; says how it ended."""
    ledger, settings = session.ledger, session.settings
    recorded = _recording(session.problem)
    stored = ledger.facts().get("plan")
    plan = make_plan(recorded, settings) if stored is None else plan_from_dict(stored)
    if stored is None:
        ledger.set_fact("plan", plan.to_dict())
    landscape, seeds = recorded, _seeds(recorded)
    if settings.seed != 0:
        seeds = max(plan.seeds, most_seeds(plan, settings))
        landscape = resampled(recorded, settings.seed, seeds, fresh_seeds(settings.confirm))
    stops = plan.rung_stops(settings.rungs)
    session.say(
        f"plan: {plan.networks} networks × {plan.seeds} seeds + the base, {plan.epochs} epochs of "
        f"{plan.train_images:,} images; they took {plan.seconds:.0f} s of one worker when they were recorded"
        f"{describe_pruner(settings.pruner, stops)}"
    )
    recipe = recipe_of(settings, plan.epochs)
    task = Task(
        data=Path(settings.data),
        checkpoints=session.folder / "checkpoints",
        recipe=recipe,
        rung_stops=stops,
        train_images=plan.train_images,
        val_images=plan.val_images,
        device="cpu",
        train=player(landscape),
    )
    used_up = False

    def next_candidate() -> bool:
        nonlocal used_up
        spent = sum(record.seconds for record in ledger.records())
        used_up = settings.time_budget is not None and spent >= settings.time_budget - plan.confirm_seconds
        return not used_up and queue_next(ledger, session.problem, plan, settings, seeds)

    score = make_score(ledger, Bench(session.executor, session.problem.proxy, recipe, "cpu", 1.0), settings)
    total = plan.seeds * (plan.networks + 1) + 2 * settings.confirm
    if FACT not in ledger.facts():
        run_trials(
            ledger, session.executor, task, next_candidate, score, float("inf"), total, session.observer,
            pruning=make_pruning(settings.pruner, stops, score, ledger.records()), seeds=seeds_in_turn(plan, settings),
        )  # fmt: skip
    ended = ending(ledger, session.problem.pool, plan, settings, used_up, seeds)
    _begin_confirmation(session, landscape)

    def next_confirmation() -> bool:
        return queue_confirmation(ledger)

    run_trials(ledger, session.executor, task, next_confirmation, score, float("inf"), total, session.observer)
    return ended


def _begin_confirmation(session: Session, landscape: Landscape) -> None:
    """Seeds that the recording has left: of the recorded ones, those that neither network was tried with."""
    ledger, settings = session.ledger, session.settings
    if not settings.confirm:
        return
    pair = Run(session.folder, ledger).to_confirm
    if pair is None:
        return
    seeds = list(fresh_seeds(settings.confirm))
    if settings.seed == 0:
        tried = ledger.networks("candidate")
        seeds = [seed for seed in landscape.seeds if not any(seed in tried[digest] for digest in pair)]
    if not seeds:
        session.say(
            "no confirmation: the search has used every recorded seed of the recommended network or of the paper's; "
            "give fewer --seeds, or --seed 1 or higher for fresh noise"
        )
    begin(ledger, *pair, seeds[: settings.confirm])


def player(landscape: Landscape) -> Callable[[Rung], RungResult]:
    """What stands for `train_rung`: the epochs of a rung as the landscape has them. No checkpoint is written."""
    recorded: dict[tuple[str, int], tuple[Epoch, ...]] = {}
    for network in landscape.networks:
        recorded |= {(network.candidate.digest, own.seed): own.epochs for own in network.trainings}
    recorded |= {(landscape.proxy_base.digest, own.seed): own.epochs for own in landscape.base_trainings}

    def play(rung: Rung) -> RungResult:
        key = (rung.arch.digest, rung.seed)
        if key not in recorded:
            raise TrainingError(f"the recording has no training of this network with seed {rung.seed}")
        epochs = recorded[key][rung.start_epoch : rung.stop_epoch]
        return RungResult(epochs, seconds=sum(epoch.processor_seconds for epoch in epochs), peak_memory=0)

    return play


def make_plan(landscape: Landscape, settings: Settings) -> Plan:
    """Networks and seeds as asked, or all networks that the time budget allows. Raises SettingsError or DataError.

    The rest is the recording's own plan.
    """
    if not landscape.base_trainings:
        raise DataError(
            f"{settings.data}: holds no whole training of the base, which a search begins with; pack the run again"
        )
    if settings.epochs not in (None, landscape.epochs):
        raise SettingsError(f"epochs: the recording has {landscape.epochs}, got {settings.epochs}; leave it out")
    if settings.seed == 0 and settings.seeds > _seeds(landscape):
        raise SettingsError(
            f"--seeds {settings.seeds}: every network was recorded with {_seeds(landscape)}; give fewer, or "
            "--seed 1 or higher for fresh noise"
        )
    trainings = [own for network in landscape.networks for own in network.trainings]
    each, base = (
        float(np.mean([own.processor_seconds for own in some])) for some in (trainings, landscape.base_trainings)
    )
    networks = len(landscape.networks)
    confirm = settings.confirm
    if settings.seed == 0:  # no more than the recording has left
        confirm = min(confirm, max(0, len(landscape.seeds) - settings.seeds))
    confirm_seconds = 2 * confirm * each
    if settings.time_budget is not None and confirm and settings.time_budget < confirm_seconds + base + each:
        raise SettingsError(
            f"--time-budget {format_duration(settings.time_budget)}: the confirmation's {2 * confirm} trainings take "
            f"{format_duration(math.ceil(confirm_seconds))}, which leaves no time for the base and a network; give it "
            f"about {format_duration(math.ceil(confirm_seconds + 10 * each))}, or --set confirm=0"
        )
    if settings.networks is not None:
        networks = min(networks, settings.networks)
    elif settings.time_budget is not None:
        networks = min(networks, max(1, int(((settings.time_budget - confirm_seconds) / settings.seeds - base) / each)))
    recorded = plan_from_dict(dict(landscape.plan))
    return replace(
        recorded,
        networks=networks,
        seeds=settings.seeds,
        workers=1,
        device="cpu",
        seconds=settings.seeds * (networks * each + base),
        family_seconds=0.0,
        confirm_seconds=confirm_seconds,
    )


def _recording(problem: Problem) -> Landscape:
    assert problem.recording is not None  # `pose` read it
    return problem.recording


def _seeds(landscape: Landscape) -> int:
    """How many seeds, from 0 on, all networks and the base were recorded with: what a search may ask for."""
    recorded = set(landscape.seeds) & {training.seed for training in landscape.base_trainings}
    return next(seed for seed in range(len(recorded) + 1) if seed not in recorded)
