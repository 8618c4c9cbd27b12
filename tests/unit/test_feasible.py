"""Networks within a budget: what is found, what is said of the share, and what is said where there is none."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, SettingsError
from scalesearch.spec.feasible import Budget, Excess, approach, draw, feasible_share
from scalesearch.spec.files import load_space
from scalesearch.spec.options import Grid
from scalesearch.spec.units import format_flops, parse_flops

SMALL = BaseSpace(
    "small",
    Arch("tiny", 32, Stage("conv", 8), (Stage("mbconv", 8, expand=2), Stage("mbconv", 16, stride=2)), classes=4),
    {
        "stages.1.channels": (8, 16, 24),
        "stages.2.channels": (16, 24, 32),
        "stages.2.repeats": (1, 2, 3),
        "stages.1.kernel": (3, 5),
        "resolution": Grid(16, 48, 8),
    },
)
EVERY = {point: cost(SMALL.decode(point)) for point in SMALL.points()}


def search(name: str) -> BaseSpace:
    found = load_space(name).search
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["mnasnet", "efficientnet", "regnet"])
def test_draws_are_within_the_budget(name: str) -> None:
    space, budget, rng = search(name), Budget.around(400_000_000, 0.05), random.Random(0)
    found = [draw(space, budget, rng) for _ in range(3)]
    for reached in found:
        assert 380_000_000 <= cost(reached.arch).flops <= 420_000_000
        assert reached.arch == space.decode(reached.point)
        assert reached.excess.within
    assert len({reached.arch.digest for reached in found}) == 3


def test_limits_hold_beside_the_flops() -> None:
    space = search("mnasnet")
    budget = Budget.around(400_000_000, 0.05, {"params": 3_500_000, "activations": 6_000_000})
    found = cost(draw(space, budget, random.Random(1)).arch)
    assert 380_000_000 <= found.flops <= 420_000_000
    assert found.params <= 3_500_000 and found.activations <= 6_000_000


def test_measured_limits_are_asked_of_networks_within_the_others() -> None:
    asked: list[int] = []

    def seconds(arch: Arch) -> float:
        asked.append(cost(arch).flops)
        return 1e-3 * sum(stage.repeats for stage in arch.stages)

    flops = sorted(found.flops for found in EVERY.values())
    low, high = flops[len(flops) // 3], flops[2 * len(flops) // 3]
    budget = Budget(low, high, {"latency": 2.5e-3}, {"latency": seconds})
    reached = draw(SMALL, budget, random.Random(0))
    assert sum(stage.repeats for stage in reached.arch.stages) == 2
    assert asked and all(low <= asked_of <= high for asked_of in asked)


def test_a_budget_that_random_points_miss_is_still_reached() -> None:
    """EfficientNetV2's space begins at a third of a gigaflop, and nearly all of it lies far above."""
    space, budget = search("efficientnetv2"), Budget.around(400_000_000, 0.02)
    rng = random.Random(0)
    assert feasible_share(space, budget, rng, draws=100).hits == 0
    reached = draw(space, budget, rng, draws=400)
    assert reached.excess.within
    assert 392_000_000 <= cost(reached.arch).flops <= 408_000_000


def test_an_infeasible_budget_ends_with_the_nearest() -> None:
    """Of a small space the nearest there is, by looking at all of it."""
    least = min(found.flops for found in EVERY.values())
    with pytest.raises(BudgetError) as caught:
        draw(SMALL, Budget(1, least - 1), random.Random(0))
    found = re.fullmatch(
        r"small: no network of this space has 1 FLOPs to (\S+) FLOPs, of all 270 points; the nearest has (\S+) FLOPs; "
        r"move the budget there, or choose another space or resolution",
        str(caught.value),
    )
    assert found is not None
    assert parse_flops(found[2]) == pytest.approx(least, rel=1e-3)


def test_an_infeasible_budget_in_a_large_space_ends_after_a_stated_number() -> None:
    space = search("mnasnet")
    looked: list[Arch] = []

    class Counted(Budget):
        def excess(self, arch: Arch) -> Excess:
            looked.append(arch)
            return super().excess(arch)

    # Every layer costs less with less: the depthwise separable operation, the smaller kernel, no
    # squeeze-and-excitation, the fewest channels and repeats are the least there is.
    cheapest = tuple(1 if path.count(".") == 1 else 0 for path in space.choices)
    least = cost(space.decode(cheapest)).flops
    with pytest.raises(BudgetError) as caught:
        draw(space, Counted(1, 10_000_000), random.Random(0), draws=400)
    assert str(caught.value) == (
        "mnasnet: no network of this space has 1 FLOPs to 10.00M FLOPs, among 800 looked at; the nearest has "
        f"{format_flops(least)} FLOPs; move the budget there, or choose another space or resolution"
    )
    assert 400 < len(looked) <= 801  # the message asks once more
    walked = approach(space, Budget(1, 10_000_000), space.sample(random.Random(9)), random.Random(9), 50)
    assert not walked.excess.within


