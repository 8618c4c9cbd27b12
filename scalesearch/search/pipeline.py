"""One run from its settings to its answer: problem, candidates, judgements, family.

Each step is stored before the next begins, so that the same command continues wherever it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from scalesearch.nets.count import checked_flops
from scalesearch.search.engine import Observer
from scalesearch.search.evaluators import EVALUATORS, Evaluator
from scalesearch.search.executor import Executor, run_all
from scalesearch.search.folder import environment
from scalesearch.search.ledger import Ledger
from scalesearch.search.opening import RUN_FILE, Opened, check_unchanged, choose_workers, opened
from scalesearch.search.places import POOL, stored
from scalesearch.search.problem import Problem
from scalesearch.search.queue import DONE
from scalesearch.search.run import Run
from scalesearch.search.session import Session
from scalesearch.spec.cost import counted, remember
from scalesearch.spec.errors import DataError, RunError, SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.outline import channels, repeats
from scalesearch.spec.settings import OF_BASE_SEARCH, Settings
from scalesearch.spec.units import format_flops


@dataclass(frozen=True, slots=True)
class Found:
    """The base that a search has found, in place of the settings' own: its file, w of the objective, and what is left
    of the time budget. `note` says where it comes from."""

    base: Path
    target_flops: int
    exponent: float
    time_budget: float | None
    note: str


def run(
    settings: Settings,
    folder: Path,
    observer: Observer = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    storage: str | None = None,
    resume: bool = False,
    found: Found | None = None,
) -> Run:
    """Do what is left to do of this run, and return it. `say` gets one line per step.

    Raises the errors of its steps, and RunError if the folder belongs to other settings, is in use, or its disk is
    full; what has been finished stays in the ledger.
    """
    started = time.monotonic()
    if resume and not (folder / RUN_FILE).exists():
        raise RunError(f"--resume {folder}: there is no run to resume; leave --resume out to start it")
    with opened(settings, folder, say, storage, free=("only",)) as begun:
        return _run(begun, found, observer, say, started)


def _run(begun: Opened, found: Found | None, observer: Observer, say: Callable[[str], None], started: float) -> Run:
    ledger, folder, settings = begun.ledger, begun.folder, begun.settings
    facts = ledger.facts()
    if "finished" in facts:
        say(f"{folder}: this run is finished ({facts['finished']}); nothing was changed")
        return Run(folder, ledger)
    for fingerprint, counts in facts.get("factory_counts", {}).items():
        remember(fingerprint, counts)
    if found is not None:
        settings = replace(
            settings,
            base=str(found.base),
            target_flops=found.target_flops,
            exponent=found.exponent,
            time_budget=found.time_budget,
            **_usual(OF_BASE_SEARCH),
        )
    workers, device = choose_workers(settings)
    evaluator = EVALUATORS[settings.evaluator]
    problem = evaluator.pose(settings, workers)
    notes = evaluator.describe(problem, settings)
    if found is not None:
        notes.insert(0, found.note)
        ledger.set_fact("exponent", found.exponent)
        ledger.set_fact("base_search", found.note)
    _start(begun, settings.base, problem, notes, facts, device)
    for line in ledger.facts()["notes"]:
        say(line)
    executor = evaluator.executor(workers)
    try:
        session = Session(ledger, executor, settings, problem, device, folder, observer, say, started)
        ended = _judged(evaluator, session, begun)
        if ended != DONE:
            say(f"search: {ended}")
        result = Run(folder, ledger)
        counts = _second_counts(result, executor, evaluator.fvcore_limit, say)
    finally:
        executor.close()
    ledger.set_fact("family_fvcore", counts)
    if isinstance(result.base, FactoryArch):
        _ = (result.candidates, result.paper_family, result.proxy_family)  # what the report asks for
        _keep_counts(ledger, result.base)
    ledger.set_fact("finished", ended)
    return Run(folder, ledger, fresh=True)


def _judged(evaluator: Evaluator, session: Session, begun: Opened) -> str:
    try:
        return evaluator.judge(session)
    except (SettingsError, DataError):
        if not session.ledger.records():  # no plan fits these settings: others may be given for the same folder
            begun.forget()
        raise


def _second_counts(result: Run, executor: Executor, limit: int, say: Callable[[str], None]) -> dict[str, int]:
    """FLOPs of the family's members by fvcore, by digest. It runs a real forward: members past `limit` are left out."""
    members = [member for member in result.family if member.cost.flops <= limit]
    left_out = [member.name for member in result.family if member.cost.flops > limit]
    if members:
        say(f"counting {' '.join(member.name for member in members)} a second time, with fvcore")
    if left_out:
        say(f"not counted a second time, being past {format_flops(limit)} FLOPs: {' '.join(left_out)}")
    counts = run_all(executor, checked_flops, [(member.arch,) for member in reversed(members)])
    return {member.arch.digest: count for member, count in zip(reversed(members), counts, strict=True)}


def _rejected(arch: AnyArch, ratio: float) -> list[Any]:
    return [repeats(arch), channels(arch, ends=False), arch.resolution, round(ratio, 5)]


def _keep_counts(ledger: Ledger, base: AnyArch) -> None:
    """Store what was counted of a factory's networks, so that the run is read without running its code."""
    if isinstance(base, FactoryArch):
        ledger.set_fact("factory_counts", {base.fingerprint: counted(base.fingerprint)})


def _start(
    begun: Opened, named: str, problem: Problem, notes: Sequence[str], facts: Mapping[str, Any], device: str
) -> None:
    """Store what the run is; refuse to go on with other images or another base than it began with.

    `named` is the base as it was given.
    """
    ledger, folder = begun.ledger, begun.folder
    for key, arch in (("base", problem.base), ("proxy_base", problem.proxy)):
        if facts.get(key, arch.to_dict()) != arch.to_dict():
            raise RunError(
                f"{folder}: {named} has changed since the run began (its {key.replace('_', ' ')} is another "
                "network); restore it, or use another --out"
            )
    fingerprint = problem.fingerprint
    check_unchanged(folder, problem.source, facts.get("data_fingerprint", fingerprint), fingerprint)
    if "settings" not in facts:
        ledger.set_fact("base", problem.base.to_dict())
        ledger.set_fact("base_note", problem.base_note)
        ledger.set_fact("proxy_base", problem.proxy.to_dict())
        ledger.set_fact("data_fingerprint", fingerprint)
        ledger.set_fact("notes", list(notes))
        ledger.set_fact("rejected", [_rejected(arch, ratio) for arch, ratio in problem.feasible.rejected])
        ledger.set_fact(POOL, stored(problem.pool.candidates))
        ledger.set_fact("environment", environment(device))
        _keep_counts(ledger, problem.base)
        ledger.set_fact("settings", begun.settings.to_dict())  # last: with it the run counts as begun
    begun.describe()


def _usual(names: Sequence[str]) -> dict[str, Any]:
    """The settings' own defaults."""
    return {field.name: field.default for field in fields(Settings) if field.name in names}
