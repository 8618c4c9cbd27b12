"""The live display: one redrawn line on a terminal, plain lines when piped."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import time

import pytest

from scalesearch.commands.progress import Display
from scalesearch.search.engine import Progress
from scalesearch.search.records import TrialRecord
from scalesearch.spec.files import load_arch


def record(number: int, accuracy: float | None, reason: str = "") -> TrialRecord:
    rungs = () if accuracy is None else ({"seconds": 12.0, "epochs": [{"accuracy": accuracy}]},)
    return TrialRecord(
        number=number,
        status="done" if not reason else "pruned" if reason.startswith("pruned") else "failed",
        role="candidate",
        digest="0" * 16,
        seed=1,
        arch=load_arch("efficientnet_b0"),
        flops=1,
        params=1,
        activations=1,
        score=accuracy,
        reason=reason,
        rungs=rungs,
        attributes={"anchors": ["paper"], "shares": [0.5, 0.3, 0.2]},
    )


def progress(done: int, finished: TrialRecord | None = None, failed: int = 0, pruned: int = 0) -> Progress:
    best = record(2, 0.8125)
    return Progress(done, failed, 10, ((7, 1, 3),), 431.6, best, finished, pruned=pruned)


def test_piped_lines_are_plain() -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.line("plan: …")
    display(progress(3))
    display(progress(4, record(4, 0.75)))
    display(progress(4, record(5, None, "the loss became nan"), failed=1))
    display(progress(4, record(6, 0.31, "pruned by asha after epoch 1 of 6: 0.3100 there"), failed=1, pruned=1))
    display(progress(4, record(7, 0.31, "the loss became inf"), failed=2, pruned=1))
    display.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "plan: …"
    assert lines[1].startswith("[4/10] trial   4 nearest to the paper's point (seed 1): accuracy 0.7500, 12 s")
    assert lines[2].startswith("[5/10] trial   5 nearest to the paper's point (seed 1): failed: the loss became nan")
    assert lines[3].startswith("[6/10] trial   6 nearest to the paper's point (seed 1): pruned by asha after")
    assert lines[4].startswith("[7/10] trial   7 nearest to the paper's point (seed 1): failed: the loss became inf")
    assert "\x1b" not in stream.getvalue()


def test_each_step_has_a_clock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose base is searched first counts its trainings from 0 again."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    display = Display(stream)
    display(progress(3))  # three are of an earlier invocation
    now[0] += 60
    display(progress(5, record(5, 0.75)))
    now[0] += 1_000
    display(progress(0))  # the next step
    now[0] += 60
    display(progress(2, record(2, 0.75)))
    first, second = stream.getvalue().splitlines()
    assert first.endswith(", about 2m30s left") and second.endswith(", about 4m00s left")


def everything(terminal: int) -> str:
    """One read returns what has arrived, not all; after the last, Linux reports an error and others an end."""
    parts = []
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 10_000):
            parts.append(part)
    return b"".join(parts).decode()


def test_a_terminal_shows_one_live_line() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        display = Display(terminal)
        display(progress(3))
        display(progress(4, record(4, 0.75)))
        display(progress(4, pruned=2))
        display.close()
    shown = everything(ours)
    os.close(ours)
    assert "3/10 trainings · best 0.8125 (trial 2) · rung 1/3 of 7 · 432 images/s" in shown
    assert "6/10 trainings · 2 pruned · best" in shown
    assert shown.index("\x1b[2K") < shown.index("[4/10]")  # the live line is cleared before one that stays
    assert "left" in shown
