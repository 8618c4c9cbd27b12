"""The embedded `glyphs` set: characters of matplotlib's typefaces, rendered by `scene`.

Made so that resolution matters: every image is drawn from outlines at the stored size, and what tells
two characters apart is often a stroke of a few percent of the frame. Image i depends on (seed, split, i)
only, so a smaller set is the beginning of a larger one.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import __version__ as pillow_version
from PIL import features

from scalesearch.fit.data.records import DataRequest, Labels, Source, Written
from scalesearch.fit.data.scene import CHUNK, TARGET_EXTENT, Masks, draw_chunk
from scalesearch.fit.data.splits import check_classes
from scalesearch.fit.data.store import create_array
from scalesearch.fit.data.typefaces import (
    CHARACTERS,
    HELD_OUT,
    Typeface,
    character_masks,
    find_typefaces,
    font_folder,
)
from scalesearch.fit.worker import start_worker
from scalesearch.spec.errors import DataError

TRAIN_IMAGES, VAL_IMAGES = 20_000, 4_000
MAX_MASK_EXTENT = 192  # px; masks for larger frames are enlarged, to bound memory (22 fonts: 80 MB)
_PIECE = 16 * CHUNK  # images per task of a worker
_STREAMS = {"train": 1, "val": 2}
# What draws is part of the recipe: a change there must not find images of the old kind in the cache.
_CODE = tuple(Path(__file__).with_name(name) for name in ("glyphs.py", "scene.py", "typefaces.py"))


@dataclass(frozen=True)
class _Piece:
    """A run of images for one worker to render into an existing .npy file; starts at a chunk."""

    path: Path
    split: str
    start: int
    stop: int
    seed: int
    faces: tuple[Typeface, ...]
    characters: str
    zoom: float
    bright: bool


def glyph_source(request: DataRequest) -> Source:
    """The rendered characters of a request.

    Raises:
        DataError: too few or many classes, fewer images than classes, or the typefaces are missing.
    """
    if not 2 <= request.classes <= len(CHARACTERS):
        raise DataError(f"data: classes: glyphs have 2 to {len(CHARACTERS)} classes, got {request.classes}")
    characters = CHARACTERS[: request.classes]
    faces = find_typefaces(font_folder())
    split_faces = {"train": faces, "val": faces}
    if request.holdout_fonts:
        split_faces["train"] = tuple(face for face in faces if face.family not in HELD_OUT)
        split_faces["val"] = tuple(face for face in faces if face.family in HELD_OUT)
    counts = {
        "train": TRAIN_IMAGES if request.train_images is None else request.train_images,
        "val": VAL_IMAGES if request.val_images is None else request.val_images,
    }
    labels = {split: glyph_labels(request.seed, split, count, request.classes) for split, count in counts.items()}
    check_classes("glyphs", tuple(characters), labels["train"], labels["val"])

    def write(folder: Path, workers: int) -> Written:
        pieces = []
        for split, count in counts.items():
            path = folder / f"{split}.npy"
            create_array(path, (count, request.size, request.size, 1))
            look = (split_faces[split], characters, request.zoom, request.bright)
            for start in range(0, count, _PIECE):
                pieces.append(_Piece(path, split, start, min(start + _PIECE, count), request.seed, *look))
        _render(pieces, workers)
        shown, asked = len(split_faces["train"]), len(split_faces["val"])
        kind = "other" if request.holdout_fonts else "the same"
        note = f"{shown} typefaces in training, {kind} {asked} in validation"
        return Written(labels["train"], labels["val"], notes=(note,))

    content = {
        "source": "glyphs",
        "seed": request.seed,
        "holdout_fonts": request.holdout_fonts,
        "zoom": request.zoom,
        **({"bright": True} if request.bright else {}),  # older fingerprints stay
        **counts,
    }
    versions = {"pillow": pillow_version, "freetype": features.version("freetype2")}
    fonts = [face.digest for face in faces]
    code = [hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() for path in _CODE]
    return Source(
        name="glyphs",
        classes=tuple(characters),
        mirror=False,
        recipe={**content, **versions, "fonts": fonts, "code": code, "characters": characters},
        needed_bytes=sum(counts.values()) * request.size**2,
        write=write,
        content=content,
    )


def glyph_labels(seed: int, split: str, count: int, classes: int) -> Labels:
    """Labels (count,): every run of as many images as classes shows each class once, in random order."""
    runs = -(-count // classes)
    orders = [np.random.default_rng([seed, _STREAMS[split], 0, run]).permutation(classes) for run in range(runs)]
    return np.concatenate(orders)[:count].astype(np.int64)


def _render(pieces: list[_Piece], workers: int) -> None:
    workers = min(workers, len(pieces) // 2)  # starting a process costs as much as rendering two pieces
    if workers <= 1:
        for piece in pieces:
            _render_piece(piece)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's locks in any state
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(os.getpid(),)) as pool:
        try:
            for task in [pool.submit(_render_piece, piece) for piece in pieces]:
                task.result()
        except BaseException:  # Ctrl-C must not wait for the whole set
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _render_piece(piece: _Piece) -> None:
    images = np.lib.format.open_memmap(piece.path, mode="r+")
    size = images.shape[1]
    labels = glyph_labels(piece.seed, piece.split, piece.stop, len(piece.characters))
    masks = _masks(piece.faces, piece.characters, size * piece.zoom)
    for start in range(piece.start, piece.stop, CHUNK):
        stop = min(start + CHUNK, piece.stop)
        rng = np.random.default_rng([piece.seed, _STREAMS[piece.split], 1, start // CHUNK])
        images[start:stop, :, :, 0] = draw_chunk(rng, labels[start:stop], masks, size, piece.zoom, piece.bright)


@lru_cache(maxsize=2)  # of the two splits: drawing the masks takes longer than a chunk
def _masks(faces: tuple[Typeface, ...], characters: str, size: float) -> Masks:
    two_per_pixel = round(sum(TARGET_EXTENT) * size)  # at the mean extent, as `scene` samples
    extent = min(MAX_MASK_EXTENT, two_per_pixel)
    large = torch.from_numpy(character_masks(faces, characters, extent))
    small = F.avg_pool2d(large.float(), 2).round().to(torch.uint8)
    return Masks(large, small, extent)
