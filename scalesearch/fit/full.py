"""The full training of one network: epoch by epoch, with a checkpoint after each, and a test at the end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scalesearch.fit.batches import Split
from scalesearch.fit.checkpoint import CheckpointError, load_checkpoint, unusable, write_checkpoint
from scalesearch.fit.data import open_dataset, read_split
from scalesearch.fit.data.splits import split_indices
from scalesearch.fit.recipe import Epoch, Recipe
from scalesearch.fit.step import first_line, out_of_memory
from scalesearch.fit.train import EVALUATED_AT_ONCE, Training, predictions
from scalesearch.spec.errors import TrainingError
from scalesearch.spec.factory import AnyArch

TOP = 5


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, on what, and how. `checkpoint` is read if it is there and written after every epoch; or neither.

    `validation_share` of the training images are held back, by class, to choose the best epoch; the data set's own
    validation split is for the test alone.
    """

    arch: AnyArch
    data: Path
    recipe: Recipe
    seed: int
    device: str
    checkpoint: Path | None = None
    validation_share: float = 0.1
    accumulation: int = 1
    start: Mapping[str, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Speeds:
    """Images per second: in training, stage by stage, augmentation included, and in evaluation."""

    train: tuple[float, ...]
    evaluation: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """A network on images that it has never seen. `confusion` (classes, classes) counts them: row truth, column answer.

    `top5` is None where there are no more than five classes.
    """

    images: int
    loss: float
    accuracy: float
    top5: float | None
    confusion: npt.NDArray[np.int64]


class FullTraining:
    """A training as far as it has come; `history` are its epochs.

    Raises CheckpointError if there is a checkpoint that it cannot go on from.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.dataset = open_dataset(job.data)
        self._place = torch.device(job.device)
        _, labels = read_split(self.dataset, "train", job.arch.resolution)
        chosen, held = split_indices(labels, job.validation_share, seed=0)  # the same for every seed, as the test is
        self.train = Split(self.dataset, "train", job.arch.resolution, self._place, chosen)
        self.val = Split(self.dataset, "train", job.arch.resolution, self._place, held)
        self.history: list[Epoch] = []
        with self._memory_told():
            self._training = self._fresh()
        self._best: dict[str, Tensor] = {}
        if job.checkpoint is not None and job.checkpoint.exists():
            self._resume(job.checkpoint)

    @property
    def best(self) -> Epoch:
        """The first epoch of the highest validation accuracy."""
        return max(self.history, key=lambda epoch: epoch.accuracy)

    def next_epoch(self) -> Epoch:
        """Train one epoch more and write the checkpoint. Raises TrainingError, and RunError if it cannot be written."""
        with self._memory_told():
            epoch = self._training.epoch(len(self.history))
        self.history.append(epoch)
        if self.best is epoch:
            self._best = {name: tensor.clone() for name, tensor in self._training.ema.state_dict().items()}
        state = {
            **self._training.state(len(self.history)),
            **self._described(),
            "history": [asdict(one) for one in self.history],
            "best": {"epoch": self.best.epoch, "weights": self._best},
        }
        if self.job.checkpoint is not None:
            write_checkpoint(self.job.checkpoint, state)
        return epoch

    def write_model(self, path: Path) -> None:
        """The weight average of the best epoch with what it takes to build the network. Raises RunError."""
        best = self.best
        state = {**self._described(), "epoch": best.epoch, "accuracy": best.accuracy, "weights": self._best}
        write_checkpoint(path, state)

    def test(self) -> Judgement:
        """The best epoch's weight average on the data set's validation split, which nothing else here has used.

        Raises TrainingError if the memory does not suffice.
        """
        network = self._training.ema
        network.load_state_dict(self._best)
        with self._memory_told():
            test = Split(self.dataset, "val", self.job.arch.resolution, self._place)
            return judge(network, test, self._training.evaluated_at_once)

    def measure(self, seconds: float) -> Speeds:
        """Train and evaluate for about `seconds` per stage, without a trace. Raises TrainingError."""
        first, rates = 0, []
        with self._memory_told():
            trial = self._fresh()
            for stage in self.job.recipe.all_stages:
                rates.append(_rate(partial(_stepped, trial, first), seconds))
                first = stage.stop
            evaluation = _rate(partial(_seen, trial.ema, self.val, trial.evaluated_at_once), seconds)
        return Speeds(tuple(rates), evaluation)

    def _fresh(self) -> Training:
        job = self.job
        at_once = min(EVALUATED_AT_ONCE, -(-job.recipe.batch // job.accumulation))  # needs no more than a step
        return Training(
            job.arch, job.recipe, job.seed, self.train, self.val, self._place, job.accumulation, job.start, at_once
        )

    def _described(self) -> dict[str, Any]:
        data = {"data": self.dataset.name, "fingerprint": self.dataset.fingerprint}
        return {"arch": self.job.arch.to_dict(), "classes": list(self.dataset.classes), **data}

    def _resume(self, path: Path) -> None:
        try:
            state = load_checkpoint(path, self.job.device)
            self._training.restore(state)
            self.history = [Epoch(**one) for one in state["history"]]
            self._best = state["best"]["weights"]
        except Exception as error:  # a damaged file can fail in as many ways as it can be damaged
            raise CheckpointError(f"{unusable(path, error)}; remove it to begin anew") from None

    @contextmanager
    def _memory_told(self) -> Iterator[None]:
        """Makes memory that does not suffice a TrainingError."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            parts, batch = self.job.accumulation, self.job.recipe.batch
            raise TrainingError(
                f"out of memory with batches of {batch} in {parts} part{'' if parts == 1 else 's'}: "
                f"{first_line(error)}; give --set accumulation={2 * parts}, which changes nothing but batch norm's "
                "statistics, or lower --set batch"
            ) from None


def read_history(checkpoint: Path) -> tuple[Epoch, ...]:
    """The epochs that a checkpoint knows of. Raises CheckpointError."""
    try:
        return tuple(Epoch(**one) for one in load_checkpoint(checkpoint)["history"])
    except Exception as error:
        raise unusable(checkpoint, error) from None


def stalled(history: list[Epoch], patience: int | None, since: int = 0) -> bool:
    """Whether the validation accuracy has not risen for `patience` epochs, of those after the first `since`."""
    if patience is None or not history:
        return False
    best = max(history, key=lambda epoch: epoch.accuracy)
    return history[-1].epoch - max(best.epoch, since) >= patience


def judge(network: nn.Module, split: Split, at_once: int = EVALUATED_AT_ONCE) -> Judgement:
    """Loss, accuracies and confusions of `network` on all images of `split`."""
    loss, right, confusion = 0.0, 0, torch.zeros(split.classes**2, dtype=torch.int64)
    for logits, labels in predictions(network, split, at_once):
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        if split.classes > TOP:
            right += int((logits.topk(TOP, 1).indices == labels[:, None]).sum())
        pairs = labels * split.classes + logits.argmax(1)
        confusion += torch.bincount(pairs, minlength=split.classes**2).cpu()
    table = confusion.reshape(split.classes, split.classes)
    return Judgement(
        images=split.count,
        loss=loss / split.count,
        accuracy=int(table.trace()) / split.count,
        top5=right / split.count if split.classes > TOP else None,
        confusion=table.numpy(),
    )


def _stepped(training: Training, epoch: int) -> Iterator[int]:
    for _, images in training.steps(epoch):
        yield images


def _seen(network: nn.Module, split: Split, at_once: int) -> Iterator[int]:
    for logits, labels in predictions(network, split, at_once):
        logits.sum().item()  # on a GPU, waits for it
        yield len(labels)


def _rate(once: Callable[[], Iterator[int]], seconds: float) -> float:
    """Images per second of an iterator that does the work, begun again when it ends; the first item is not counted."""
    stream = itertools.chain.from_iterable(once() for _ in itertools.count())
    next(stream)  # it also chooses kernels
    count, started = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - started < seconds:
        count += next(stream)
    return count / (time.perf_counter() - started)
