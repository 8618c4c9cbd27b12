"""A run's folder: its name, its lock, and the description of where it ran."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from scalesearch import __version__
from scalesearch.search.ledger import JOURNAL
from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import is_factory
from scalesearch.spec.settings import SEARCH, Settings


def default_folder(settings: Settings, root: Path) -> Path:
    """The same settings lead to the same folder, so that a command given again finds its run."""
    base = _base_name(settings)
    data = Path(settings.data).stem or "data"
    target = next(
        f"{settings.target_flops / size:.9g}{suffix}"
        for size, suffix in ((10**9, "G"), (10**6, "M"), (1, ""))
        if settings.target_flops >= size
    )
    if settings.evaluator == "replay":
        return root / f"{base}-{target}-replay-{data.split('.')[0]}-{settings.sampler}-s{settings.seed}"
    if settings.evaluator != "train":
        return root / f"{base}-{target}-{settings.evaluator}-{settings.coefficients}-s{settings.seed}"
    cost = "" if settings.cost == "flops" else f"-{settings.cost}"
    return root / f"{base}-{target}-{data}-{settings.preset}-{settings.sampler}{cost}-s{settings.seed}"


def _base_name(settings: Settings) -> str:
    if settings.base == SEARCH:
        return f"{Path(settings.space).stem}-{settings.strategy}"
    return settings.base.replace(":", ".") if is_factory(settings.base) else Path(settings.base).stem


def environment(device: str, optional: Sequence[str] = ()) -> dict[str, Any]:
    """Versions, machine and commit: what a reader needs to repeat the run; `optional` packages where installed."""
    import torch

    packages = ["torch", "optuna", "fvcore", "numpy", "pillow", *(name for name in optional if find_spec(name))]
    commit = None
    here = Path(__file__).resolve().parent
    try:
        shown = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
        commit = shown.stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        pass  # no git here
    return {
        "python": sys.version.split()[0],
        "scalesearch": __version__,
        "packages": {name: version(name) for name in packages},
        "machine": machine(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "commit": commit,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def machine() -> str:
    """System, processor and cores."""
    return f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process per run folder. The kernel frees the lock when its owner ends, however it ends."""
    with (folder / "run.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunError(
                f"{folder}: another process works on this run ({file.read().strip()}); wait, or use another --out"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"pid {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def make_folder(folder: Path) -> None:
    """Raises RunError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise RunError(f"{folder}: is a file, or lies in one; give --out a folder") from None
    except OSError as error:
        raise RunError(f"{error.filename or folder}: {error.strerror}; give --out a folder that can be made") from error


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """What a storage or a disk raises inside becomes a RunError that says what is left: all that was finished."""
    try:
        yield
    except BrokenPipeError:  # whoever reads what is said has gone; not the folder's fault
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


def discard(folder: Path) -> None:
    """Remove a folder that holds nothing but an empty beginning; anything else in it keeps it."""
    for name in ("run.lock", JOURNAL):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
