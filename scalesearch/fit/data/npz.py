"""`.npz` files: `x` (N, H, W[, C]) uint8 and `y` (N,), with `x_val` and `y_val` if they have a split."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scalesearch.fit.data.arrays import Pair, array_source
from scalesearch.fit.data.records import DataRequest, Images, Source
from scalesearch.spec.errors import DataError

Array = npt.NDArray[Any]


def npz_source(path: Path, request: DataRequest) -> Source:
    """The arrays of an .npz file; nothing in it is unpickled.

    Raises:
        DataError: the file or an array in it breaks a rule.
    """
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "blake2b").hexdigest()
    arrays = _load(path)
    names = [("x", "y")] + [("x_val", "y_val")] * ("x_val" in arrays or "y_val" in arrays)
    images, labels = [], []
    for x, y in names:
        for name in (x, y):
            if name not in arrays:
                raise DataError(
                    f"{path}: an .npz data file holds x and y, optionally x_val and y_val: {name} is "
                    f"missing, found {', '.join(sorted(arrays)) or 'no array'}; rename or add the array"
                )
        images.append(_images(path, x, arrays[x]))
        labels.append(_labels(path, y, arrays[y]))
        if len(images[-1]) != len(labels[-1]):
            raise DataError(
                f"{path}: {x} and {y} must have the same length, found {len(images[-1])} and "
                f"{len(labels[-1])}; give every image one label"
            )
    channels, kinds = {array.shape[3] for array in images}, {array.dtype.kind == "U" for array in labels}
    if len(channels) > 1 or len(kinds) > 1:
        raise DataError(
            f"{path}: x and x_val must have the same channels, y and y_val the same kind of labels, "
            f"found {' and '.join(str(array.shape) for array in images)}, "
            f"{' and '.join(str(array.dtype) for array in labels)}; convert one"
        )
    values, codes = np.unique(np.concatenate(labels), return_inverse=True)
    codes = codes.astype(np.int64)
    train: Pair = images[0], codes[: len(labels[0])]
    val: Pair | None = (images[1], codes[len(labels[0]) :]) if len(images) > 1 else None
    classes = [str(value) for value in values]
    return array_source(str(path), classes, train, val, request, {"source": "npz", "content": content})


def _load(path: Path) -> dict[str, Array]:
    """The arrays x, y, x_val and y_val that the file has."""
    fault = "not a zip archive"
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as archive:
                names = {"x", "y", "x_val", "y_val"} & set(archive.files)
                return {name: archive[name] for name in sorted(names)}
    except ValueError as error:  # numpy's only sign of a pickled object array
        pickled = "allow_pickle" in str(error)
        fault = "a pickled object array, which is never loaded" if pickled else str(error)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        fault = str(error) or type(error).__name__
    raise DataError(
        f"{path}: an .npz file must be a zip archive of plain arrays, found: {fault}; "
        "write it with numpy.savez(path, x=images, y=labels)"
    )


def _images(path: Path, name: str, array: Array) -> Images:
    shape = array.shape
    if array.dtype != np.uint8:
        raise DataError(f"{path}: {name} must be uint8 (0 to 255), found {array.dtype}; scale and convert it")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in shape:
        raise DataError(
            f"{path}: {name} must have the shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), found {shape}; "
            "put the channels last"
        )
    return array


def _labels(path: Path, name: str, array: Array) -> Array:
    if array.dtype.kind not in "iuU":
        raise DataError(f"{path}: {name} must be integers or strings, found {array.dtype}; convert it")
    if array.ndim != 1:
        raise DataError(f"{path}: {name} must have the shape (N,), found {array.shape}; one label per image")
    return array
