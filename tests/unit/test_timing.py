"""Timing: what a list of times says, by hand and against scipy, and steps that take turns."""

from __future__ import annotations

import random
import statistics
import time

import pytest
import torch
from scipy.stats import binom

from scalesearch.nets.timing import seconds_in_turn, spread, steady_clock

CPU = torch.device("cpu")


def test_a_spread_by_hand() -> None:
    """0 to 10: deciles are 1 and 9; ranks 1 and 9 hold the median with 1 − 2·(1 + 11)/2048 = 98.8 %, 2 and 8 with
    93.5 %."""
    values = list(range(11))
    random.Random(0).shuffle(values)
    found = spread(values)
    assert (found.median, found.p10, found.p90, found.low, found.high, found.repeats) == (5, 1, 9, 1, 9, 11)


def test_one_value_is_its_own_spread() -> None:
    assert spread([3.0]) == spread([3.0, 3.0, 3.0]).__class__(3.0, 3.0, 3.0, 3.0, 3.0, 1)


@pytest.mark.parametrize("count", [2, 5, 6, 20, 51, 400])
def test_the_medians_interval_has_the_binomial_ranks(count: int) -> None:
    found = spread([float(value) for value in range(count)])
    below = int(found.low)  # values are their ranks, from 0
    assert found.high == count - 1 - below
    outside = 2 * binom.cdf(below, count, 0.5)
    assert outside <= 0.05 or below == 0
    assert 2 * binom.cdf(below + 1, count, 0.5) > 0.05  # no narrower one would do


def test_the_interval_holds_the_median_as_often_as_promised() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(600):
        found = spread([rng.expovariate(1.0) for _ in range(15)])
        held += found.low <= 0.6931 <= found.high
    assert held / 600 > 0.95 - 3 * 0.009  # three standard errors


def test_steps_take_turns_and_warmup_is_not_counted() -> None:
    seen: list[str] = []
    found = seconds_in_turn([lambda: seen.append("a"), lambda: seen.append("b")], CPU, warmup=2, repeats=3)
    assert seen == ["a", "b"] * 5
    assert [len(times) for times in found] == [3, 3]


def test_more_rounds_until_the_seconds_have_passed() -> None:
    (times,) = seconds_in_turn([lambda: time.sleep(0.01)], CPU, warmup=0, repeats=2, at_least=0.1)
    assert 3 <= len(times) <= 10  # 10 sleeps of 10 ms or more
    assert statistics.median(times) >= 0.01


def test_the_steady_clock_counts_work_alone() -> None:
    """Sleeping stands for what other processes take of the processor."""

    def work_and_wait() -> None:
        sum(range(200_000))
        time.sleep(0.05)

    ((busy,),) = seconds_in_turn([work_and_wait], CPU, warmup=0, repeats=1, clock=steady_clock(CPU))
    assert 0 < busy < 0.04
    assert steady_clock(torch.device("cuda")) is time.perf_counter
