"""The run's one memory: an Optuna study that holds every trial with all that is known of it.

Trials are queued with their attributes first and then asked for, so that a kill at any point leaves either a
waiting trial that is complete, or none. Journals are repaired on opening.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from scalesearch.search.samplers import DISTRIBUTIONS
from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.schema import read_stored

STATUS = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
JOURNAL = "journal.log"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One training, or one prediction, as stored. `rungs` are the finished ones, in order, as `RungResult` fields."""

    number: int
    status: str
    role: str  # base, candidate, family; with the surrogate also reference (the paper's family) and budget
    digest: str
    seed: int
    arch: AnyArch
    flops: int
    params: int
    activations: int
    score: float | None
    reason: str
    rungs: tuple[Mapping[str, Any], ...]
    attributes: Mapping[str, Any]

    @property
    def epochs(self) -> list[Mapping[str, Any]]:
        return [epoch for rung in self.rungs for epoch in rung.get("epochs", ())]

    @property
    def accuracy(self) -> float | None:
        """Top-1 (0 to 1): on the validation images after the last finished rung, or as predicted."""
        if self.epochs:
            return float(self.epochs[-1]["accuracy"])
        return float(self.rungs[-1]["accuracy"]) if self.rungs else None

    @property
    def replicates(self) -> Sequence[float]:
        """Of a prediction: the same accuracy by each bootstrap replicate."""
        return self.rungs[-1].get("replicates", ()) if self.rungs else ()

    @property
    def seconds(self) -> float:
        return float(sum(rung["seconds"] for rung in self.rungs))


class Ledger:
    """A study and the few things the engine does with it. `notes` say what was repaired on opening."""

    def __init__(self, storage: BaseStorage, name: str, notes: tuple[str, ...] = (), create: bool = True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.notes = notes
        self._storage = storage
        self._name = name
        try:
            # Not create_study(load_if_exists=True): it writes to the journal of a study that exists.
            self._study = optuna.load_study(storage=storage, study_name=name)
        except KeyError:
            if not create:
                raise
            self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize")

    def facts(self) -> dict[str, Any]:
        """What is true of the whole run: settings, plan, data, progress."""
        return dict(self._study.user_attrs)

    def set_fact(self, key: str, value: Any) -> None:
        self._study.set_user_attr(key, value)

    def queue(self, attributes: Mapping[str, Any], params: Mapping[str, float]) -> None:
        """Store a trial that is to run, complete with its attributes, in one write."""
        self._study.enqueue_trial(dict(params), user_attrs=dict(attributes))

    def start(self) -> Trial | None:
        """The next queued trial, now running; None if nothing is queued."""
        if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        trial = self._study.ask()
        if trial.user_attrs["role"] == "candidate":  # turns the queued point into the trial's parameters
            for name, distribution in DISTRIBUTIONS.items():
                trial.suggest_float(name, distribution.low, distribution.high)
        return trial

    def running(self) -> list[Trial]:
        """Trials that were running when their process ended: the caller owns the run now, so nobody runs them."""
        return [self._trial(frozen) for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]

    def rung_done(self, trial: Trial, index: int, result: Mapping[str, Any]) -> None:
        trial.set_user_attr(f"rung{index}", dict(result))
        epoch = result["epochs"][-1]
        # A trial that started again reaches its epochs a second time; Optuna takes each once.
        if epoch["epoch"] not in self._study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(epoch["accuracy"], epoch["epoch"])

    def answer(self, trial: Trial, result: Mapping[str, Any], score: float) -> None:
        """Store what a trial gave at once, without epochs, and end it."""
        trial.set_user_attr("rung0", dict(result))
        self._study.tell(trial, score)

    def finish(self, trial: Trial, score: float) -> None:
        self._study.tell(trial, score)

    def fail(self, trial: Trial, reason: str) -> None:
        """Optuna 5 stores no reason of its own."""
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def records(self) -> list[TrialRecord]:
        return [_record(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def record(self, trial: Trial) -> TrialRecord:
        return _record(self._study.get_trials(deepcopy=False)[trial.number])

    def _trial(self, frozen: FrozenTrial) -> Trial:
        study_id = self._storage.get_study_id_from_name(self._name)
        return Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(study_id, frozen.number))


def open_ledger(folder: Path, name: str, storage: str | None, owned: bool = True) -> Ledger:
    """The ledger of a run: a journal in its folder, or any Optuna storage URL.

    Who only reads does not own the run, and another process may be writing to it: nothing is created or repaired.
    Raises RunError for a journal damaged before its last line, and for a storage that cannot be opened.
    """
    if storage is not None:
        try:
            return Ledger(optuna.storages.get_storage(storage), name, create=owned)
        except KeyError:
            raise RunError(f"--storage {mask(storage)}: holds no run named {name!r}") from None
        except Exception as error:  # each driver has its own exceptions
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"--storage {mask(storage)}: the storage cannot be opened: {first}") from None
    path = folder / JOURNAL
    notes: tuple[str, ...] = ()
    if owned:
        notes = repair_journal(path)
        # The caller holds the run's lock: a lock file here was left by a process that is gone.
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
    else:
        _torn_bytes(path)
        if not path.exists():
            raise RunError(f"{path}: is missing; restore it from a backup, or start the run anew")
    try:
        backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        return Ledger(JournalStorage(backend), name, notes, create=owned)
    except KeyError:
        raise RunError(f"{path}: holds no run named {name!r}") from None
    except OSError as error:
        raise RunError(f"{path}: the journal cannot be opened: {error.strerror}") from error


def repair_journal(path: Path) -> tuple[str, ...]:
    """Cut a torn last line off, and say so. Raises RunError, with the line's number, if an earlier line is torn.

    A kill or a full disk can leave the last line unfinished; the next append would be glued to it, and Optuna
    could not read the file again.
    """
    torn = _torn_bytes(path)
    if not torn:
        return ()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - torn)
        file.flush()
        os.fsync(file.fileno())
    return (f"{path.name}: the last line was torn ({torn} bytes); it was cut off, nothing finished is lost",)


