"""Live progress of a run: one redrawn line on a terminal, plain lines when piped."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

from scalesearch.report.wording import anchor_name
from scalesearch.spec.units import format_duration

if TYPE_CHECKING:
    from scalesearch.search.engine import Progress


class Display:
    """Shows `Progress` on a stream. Time left follows from the share of trainings done."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._started = time.monotonic()
        self._done: int | None = None
        self._done_before = 0  # trainings finished in an earlier invocation

    def line(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def __call__(self, progress: Progress) -> None:
        for note in progress.notes:
            self.line(f"  {note}")
        done = progress.ended
        if self._done is None or done < self._done:  # the search of the base has ended, and the run begins
            self._done_before, self._started = done, time.monotonic()
        self._done = done
        if progress.finished is not None:
            self.line(self._finished(progress))
        elif self._live:
            self._clear()
            # A wrapped line could not be cleared again.
            width = shutil.get_terminal_size().columns - 1
            print(self._status(progress)[:width], end="", file=self._stream, flush=True)

    def close(self) -> None:
        self._clear()

    def _finished(self, progress: Progress) -> str:
        record = progress.finished
        assert record is not None
        what = record.attributes.get("member", record.role)
        if "shares" in record.attributes and record.role == "candidate":
            shares = record.attributes["shares"]
            what = ", ".join(anchor_name(name, shares) for name in record.attributes["anchors"]) or "candidate"
        outcome = f"accuracy {record.accuracy:.4f}" if record.status == "done" else record.reason
        if record.status == "failed":
            outcome = f"failed: {record.reason}"
        return (
            f"[{progress.ended}/{max(progress.total, progress.ended)}] trial {record.number:>3} "
            f"{what} (seed {record.seed}): {outcome}, {record.seconds:.0f} s{self._left(progress)}"
        )

    def _status(self, progress: Progress) -> str:
        parts = [f"{progress.ended}/{max(progress.total, progress.ended)} trainings"]
        if progress.pruned:
            parts.append(f"{progress.pruned} pruned")
        if progress.best is not None:
            parts.append(f"best {progress.best.accuracy:.4f} (trial {progress.best.number})")
        if progress.running:
            parts.append("rung " + ", ".join(f"{rung}/{rungs} of {trial}" for trial, rung, rungs in progress.running))
        if progress.images_per_second:
            parts.append(f"{progress.images_per_second:.0f} images/s")
        return " · ".join(parts) + self._left(progress)

    def _left(self, progress: Progress) -> str:
        done = progress.ended - self._done_before
        remaining = progress.total - progress.ended
        if done <= 0 or remaining <= 0:
            return ""
        seconds = (time.monotonic() - self._started) / done * remaining
        return f", about {format_duration(seconds)} left"

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", file=self._stream, flush=True)
