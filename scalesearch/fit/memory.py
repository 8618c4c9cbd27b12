"""How much memory this process holds, the most it has held, and how much there is."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path


def resident_bytes() -> int:
    """Bytes of this process in memory now; where the system does not tell, the most it has held."""
    return _status("VmRSS") or _highest()


def peak_resident_bytes() -> int:
    """The most bytes this process has held in memory since it began, or since `reset_peak`.

    Linux keeps ru_maxrss through exec, so that a spawned process reports at least its parent's; VmHWM begins anew.
    """
    return _status("VmHWM") or _highest()


def machine_bytes() -> int:
    """The machine's memory, or a container's limit where that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # "max" where there is no limit
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return whole


def reset_peak() -> None:
    """Let the peak begin at what is held now, where the system can do that (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def _highest() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
