"""The two records of this folder: what is asked for, and what lies in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scalesearch.spec.errors import DataError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

SIZES = (8, 2048)  # px; below it no character is left, above it no network of this tool goes


@dataclass(frozen=True)
class DataRequest:
    """Everything that determines the decoded pixels; plain JSON values only.

    Args:
        source: "glyphs", "digits", or a path (class folders, .npz, CIFAR binary files).
        size: side in px of the stored square images.
        train_images: glyphs: how many to render (None: 20,000); else a stratified cap (None: all).
        val_images: the same for validation (glyphs, None: 4,000).
        val_share: share of each class that an automatic split gives to validation.
        classes: glyphs: how many characters, of digits, lower case, upper case, in this order.
        zoom: glyphs: how much larger than usual the target is.
        bright: glyphs: the target is always brighter than its ground, not darker in half of the images.
        holdout_fonts: glyphs: validate on typefaces that training never shows.
        max_bad_share: refuse the data if a greater share of its files cannot be decoded.
        seed: of rendering, split and subset.

    Raises:
        DataError: a value breaks its rule.
    """

    source: str
    size: int = 64
    train_images: int | None = None
    val_images: int | None = None
    val_share: float = 0.2
    classes: int = 48
    zoom: float = 1.0
    bright: bool = False
    holdout_fonts: bool = False
    max_bad_share: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = SIZES
        rules = (
            (bool(self.source), "source", "must be glyphs, digits or a path"),
            (low <= self.size <= high, "size", f"must be {low} to {high} px"),
            (self.train_images is None or self.train_images >= 1, "train_images", "must be at least 1"),
            (self.val_images is None or self.val_images >= 1, "val_images", "must be at least 1"),
            (0 < self.val_share < 1, "val_share", "must lie between 0 and 1"),
            (0 <= self.max_bad_share <= 1, "max_bad_share", "must be 0 to 1"),
            (0.5 <= self.zoom <= 1.8, "zoom", "must be 0.5 to 1.8"),
            (self.seed >= 0, "seed", "must be at least 0"),
        )
        for holds, name, rule in rules:
            if not holds:
                raise DataError(f"data: {name}: {rule}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Dataset:
    """A decoded data set in its cache folder; `open_dataset(folder)` reopens it in another process.

    Args:
        channels: 1 or 3.
        size: side in px of the stored (master) images.
        mirror: True if a mirrored image keeps its class.
        fingerprint: hex digest of the content: decoded pixels, labels, classes and request.
        skipped: (file, reason) of every file that could not be decoded.
        notes: what a user should know about the pixels.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    train_count: int
    val_count: int
    mirror: bool
    fingerprint: str
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What a source reports after it wrote `train.npy` and `val.npy`."""

    train_labels: Labels
    val_labels: Labels
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One origin of images, examined but not yet decoded.

    Args:
        recipe: all that determines the pixels, as JSON values; its digest is the cache key.
        needed_bytes: estimated size of the decoded cache.
        write: (folder, workers) -> Written; writes `train.npy` and `val.npy` into the folder.
        content: the part of the recipe that belongs to the fingerprint (no file names, no versions).
    """

    name: str
    classes: tuple[str, ...]
    mirror: bool
    recipe: Mapping[str, Any]
    needed_bytes: int
    write: Callable[[Path, int], Written]
    content: Mapping[str, Any] = field(default_factory=dict)
