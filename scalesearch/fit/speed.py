"""How fast a network trains and how much memory that takes: measured with the run's own training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from scalesearch.fit.kernels import trainable
from scalesearch.fit.memory import peak_resident_bytes, reset_peak, resident_bytes
from scalesearch.fit.recipe import Recipe
from scalesearch.fit.step import WeightAverage, amp_dtype, first_line, make_optimizer, out_of_memory, step_on_batch
from scalesearch.nets.timing import require_at_least, seconds_in_turn, spread, steady_clock, thread_count, usable_device
from scalesearch.spec.arch import Arch, Stage
from scalesearch.spec.errors import TrainingError
from scalesearch.spec.factory import AnyArch

_T = TypeVar("_T")
_TINY = Arch("tiny", 8, Stage("conv", 4), (Stage("mbconv", 4, se=0.25),), head=Stage("conv", 4, kernel=1), classes=2)


@dataclass(frozen=True, slots=True)
class TrainStep:
    """Wall-clock seconds of one training step of `batch` images: median, and the 10th and 90th percentile.

    A step is forward, loss, backward, optimiser and weight average. `peak_memory` is in bytes: on CPU by how much
    the process grew at most from before the network was built, on CUDA the most that PyTorch had allocated.
    """

    median_s: float
    p10_s: float
    p90_s: float
    images_per_second: float
    peak_memory: int
    device: str
    threads: int
    batch: int
    warmup: int
    repeats: int


def measure_train_step(
    arch: AnyArch, recipe: Recipe, device: str = "cpu", threads: int = 1, warmup: int = 1, repeats: int = 5
) -> TrainStep:
    """Time `repeats` training steps on random images, after `warmup` that are not counted, and take the peak memory.

    Call it in a fresh process: memory that earlier work has left behind would be used again and not counted.
    Raises SettingsError if a number is too small or PyTorch has no such device here, TrainingError if the memory
    does not suffice.
    """
    require_at_least("train step", 1, threads=threads, batch=recipe.batch, repeats=repeats)
    require_at_least("train step", 0, warmup=warmup)
    place = usable_device("train step", device)
    with thread_count(threads):
        # The library's own code and buffers, which any first step brings in, are not this network's.
        seconds_in_turn([training_step(_TINY, replace(recipe, batch=2), place)], place, 0, 2)
        reset_peak()
        before = resident_bytes()
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)

        def measure() -> list[list[float]]:
            return seconds_in_turn([training_step(arch, recipe, place)], place, warmup, repeats)

        (seconds,) = _with_memory(measure, recipe.batch, "give a smaller --batch")
    grown = max(0, peak_resident_bytes() - before)
    peak = torch.cuda.max_memory_allocated(place) if place.type == "cuda" else grown
    found = spread(seconds)
    return TrainStep(
        median_s=found.median,
        p10_s=found.p10,
        p90_s=found.p90,
        images_per_second=recipe.batch / found.median,
        peak_memory=peak,
        device=device,
        threads=threads,
        batch=recipe.batch,
        warmup=warmup,
        repeats=repeats,
    )


def train_step_seconds(
    archs: tuple[AnyArch, ...], recipe: Recipe, device: str, warmup: int, repeats: int, at_least: float
) -> list[list[float]]:
    """Seconds by the steady clock of every step of every network, the networks taking turns.

    Raises TrainingError if the memory does not suffice.
    """
    place = torch.device(device)

    def measure() -> list[list[float]]:
        steps = [training_step(arch, recipe, place) for arch in archs]
        return seconds_in_turn(steps, place, warmup, repeats, at_least, steady_clock(place))

    return _with_memory(measure, recipe.batch, "lower --set batch")


def training_step(arch: AnyArch, recipe: Recipe, place: torch.device) -> Callable[[], object]:
    """One training step of the network on random images, as a function."""
    return _Training(arch, recipe, place).step


def measure_steps(arch: AnyArch, recipe: Recipe, device: str, seconds: float) -> tuple[float, float]:
    """Images per second in training and in evaluation, measured for about `seconds` on random images.

    Raises TrainingError if the memory does not suffice for one batch.
    """

    def measure() -> tuple[float, float]:
        training = _Training(arch, recipe, torch.device(device))
        train = _rate(training.step, recipe.batch, seconds * 0.8)
        training.network.eval()
        return train, _rate(training.evaluate, recipe.batch, seconds * 0.2)

    return _with_memory(measure, recipe.batch, "lower --set batch")


class _Training:
    """A network with all that one step of its training needs, and one batch of random images."""

    def __init__(self, arch: AnyArch, recipe: Recipe, place: torch.device) -> None:
        torch.manual_seed(0)
        self.recipe = recipe
        self.network = trainable(arch, place)
        self.optimizer = make_optimizer(self.network, recipe)
        self.average = WeightAverage(self.network, trainable(arch, place))
        self.scaler = torch.amp.GradScaler(place.type, enabled=amp_dtype(place) is torch.float16)
        images = torch.randn((recipe.batch, arch.in_channels, arch.resolution, arch.resolution), device=place)
        self.images: Tensor = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(arch.classes, (recipe.batch,), device=place)

    def step(self) -> None:
        step_on_batch(self.network, self.optimizer, self.scaler, self.images, self.labels, self.recipe, 1)
        self.average.update(0.9)

    def evaluate(self) -> None:
        with torch.inference_mode():
            self.network(self.images).sum().item()


def _with_memory(measure: Callable[[], _T], batch: int, remedy: str) -> _T:
    try:
        return measure()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(f"out of memory with batches of {batch}: {first_line(error)}; {remedy}") from None


def _rate(step: Callable[[], None], batch: int, seconds: float) -> float:
    step()  # the first one also chooses kernels
    count, started = 0, time.perf_counter()
    while count < 2 or time.perf_counter() - started < seconds:
        step()
        count += 1
    return count * batch / (time.perf_counter() - started)
