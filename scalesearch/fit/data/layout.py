"""Which files of an image folder belong to which split and class."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalesearch.fit.data.decode import readable_suffixes
from scalesearch.fit.data.records import DataRequest, Labels
from scalesearch.fit.data.splits import automatic_split, check_classes, subset_indices
from scalesearch.spec.errors import DataError

VAL_NAMES = ("val", "valid", "validation", "test")  # the first that is there


@dataclass(frozen=True)
class Part:
    """The files of one split, in a fixed order, and their labels (N,)."""

    files: tuple[Path, ...]
    labels: Labels


@dataclass(frozen=True)
class Layout:
    """The files of an image folder."""

    classes: tuple[str, ...]
    train: Part
    val: Part
    notes: tuple[str, ...]


def read_layout(root: Path, request: DataRequest) -> Layout:
    """Class folders below `root`, or below its `train` and `val`; split and capped as requested.

    Raises:
        DataError: the folder breaks a rule.
        PermissionError: a folder cannot be read.
    """
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    train_root = folders.get("train")
    val_name = next((name for name in VAL_NAMES if name in folders), "")
    val_root = folders.get(val_name)
    if train_root is None and folders and set(folders) <= set(VAL_NAMES):
        raise DataError(
            f"{root}: a validation folder needs a train folder beside it, found only "
            f"{', '.join(sorted(folders))}; add train or pass a folder of class folders"
        )
    # Without a partner, "train" may be a class (of vehicles) and "test" too.
    if train_root is not None and (val_root is not None or _folders(train_root)):
        notes = (*_stray(root), *_stray(train_root))
        if val_root is not None and val_name == "test" and not _folders(val_root):
            val_root = None  # as in contests: test images without labels
            notes = (*notes, "test has no class folders and was left out")
        train_classes = _class_files(train_root)
        if val_root is None:
            classes, train, val = _split(train_root, train_classes, request)
            notes = (*notes, "no validation folder: a share of train was split off")
            return Layout(classes, train, val, notes)
        val_classes = _class_files(val_root)
        classes = tuple(sorted({*train_classes, *val_classes}))
        pooled_train, pooled_val = _pool(train_classes, classes), _pool(val_classes, classes)
        check_classes(str(root), classes, pooled_train.labels, pooled_val.labels)
        train = _chosen(pooled_train, subset_indices(pooled_train.labels, request.train_images, request.seed))
        val = _chosen(pooled_val, subset_indices(pooled_val.labels, request.val_images, request.seed))
        notes = (*notes, *_stray(val_root))
    else:
        classes, train, val = _split(root, _class_files(root), request)
        notes = _stray(root)
    check_classes(str(root), classes, train.labels, val.labels)
    return Layout(classes, train, val, notes)


def _split(root: Path, files: dict[str, list[Path]], request: DataRequest) -> tuple[tuple[str, ...], Part, Part]:
    classes = tuple(files)
    pooled = _pool(files, classes)
    if len(classes) < 2:
        check_classes(str(root), classes, pooled.labels, pooled.labels)
    train, val = automatic_split(str(root), pooled.labels, classes, request)
    return classes, _chosen(pooled, train), _chosen(pooled, val)


def _pool(files: dict[str, list[Path]], classes: tuple[str, ...]) -> Part:
    paths = [path for name in classes for path in files.get(name, [])]
    labels = [index for index, name in enumerate(classes) for _ in files.get(name, [])]
    return Part(tuple(paths), np.array(labels, dtype=np.int64))


def _chosen(part: Part, indices: Labels) -> Part:
    return Part(tuple(part.files[index] for index in indices), part.labels[indices])


def _class_files(root: Path) -> dict[str, list[Path]]:
    """Image files per class, both in sorted order."""
    folders = _folders(root)
    if not folders:
        found = len(_images_in(root))
        raise DataError(
            f"{root}: images must lie in one sub-folder per class, found "
            f"{f'{found} images and no sub-folder' if found else 'no images and no sub-folder'}; "
            "make a sub-folder for each class"
        )
    files = {folder.name: sorted(_walk(folder, ())) for folder in folders}
    empty = [name for name, paths in files.items() if not paths]
    if empty:
        raise DataError(
            f"{root}: every class folder must hold an image that Pillow can read, found none in "
            f"{', '.join(map(repr, empty[:3]))}{' and others' if len(empty) > 3 else ''}; "
            "add images or remove the folder"
        )
    return files


def _folders(root: Path) -> list[Path]:
    return sorted(Path(entry) for entry in _entries(root) if entry.is_dir())


def _images_in(root: Path) -> list[Path]:
    return sorted(Path(entry) for entry in _entries(root) if _is_image(entry))


def _stray(root: Path) -> tuple[str, ...]:
    """A note on images that lie beside the class folders."""
    found = len(_images_in(root))
    return (f"{found} images directly in {root.name} belong to no class and were left out",) if found else ()


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterable[Path]:
    """Images in a folder and the folders below it; a link back to a folder above is not followed."""
    state = folder.stat()
    here = state.st_dev, state.st_ino
    if here in above:
        return
    for entry in _entries(folder):
        if _is_image(entry):
            yield Path(entry)
        elif entry.is_dir():
            yield from _walk(Path(entry), (*above, here))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Entries but hidden ones and what macOS leaves in archives."""
    with os.scandir(folder) as found:
        return [entry for entry in found if not entry.name.startswith(".") and entry.name != "__MACOSX"]


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in readable_suffixes() and not entry.is_dir()
