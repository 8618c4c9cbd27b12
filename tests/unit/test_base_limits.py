"""Limits that are measured: of the networks themselves, kept in the ledger, and no proposal without an end."""

from __future__ import annotations

import math
import random
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from base_runs import NETWORKS, Here, problem, run

from scalesearch.report.base_wording import base_answer
from scalesearch.search import base_limits
from scalesearch.search.base_limits import LOOKS, budget_with_limits
from scalesearch.search.base_problem import budget_of, describe, limits_of
from scalesearch.search.base_run import BaseRun
from scalesearch.search.costs import Bench
from scalesearch.search.ledger import open_ledger
from scalesearch.search.plan import recipe_of
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.feasible import draw, some

SLOWEST = 0.02  # seconds, of the times below


class Timed(Here):
    """Latencies by parameters, where a real worker would take seconds; everything else is done here."""

    def __init__(self) -> None:
        super().__init__()
        self.measured: list[str] = []

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        if function.__name__ != "latency_seconds":
            return super().submit(function, *arguments)
        archs, answer = arguments[0], Future[Any]()
        self.measured.append(archs[-1].digest)
        answer.set_result([[cost(arch).params * 4e-9] * 3 for arch in archs])
        return answer


def latencies(found: BaseRun) -> list[float]:
    return [4e-6 * r.attributes["base_params"] for r in found.trials if r.role == "candidate"]


def test_networks_over_the_latency_are_not_tried(tmp_path: Path) -> None:
    free = run(tmp_path / "free", problem(strategy="random"), Timed())
    most = sorted(latencies(free))[len(latencies(free)) // 2]
    executor = Timed()
    found = run(tmp_path / "base", problem(strategy="random", max_latency_ms=most), executor)
    assert max(latencies(free)) > most >= max(latencies(found))
    assert len(executor.measured) == len(set(executor.measured))  # each once
    assert f"latency, measured here: {4e-6 * found.winner.params:.4g} ms, of {most:.4g} ms" in " ".join(
        base_answer(found)
    )


@pytest.mark.parametrize("strategy", ["evolution", "tpe", "reinforce"])
def test_every_strategy_keeps_the_limit(tmp_path: Path, strategy: str) -> None:
    found = run(tmp_path / "base", problem(strategy=strategy, max_latency_ms=18.0), Timed())
    assert max(latencies(found)) <= 18.0


def test_a_latency_that_few_have_is_walked_to(tmp_path: Path) -> None:
    """One network in fifty: rejection alone would measure as many for each proposal."""
    space = problem().space
    rng = random.Random(1)
    drawn = [one.arch for one in some(space, problem().budget, rng, 300)]
    tight = sorted(4e-6 * cost(arch).params for arch in drawn)[5]
    executor = Timed()
    found = run(tmp_path / "base", problem(strategy="random", max_latency_ms=tight), executor)
    assert found.finished == f"all {NETWORKS} planned networks tried"
    assert max(latencies(found)) <= tight
    assert len(executor.measured) < NETWORKS * LOOKS


def test_a_latency_that_none_has_ends_with_the_nearest(tmp_path: Path) -> None:
    executor = Timed()
    with pytest.raises(
        BudgetError,
        match=r"at most 0\.5 ms of latency, among 50 measured; the nearest has .*FLOPs, [\d.]+ ms; move",
    ):
        run(tmp_path / "base", problem(max_latency_ms=0.5), executor)
    assert len(executor.measured) <= LOOKS + 1  # and the reference, in turn with which they are timed


def test_memory_that_a_machine_lacks_is_over_any_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posed = problem(max_memory_mb=64.0)
    reached = draw(posed.space, posed.budget, random.Random(0))
    bench = Bench(Here(), posed.reference, recipe_of(posed.settings, 1), "cpu", 0.1)
    (tmp_path / "base").mkdir()
    budget = budget_with_limits(open_ledger(tmp_path / "base", "base", None), bench, posed)
    assert budget.limits == {"memory": 64e6}

    def too_large(*arguments: object) -> float:
        raise base_limits.TrainingError("out of memory")

    monkeypatch.setattr(base_limits, "make_cost", lambda *arguments: too_large)
    budget = budget_with_limits(open_ledger(tmp_path / "base", "base", None), bench, posed)
    assert budget.excess(reached.arch).measured == math.inf


def test_limits_have_the_axes_own_units() -> None:
    given = {"max_params": 5_000_000, "max_activations": 9_000_000, "max_latency_ms": 12.5, "max_memory_mb": 600.0}
    posed = problem(**given)
    assert limits_of(posed.settings) == {"params": 5e6, "activations": 9e6, "latency": 0.0125, "memory": 600e6}
    assert budget_of(posed.settings).limits == {"params": 5e6, "activations": 9e6}
    text = "\n".join(describe(posed))
    assert "and at most 12.5 ms of latency, measured of proposals: not in this share" in text
    assert "and at most 600 MB of peak training memory, measured" in text
