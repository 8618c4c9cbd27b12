"""What a worker process sets up before its first work."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Sequence

import torch

from scalesearch.nets.factory import allow


def start_worker(parent: int, factories: Sequence[str] = ()) -> None:
    """One thread, Ctrl-C left to the parent, no page faults for every tensor, and an end when the parent ends.

    `factories` are those whose code the parent may run, and so its workers.
    """
    for factory in factories:
        allow(factory)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_memory()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def keep_memory() -> None:
    """Tell glibc to keep freed memory: else each large tensor is mapped, faulted in and unmapped again per step."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # not glibc


def _end_with(parent: int) -> None:
    """A worker blocks on its queue for ever if the parent is killed; this thread notices and ends it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def process_id() -> int:
    """The worker's own, to show that it is up."""
    return os.getpid()
