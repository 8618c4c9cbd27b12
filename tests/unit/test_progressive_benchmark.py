"""The arithmetic of benchmarks/progressive.py, on made-up trainings."""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import pytest
from scripts import ROOT, load_script

from scalesearch.fit.recipe import Epoch


@pytest.fixture(scope="module")
def script() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))  # it imports results.py by name
    yield load_script("benchmarks/progressive.py")
    sys.path.remove(str(ROOT / "benchmarks"))


def history(seconds: float, *accuracies: float) -> list[Epoch]:
    return [Epoch(index, 1.0, 1.0, value, 9.0, 1.0, seconds) for index, value in enumerate(accuracies, 1)]


def test_time_is_counted_to_the_first_epoch_that_reaches(script: ModuleType) -> None:
    found = history(2.0, 0.3, 0.8, 0.7, 0.9)
    assert [script.seconds_to(found, goal) for goal in (0.2, 0.8, 0.85, 0.95)] == [2.0, 4.0, 8.0, None]


def test_ratios_are_paired_by_seed(script: ModuleType) -> None:
    """Two seeds, 2 and 8 times faster: 4 in the mean; t of one degree of freedom at 95 % is 6.314."""
    middle, low, high = script.ratio([math.log(2), math.log(8)])
    half = 6.313752 * math.log(2)  # the standard error of log 2 and log 8 is log 2
    assert (middle, low, high) == pytest.approx((4.0, 4 * math.exp(-half), 4 * math.exp(half)), rel=1e-5)
    assert script.ratio([math.log(3)]) == (pytest.approx(3.0), None, None)
    fixed = [history(4.0, 0.5, 0.9), history(4.0, 0.9, 0.9)]
    progressive = [history(1.0, 0.5, 0.9), history(1.0, 0.5, 0.6)]
    whole, goal = script.rows_of("sides", fixed, progressive, [0.9, 0.5])
    assert whole["ratio"] == pytest.approx(4.0)
    # Nobody is told of 90 %, which one of the two seeds did not reach.
    assert goal["measure"].startswith("time to 50 %") and goal["ratio"] == pytest.approx(4.0)
    assert goal["details"]["note"] == "reached by 2 of 2 fixed, 2 progressive"
    assert goal["details"]["seconds"] == [(4.0, 1.0), (4.0, 1.0)]


def test_an_accuracy_that_nobody_reaches_gives_no_row(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rows = script.rows_of("sides", [history(1.0, 0.5)], [history(1.0, 0.5)], [0.9])
    assert len(rows) == 1
    assert "not every seed reached 90 % both ways" in capsys.readouterr().out


def test_the_pairs_differ_in_what_they_say(script: ModuleType) -> None:
    """Both of a pair end alike; only the sides rise in the first, all of it in the second."""
    for pair in script.PAIRS:
        (fixed,), rising = script.stages_of(pair, False, 16), script.stages_of(pair, True, 16)
        assert fixed == rising[-1] and fixed.stop == 16
        assert [stage.pixels(script.SIDE) for stage in rising] == [27, 40, 52, 64]
        assert len({stage.magnitude for stage in rising}) == (1 if pair == "sides" else 4)
