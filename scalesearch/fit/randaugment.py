"""RandAugment (Cubuk et al. 2020) on batches on the training device. The one door to kornia, an optional package."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from scalesearch.spec.errors import SettingsError

# Name, and the values at magnitudes 0 and 30. kornia's own ranges for colour, contrast, brightness, sharpness and
# solarisation change an image most at 0 or at both ends, as the official code's do; here every operation grows with
# the magnitude, which is what rises in progressive learning.
_POLICY = (
    ("auto_contrast", 0, 1),
    ("equalize", 0, 1),
    ("invert", 0, 1),
    ("rotate", -30.0, 30.0),
    ("shear_x", -0.3, 0.3),
    ("shear_y", -0.3, 0.3),
    ("translate_x", -0.1, 0.1),
    ("translate_y", -0.1, 0.1),
    ("posterize", 4.0, 8.0),  # bits that are left; kornia runs this one backwards
    ("solarize", 1.0, 0.0),
    ("solarize_add", 0.0, 0.43),
    *((name, 1.0, end) for name in ("color", "contrast", "brightness", "sharpness") for end in (0.1, 1.9)),
)
OPERATIONS = 2  # per image, as EfficientNet and EfficientNetV2 take (tensorflow/tpu README: B5 and B7)
PART = 8  # images that share their operations; kornia draws them once per call, and a call costs milliseconds


def require_kornia(where: str) -> None:
    """Raises SettingsError, which begins with `where`, if kornia is not installed."""
    if find_spec("kornia") is None:
        raise SettingsError(
            f"{where}: RandAugment needs kornia, which is not installed; pip install 'scalesearch[train]', or give "
            "--set randaugment=0"
        )


def randaugment(images: Tensor, magnitude: float) -> Tensor:
    """Images (B, C, H, W) from 0 to 1, float, with OPERATIONS random ones of RandAugment's done to each.

    `magnitude` lies between 0 and 30, the full strength; the official code's full strength is 10, so that equal
    magnitudes are milder here. Operations and signs come from torch's global generator. Grey images are augmented as
    colour ones.
    """
    augmentation, grey = _augmentation(magnitude), images.shape[1] == 1
    if grey:
        images = images.expand(-1, 3, -1, -1)
    with torch.no_grad():
        images = torch.cat([augmentation(part) for part in images.chunk(math.ceil(len(images) / PART))])
    if grey:
        images = images.mean(1, keepdim=True)
    return images.clamp(0, 1)


@cache
def _augmentation(magnitude: float) -> Callable[[Tensor], Tensor]:
    from kornia.augmentation.auto import RandAugment  # here: it takes seconds, and need not be installed

    policy = [[(name, min(ends), max(ends))] for name, *ends in _POLICY]
    family: Any = RandAugment  # annotated for whole magnitudes only
    augmentation = family(OPERATIONS, magnitude, policy, transformation_matrix_mode="skip")
    for (_, *ends), operation in zip(_POLICY, augmentation.children(), strict=True):
        if ends[0] > ends[1]:  # kornia draws from rising ranges only, but follows a falling one
            operation[0].magnitude_range = tuple(ends)
    return augmentation  # type: ignore[no-any-return]
