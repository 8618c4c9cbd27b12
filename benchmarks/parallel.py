"""Replays on all cores, timed: each is a world of its own, so they share nothing."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from scalesearch.search.executor import cores, one_blas_thread

_replay: Callable[[int], Any] | None = None  # a fork has it, pickled or not; spawned processes would not


def on_all_cores(replay: Callable[[int], Any], count: int) -> tuple[list[Any], float]:
    """[replay(0), …, replay(count − 1)], and the mean seconds that one of them took on its core."""
    global _replay
    _replay = replay
    processes = cores()
    with ProcessPoolExecutor(min(processes, count), mp_context=multiprocessing.get_context("fork")) as executor:
        found, seconds = zip(
            *executor.map(_call, range(count), chunksize=max(1, count // (8 * processes))), strict=True
        )
    return list(found), sum(seconds) / count


@one_blas_thread()
def _call(number: int) -> tuple[Any, float]:
    assert _replay is not None
    began = time.perf_counter()
    return _replay(number), time.perf_counter() - began
