"""Stratified, deterministic choices of images: the automatic split and nested subsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalesearch.fit.data.records import DataRequest, Labels
from scalesearch.spec.errors import DataError


def subset_indices(labels: Labels, count: int | None, seed: int) -> Labels:
    """Indices of a stratified subset, sorted; with the same seed a smaller one lies within a larger one.

    Every class is present as soon as `count` reaches the number of classes. None, or a count beyond
    the set, takes all.

    Args:
        labels: (N,) class indices.

    Raises:
        DataError: count is below 1.
    """
    if count is not None and count < 1:
        raise DataError(f"data subset: the count must be at least 1, got {count}")
    if count is None or count >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    # Place of each image in its class's random order, as a share of the class: the `count` smallest
    # shares are proportional to the classes, and every class's first image (share 0) precedes the rest.
    rng = np.random.default_rng([seed, 0x5B5E7])
    share = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        share[rng.permutation(members)] = np.arange(len(members)) / len(members)
    order = np.lexsort((rng.permutation(len(labels)), share))
    return np.sort(order[:count]).astype(np.int64)


def split_indices(labels: Labels, val_share: float, seed: int) -> tuple[Labels, Labels]:
    """(train, val) indices, sorted; at least one image of every class on each side.

    The classes must have two images or more, which `check_split_possible` reports by name.
    """
    rng = np.random.default_rng([seed, 0x5911])
    val: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held = min(max(1, round(val_share * len(members))), len(members) - 1)
        val.extend(members[:held].tolist())
    val_indices = np.sort(np.array(val, dtype=np.int64))
    train_indices = np.setdiff1d(np.arange(len(labels), dtype=np.int64), val_indices)
    return train_indices, val_indices


def automatic_split(where: str, labels: Labels, classes: Sequence[str], request: DataRequest) -> tuple[Labels, Labels]:
    """The split of a source that has none, capped as requested; (train, val) indices."""
    for index, name in enumerate(classes):
        found = int(np.count_nonzero(labels == index))
        if found < 2:
            raise DataError(
                f"{where}: an automatic split needs at least 2 images of each class, class {name!r} has "
                f"{found}; add images, remove the class, or supply a validation set"
            )
    train, val = split_indices(labels, request.val_share, request.seed)
    return (
        train[subset_indices(labels[train], request.train_images, request.seed)],
        val[subset_indices(labels[val], request.val_images, request.seed)],
    )


def check_classes(where: str, classes: Sequence[str], train: Labels, val: Labels) -> None:
    """Every class must have images on both sides.

    Raises:
        DataError: one class only, fewer images than classes, or a class missing from one side.
    """
    if len(classes) < 2:
        found = ", ".join(map(repr, classes)) or "none"
        raise DataError(f"{where}: classification needs at least 2 classes, found {found}; add a class")
    for split, labels, option in (("train", train, "train_images"), ("val", val, "val_images")):
        if len(labels) < len(classes):
            raise DataError(
                f"{where}: each split needs at least one image per class, {split} has {len(labels)} images "
                f"for {len(classes)} classes; add images or raise {option}"
            )
        counts = np.bincount(labels, minlength=len(classes))
        empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        if empty:
            other = "val" if split == "train" else "train"
            raise DataError(
                f"{where}: train and val must hold the same classes, {split} has no image of "
                f"{_some(empty)}, which {other} has; add such images or remove the class"
            )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
