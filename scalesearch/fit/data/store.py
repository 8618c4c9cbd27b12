"""The cache on disk: a folder of raw .npy files, complete or absent, never pickled.

A data set is built in a temporary folder under a lock and renamed into place; `meta.json` is written
last and states the size of every file, so a torn cache is seen and built anew.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scalesearch.fit.data.records import Dataset
from scalesearch.spec.errors import DataError

FORMAT = 1  # raise it when the same recipe gives other bytes or other files
META = "meta.json"
FILES = ("train.npy", "val.npy", "train_labels.npy", "val_labels.npy")
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENOLCK}
_MB = 10**6


def digest(recipe: Mapping[str, Any]) -> str:
    """Hex digest of a JSON-able record."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def create_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> np.memmap[Any, Any]:
    """A new writable .npy file, mapped into memory, with its disk space already taken."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if sys.platform == "linux":
        # A sparse map on a full disk would kill the process with SIGBUS; this fails with ENOSPC instead.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def open_array(path: Path) -> npt.NDArray[Any]:
    """A .npy file as a read-only map."""
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def build_once(cache_dir: Path, name: str, needed_bytes: int, build: Callable[[Path], None]) -> Path:
    """The complete folder `cache_dir/name`, built by `build(folder)` if it is absent or torn.

    Concurrent builders wait for the first and take its result.

    Raises:
        DataError: the cache cannot be written.
    """
    folder = cache_dir / name
    if is_complete(folder):
        return folder
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cache_error(cache_dir, needed_bytes, error) from error
    with cache_errors(cache_dir, needed_bytes), _lock(cache_dir / f".{name}.lock"):
        if is_complete(folder):
            return folder
        for leftover in (folder, *cache_dir.glob(f".{name}.building-*")):  # of builders that died
            shutil.rmtree(leftover, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{name}.building-", dir=cache_dir))
        try:
            build(staging)
            staging.chmod(0o755)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def write_atomically(path: Path, needed_bytes: int, write: Callable[[Path], None]) -> None:
    """Make `path` by `write(temporary path)`; it appears complete or not at all."""
    with cache_errors(path.parent, needed_bytes), _lock(path.parent / f".{path.name}.lock"):
        if path.exists() and is_array_complete(path):
            return  # another process was faster
        temporary = path.with_name(f".{path.name}.building")
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_meta(folder: Path, dataset: Dataset) -> None:
    """Write `meta.json`, the last file of a cache, when the others have reached the disk."""
    for name in FILES:
        with (folder / name).open("r+b") as array:
            os.fsync(array.fileno())
    record = {
        "format": FORMAT,
        "name": dataset.name,
        "classes": dataset.classes,
        "channels": dataset.channels,
        "size": dataset.size,
        "train_count": dataset.train_count,
        "val_count": dataset.val_count,
        "mirror": dataset.mirror,
        "fingerprint": dataset.fingerprint,
        "skipped": dataset.skipped,
        "notes": dataset.notes,
        "files": {name: (folder / name).stat().st_size for name in FILES},
    }
    with (folder / META).open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read_meta(folder: Path) -> Dataset:
    """The data set in a complete cache folder.

    Raises:
        DataError: no data set there, of another format, or torn.
    """
    fault = _fault(folder)
    if fault is not None:
        raise DataError(f"{folder}: not a complete data cache: {fault}; delete it and load the data again")
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    return Dataset(
        folder=folder,
        name=meta["name"],
        classes=tuple(meta["classes"]),
        channels=meta["channels"],
        size=meta["size"],
        train_count=meta["train_count"],
        val_count=meta["val_count"],
        mirror=meta["mirror"],
        fingerprint=meta["fingerprint"],
        skipped=tuple((file, reason) for file, reason in meta["skipped"]),
        notes=tuple(meta["notes"]),
    )


def is_complete(folder: Path) -> bool:
    """Whether the folder holds every byte its `meta.json` promises."""
    return _fault(folder) is None


def is_array_complete(path: Path) -> bool:
    """Whether a .npy file has all the bytes its header promises."""
    try:
        open_array(path)
    except (OSError, ValueError, EOFError):
        return False
    return True


@contextmanager
def cache_errors(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Turn a full disk or an unwritable cache into a DataError."""
    try:
        yield
    except OSError as error:
        # A file that cannot be opened belongs to the cache only if it lies in it: sources report their own.
        inside = error.filename is not None and str(error.filename).startswith(str(folder))
        if error.errno not in _DISK and not inside:
            raise
        raise _cache_error(folder, needed_bytes, error) from error


def _cache_error(folder: Path, needed_bytes: int, error: OSError) -> DataError:
    try:
        free = f" ({shutil.disk_usage(folder).free / _MB:.1f} MB free)"
    except OSError:
        free = ""
    return DataError(
        f"{folder}: the cache of decoded images needs {needed_bytes / _MB:.1f} MB of writable disk, "
        f"found: {error.strerror}{free}; free space or choose another cache folder"
    )


def _fault(folder: Path) -> str | None:
    """The first thing that is wrong with a cache folder, None if nothing is."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            return f"format {meta['format']}, this version reads {FORMAT}"
        for name in FILES:
            promised, found = meta["files"][name], (folder / name).stat().st_size
            if promised != found:
                return f"{name} has {found} bytes, {META} promises {promised}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{META} cannot be read"
    return None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file; the system frees it when the process dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
