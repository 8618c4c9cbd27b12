"""Base, coefficients, family: the steps of `--base search`, each in a folder with a memory of its own.

OUT/base holds the search of the base, and the base that it found as base.toml; OUT holds the run on that base, like any
other. Each step is stored before the next begins, so that the same command goes on wherever it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scalesearch.nets.count import checked_flops
from scalesearch.search import pipeline
from scalesearch.search.base_problem import BaseProblem, describe, plan_of, pose
from scalesearch.search.base_run import BaseRun
from scalesearch.search.base_search import BaseSession, later_trainings, search
from scalesearch.search.costs import Bench
from scalesearch.search.engine import Observer, Task
from scalesearch.search.executor import Executor, LocalExecutor, run_all
from scalesearch.search.folder import environment
from scalesearch.search.opening import RUN_FILE, Opened, check_unchanged, choose_workers, opened, read_run_file
from scalesearch.search.plan import Plan, recipe_of
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.pruners import describe as describe_pruner
from scalesearch.search.run import Run
from scalesearch.spec.errors import RunError, ScaleSearchError, SettingsError
from scalesearch.spec.files import to_toml
from scalesearch.spec.settings import SEARCH, Settings

FOLDER = "base"  # of the search, inside the run's
FILE = "base.toml"  # what it found


def run(
    settings: Settings,
    folder: Path,
    observer: Observer = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    storage: str | None = None,
    resume: bool = False,
    found: Callable[[BaseRun], object] = lambda run: None,
) -> Run | BaseRun:
    """Do what is left to do of all steps, and return the last one's run: a BaseRun with `only` = "base".

    `found` is called with the search of the base once it has ended, before the next step. Raises the errors of its
    steps.
    """
    if settings.base != SEARCH:
        return pipeline.run(settings, folder, observer, say, storage, resume)
    if resume and not any((place / RUN_FILE).exists() for place in (folder, folder / FOLDER)):
        raise RunError(f"--resume {folder}: there is no run to resume; leave --resume out to start it")
    try:
        base = _search(settings, folder / FOLDER, observer, say, storage, f"{folder.name}-{FOLDER}")
    except ScaleSearchError:
        with suppress(OSError):
            folder.rmdir()  # if refused before it began, nothing is in it
        raise
    found(base)
    if settings.only is not None:
        return base
    try:
        return pipeline.run(settings, folder, observer, say, storage, found=handed_on(base))
    except SettingsError as error:
        if not str(error).startswith("--time-budget"):
            raise
        raise SettingsError(
            f"{error}; that is what the search of the base has left: go on from it with a budget of its own, "
            f"scalesearch run --target-flops {base.winner.flops} --base {base.folder / FILE}"
        ) from None


def handed_on(base: BaseRun) -> pipeline.Found:
    """What a finished search leaves to the next step: the base, and the rest of the time, no less than its share."""
    settings, budget = base.settings, base.settings.time_budget
    if budget is not None:
        budget = max(budget - base.facts["used_seconds"], budget * (1 - settings.base_share))
    assert settings.exponent is not None  # the search has fitted it
    name, space = base.winner.arch.name, settings.space
    return pipeline.Found(
        base=base.folder / FILE,
        target_flops=base.winner.flops,
        exponent=settings.exponent,
        time_budget=budget,
        note=f"search: {name} was found by this run's own search of {space}; its report is in {FOLDER}/",
    )


def _search(
    settings: Settings, folder: Path, observer: Observer, say: Callable[[str], None], storage: str | None, name: str
) -> BaseRun:
    started = time.monotonic()
    with opened(settings, folder, say, storage, name=name, step=FOLDER, free=("only",)) as begun:
        ledger, facts = begun.ledger, begun.ledger.facts()
        if "finished" in facts:
            _store_settings(begun)
            say(f"{folder}: this search is finished ({facts['finished']}); nothing was changed")
            return BaseRun(folder, ledger)
        workers, device = choose_workers(begun.settings)
        problem = pose(begun.settings, workers)
        _start(begun, problem, device)
        for line in ledger.facts()["notes"]:
            say(line)
        spent = sum(record.seconds for record in ledger.records()) / workers  # before an interruption
        executor = LocalExecutor(workers)
        try:
            plan = _plan(begun, problem, executor, device, started)
            say(_describe_plan(plan, begun.settings))
            budget = _budget(begun.settings)
            ends = float("inf") if budget is None else started + budget - spent
            ended = search(_session(begun, problem, plan, executor, observer, say, ends))
            base = BaseRun(folder, ledger)
            say(f"counting {base.winner.arch.name} a second time, with fvcore")
            (counted,) = run_all(executor, checked_flops, [(base.winner.arch,)])
        finally:
            executor.close()
        _write(folder / FILE, base)
        ledger.set_fact("fvcore", {base.winner.digest: counted})
        ledger.set_fact("used_seconds", spent + time.monotonic() - started)
        ledger.set_fact("finished", ended)
        return BaseRun(folder, ledger, fresh=True)


def _session(
    begun: Opened,
    problem: BaseProblem,
    plan: Plan,
    executor: Executor,
    observer: Observer,
    say: Callable[[str], None],
    ends: float,
) -> BaseSession:
    settings, checkpoints = begun.settings, begun.folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    recipe = recipe_of(settings, plan.epochs)
    task = Task(
        data=problem.dataset.folder,
        checkpoints=checkpoints,
        recipe=recipe,
        rung_stops=plan.rung_stops(settings.rungs),
        train_images=plan.train_images,
        val_images=plan.val_images,
        device=plan.device,
        seed=settings.seed,
    )
    bench = Bench(executor, problem.proxy(problem.reference), recipe, plan.device, settings.measure_seconds)
    return BaseSession(begun.ledger, problem, plan, task, bench, observer, say, ends)


def _start(begun: Opened, problem: BaseProblem, device: str) -> None:
    """Store what the search is; refuse to go on with another space or other images than it began with."""
    ledger, facts, fingerprint = begun.ledger, begun.ledger.facts(), problem.dataset.fingerprint
    if facts.get("space", problem.fingerprint) != problem.fingerprint:
        raise RunError(
            f"{begun.folder}: the space {begun.settings.space} has changed since the search began; restore it, or use "
            "another --out"
        )
    source = f"the images of {begun.settings.data}"
    check_unchanged(begun.folder, source, facts.get("data_fingerprint", fingerprint), fingerprint)
    if "settings" not in facts:
        stored: dict[str, Any] = {
            "space": problem.fingerprint,
            "reference": problem.reference.to_dict(),
            "reference_note": problem.reference_note,
            "data_fingerprint": fingerprint,
            "notes": describe(problem),
            "environment": environment(device),
        }
        for key, value in stored.items():
            ledger.set_fact(key, value)
    _store_settings(begun)  # last: with them the run counts as begun


def _store_settings(begun: Opened) -> None:
    """Those of this command: `only` may be another than before."""
    if begun.ledger.facts().get("settings") != begun.settings.to_dict():
        begun.ledger.set_fact("settings", begun.settings.to_dict())
    begun.describe()


def _plan(begun: Opened, problem: BaseProblem, executor: Executor, device: str, started: float) -> Plan:
    """The stored plan, or a new one."""
    stored = begun.ledger.facts().get("plan")
    if stored is None:
        elapsed, later = time.monotonic() - started, later_trainings(begun.settings)
        try:
            plan = plan_of(problem, executor, device, later, elapsed, _budget(begun.settings))
        except SettingsError:
            begun.forget()
            raise
        begun.ledger.set_fact("plan", plan.to_dict())
        return plan
    plan = plan_from_dict(stored)
    if plan.device != device:
        raise RunError(f"the run began on {plan.device} and cannot go on, on {device}; give --device {plan.device}")
    return plan


def _budget(settings: Settings) -> float | None:
    """Seconds for the search: its share, or all where nothing comes after it."""
    if settings.time_budget is None or settings.only is not None:
        return settings.time_budget
    return settings.time_budget * settings.base_share


def _describe_plan(plan: Plan, settings: Settings) -> str:
    return (
        f"plan: {plan.networks} networks once, then {later_trainings(settings)} trainings of the best and the "
        f"reference, {plan.epochs} epochs of {plan.train_images:,} images; {plan.workers} workers, about "
        f"{plan.seconds:.0f} s and {plan.confirm_seconds:.0f} s"
        f"{describe_pruner(settings.pruner, plan.rung_stops(settings.rungs))}"
    )


def _write(path: Path, base: BaseRun) -> None:
    """The base as a file, in one step."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(to_toml(base.winner.arch), encoding="utf-8")
    temporary.replace(path)


def load_run(folder: Path | str, storage: str | None = None) -> tuple[BaseRun | None, Run | None]:
    """What a folder holds: a search of the base, a run, or both. Raises RunError if neither."""
    folder = Path(folder)
    inside, both = folder / FOLDER, (folder / RUN_FILE).exists()
    if both and read_run_file(folder).get("step") == FOLDER:
        return BaseRun.load(folder, storage), None
    base = BaseRun.load(inside, storage) if (inside / RUN_FILE).exists() else None
    return base, Run.load(folder, storage) if both or base is None else None
