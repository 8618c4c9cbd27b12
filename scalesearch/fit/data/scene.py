"""One glyph image: a character near the centre, smaller ones around it, light and noise; in batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from scalesearch.fit.data.records import Images, Labels

CHUNK = 128  # images that share a random stream
# Of the frame's height: a small network reads 24, 32 px with 86.5, 92.2 % after six epochs of 12,000 images; at 0.30
# to 0.45 more pixels add nothing (98 % at 32 px), at 0.20 to 0.34 ten-minute runs learn too little.
TARGET_EXTENT = (0.26, 0.40)
DISTRACTOR_EXTENT = (0.12, 0.20)
PATCH = 2.2  # side of the square that holds any character, in greatest extents
DISTRACTORS = (2, 4)  # fewest and most in an image
TARGET_TURN, DISTRACTOR_TURN = 20.0, 40.0  # degrees either way
SHEAR = 0.2
ASPECT = 0.85, 1.18  # width over height, relative to the typeface
WANDER = 0.07  # greatest distance of the target's centre from the frame's, per axis, of the frame
RING = 0.36, 0.50  # where distractors have their centres: half sides of a square ring, of the frame
CONTRAST = 0.25, 0.70  # between target and ground, of the full range
LEVELS = 0.08, 0.92  # of ground and characters, before light and noise
LIGHT = 0.25  # greatest difference of light between opposite edges
NOISE = 0.02, 0.08  # standard deviation

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Masks:
    """Characters (faces, characters, side, side) uint8: `large` ones for the target, `small` for the rest.

    Args:
        extent: of a character in `large`, px; half of it in `small`.
    """

    large: torch.Tensor
    small: torch.Tensor
    extent: float


def draw_chunk(
    rng: np.random.Generator, labels: Labels, masks: Masks, size: int, zoom: float = 1.0, bright: bool = False
) -> Images:
    """Images (n, size, size) uint8 of n <= CHUNK labels, from a random stream at its beginning.

    `zoom` multiplies the target's extent; places and distractors stay. The target is darker or brighter than its
    ground, with equal chances, or always brighter if `bright`.
    """
    target = (TARGET_EXTENT[0] * zoom, TARGET_EXTENT[1] * zoom)
    shown, (faces, characters) = len(labels), masks.large.shape[:2]
    slots = DISTRACTORS[1]
    # Numbers are drawn for a whole chunk, so that a shorter chunk is the beginning of a longer one.
    light = rng.random((CHUNK, 7))[:shown]
    pose = rng.random((CHUNK, 1 + slots, 6))[:shown]
    tone = rng.random((CHUNK, slots, 2))[:shown]
    place = rng.random((CHUNK, slots, 2))[:shown]
    face = rng.integers(0, faces, (CHUNK, 1 + slots))[:shown]
    other = rng.integers(0, characters, (CHUNK, slots))[:shown]

    contrast = _between(light[:, 0], CONTRAST) * np.where((light[:, 1] < 0.5) & (not bright), -1, 1)
    ground = _ground(light[:, 2], contrast)
    count = DISTRACTORS[0] + np.floor(light[:, 3] * (slots - DISTRACTORS[0] + 1))

    margin = round(PATCH * DISTRACTOR_EXTENT[1] * size)  # distractors may lie across the edge
    side = size + 2 * margin
    frame = np.repeat(ground.astype(np.float32), side * side).reshape(shown, side, side)
    for slot in range(slots):
        here = np.flatnonzero(count > slot)
        step = _between(tone[here, slot, 0], CONTRAST) * np.where(tone[here, slot, 1] < 0.5, -1, 1)
        _paint(
            [frame[index] for index in here],
            masks.small[face[here, slot + 1], other[here, slot]],
            _motion(pose[here, slot + 1], DISTRACTOR_EXTENT, DISTRACTOR_TURN, size) / (masks.extent / 2),
            margin + size * (0.5 + _ring(place[here, slot], slot, light[here, 4])),
            np.clip(ground[here] + step, *LEVELS),
            margin,
        )
    _paint(
        list(frame),
        masks.large[face[:, 0], labels],
        _motion(pose[:, 0], target, TARGET_TURN, size) / masks.extent,
        margin + size * (0.5 + _between(pose[:, 0, 4:6], (-WANDER, WANDER))),
        ground + contrast,
        round(PATCH * target[1] * size),
    )
    frame = np.ascontiguousarray(frame[:, margin : margin + size, margin : margin + size])
    frame += _gradient(light[:, 5], light[:, 6], size)
    sigma = _between(rng.random(CHUNK)[:shown], NOISE).astype(np.float32)
    frame += sigma[:, None, None] * rng.standard_normal(frame.shape, dtype=np.float32)
    frame *= 255
    return np.clip(np.rint(frame, out=frame), 0, 255).astype(np.uint8)


def _between(share: Floats, limits: tuple[float, float]) -> Floats:
    return limits[0] + share * (limits[1] - limits[0])


def _ground(share: Floats, contrast: Floats) -> Floats:
    """Ground levels (n,) such that ground and ground + contrast both lie within LEVELS."""
    low = LEVELS[0] + np.maximum(0, -contrast)
    high = LEVELS[1] - np.maximum(0, contrast)
    return low + share * (high - low)


def _motion(share: Floats, extent: tuple[float, float], turn: float, size: int) -> Floats:
    """Matrices (n, 2, 2) from extents of the character to pixels: scale, shear, turn."""
    height = size * _between(share[:, 0], extent)
    width = height * _between(share[:, 1], ASPECT)
    shear = _between(share[:, 2], (-SHEAR, SHEAR))
    angle = np.radians(_between(share[:, 3], (-turn, turn)))
    cos, sin = np.cos(angle), np.sin(angle)
    x = np.stack([cos * width, (cos * shear - sin) * height], axis=-1)
    y = np.stack([sin * width, (sin * shear + cos) * height], axis=-1)
    return np.stack([x, y], axis=-2)


def _ring(share: Floats, slot: int, turn: Floats) -> Floats:
    """Places (n, 2) as x, y in shares of the frame from its centre: on a square ring, slots well apart."""
    angle = 2 * np.pi * (turn + (slot + 0.6 * share[:, 0]) / DISTRACTORS[1])
    radius = _between(share[:, 1], RING)
    cos, sin = np.cos(angle), np.sin(angle)
    place: Floats = np.stack([cos, sin], axis=1) * (radius / np.maximum(abs(cos), abs(sin)))[:, None]
    return place


def _paint(
    frames: list[Pixels], masks: torch.Tensor, motion: Floats, centre: Floats, level: Floats, patch: int
) -> None:
    """Paint one character on each of n frames (views, in place).

    Args:
        masks: (n, side, side).
        motion: (n, 2, 2) from pixels of the mask to pixels of the frame.
        centre: (n, 2) of the character in its frame, px as x, y.
        level: (n,) of its ink.
        patch: side of the square that is painted, px.
    """
    corner = np.floor(centre - patch / 2).astype(np.int64)
    ink = _draw(masks, motion, centre - corner - patch / 2, patch)
    for frame, (x, y), coverage, ink_level in zip(frames, corner, ink, level.astype(np.float32), strict=True):
        below = frame[y : y + patch, x : x + patch]
        below += coverage * (ink_level - below)


def _draw(masks: torch.Tensor, motion: Floats, offset: Floats, patch: int) -> Pixels:
    """Coverage (n, patch, patch) in 0..1 of masks (n, side, side), `offset` px off the patch's centre."""
    side = masks.shape[-1]
    inverse = np.linalg.inv(motion)  # from pixels of the patch to pixels of the mask
    shift = -np.einsum("nij,nj->ni", inverse, offset)
    # As F.affine_grid, which takes longer than the sampling: the map is a row plus a column.
    axis = ((np.arange(2 * patch) + 0.5) / patch - 1) * (patch / side)
    row = torch.from_numpy(inverse[:, :, 1, None] * axis).float().transpose(1, 2)
    start = shift[:, :, None] * (2 / side)
    column = torch.from_numpy(inverse[:, :, 0, None] * axis + start).float().transpose(1, 2)
    grid = row[:, :, None] + column[:, None]
    fine = F.grid_sample(masks[:, None].float(), grid, mode="bilinear", align_corners=False)[:, 0]
    # Two samples per pixel and axis, averaged: no aliasing, no blur. Six times as fast as F.avg_pool2d.
    rows = fine[:, 0::2] + fine[:, 1::2]
    coverage: Pixels = ((rows[:, :, 0::2] + rows[:, :, 1::2]) * (1 / (4 * 255))).numpy()
    return coverage


def _gradient(strength: Floats, turn: Floats, size: int) -> Pixels:
    """Light (n, size, size) that rises linearly across the frame, zero on average."""
    axis = (np.arange(size) + 0.5) / size - 0.5
    x = (np.cos(2 * np.pi * turn) * strength * LIGHT)[:, None, None] * axis[None, None, :]
    y = (np.sin(2 * np.pi * turn) * strength * LIGHT)[:, None, None] * axis[None, :, None]
    return (x + y).astype(np.float32)
