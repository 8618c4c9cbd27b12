"""From the images of a split to the batches that a network is trained or evaluated on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from scalesearch.fit.data import Dataset, open_dataset, read_split, subset_indices
from scalesearch.fit.data.records import Labels
from scalesearch.fit.memory import machine_bytes
from scalesearch.fit.mix import mix
from scalesearch.fit.randaugment import randaugment
from scalesearch.fit.recipe import Rung, TrainingStage

# One constant for all resolutions and splits: mid-grey to 0, black and white to ±2.
_MEAN, _DEVIATION = 127.5, 63.75
_WHOLE = TrainingStage(0)  # images of the network's own side, as they are


class Split:
    """Some images of one split (`train` or `val`) at one resolution, normalised batch by batch.

    `chosen` are their indices, all of them if None.
    """

    def __init__(
        self, dataset: Dataset, split: str, resolution: int, device: torch.device, chosen: Labels | None = None
    ) -> None:
        images, labels = read_split(dataset, "train" if split == "train" else "val", resolution)
        if chosen is None:
            chosen = np.arange(len(labels))
        self.count = len(chosen)
        self.classes = len(dataset.classes)
        self.resolution = resolution
        self.mirror = dataset.mirror
        self.device = device
        self.labels = torch.from_numpy(labels[chosen])
        if len(chosen) * images[0].nbytes <= machine_bytes() / 2:
            # Indexing copies just these images into memory; on a GPU they stay there if they take under a third of it.
            self.images, self._rows = torch.from_numpy(images[chosen]), torch.arange(self.count)
        else:  # the system reads what a batch needs; copy-on-write only so that torch may have it
            path = str(cast("np.memmap[Any, Any]", images).filename)
            self.images = torch.from_numpy(np.load(path, mmap_mode="c"))
            self._rows = torch.from_numpy(chosen)
            return
        if device.type == "cuda" and self.images.nbytes < torch.cuda.mem_get_info(device)[0] / 3:
            self.images, self.labels, self._rows = (part.to(device) for part in (self.images, self.labels, self._rows))

    def batches(
        self,
        batch: int,
        rng: np.random.Generator | None = None,
        shift: float = 0.0,
        stage: TrainingStage = _WHOLE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W) float32 in channels_last, and their targets; shuffled and augmented if `rng` is given.

        Targets are labels (B,), or shares of each class (B, classes) where the stage mixes images.
        """
        order = torch.from_numpy(np.arange(self.count) if rng is None else rng.permutation(self.count))
        side = stage.pixels(self.resolution)
        # Batches of equal size, give or take one image: batch norm cannot do with a rest of one.
        for part in order.tensor_split(math.ceil(self.count / batch)):
            chosen = part.to(self.images.device)
            images, labels = self.images[self._rows[chosen]], self.labels[chosen].to(self.device)
            if rng is not None:
                images = augment(images, rng, shift, self.mirror)
            images = images.to(self.device, non_blocking=True)
            # (B, H, W, C) bytes seen as (B, C, H, W) are channels_last already.
            x = images.permute(0, 3, 1, 2).to(torch.float32)
            if side != self.resolution:
                x = interpolate(x, (side, side), mode="bilinear", antialias=True)
            if stage.magnitude > 0:
                x = randaugment(x / 255, stage.magnitude) * 255
            x = x.sub_(_MEAN).div_(_DEVIATION)
            if rng is not None and (stage.mixup > 0 or stage.cutmix > 0):
                x, labels = mix(x, labels, self.classes, rng, stage.mixup, stage.cutmix)
            yield x.contiguous(memory_format=torch.channels_last), labels


def split_of(rung: Rung, split: str, device: torch.device) -> Split:
    """The images of one split that a rung uses: of training by its seed, of validation the same for all seeds."""
    dataset = open_dataset(rung.data)
    _, labels = read_split(dataset, "train" if split == "train" else "val", rung.arch.resolution)
    wanted = rung.train_images if split == "train" else rung.val_images
    chosen = subset_indices(labels, wanted, rung.seed if split == "train" else 0)
    return Split(dataset, split, rung.arch.resolution, device, chosen)


def augment(images: Tensor, rng: np.random.Generator, shift: float, mirror: bool) -> Tensor:
    """Each image (B, H, W, C) translated by up to `shift` of its side, edges repeated, and mirrored half the time."""
    count, height, width = images.shape[:3]
    reach = round(shift * height)
    down, right = torch.from_numpy(rng.integers(-reach, reach + 1, (2, count))).to(images.device)
    rows = (torch.arange(height, device=images.device) + down[:, None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) + right[:, None]).clamp_(0, width - 1)
    if mirror:
        flip = torch.from_numpy(rng.random(count) < 0.5).to(images.device)
        columns = torch.where(flip[:, None], columns.flip(1), columns)
    picked = images[torch.arange(count, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked
