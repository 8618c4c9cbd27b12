"""From a request to a data set in the cache, and from the cache to images at a resolution."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scalesearch.fit.data.folder import check_bad_share
from scalesearch.fit.data.records import DataRequest, Dataset, Images, Source, Written
from scalesearch.fit.data.resize import resize_images
from scalesearch.fit.data.sources import find_source
from scalesearch.fit.data.splits import check_classes
from scalesearch.fit.data.store import (
    FORMAT,
    build_once,
    create_array,
    digest,
    is_array_complete,
    open_array,
    read_meta,
    write_atomically,
    write_meta,
)
from scalesearch.spec.errors import DataError


def load_dataset(request: DataRequest, cache_dir: Path, workers: int = 1) -> Dataset:
    """The data set of a request: rendered or decoded into `cache_dir` once, later reopened.

    Args:
        workers: processes that render, or threads that decode.

    Raises:
        DataError: the source cannot be used, or the cache cannot be written.
    """
    source = find_source(request)
    key = digest({"format": FORMAT, "size": request.size, **source.recipe})

    def build(folder: Path) -> None:
        _build(source, request, folder, workers)

    cache_dir = Path(cache_dir).expanduser().absolute()  # another process may work in another folder
    folder = build_once(cache_dir, f"{_file_name(source.name)}-{key}", source.needed_bytes, build)
    dataset = read_meta(folder)
    # The cache may have been built under a more lenient share.
    total = dataset.train_count + dataset.val_count + len(dataset.skipped)
    check_bad_share(request, dataset.skipped, total)
    return dataset


def open_dataset(folder: Path) -> Dataset:
    """Reopen the data set in a cache folder.

    Raises:
        DataError: no complete data set lies there.
    """
    return read_meta(Path(folder))


def read_split(
    dataset: Dataset, split: Literal["train", "val"], resolution: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (N, resolution, resolution, C) uint8 as a read-only map, and labels (N,) int64.

    A resolution below the stored size is resized with antialiasing and cached beside the master.

    Raises:
        DataError: the resolution exceeds the stored size, or the cache is torn or cannot be written.
    """
    if not 1 <= resolution <= dataset.size:
        raise DataError(
            f"{dataset.name}: a resolution must lie between 1 and the {dataset.size} px at which the images "
            f"are stored, got {resolution}; load the data with size={max(resolution, 1)} or more"
        )
    read_meta(dataset.folder)  # torn since it was opened?
    master = open_array(dataset.folder / f"{split}.npy")
    labels = np.load(dataset.folder / f"{split}_labels.npy", allow_pickle=False)
    if resolution == dataset.size:
        return master, labels
    path = dataset.folder / f"{split}_{resolution}px.npy"
    if not (path.exists() and is_array_complete(path)):
        shape = (len(master), resolution, resolution, dataset.channels)

        def write(temporary: Path) -> None:
            resized = create_array(temporary, shape)
            resize_images(master, resolution, resolution, out=resized)
            _flush(resized)

        write_atomically(path, int(np.prod(shape)), write)
    return open_array(path), labels


def _build(source: Source, request: DataRequest, folder: Path, workers: int) -> None:
    written = source.write(folder, workers)
    check_classes(source.name, source.classes, written.train_labels, written.val_labels)
    for name, labels in (("train_labels.npy", written.train_labels), ("val_labels.npy", written.val_labels)):
        create_array(folder / name, labels.shape, np.int64)[:] = labels
    train, val = open_array(folder / "train.npy"), open_array(folder / "val.npy")
    dataset = Dataset(
        folder=folder,
        name=source.name,
        classes=source.classes,
        channels=train.shape[3],
        size=request.size,
        train_count=len(train),
        val_count=len(val),
        mirror=source.mirror,
        fingerprint=_fingerprint(source, train, val, written),
        skipped=written.skipped,
        notes=written.notes,
    )
    write_meta(folder, dataset)


def _fingerprint(source: Source, train: Images, val: Images, written: Written) -> str:
    shapes = [train.shape, val.shape]
    content: dict[str, Any] = {"classes": source.classes, "shapes": shapes, **source.content}
    hasher = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16)
    for labels in (written.train_labels, written.val_labels):
        hasher.update(labels.astype("<i8").tobytes())
    for images in (train, val):
        hasher.update(images.reshape(-1).data)
    return hasher.hexdigest()


def _file_name(name: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in name)[:40]


def _flush(images: Images) -> None:
    if isinstance(images, np.memmap):
        images.flush()


__all__ = ["load_dataset", "open_dataset", "read_split"]