def _torn_bytes(path: Path) -> int:
    """The length of an unfinished last line, 0 if there is none. Raises RunError if an earlier line is damaged."""
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise RunError(f"{path}: the journal cannot be read: {error.strerror}") from error
    lines = content.split(b"\n")
    torn = lines.pop()  # what follows the last newline; empty in a sound file
    for number, line in enumerate(lines, start=1):
        if not _is_json(line):
            if number == len(lines) and not torn:
                torn = line + b"\n"
                break
            raise RunError(
                f"{path}: line {number} of {len(lines)} is damaged, and later lines depend on it; restore the file "
                f"from a backup, or keep its first {number - 1} lines (head -n {number - 1}) to go on from there"
            )
    return len(torn)


def mask(url: str) -> str:
    """A storage URL without its password."""
    url = re.sub(r"(password|passwd|pwd)=[^&]*", r"\1=…", url, flags=re.IGNORECASE)
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, login = head.partition("//") if "//" in head else ("", "", head)
    return f"{scheme}{slashes}{login.split(':')[0]}@{tail}"


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _record(frozen: FrozenTrial) -> TrialRecord:
    attributes = frozen.user_attrs
    arch = read_stored(attributes["arch"])
    if arch is None:
        raise RunError(f"trial {frozen.number}: its stored arch does not fit this version of scalesearch")
    rungs: list[Mapping[str, Any]] = []
    while f"rung{len(rungs)}" in attributes:
        rungs.append(attributes[f"rung{len(rungs)}"])
    return TrialRecord(
        number=frozen.number,
        status=STATUS[frozen.state],
        role=attributes["role"],
        digest=attributes["digest"],
        seed=attributes["seed"],
        arch=arch,
        flops=attributes["flops"],
        params=attributes["params"],
        activations=attributes["activations"],
        score=frozen.value if frozen.state == TrialState.COMPLETE else None,
        reason=attributes.get("reason", ""),
        rungs=tuple(rungs),
        attributes=attributes,
    )
