"""From one image file to a square of uint8 pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scalesearch.fit.data.records import Images

# EPS starts Ghostscript, a program on untrusted input; the others are only identified, never decoded.
_NOT_DECODED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
_DEEP_MODES = ("I", "F")  # "I", "I;16", "I;16B", ...: more than 8 bits


@dataclass(frozen=True)
class Decoded:
    """What was found in one image file, and done to it."""

    grey: bool
    width: int  # px, upright, before resizing
    height: int
    changes: frozenset[str]  # of "alpha", "deep", "frames"


@cache
def readable_suffixes() -> frozenset[str]:
    """Lower-case file suffixes of the formats that can be decoded."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in _formats())


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in Image.OPEN if kind not in _NOT_DECODED)


@contextmanager
def strict_decoding() -> Iterator[None]:
    """Around all decoding, in the thread that starts the others: a decompression bomb is an error.

    Pillow's other warnings are silenced; a file that is really faulty appears among the skipped.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode_image(path: Path, out: Images) -> Decoded | str:
    """Write the image to `out` (size, size, 3): upright, alpha on white, 8 bits, centre crop.

    Returns the reason, one line, if the file cannot be decoded.
    """
    try:
        return _decode(path, out)
    except Exception as error:  # Pillow's plug-ins raise nearly everything on damaged files
        text = str(error).replace(str(path), path.name)
        return " ".join(f"{type(error).__name__}: {text}".split())[:200]


def _decode(path: Path, out: Images) -> Decoded:
    size = out.shape[0]
    with Image.open(path, formats=_formats()) as opened:
        changes = {"frames"} if getattr(opened, "n_frames", 1) > 1 else set()
        full_width, full_height = opened.size
        # JPEG only: decode at 1/2, 1/4 or 1/8, still at least twice what is needed.
        opened.draft(None, (2 * size, 2 * size))
        image = ImageOps.exif_transpose(opened)
        if image.size != opened.size:  # turned by 90 degrees
            full_width, full_height = full_height, full_width
    if image.mode.startswith(_DEEP_MODES):
        changes.add("deep")
        image = _to_8_bits(image)
    if image.has_transparency_data:
        changes.add("alpha")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    kernel = Image.Resampling.BICUBIC if side < size else Image.Resampling.BILINEAR
    square = image.resize((size, size), kernel, box=(left, top, left + side, top + side), reducing_gap=2.0)
    out[...] = np.asarray(square)
    grey = bool((out[..., 0] == out[..., 1]).all() and (out[..., 0] == out[..., 2]).all())
    return Decoded(grey, full_width, full_height, frozenset(changes))


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey values of more than 8 bits as 8: integers from 0..65535, floats from 0..1 or 0..255."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    floats = image.mode.startswith("F")
    full = 1.0 if floats and high <= 1 else 255.0 if floats else 65535.0
    if not (low >= 0 and high <= full):  # also true of NaN
        raise ValueError(f"values {low:g} to {high:g} do not fit 0 to {full:g}, the scale is unknown")
    return Image.fromarray(np.rint(values * (255 / full)).astype(np.uint8))
