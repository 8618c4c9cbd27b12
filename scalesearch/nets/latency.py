"""How long one forward pass takes: a measurement of this machine, not a property of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from scalesearch.nets.build import build
from scalesearch.nets.timing import require_at_least, seconds_in_turn, spread, steady_clock, thread_count, usable_device
from scalesearch.spec.arch import Arch


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall-clock seconds of one forward pass of `batch` images: median, and the 10th and 90th percentile."""

    median_s: float
    p10_s: float
    p90_s: float
    device: str
    threads: int
    batch: int
    warmup: int
    repeats: int


def measure_latency(
    arch: Arch, device: str = "cpu", threads: int = 1, batch: int = 1, warmup: int = 3, repeats: int = 20
) -> Latency:
    """Time `repeats` forward passes in eval mode, channels last, after `warmup` that are not counted.

    `threads` is PyTorch's intra-op thread count; the caller's is restored. On a GPU each pass is waited for.
    Raises SettingsError if a number is too small or PyTorch has no such device here.
    """
    require_at_least("latency", 1, threads=threads, batch=batch, repeats=repeats)
    require_at_least("latency", 0, warmup=warmup)
    place = usable_device("latency", device)
    with thread_count(threads):
        (seconds,) = seconds_in_turn([forward_pass(arch, place, batch)], place, warmup, repeats)
    found = spread(seconds)
    return Latency(found.median, found.p10, found.p90, device, threads, batch, warmup, repeats)


def latency_seconds(
    archs: tuple[Arch, ...], device: str, warmup: int, repeats: int, at_least: float
) -> list[list[float]]:
    """Seconds by the steady clock of every pass of every network, one image at a time, the networks taking turns."""
    place = torch.device(device)
    passes = [forward_pass(arch, place, 1) for arch in archs]
    return seconds_in_turn(passes, place, warmup, repeats, at_least, steady_clock(place))


def forward_pass(arch: Arch, place: torch.device, batch: int) -> Callable[[], object]:
    """One pass of random images through the network in eval mode, as a function; weights are random too."""
    network = build(arch).eval().to(place)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    images = torch.randn(batch, arch.in_channels, arch.resolution, arch.resolution, device=place)
    images = images.contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return network(images)

    return run
