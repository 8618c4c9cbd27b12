"""The installed console script, run as a user would, in a folder of its own."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPT = Path(sys.executable).with_name("scalesearch")
# The smallest training that still goes through every step.
TINY = (
    "--target-flops 400M --preset smoke --data digits --set train_images=64 --set val_images=64 --set members=1"
).split()
started: list[subprocess.Popen[str]] = []


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "SCALESEARCH_CACHE": str(cache)}


def tool(*argv: str | Path, cwd: Path, cache: Path, seconds: float = 240) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [str(SCRIPT), *map(str, argv)]
    return subprocess.run(
        command, cwd=cwd, env=environment(cache), capture_output=True, text=True, timeout=seconds, check=False
    )


def start(*argv: str | Path, cwd: Path, cache: Path) -> subprocess.Popen[str]:
    """The same without waiting for its end, in a process group of its own, which ends with the test."""
    process = subprocess.Popen(
        [str(SCRIPT), *map(str, argv)],
        cwd=cwd,
        # A killed process, or one on a full disk, leaves a coverage file that nobody can read.
        env={key: value for key, value in environment(cache).items() if not key.startswith("COV")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started.append(process)
    return process


def kill_started() -> None:
    """What a failed test has left."""
    while started:
        process = started.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
