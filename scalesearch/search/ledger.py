"""The run's one memory: an Optuna study that holds every trial with all that is known of it.

Trials are queued with their attributes first and then asked for, so that a kill at any point leaves either a
waiting trial that is complete, or none. Journals are repaired on opening.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file
from optuna.trial import Trial, TrialState

from scalesearch.search.records import Index, TrialRecord
from scalesearch.search.samplers import DISTRIBUTIONS
from scalesearch.spec.errors import RunError

JOURNAL = "journal.log"


class Journal(JournalFileBackend):
    """Optuna's journal file. A line that was appended is on its way to the disk, and certain to be on it after `sync`.

    Optuna syncs each line, which on a busy disk took 20 ms, ten times per training. A kill loses nothing that was
    appended. A power failure can lose anything that was appended since the last sync: one result's lines, and what
    was queued after it. Mostly all from some byte on is gone, and a torn line is left to repair; but no file system
    promises the order, and where it kept a later block and not an earlier one, the file has a hole. Opening it then
    names the first damaged line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = JournalFileOpenLock(str(path))
        super().__init__(str(path), lock_obj=self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._guard), self._path.open("ab") as file:
            file.write(lines.encode())

    def sync(self) -> None:
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


class Ledger:
    """A study and the few things the engine does with it. `notes` say what was repaired on opening.

    Its owner (`create`) is the only one who writes to the study, so an index in memory says what is in it, and no
    write or question costs more for the trials that are stored already. A reader looks again each time.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        notes: tuple[str, ...] = (),
        create: bool = True,
        sync: Callable[[], None] = lambda: None,
    ) -> None:
        """`sync` makes certain that the storage keeps what it was given; called after each result."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.notes = notes
        self._sync = sync
        self._storage = storage
        try:
            # Not create_study(load_if_exists=True): it writes to the journal of a study that exists.
            self._study = optuna.load_study(storage=storage, study_name=name)
        except KeyError:
            if not create:
                raise
            self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        self._study_id = storage.get_study_id_from_name(name)
        self._owned = create
        self._known = Index()
        self._changed: dict[int, int] = {}  # trials to be taken up, number -> id
        self._count = -1  # of all trials; not counted yet

    def facts(self) -> dict[str, Any]:
        """What is true of the whole run: settings, plan, data, progress."""
        return dict(self._study.user_attrs)

    def set_fact(self, key: str, value: Any) -> None:
        self._study.set_user_attr(key, value)
        self._sync()

    def queue(self, attributes: Mapping[str, Any], params: Mapping[str, float]) -> None:
        """Store a trial that is to run, complete with its attributes, in one write."""
        number = self._counted()
        self._study.enqueue_trial(dict(params), user_attrs=dict(attributes))
        self._changed[number] = self._id(number)
        self._count += 1

    def start(self) -> Trial | None:
        """The next queued trial, now running; None if nothing is queued."""
        number = next(iter(self._index().of_status("waiting")), None)
        if number is None:
            return None
        # What study.ask() does, without its search through all trials for one that waits.
        self._storage.set_trial_state_values(self._id(number), TrialState.RUNNING)
        trial = self._trial(number)
        # Turns the queued point into the trial's parameters; a base's is a point of another space, and an attribute.
        if trial.user_attrs["role"] == "candidate" and "point" not in trial.user_attrs:
            for name, distribution in DISTRIBUTIONS.items():
                trial.suggest_float(name, distribution.low, distribution.high)
        return trial

    def running(self) -> list[Trial]:
        """Trials that were running when their process ended: the caller owns the run now, so nobody runs them."""
        return [self._trial(number) for number in sorted(self._index().of_status("running"))]

    def rung_done(self, trial: Trial, index: int, result: Mapping[str, Any]) -> None:
        """Store a rung, and its epochs as what Optuna calls intermediate values."""
        trial.set_user_attr(f"rung{index}", dict(result))
        self._changed[trial.number] = trial._trial_id
        # A trial that started again reaches its epochs a second time; Optuna takes each once.
        known = self._storage.get_trial(trial._trial_id).intermediate_values
        for epoch in result["epochs"]:
            if epoch["epoch"] not in known:
                trial.report(epoch["accuracy"], epoch["epoch"])
        self._sync()

    def answer(self, trial: Trial, result: Mapping[str, Any], score: float) -> None:
        """Store what a trial gave at once, without epochs, and end it."""
        trial.set_user_attr("rung0", dict(result))
        self.finish(trial, score)

    def finish(self, trial: Trial, score: float) -> None:
        self._changed[trial.number] = trial._trial_id
        self._study.tell(trial, score)
        self._sync()

    def prune(self, trial: Trial, reason: str) -> None:
        """End a training early; its rungs stay."""
        self._end(trial, TrialState.PRUNED, reason)

    def fail(self, trial: Trial, reason: str) -> None:
        self._end(trial, TrialState.FAIL, reason)

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return list(self._index().records)

    def record(self, trial: Trial) -> TrialRecord:
        return self._index().records[trial.number]

    def count(self, status: str) -> int:
        return len(self._index().of_status(status))

    def networks(self, role: str) -> Mapping[str, Mapping[int, TrialRecord]]:
        """A role's trainings by digest and seed, both in the order in which they were queued."""
        return self._index().networks(role)

    def _end(self, trial: Trial, state: TrialState, reason: str) -> None:
        """Optuna 5 stores no reason of its own."""
        trial.set_user_attr("reason", reason)
        self._changed[trial.number] = trial._trial_id
        self._study.tell(trial, state=state)
        self._sync()

    def _index(self) -> Index:
        """The index, with what has changed since it was last asked for."""
        if not self._owned or self._count < 0:
            self._look()
        for number in sorted(self._changed):
            self._known.put(self._storage.get_trial(self._changed[number]))
            del self._changed[number]
        return self._known

    def _look(self) -> None:
        """Take up all trials that are new or were unfinished when they were last seen."""
        trials = self._study.get_trials(deepcopy=False)
        self._count = len(trials)
        seen = self._known.records
        for frozen in trials:
            if frozen.number >= len(seen) or seen[frozen.number].status in ("running", "waiting"):
                self._known.put(frozen)

    def _counted(self) -> int:
        if self._count < 0:
            self._look()
        return self._count

    def _trial(self, number: int) -> Trial:
        self._changed[number] = self._id(number)
        return Trial(self._study, self._id(number))

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


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
        journal = Journal(path)
        return Ledger(JournalStorage(journal), name, notes, create=owned, sync=journal.sync)
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
