"""One run from its settings to its answer: problem, candidates, judgements, family.

Each step is stored before the next begins, so that the same command continues wherever it was stopped.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesearch.nets.count import checked_flops
from scalesearch.search.engine import Observer
from scalesearch.search.evaluators import EVALUATORS, Evaluator
from scalesearch.search.executor import Executor, cores, run_all
from scalesearch.search.folder import discard, environment, kept, locked, make_folder
from scalesearch.search.ledger import JOURNAL, Ledger, mask, open_ledger
from scalesearch.search.places import POOL, stored
from scalesearch.search.problem import Problem
from scalesearch.search.queue import DONE
from scalesearch.search.run import RUN_FILE, Run, read_run_file
from scalesearch.search.session import Session
from scalesearch.spec.cost import counted, remember
from scalesearch.spec.errors import DataError, RunError, ScaleSearchError, SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.outline import channels, repeats
from scalesearch.spec.settings import Settings, difference, from_dict
from scalesearch.spec.units import format_flops


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
    new = not (folder / RUN_FILE).exists() and not (folder / JOURNAL).exists()
    make_folder(folder)
    with kept(folder):
        try:
            with locked(folder):
                return _run(settings, folder, observer, say, storage, started)
        except ScaleSearchError:
            if new and not (folder / RUN_FILE).exists():
                discard(folder)  # refused before it began: nothing of it is worth keeping
            raise


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
    begun = from_dict(facts["settings"]) if "settings" in facts else settings
    # What an older version did not store keeps its default, whatever the preset says now.
    changed = difference({**settings.to_dict(), **facts.get("settings", {})}, settings.to_dict())
    if changed:
        raise RunError(
            f"{folder}: holds a run with other settings ({'; '.join(changed)}); give the same ones, or another --out"
        )
    settings = begun
    if "finished" in facts:
        say(f"{folder}: this run is finished ({facts['finished']}); nothing was changed")
        return Run(folder, ledger)
    for fingerprint, counts in facts.get("factory_counts", {}).items():
        remember(fingerprint, counts)
    workers, device = choose_workers(settings)
    evaluator = EVALUATORS[settings.evaluator]
    problem = evaluator.pose(settings, workers)
    _start(ledger, folder, settings, problem, evaluator.describe(problem, settings), facts, study, storage, device)
    for line in ledger.facts()["notes"]:
        say(line)
    executor = evaluator.executor(workers)
    try:
        session = Session(ledger, executor, settings, problem, device, folder, observer, say, started)
        ended = _judged(evaluator, session)
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


def _judged(evaluator: Evaluator, session: Session) -> str:
    try:
        return evaluator.judge(session)
    except (SettingsError, DataError):
        if not session.ledger.records():  # no plan fits these settings: others may be given for the same folder
            (session.folder / RUN_FILE).unlink(missing_ok=True)
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
    return settings.workers or (cores() if device == "cpu" else 1), device


def check_unchanged(folder: Path, source: str, before: str, now: str) -> None:
    """Raises RunError if the images are not those that the run began with."""
    if before != now:
        raise RunError(
            f"{folder}: {source} have changed since the run began (fingerprint {before[:12]} before, {now[:12]} now); "
            "restore them, or use another --out"
        )


def _rejected(arch: AnyArch, ratio: float) -> list[Any]:
    return [repeats(arch), channels(arch, ends=False), arch.resolution, round(ratio, 5)]


def _keep_counts(ledger: Ledger, base: AnyArch) -> None:
    """Store what was counted of a factory's networks, so that the run is read without running its code."""
    if isinstance(base, FactoryArch):
        ledger.set_fact("factory_counts", {base.fingerprint: counted(base.fingerprint)})


def _start(
    ledger: Ledger,
    folder: Path,
    settings: Settings,
    problem: Problem,
    notes: Sequence[str],
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
        ledger.set_fact("settings", settings.to_dict())  # last: with it the run counts as begun
    table = {
        "study": study,
        "storage": None if storage is None else mask(storage),
        **{key: ledger.facts()[key] for key in ("settings", "data_fingerprint", "environment")},
    }
    temporary = folder / f"{RUN_FILE}.tmp"
    temporary.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(folder / RUN_FILE)
