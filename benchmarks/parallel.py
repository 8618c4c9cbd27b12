"""Replays on all cores, timed: each is a world of its own, so they share nothing."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

_replay: Callable[[int], Any] | None = None  # a fork has it, pickled or not; spawned processes would not


def on_all_cores(replay: Callable[[int], Any], count: int) -> tuple[list[Any], float]:
    """[replay(0), …, replay(count − 1)], and the mean seconds that one of them took on its core."""
    global _replay
    _replay = replay
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(min(cores, count), mp_context=multiprocessing.get_context("fork")) as executor:
        found, seconds = zip(*executor.map(_call, range(count), chunksize=max(1, count // (8 * cores))), strict=True)
    return list(found), sum(seconds) / count


def _call(number: int) -> tuple[Any, float]:
    assert _replay is not None
    began = time.perf_counter()
    return _replay(number), time.perf_counter() - began
