"""The one training loop, for CPU and GPU. `train_rung` is the unit of work that executors run.

Bit-exact on one CPU thread: initialisation, subset and order of images, augmentation and dropout follow from
(seed, epoch) alone, so that a rung resumed from its checkpoint equals an uninterrupted one.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalesearch.fit.data import open_dataset, read_split, subset_indices
from scalesearch.fit.kernels import trainable
from scalesearch.fit.memory import peak_resident_bytes
from scalesearch.fit.recipe import Epoch, Origin, Recipe, Rung, RungResult
from scalesearch.fit.step import WeightAverage, amp_dtype, first_line, make_optimizer, out_of_memory, step_on_batch
from scalesearch.nets.build import start_as_identity, start_undecided
from scalesearch.nets.inherit import grow
from scalesearch.nets.timing import steady_clock
from scalesearch.spec.errors import RunError, TrainingError

_EVAL_BATCH = 256


def train_rung(rung: Rung) -> RungResult:
    """Train one rung and write its checkpoint.

    Out of memory is met once with half the batch and gradient accumulation. Raises TrainingError for a loss that
    is not finite, for memory that does not suffice even so, and for a checkpoint that cannot be read; RunError if
    one cannot be written.
    """
    try:
        return _train(rung, accumulation=1)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    # Outside the handler, so that the failed attempt's tensors are gone with its traceback.
    if rung.device.startswith("cuda"):
        torch.cuda.empty_cache()
    try:
        return _train(rung, accumulation=2)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory with batches of {rung.recipe.batch} and of {max(1, rung.recipe.batch // 2)}: "
            f"{first_line(error)}; lower --set batch"
        ) from None


def _train(rung: Rung, accumulation: int) -> RungResult:
    started = time.perf_counter()
    recipe, device = rung.recipe, torch.device(rung.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    train = _Split(rung, "train", device)
    val = _Split(rung, "val", device)
    if rung.start_epoch == 0:
        torch.manual_seed(rung.seed)
    network = trainable(rung.arch, device)
    if rung.start_epoch == 0:
        start_as_identity(network)
        start_undecided(network)
        if rung.origin is not None:
            network.load_state_dict(_inherited(rung, rung.origin))
    average = WeightAverage(network, trainable(rung.arch, device))
    ema = average.network
    optimizer = make_optimizer(network, recipe)
    if rung.start_epoch > 0:
        _restore(rung, network, ema, optimizer)
    steps_per_epoch = math.ceil(train.count / recipe.batch)
    scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype(device) is torch.float16)
    clock = steady_clock(device)
    epochs = []
    for epoch in range(rung.start_epoch, rung.stop_epoch):
        before, processor_before = time.perf_counter(), clock()
        torch.manual_seed(_mix(rung.seed, epoch))  # dropout and stochastic depth
        rng = np.random.default_rng([rung.seed, epoch])  # order and augmentation
        network.train()
        total_loss = 0.0
        for index, (images, labels) in enumerate(train.batches(recipe.batch, rng, recipe.shift)):
            step = epoch * steps_per_epoch + index
            _set_rate(optimizer, recipe, step, recipe.epochs * steps_per_epoch)
            loss = step_on_batch(network, optimizer, scaler, images, labels, recipe, accumulation)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {index + 1} of {steps_per_epoch}; "
                    f"lower --set learning_rate (now {recipe.learning_rate:g})"
                )
            total_loss += loss * len(labels)
            average.update(min(recipe.ema_decay, (1 + step) / (10 + step)))
        seconds = time.perf_counter() - before
        val_loss, accuracy = evaluate(ema, val)
        if not math.isfinite(val_loss):  # the last step can break the weights after its loss was seen
            raise TrainingError(
                f"the validation loss became {val_loss} after epoch {epoch + 1}; "
                f"lower --set learning_rate (now {recipe.learning_rate:g})"
            )
        epochs.append(
            Epoch(
                epoch=epoch + 1,
                train_loss=total_loss / train.count,
                val_loss=val_loss,
                accuracy=accuracy,
                seconds=seconds,
                images_per_second=train.count / seconds,
                processor_seconds=clock() - processor_before,
            )
        )
    _save(rung.checkpoint, network, ema, optimizer, rung.stop_epoch)
    notes = () if accumulation == 1 else (f"out of memory: batch {recipe.batch} done as {accumulation} halves",)
    return RungResult(
        epochs=tuple(epochs),
        seconds=time.perf_counter() - started,
        peak_memory=_peak_memory(device),
        accumulation=accumulation,
        notes=notes,
    )


class _Split:
    """The images of one split that a rung uses, at the arch's resolution, normalised batch by batch."""

    def __init__(self, rung: Rung, split: str, device: torch.device) -> None:
        dataset = open_dataset(rung.data)
        images, labels = read_split(dataset, "train" if split == "train" else "val", rung.arch.resolution)
        wanted = rung.train_images if split == "train" else rung.val_images
        chosen = subset_indices(labels, wanted, rung.seed if split == "train" else 0)
        self.count = len(chosen)
        self.mirror = dataset.mirror
        self.device = device
        # Indexing copies just these images into memory; on a GPU they stay there if they take under a third of it.
        self.images = torch.from_numpy(images[chosen])
        self.labels = torch.from_numpy(labels[chosen])
        if device.type == "cuda" and self.images.nbytes < torch.cuda.mem_get_info(device)[0] / 3:
            self.images, self.labels = self.images.to(device), self.labels.to(device)
        # One constant for all resolutions and splits: mid-grey to 0, black and white to ±2.
        self.mean, self.std = 127.5, 63.75

    def batches(
        self, batch: int, rng: np.random.Generator | None = None, shift: float = 0.0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W) float32 in channels_last and labels (B,); shuffled and augmented if `rng` is given."""
        order = torch.from_numpy(np.arange(self.count) if rng is None else rng.permutation(self.count))
        # Batches of equal size, give or take one image: batch norm cannot do with a rest of one.
        for part in order.tensor_split(math.ceil(self.count / batch)):
            chosen = part.to(self.images.device)
            images = self.images[chosen]
            if rng is not None:
                images = augment(images, rng, shift, self.mirror)
            images = images.to(self.device, non_blocking=True)
            # (B, H, W, C) bytes seen as (B, C, H, W) are channels_last already.
            x = images.permute(0, 3, 1, 2).to(torch.float32).sub_(self.mean).div_(self.std)
            yield x.contiguous(memory_format=torch.channels_last), self.labels[chosen].to(self.device)


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


def evaluate(network: nn.Module, split: _Split) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy of `network` in eval mode."""
    network.eval()
    loss, right = 0.0, 0
    with torch.inference_mode():
        for images, labels in split.batches(_EVAL_BATCH):
            with torch.autocast(split.device.type, amp_dtype(split.device), enabled=split.device.type == "cuda"):
                logits = network(images).float()
            loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(1) == labels).sum())
    return loss / split.count, right / split.count