def test_limits_that_cannot_be_kept_are_named() -> None:
    flops = sorted(found.flops for found in EVERY.values())
    least = min(found.params for found in EVERY.values())
    budget = Budget(1, flops[-1], {"params": least - 1, "latency": 1.0}, {"latency": lambda arch: 0.5})
    with pytest.raises(BudgetError) as caught:
        draw(SMALL, budget, random.Random(0))
    limits = f"at most {format_flops(least - 1)} parameters, at most 1000 ms of latency"
    assert f"{limits}, of all 270 points" in str(caught.value)
    assert f" FLOPs, {format_flops(least)} parameters; move the budget there" in str(caught.value)
    slow = Budget(1, flops[-1], {"latency": 0.1}, {"latency": lambda arch: 0.5})
    with pytest.raises(BudgetError, match=r"at most 100 ms of latency, .* the nearest has .* FLOPs, 500 ms; move"):
        draw(SMALL, slow, random.Random(0))


def test_the_share_is_that_of_all_points() -> None:
    """Against the exact share of a small space; its grid's two ends are drawn half as often as the rest."""
    flops = sorted(found.flops for found in EVERY.values())
    budget = Budget(flops[60], flops[200])
    weights = {point: 0.5 if point[-1] in (0, 4) else 1.0 for point in EVERY}
    within = sum(weight for point, weight in weights.items() if budget.low <= EVERY[point].flops <= budget.high)
    exact = within / sum(weights.values())
    caught = 0
    for seed in range(40):
        share = feasible_share(SMALL, budget, random.Random(seed), draws=100)
        assert share.low <= share.value <= share.high
        caught += share.low <= exact <= share.high
    assert caught >= 34  # of 40 intervals at 95 %; fewer have a chance of 0.2 %


def test_no_hits_are_not_a_share_of_zero() -> None:
    share = feasible_share(SMALL, Budget(1, 1), random.Random(0), draws=100)
    assert (share.hits, share.value, share.low) == (0, 0.0, 0.0)
    assert share.high == pytest.approx(0.037, abs=5e-4)


def test_excess_adds_up() -> None:
    arch = SMALL.decode((0, 0, 0, 0, 0))
    found = cost(arch)
    budget = Budget(2 * found.flops, 3 * found.flops, {"params": found.params / 4})
    assert budget.excess(arch) == (pytest.approx(math.log(2) + math.log(4)), 0.0)
    assert Budget(1, found.flops).excess(arch).within
    assert Excess(0.0, 9.0) < Excess(0.1, 0.0)


def test_a_window_around_a_target() -> None:
    assert (Budget.around(400_000_000, 0.05).low, Budget.around(400_000_000, 0.05).high) == (380_000_000, 420_000_000)
    assert (Budget.around(10, 0.04).low, Budget.around(10, 0.04).high) == (10, 10)
    assert Budget(380_000_000, 420_000_000, {"params": 5e6, "memory": 2e9}, {"memory": _one}).spelled() == (
        "380.0M FLOPs to 420.0M FLOPs, at most 5.000M parameters, at most 2000 MB of peak training memory"
    )


def _one(arch: Arch) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5), "budget: FLOPs must rise from at least 1, got 0 to 5; swap them"),
        ((6_000, 5), "budget: FLOPs must rise from at least 1, got 6,000 to 5; swap them"),
        ((1, 5, {"parms": 3}), "budget: there is no limit of 'parms'; did you mean 'params'?"),
        ((1, 5, {"flops": 3}), "budget: there is no limit of 'flops'; known are params, activations, latency"),
        ((1, 5, {"params": 0}), "budget: the limit of params must be positive, got 0; raise it"),
        ((1, 5, {"params": math.nan}), "budget: the limit of params must be positive, got nan; raise it"),
        ((1, 5, {"latency": 1}), "budget: latency is measured, and nothing here does so; give a measure, or no limit"),
    ],
)
def test_faulty_budgets(arguments: tuple[Any, ...], message: str) -> None:
    make: Callable[..., Budget] = Budget
    with pytest.raises(SettingsError) as caught:
        make(*arguments)
    assert str(caught.value).startswith(message)
