"""From arrays in memory (digits, .npz, CIFAR) to the images of a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesearch.fit.data.records import DataRequest, Images, Labels, Source, Written
from scalesearch.fit.data.resize import fit_square, size_notes
from scalesearch.fit.data.splits import automatic_split, check_classes, subset_indices
from scalesearch.fit.data.store import create_array

Pair = tuple[Images, Labels]  # (N, H, W, C) and (N,)


def array_source(
    where: str,
    classes: Sequence[str],
    train: Pair,
    val: Pair | None,
    request: DataRequest,
    recipe: Mapping[str, Any],
    mirror: bool = True,
    notes: tuple[str, ...] = (),
) -> Source:
    """A source of arrays: split if it has no validation part, capped as requested, checked.

    Args:
        recipe: what identifies the arrays; the options that matter here are added.

    Raises:
        DataError: too few images or classes.
    """
    caps: dict[str, Any] = {"train_images": request.train_images, "val_images": request.val_images}
    options = {**caps, "seed": request.seed if val is None or any(caps.values()) else None}
    if val is None:
        options["val_share"] = request.val_share
        chosen, held = automatic_split(where, train[1], classes, request)
        val = train[0][held], train[1][held]
        train = train[0][chosen], train[1][chosen]
    else:
        train = _capped(train, request.train_images, request.seed)
        val = _capped(val, request.val_images, request.seed)
    check_classes(where, classes, train[1], val[1])
    pairs = {"train": train, "val": val}

    def write(folder: Path, workers: int) -> Written:
        written = list(notes)
        for split, (images, _) in pairs.items():
            shape = (len(images), request.size, request.size, images.shape[3])
            fit_square(images, request.size, create_array(folder / f"{split}.npy", shape))
            written += [note for note in size_notes(images, request.size) if note not in written]
        return Written(pairs["train"][1], pairs["val"][1], notes=tuple(written))

    return Source(
        name=Path(where).resolve().name or "data",
        classes=tuple(classes),
        mirror=mirror,
        recipe={**recipe, **options},
        needed_bytes=(len(train[1]) + len(val[1])) * request.size**2 * train[0].shape[3],
        write=write,
        content=options,
    )


def _capped(pair: Pair, count: int | None, seed: int) -> Pair:
    images, labels = pair
    if count is None or count >= len(labels):
        return pair
    chosen = subset_indices(labels, count, seed)
    return images[chosen], labels[chosen]