def _set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    peak = recipe.learning_rate * recipe.batch / 256
    warmup = max(1, round(recipe.warmup * steps))
    if step < warmup:
        rate = peak * (step + 1) / warmup
    else:
        rate = peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = rate


def _save(path: Path, network: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    state = {
        "epoch": epoch,
        "network": network.state_dict(),
        "ema": ema.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        buffer = io.BytesIO()  # torch's own writer hides why the disk refused
        torch.save(state, buffer)
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        # Not this training's failure: the run stops, and goes on from here once there is room.
        raise RunError(f"{path}: the checkpoint cannot be written: {error.strerror}") from None


def _restore(rung: Rung, network: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    path = rung.previous or rung.checkpoint
    try:
        state: dict[str, Any] = torch.load(path, map_location=rung.device, weights_only=True)
        if state["epoch"] != rung.start_epoch:
            raise ValueError(f"it holds epoch {state['epoch']}, epoch {rung.start_epoch} is needed")
        network.load_state_dict(state["network"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
    except Exception as error:  # a damaged file can fail in as many ways as it can be damaged
        raise CheckpointError(f"{path}: the checkpoint cannot be used: {first_line(error)}") from None


def _inherited(rung: Rung, origin: Origin) -> dict[str, Tensor]:
    """The weights to start from: the origin's average, which is what its accuracy was measured of, grown."""
    try:
        state = torch.load(origin.checkpoint, map_location="cpu", weights_only=True)["ema"]
    except Exception as error:  # a damaged file can fail in as many ways as it can be damaged
        # Every network that is still to come needs it, so that the run stops.
        raise RunError(
            f"{origin.checkpoint}: the base's checkpoint, from which the others start, cannot be used: "
            f"{first_line(error)}; start the run anew, or without --set inherit=true"
        ) from None
    return grow(state, origin.arch, rung.arch, rung.seed)


class CheckpointError(TrainingError):
    """A checkpoint is missing or damaged; the trial can start again from its first epoch."""


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def _mix(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
