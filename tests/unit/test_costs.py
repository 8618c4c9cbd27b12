"""Scores on every axis: what is computed, what is measured once, and what a resumed run does not measure again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scalesearch.fit.recipe import Recipe
from scalesearch.nets.timing import Spread
from scalesearch.search.costs import ATTEMPTS, Bench, make_score, measure, measured
from scalesearch.search.executor import HereExecutor, WorkerDied
from scalesearch.search.ledger import Ledger, open_ledger
from scalesearch.search.records import TrialRecord
from scalesearch.spec.arch import Arch, Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import TrainingError
from scalesearch.spec.settings import Settings

BASE = Arch("base", 16, Stage("conv", 4), (Stage("mbconv", 4, se=0.25),), classes=10, in_channels=1)
NET = replace(BASE, stages=(Stage("mbconv", 8, repeats=2, se=0.25),), resolution=18)


class Here(HereExecutor):
    """Remembers what it was given; `faults` are raised first, one per submission."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.calls: list[str] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        self.calls.append(function.__name__)
        if self.faults:
            return super().submit(_fail, self.faults.pop(0))
        return super().submit(function, *arguments)


def _fail(fault: Exception) -> None:
    raise fault


def bench(executor: Here) -> Bench:
    return Bench(executor, BASE, Recipe(epochs=1, batch=4), "cpu", seconds=0.02)


def settings(**given: Any) -> Settings:
    return Settings(target_flops=400_000_000, **given)


def record(arch: Arch = NET, role: str = "candidate", **attributes: Any) -> TrialRecord:
    found = cost(arch)
    return TrialRecord(
        0, "running", role, arch.digest, 0, arch, found.flops, found.params, found.activations, None, "", (), attributes
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(tmp_path, "run", None)


@pytest.mark.parametrize("axis", ["flops", "params", "activations"])
def test_computed_axes_are_the_cost_models(ledger: Ledger, axis: str) -> None:
    executor = Here()
    score = make_score(ledger, bench(executor), settings(cost=axis))
    ratio = getattr(cost(NET), axis) / getattr(cost(BASE), axis)
    assert score(record(), 0.8) == pytest.approx(0.8 * (ratio / 2) ** -0.07, rel=1e-12)
    assert score(record(BASE, "base", budget=1.0), 0.5) == 0.5
    # A family member's target follows its budget in FLOPs.
    assert score(record(role="family", budget=3.9), 0.8) == pytest.approx(0.8 * (ratio / 3.9) ** -0.07, rel=1e-12)
    assert executor.calls == []


def test_activations_by_hand() -> None:
    """One image of 16 px: the stem's 4 maps of 16², the squeeze's 1 + 4 and the expansion-free block's two layers of
    4 maps, the head's classes."""
    assert cost(BASE).activations == 4 * 256 + (4 * 256 + 1 + 4 + 4 * 256) + 10


@pytest.mark.parametrize(("axis", "function"), [("latency", "latency_seconds"), ("train_step", "train_step_seconds")])
def test_measured_axes_are_measured_once_and_kept(tmp_path: Path, ledger: Ledger, axis: str, function: str) -> None:
    executor = Here()
    score = make_score(ledger, bench(executor), settings(cost=axis))
    assert executor.calls == [function]  # the base, before anything is scored
    scores = [score(record(), 0.8), score(record(), 0.8)]
    assert executor.calls == [function] * 2
    own, base = (measured(ledger.facts(), axis, arch.digest) for arch in (NET, BASE))
    assert own is not None and base is not None
    assert scores == [0.8 * (own.median / (2 * base.median)) ** -0.07] * 2
    assert 0 < own.p10 <= own.median <= own.p90 and own.low <= own.median <= own.high and own.repeats >= 11
    # Another process on the same folder: nothing is measured, and the score is the same to the bit.
    again = Here(AssertionError("measured again"))
    assert make_score(open_ledger(tmp_path, "run", None), bench(again), settings(cost=axis))(record(), 0.8) == scores[0]
    assert again.calls == []


def test_memory_is_an_axis(ledger: Ledger) -> None:
    score = make_score(ledger, bench(Here()), settings(cost="memory"))
    own, base = score(record(), 0.8), measured(ledger.facts(), "memory", BASE.digest)
    found = measured(ledger.facts(), "memory", NET.digest)
    assert found is not None and base is not None
    assert (found.repeats, found.p10) == (1, found.median)
    assert own == pytest.approx(0.8 * (found.median / (2 * base.median)) ** -0.07)


def test_efficientnetv2s_objective_by_hand(ledger: Ledger) -> None:
    """A·S^−0.07·P^−0.05 (arXiv:2104.00298v1, section 3.3), S and P over their targets."""
    for arch, seconds in ((BASE, 0.010), (NET, 0.030)):
        ledger.set_fact(f"train_step {arch.digest}", asdict(Spread(seconds, seconds, seconds, seconds, seconds, 9)))
    score = make_score(ledger, bench(Here()), settings(cost="train_step", objective="efficientnetv2"))
    parameters = cost(NET).params / (2 * cost(BASE).params)
    assert score(record(), 0.8) == pytest.approx(0.8 * 1.5**-0.07 * parameters**-0.05, rel=1e-12)


def test_the_hard_form_on_a_measured_axis(ledger: Ledger) -> None:
    for arch, seconds in ((BASE, 0.010), (NET, 0.030)):
        ledger.set_fact(f"latency {arch.digest}", asdict(Spread(seconds, seconds, seconds, seconds, seconds, 9)))
    score = make_score(ledger, bench(Here()), settings(cost="latency", objective="hard"))
    assert score(record(), 0.9) == pytest.approx(0.9 / 1.5)
    assert score(record(role="family", budget=4.0), 0.9) == 0.9


def test_a_worker_that_dies_is_asked_again_but_not_for_ever(ledger: Ledger) -> None:
    executor = Here()
    score = make_score(ledger, bench(executor), settings(cost="latency"))
    executor.faults = [WorkerDied("the worker process died")] * (ATTEMPTS - 1)
    assert score(record(), 0.8) > 0
    executor.faults = [WorkerDied("the worker process died")] * ATTEMPTS
    with pytest.raises(WorkerDied):
        score(record(replace(NET, resolution=20)), 0.8)


def test_memory_that_does_not_suffice_is_told(ledger: Ledger) -> None:
    huge = replace(NET, head=Stage("conv", 100_000, kernel=1), classes=10**9)
    score = make_score(ledger, bench(Here()), settings(cost="train_step"))
    with pytest.raises(TrainingError, match=r"^out of memory with batches of 4: .*; lower --set batch$"):
        score(record(huge), 0.8)
    assert measured(ledger.facts(), "train_step", huge.digest) is None


def test_several_at_once_leave_out_what_is_known(ledger: Ledger) -> None:
    executor = Here()
    measure(ledger, bench(executor), "latency", [BASE, NET, NET])
    measure(ledger, bench(executor), "latency", [NET, BASE])
    assert executor.calls == ["latency_seconds"] * 2
    assert measured(ledger.facts(), "train_step", NET.digest) is None


@pytest.fixture(autouse=True)
def the_callers_threads_stay() -> Any:
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before
