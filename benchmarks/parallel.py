"""Replays on all cores: each is a world of its own, so they share nothing."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

_replay: Callable[[int], Any] | None = None  # a fork has it, pickled or not


def on_all_cores(replay: Callable[[int], Any], count: int) -> list[Any]:
    """[replay(0), …, replay(count − 1)]."""
    global _replay
    _replay = replay
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(min(cores, count), mp_context=multiprocessing.get_context("fork")) as executor:
        return list(executor.map(_call, range(count), chunksize=max(1, count // (8 * cores))))


def _call(number: int) -> Any:
    assert _replay is not None
    return _replay(number)
