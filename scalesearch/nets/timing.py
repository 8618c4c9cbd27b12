"""Timing steps of networks: the device, the threads, steps in turn, and what a list of times says."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from scalesearch.spec.errors import SettingsError

_MEDIAN_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, 10th and 90th percentile of `repeats` values, and an interval for the median itself.

    `low` and `high` are order statistics that hold the true median with at least 95 %, whatever the distribution
    (binomial ranks); under six values no ranks do, and they are the extremes. They know nothing of slow drifts.
    """

    median: float
    p10: float
    p90: float
    low: float
    high: float
    repeats: int


def spread(values: Sequence[float]) -> Spread:
    """What `values`, of which there must be one or more, say."""
    ordered, count = sorted(values), len(values)
    # One value has no deciles; quantiles() wants two.
    deciles = statistics.quantiles(ordered * 2 if count == 1 else ordered, n=10, method="inclusive")
    rank = _rank(count)
    return Spread(statistics.median(ordered), deciles[0], deciles[-1], ordered[rank], ordered[count - 1 - rank], count)


def _rank(count: int) -> int:
    """The largest r such that the r-th lowest and highest (from 0) hold the median with the confidence."""
    rank, outside = 0, 2 * 0.5**count
    while rank + 1 < count / 2:
        outside += 2 * math.comb(count, rank + 1) * 0.5**count
        if outside > 1 - _MEDIAN_CONFIDENCE:
            break
        rank += 1
    return rank


def seconds_in_turn(
    steps: Sequence[Callable[[], object]],
    place: torch.device,
    warmup: int,
    repeats: int,
    at_least: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds by `clock` of `repeats` runs of each step, or of more until `at_least` wall-clock seconds have passed.

    `warmup` runs are not counted. The steps take turns, round by round, so that what slows the machine slows all of
    them. On a GPU each is waited for.
    """
    found: list[list[float]] = [[] for _ in steps]
    index, begun = 0, time.perf_counter()
    while index < warmup + repeats or time.perf_counter() - begun < at_least:
        for step, seconds in zip(steps, found, strict=True):
            _wait(place)
            start = clock()
            step()
            _wait(place)
            if index >= warmup:
                seconds.append(clock() - start)
        index += 1
    return found


def steady_clock(place: torch.device) -> Callable[[], float]:
    """The process' processor time where the CPU does the work: other processes' share of it does not count.

    For one thread on an idle machine it is the wall-clock time.
    """
    return time.process_time if place.type == "cpu" else time.perf_counter


def require_at_least(what: str, low: int, **values: int) -> None:
    """Raises SettingsError for a number below `low`; `what` opens the message."""
    for name, value in values.items():
        if value < low:
            raise SettingsError(f"{what}: {name} must be at least {low}, got {value!r}; raise it")


def usable_device(what: str, name: str) -> torch.device:
    """The CPU or a CUDA device. Raises SettingsError if PyTorch has no such device here."""
    try:
        place = torch.device(name)
    except RuntimeError:
        place = torch.device("meta")  # refused below, like every device that runs nothing here
    usable = place.type == "cpu" or (place.type == "cuda" and (place.index or 0) < torch.cuda.device_count())
    if not usable:
        raise SettingsError(
            f"{what}: device must be 'cpu' or a CUDA device that PyTorch has here "
            f"({torch.cuda.device_count()} found), got {name!r}; use 'cpu'"
        )
    return place


@contextmanager
def thread_count(count: int) -> Iterator[None]:
    """PyTorch's intra-op thread count inside; the caller's comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
