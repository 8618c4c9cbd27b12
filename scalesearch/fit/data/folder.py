"""Image folders: hashed for the cache key, decoded by threads, undecodable files listed and counted."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import __version__ as pillow_version

from scalesearch.fit.data.decode import Decoded, decode_image, strict_decoding
from scalesearch.fit.data.layout import Layout, Part, read_layout
from scalesearch.fit.data.records import DataRequest, Images, Labels, Source, Written
from scalesearch.fit.data.splits import check_classes
from scalesearch.fit.data.store import create_array
from scalesearch.spec.errors import DataError

_BATCH = 4096  # files given to the threads at once
_HASH_THREADS = 2
_CHANGES = {
    "alpha": "transparent images were blended on white",
    "deep": "images of more than 8 bits were scaled to 8 bits",
    "frames": "images with several frames: the first was taken",
}

Skipped = tuple[tuple[str, str], ...]


@dataclass
class _Tally:
    """What was met while decoding."""

    skipped: list[tuple[str, str]] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    grey: bool = True


def folder_source(root: Path, request: DataRequest) -> Source:
    """The images of a folder of class folders.

    Raises:
        DataError: the folder breaks a rule.
        PermissionError: a folder cannot be read.
    """
    layout = read_layout(root, request)
    parts = {"train": layout.train, "val": layout.val}
    # The chosen files tell everything that split, caps and seed decide.
    recipe = {
        "source": "folder",
        "classes": layout.classes,
        "notes": layout.notes,
        "pillow": pillow_version,
        **{split: _content(root, part) for split, part in parts.items()},
    }

    def write(folder: Path, workers: int) -> Written:
        return _write(root, layout, request, folder, workers)

    count = sum(len(part.files) for part in parts.values())
    needed = 2 * count * request.size**2 * 3  # twice: grey sets and sets with bad files are copied once
    return Source(root.resolve().name or "data", layout.classes, True, recipe, needed, write)


def check_bad_share(request: DataRequest, skipped: Skipped, total: int) -> None:
    """Refuse data of which too many files could not be decoded.

    Raises:
        DataError: their share exceeds `max_bad_share`.
    """
    if len(skipped) <= request.max_bad_share * total:
        return
    raise DataError(
        f"{request.source}: at most {request.max_bad_share:.1%} of the files may be undecodable, found "
        f"{len(skipped)} of {total} ({len(skipped) / total:.1%}): {_shown(skipped)}; "
        "repair or remove them, or raise max_bad_share"
    )


def _shown(skipped: Skipped) -> str:
    shown = "; ".join(f"{file} ({reason})" for file, reason in skipped[:3])
    return shown if len(skipped) <= 3 else f"{shown}; and {len(skipped) - 3} more"


def _write(root: Path, layout: Layout, request: DataRequest, folder: Path, workers: int) -> Written:
    tally = _Tally()
    kept: dict[str, Labels] = {}
    for split, part in (("train", layout.train), ("val", layout.val)):
        raw = create_array(folder / f"{split}.raw", (len(part.files), request.size, request.size, 3))
        kept[split] = _decode_all(root, part, raw, tally, workers)
    skipped = tuple(tally.skipped)
    check_bad_share(request, skipped, len(layout.train.files) + len(layout.val.files))
    labels = {
        "train": layout.train.labels[kept["train"]],
        "val": layout.val.labels[kept["val"]],
    }
    try:
        check_classes(str(root), layout.classes, labels["train"], labels["val"])
    except DataError as error:
        raise DataError(f"{error}; {len(skipped)} files could not be decoded: {_shown(skipped)}") from error
    for split, indices in kept.items():
        _settle(folder, split, indices, 1 if tally.grey else 3)
    notes = (*layout.notes, *_notes(tally, request.size))
    return Written(labels["train"], labels["val"], skipped, notes)


def _decode_all(root: Path, part: Part, raw: Images, tally: _Tally, workers: int) -> Labels:
    """Decode a part into `raw`; the indices of the files that could be decoded."""
    kept = []
    with strict_decoding(), ThreadPoolExecutor(max(1, workers)) as pool:  # Pillow decodes without the GIL
        for start in range(0, len(part.files), _BATCH):
            files = part.files[start : start + _BATCH]
            images = pool.map(decode_image, files, raw[start : start + _BATCH])
            for index, (file, image) in enumerate(zip(files, images, strict=True), start):
                if isinstance(image, Decoded):
                    kept.append(index)
                    tally.changes.update(image.changes)
                    tally.sizes.add((image.width, image.height))
                    tally.grey &= image.grey
                else:
                    tally.skipped.append((str(file.relative_to(root)), image))
    return np.array(kept, dtype=np.int64)


def _settle(folder: Path, split: str, indices: Labels, channels: int) -> None:
    """Make `train.npy` of `train.raw`: without the files that were skipped, with 1 channel if all is grey."""
    path = folder / f"{split}.raw"
    raw: Images = np.load(path, mmap_mode="r", allow_pickle=False)
    if channels == 3 and len(indices) == len(raw):
        os.replace(path, folder / f"{split}.npy")
        return
    images = create_array(folder / f"{split}.npy", (len(indices), *raw.shape[1:3], channels))
    for index, source in enumerate(indices):
        images[index] = raw[source, :, :, :channels]
    path.unlink()


def _notes(tally: _Tally, size: int) -> tuple[str, ...]:
    counts = tally.changes
    notes = [f"{text} ({counts[change]} files)" for change, text in _CHANGES.items() if counts[change]]
    sides = sorted(min(width, height) for width, height in tally.sizes)
    if len(tally.sizes) > 1:
        notes.append(f"images of {len(tally.sizes)} sizes, shorter sides {sides[0]} to {sides[-1]} px")
    if any(width != height for width, height in tally.sizes):
        notes.append("images that are not square were cropped to the central square")
    if sides[0] < size:
        some = "" if sides[0] == sides[-1] else "some "
        notes.append(f"{some}images are {sides[0]} px and were enlarged to {size} px")
    if tally.skipped:
        notes.append(f"{len(tally.skipped)} files could not be decoded and were left out")
    return tuple(notes)


def _content(root: Path, part: Part) -> str:
    """Digest of names, sizes, bytes and labels of the files."""
    hasher = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor(_HASH_THREADS) as pool:
        for file, label, content in zip(part.files, part.labels, pool.map(_hash, part.files), strict=True):
            hasher.update(f"{os.fsencode(file.relative_to(root))!r} {label} {content}\n".encode())
    return hasher.hexdigest()


def _hash(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "blake2b").hexdigest()
        return f"{file.stat().st_size} {content}"
    except OSError as error:  # it will be among the skipped
        return f"unreadable {error.errno}"
