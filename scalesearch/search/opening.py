"""Opening a run: its folder, its lock, its ledger, and whether it is the one that was asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesearch.search.executor import cores
from scalesearch.search.folder import discard, kept, locked, make_folder
from scalesearch.search.ledger import JOURNAL, Ledger, mask, open_ledger
from scalesearch.spec.errors import RunError, ScaleSearchError
from scalesearch.spec.settings import Settings, difference, from_dict

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Opened:
    """A run that this process owns. `settings` are those that it began with, or now begins with.

    `step` is what `run.json` calls it, where it is a part of another run.
    """

    folder: Path
    ledger: Ledger
    settings: Settings
    study: str
    storage: str | None
    step: str | None

    def describe(self) -> None:
        """Write `run.json`: what the run is, for people and for whoever opens it next. It has begun."""
        facts = self.ledger.facts()
        table = {
            **({} if self.step is None else {"step": self.step}),
            "study": self.study,
            "storage": None if self.storage is None else mask(self.storage),
            **{key: facts[key] for key in ("settings", "data_fingerprint", "environment")},
        }
        temporary = self.folder / f"{RUN_FILE}.tmp"
        temporary.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(self.folder / RUN_FILE)

    def forget(self) -> None:
        """Where nothing was done yet: other settings may be given for the same folder."""
        (self.folder / RUN_FILE).unlink(missing_ok=True)


@contextmanager
def opened(
    settings: Settings,
    folder: Path,
    say: Callable[[str], None],
    storage: str | None = None,
    name: str | None = None,
    step: str | None = None,
    free: Sequence[str] = (),
) -> Iterator[Opened]:
    """The run of a folder, new or begun, until the block ends; a new one that is refused inside leaves no folder.

    `name` is a new study's (by default the folder's); the settings named in `free` may differ from the stored ones.
    Raises RunError if the folder belongs to other settings or is in use, and for what its disk or storage raises.
    """
    new = not (folder / RUN_FILE).exists() and not (folder / JOURNAL).exists()
    make_folder(folder)
    with kept(folder):
        try:
            with locked(folder):
                study, storage = _where(folder, storage, name or folder.name)
                ledger = open_ledger(folder, study, storage)
                for note in ledger.notes:
                    say(note)
                yield Opened(folder, ledger, _begun(ledger, folder, settings, free), study, storage, step)
        except ScaleSearchError:
            if new and not (folder / RUN_FILE).exists():
                discard(folder)  # refused before it began: nothing of it is worth keeping
            raise


def _begun(ledger: Ledger, folder: Path, settings: Settings, free: Sequence[str]) -> Settings:
    """The stored settings. Raises RunError if they are not those that were given."""
    stored = ledger.facts().get("settings")
    if stored is None:
        return settings
    # What an older version did not store keeps its default, whatever the preset says now.
    given = settings.to_dict()
    mended = {**stored, **{name: given[name] for name in free}}
    changed = difference({**given, **mended}, given)
    if changed:
        raise RunError(
            f"{folder}: holds a run with other settings ({'; '.join(changed)}); give the same ones, or another --out"
        )
    return from_dict(mended)


def _where(folder: Path, storage: str | None, name: str) -> tuple[str, str | None]:
    """The study's name and storage: those of `run.json` once there is one, whatever the folder is called now.

    In a shared storage the name is unique, so that two runs with equal settings do not meet.
    """
    if not (folder / RUN_FILE).exists():
        return (name if storage is None else f"{name}-{uuid.uuid4().hex[:8]}"), storage
    table = read_run_file(folder)
    stored = table["storage"]
    if storage is not None and mask(storage) != stored:
        raise RunError(
            f"{folder}: keeps its trials in {stored or JOURNAL}, not in {mask(storage)}; leave --storage out"
        )
    return table["study"], storage or stored


def read_run_file(folder: Path) -> dict[str, Any]:
    """`run.json` of a folder. Raises RunError if the folder is no run."""
    path = folder / RUN_FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = f"is not a run's folder: it has no {RUN_FILE}" if folder.is_dir() else "there is no such folder"
        raise RunError(f"{folder}: {what}; `scalesearch run` says at its end where it wrote") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not isinstance(table, dict) or not {"study", "storage", "settings"} <= table.keys():
        raise RunError(f"{path}: must hold settings, study and storage; it was not written by scalesearch")
    return table


def stored_settings(folder: Path) -> Settings:
    """As `run.json` has them; opens no ledger. Raises RunError, or SettingsError for those of another version."""
    return from_dict(read_run_file(folder)["settings"])


def choose_workers(settings: Settings) -> tuple[int, str]:
    """Worker processes and their device: one per core on CPU, one on CUDA."""
    device = choose_device(settings.device)
    return settings.workers or (cores() if device == "cpu" else 1), device


def choose_device(device: str) -> str:
    """`auto` decided: cuda where torch has it. Raises RunError for a CUDA that it does not have."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return device


def check_unchanged(folder: Path, source: str, before: str, now: str) -> None:
    """Raises RunError if the images are not those that the run began with."""
    if before != now:
        raise RunError(
            f"{folder}: {source} have changed since the run began (fingerprint {before[:12]} before, {now[:12]} now); "
            "restore them, or use another --out"
        )
