"""mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): images of a batch mixed in pairs, and their labels alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot


def mix(
    images: Tensor, labels: Tensor, classes: int, rng: np.random.Generator, mixup: float, cutmix: float
) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) each mixed with another of the batch, and their targets (B, classes), which add up to 1.

    `mixup` and `cutmix` are α of the Beta distribution that a pair's share is drawn from; 0 leaves that way out. With
    both the batch takes one of them, by chance. Without either only the labels change their form.
    """
    targets = one_hot(labels, classes).to(images.dtype)
    if mixup == 0 and cutmix == 0:
        return images, targets
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    if cutmix > 0 and (mixup == 0 or rng.random() < 0.5):
        images, kept = paste(images, images[partner], rng.beta(cutmix, cutmix, len(images)), rng)
    else:
        kept = torch.from_numpy(rng.beta(mixup, mixup, len(images))).to(images)
        images = torch.lerp(images[partner], images, kept[:, None, None, None])
    return images, torch.lerp(targets[partner], targets, kept[:, None])


def paste(images: Tensor, others: Tensor, shares: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A rectangle of each other image pasted over, and the share (B,) of each image's area that is left of itself.

    `shares` (B,) are asked for. The rectangle has the image's proportions and its centre anywhere in the image; what
    lies outside is cut off, so that more may be left than was asked for.
    """
    height, width = images.shape[2:]
    half = np.sqrt(1 - shares) / 2
    inside = []
    for size in (height, width):
        centre = rng.random(len(images)) * size
        low, high = np.rint(centre - half * size), np.rint(centre + half * size)
        places = np.arange(size)
        inside.append((places >= low[:, None]) & (places < high[:, None]))
    rows, columns = inside
    mask = torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    kept = 1 - mask.to(images.dtype).mean((1, 2, 3))
    return torch.where(mask, others, images), kept
