"""How long one forward pass takes: a measurement of this machine, not a property of the network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from scalesearch.nets.build import build
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import AnyArch


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall-clock seconds of one forward pass of `batch` images: median, and the 10th and 90th percentile."""

    median_s: float
    p10_s: float
    p90_s: float
    device: str
    threads: int
    batch: int
    repeats: int


def measure_latency(
    arch: AnyArch, device: str = "cpu", threads: int = 1, batch: int = 1, warmup: int = 3, repeats: int = 20
) -> Latency:
    """Time `repeats` forward passes in eval mode, channels last, after `warmup` that are not counted.

    `threads` is PyTorch's intra-op thread count; the caller's is restored. On a GPU each pass is waited for.
    Raises SettingsError if a number is too small or PyTorch has no such device here.
    """
    _require_at_least(1, threads=threads, batch=batch, repeats=repeats)
    _require_at_least(0, warmup=warmup)
    place = _device(device)
    network = build(arch).eval().to(place)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    images = torch.randn(batch, arch.in_channels, arch.resolution, arch.resolution, device=place)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    with _threads(threads), torch.inference_mode():
        for index in range(warmup + repeats):
            _wait(place)
            start = time.perf_counter()
            network(images)
            _wait(place)
            if index >= warmup:
                seconds.append(time.perf_counter() - start)
    # One sample has no spread; quantiles() wants two.
    deciles = statistics.quantiles(seconds * 2 if repeats == 1 else seconds, n=10, method="inclusive")
    return Latency(statistics.median(seconds), deciles[0], deciles[-1], str(place), threads, batch, repeats)


def _require_at_least(low: int, **values: int) -> None:
    for name, value in values.items():
        if value < low:
            raise SettingsError(f"latency: {name} must be at least {low}, got {value!r}; raise it")


def _device(name: str) -> torch.device:
    try:
        place = torch.device(name)
    except RuntimeError:
        place = torch.device("meta")  # refused below, like every device that runs nothing here
    usable = place.type == "cpu" or (place.type == "cuda" and (place.index or 0) < torch.cuda.device_count())
    if not usable:
        raise SettingsError(
            "latency: device must be 'cpu' or a CUDA device that PyTorch has here "
            f"({torch.cuda.device_count()} found), got {name!r}; use 'cpu'"
        )
    return place


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
