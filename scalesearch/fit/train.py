"""The one training loop, for CPU and GPU. `train_rung` is the unit of work that executors run.

Bit-exact on one CPU thread: initialisation, subset and order of images, augmentation and dropout follow from
(seed, epoch) alone, so that a training resumed from its checkpoint equals an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalesearch.fit.batches import Split, split_of
from scalesearch.fit.checkpoint import load_checkpoint, unusable, write_checkpoint
from scalesearch.fit.kernels import trainable
from scalesearch.fit.memory import peak_resident_bytes
from scalesearch.fit.recipe import Epoch, Origin, Recipe, Rung, RungResult
from scalesearch.fit.step import (
    WeightAverage,
    amp_dtype,
    first_line,
    make_optimizer,
    out_of_memory,
    rate_at,
    set_dropout,
    set_rate,
    step_on_batch,
)
from scalesearch.nets.build import start_as_identity, start_undecided
from scalesearch.nets.inherit import grow
from scalesearch.nets.timing import steady_clock
from scalesearch.spec.errors import RunError, TrainingError
from scalesearch.spec.factory import AnyArch

EVALUATED_AT_ONCE = 256  # images


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
    train, val = split_of(rung, "train", device), split_of(rung, "val", device)
    start = None
    if rung.start_epoch == 0 and rung.origin is not None:
        start = _inherited(rung, rung.origin)
    training = Training(rung.arch, recipe, rung.seed, train, val, device, accumulation, start)
    if rung.start_epoch > 0:
        _restore(rung, training)
    epochs = [training.epoch(epoch) for epoch in range(rung.start_epoch, rung.stop_epoch)]
    write_checkpoint(rung.checkpoint, training.state(rung.stop_epoch))
    notes = () if accumulation == 1 else (f"out of memory: batch {recipe.batch} done as {accumulation} halves",)
    return RungResult(
        epochs=tuple(epochs),
        seconds=time.perf_counter() - started,
        peak_memory=_peak_memory(device),
        accumulation=accumulation,
        notes=notes,
    )


class Training:
    """A network with all that its training needs. `start` are the weights to begin with instead of fresh ones.

    `network` is what learns, `ema` its weight average, which is what is evaluated.
    """

    def __init__(
        self,
        arch: AnyArch,
        recipe: Recipe,
        seed: int,
        train: Split,
        val: Split,
        device: torch.device,
        accumulation: int = 1,
        start: Mapping[str, Tensor] | None = None,
        evaluated_at_once: int = EVALUATED_AT_ONCE,
    ) -> None:
        self.recipe, self.seed, self.train, self.val = recipe, seed, train, val
        self.accumulation, self.evaluated_at_once = accumulation, evaluated_at_once
        torch.manual_seed(seed)
        self.network = trainable(arch, device)
        start_as_identity(self.network)
        start_undecided(self.network)
        if start is not None:
            self.network.load_state_dict(start)
        self.average = WeightAverage(self.network, trainable(arch, device))
        self.ema = self.average.network
        self.optimizer = make_optimizer(self.network, recipe)
        self.steps_per_epoch = math.ceil(train.count / recipe.batch)
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype(device) is torch.float16)
        self._clock = steady_clock(device)

    def epoch(self, epoch: int) -> Epoch:
        """Train one epoch, counted from 0, and evaluate. Raises TrainingError for a loss that is not finite."""
        recipe = self.recipe
        before, processor_before = time.perf_counter(), self._clock()
        total_loss = 0.0
        for index, (loss, images) in enumerate(self.steps(epoch)):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {index + 1} of {self.steps_per_epoch}; "
                    f"lower --set learning_rate (now {recipe.learning_rate:g})"
                )
            total_loss += loss * images
        seconds = time.perf_counter() - before
        val_loss, accuracy = evaluate(self.ema, self.val, self.evaluated_at_once)
        if not math.isfinite(val_loss):  # the last step can break the weights after its loss was seen
            raise TrainingError(
                f"the validation loss became {val_loss} after epoch {epoch + 1}; "
                f"lower --set learning_rate (now {recipe.learning_rate:g})"
            )
        return Epoch(
            epoch=epoch + 1,
            train_loss=total_loss / self.train.count,
            val_loss=val_loss,
            accuracy=accuracy,
            seconds=seconds,
            images_per_second=self.train.count / seconds,
            processor_seconds=self._clock() - processor_before,
        )

    def steps(self, epoch: int) -> Iterator[tuple[float, int]]:
        """Do the steps of an epoch one by one; of each the mean loss before it, and its images."""
        recipe, stage = self.recipe, self.recipe.stage_at(epoch)
        torch.manual_seed(_mix(self.seed, epoch))  # dropout, stochastic depth and RandAugment
        rng = np.random.default_rng([self.seed, epoch])  # order and augmentation
        self.network.train()
        if stage.dropout is not None:
            set_dropout(self.network, stage.dropout)
        for index, (images, labels) in enumerate(self.train.batches(recipe.batch, rng, recipe.shift, stage)):
            step = epoch * self.steps_per_epoch + index
            set_rate(self.optimizer, rate_at(recipe, step, recipe.epochs * self.steps_per_epoch))
            loss = step_on_batch(self.network, self.optimizer, self._scaler, images, labels, recipe, self.accumulation)
            if math.isfinite(loss):
                self.average.update(min(recipe.ema_decay, (1 + step) / (10 + step)))
            yield loss, len(images)

    def state(self, epoch: int) -> dict[str, Any]:
        """What a checkpoint after so many epochs holds."""
        return {
            "epoch": epoch,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),  # empty but for float16
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`. Raises whatever a state of another network or another form causes."""
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])


def predictions(network: nn.Module, split: Split, at_once: int = EVALUATED_AT_ONCE) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (B, classes) float32 of `network` in eval mode, and labels (B,), batch by batch."""
    network.eval()
    with torch.inference_mode():
        for images, labels in split.batches(at_once):
            with torch.autocast(split.device.type, amp_dtype(split.device), enabled=split.device.type == "cuda"):
                logits = network(images).float()
            yield logits, labels


def evaluate(network: nn.Module, split: Split, at_once: int = EVALUATED_AT_ONCE) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy of `network` in eval mode."""
    loss, right = 0.0, 0
    for logits, labels in predictions(network, split, at_once):
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(1) == labels).sum())
    return loss / split.count, right / split.count


def _restore(rung: Rung, training: Training) -> None:
    path = rung.previous or rung.checkpoint
    try:
        state = load_checkpoint(path, rung.device)
        if state["epoch"] != rung.start_epoch:
            raise ValueError(f"it holds epoch {state['epoch']}, epoch {rung.start_epoch} is needed")
        training.restore(state)
    except Exception as error:  # a damaged file can fail in as many ways as it can be damaged
        raise unusable(path, error) from None


def _inherited(rung: Rung, origin: Origin) -> dict[str, Tensor]:
    """The weights to start from: the origin's average, which is what its accuracy was measured of, grown."""
    try:
        state = load_checkpoint(origin.checkpoint)["ema"]
    except Exception as error:
        # Every network that is still to come needs it, so that the run stops.
        raise RunError(
            f"{origin.checkpoint}: the base's checkpoint, from which the others start, cannot be used: "
            f"{first_line(error)}; start the run anew, or without --set inherit=true"
        ) from None
    return grow(state, origin.arch, rung.arch, rung.seed)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def _mix(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
