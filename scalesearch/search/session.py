"""What an evaluator works with: one invocation of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scalesearch.search.engine import Observer
from scalesearch.search.executor import Executor
from scalesearch.search.ledger import Ledger
from scalesearch.search.problem import Problem
from scalesearch.spec.settings import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """`started` is of time.monotonic; `say` takes one line per step."""

    ledger: Ledger
    executor: Executor
    settings: Settings
    problem: Problem
    device: str
    folder: Path
    observer: Observer
    say: Callable[[str], None]
    started: float
