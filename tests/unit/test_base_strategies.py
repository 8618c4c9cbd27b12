"""The strategies of the base search on rewards that are known, over a small space: nothing is trained."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import optuna
import pytest

from scalesearch.search.base_strategies import POPULATION, STRATEGIES, Judged, propose
from scalesearch.spec import settings
from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.feasible import Budget, Reached
from scalesearch.spec.files import load_space

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPACE = BaseSpace(
    "small",
    Arch("tiny", 32, Stage("conv", 8), tuple(Stage("mbconv", 8, expand=2) for _ in range(4)), classes=4),
    {
        f"stages.{stage}.{key}": options
        for stage in (1, 2, 3, 4)
        for key, options in (("kernel", (3, 5, 7)), ("se", (0.0, 0.25)), ("expand", (1, 2, 3)), ("repeats", (1, 2)))
    },
)
FLOPS = 4_000_000
BUDGET = Budget.around(FLOPS, 0.25)
FEW = BaseSpace("few", SPACE.skeleton, {"stages.1.kernel": (3, 5, 7), "stages.2.kernel": (3, 5, 7)})


def accuracy(point: Point) -> float:
    """Separable: every choice adds its own part, whatever the others are. From 0.5 on."""
    parts = random.Random(7)
    table = [[parts.uniform(0, 0.03) for _ in range(3)] for _ in point]
    return 0.5 + sum(row[index] for row, index in zip(table, point, strict=True))


def judge(found: Reached, reward: Callable[[Point], float] = accuracy) -> Judged:
    value = reward(found.point)
    return Judged(found.point, found.arch.digest, float(cost(found.arch).flops), value, value)


def search(
    strategy: str, number: int, seed: int = 0, space: BaseSpace = SPACE, budget: Budget = BUDGET
) -> list[Judged]:
    seen: list[Judged] = []
    while len(seen) < number and (found := propose(strategy, space, budget, seen, seed)) is not None:
        seen.append(judge(found))
    return seen


def test_the_settings_name_the_strategies() -> None:
    assert list(STRATEGIES) == list(settings.STRATEGIES)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_proposals_are_new_and_within_the_budget(strategy: str) -> None:
    seen = search(strategy, 30)
    assert len(seen) == 30
    assert len({one.digest for one in seen}) == 30
    assert all(0.75 * FLOPS <= cost(SPACE.decode(one.point)).flops <= 1.25 * FLOPS for one in seen)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_history_replayed_from_any_prefix_leads_to_the_same_proposals(strategy: str) -> None:
    """Asked in any order of prefixes, as after a kill, and for another search in between."""
    seen = search(strategy, 27)
    for end in (26, 3, 17, 25, 0):
        assert propose(strategy, SPACE, BUDGET, seen[:end], 5) is not None
        found = propose(strategy, SPACE, BUDGET, seen[:end], 0)
        assert found is not None and found.point == seen[end].point


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_other_seeds_propose_other_networks(strategy: str) -> None:
    assert len({search(strategy, 2, seed)[1].point for seed in range(5)}) >= 4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_running_failed_and_stopped_networks_are_not_proposed_again(strategy: str) -> None:
    seen = search(strategy, POPULATION + 2)
    none = {"reward": None, "accuracy": None}
    mixed = [
        replace(one, **none, running=True)
        if number % 5 == 1
        else replace(one, **none)
        if number % 5 == 2
        else replace(one, **none, stopped=(1, 0.3))
        if number % 5 == 3
        else one
        for number, one in enumerate(seen)
    ]
    found = propose(strategy, SPACE, BUDGET, mixed, 0)
    assert found is not None and found.arch.digest not in {one.digest for one in mixed}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_small_space_is_tried_to_its_end_and_no_further(strategy: str) -> None:
    wide = Budget(1, 10**9)
    seen = search(strategy, 50, space=FEW, budget=wide)
    assert {one.point for one in seen} == set(FEW.points())
    assert len(seen) == 9
    assert propose(strategy, FEW, wide, seen, 0) is None


def test_networks_that_are_identified_count_as_one() -> None:
    """By the kernels of stage 1 alone there are three."""
    wide, seen = Budget(1, 10**9), list[Judged]()

    def identify(arch: Arch) -> str:
        return str(arch.stages[0].kernel)

    while (found := propose("random", FEW, wide, seen, 0, identify)) is not None:
        seen.append(replace(judge(found), digest=identify(found.arch)))
    assert sorted(one.digest for one in seen) == ["3", "5", "7"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_budget_out_of_reach_is_refused_with_the_nearest(strategy: str) -> None:
    with pytest.raises(BudgetError, match=r"few: no network of this space has .* of all 9 points; the nearest has"):
        propose(strategy, FEW, Budget.around(10**9, 0.05), [], 0)


def best_of(strategy: str, seeds: Sequence[int], number: int) -> float:
    return statistics.mean(max(one.reward or 0.0 for one in search(strategy, number, seed)) for seed in seeds)


@pytest.mark.parametrize(("strategy", "number"), [("evolution", 70), ("tpe", 50), ("reinforce", 110)])
def test_what_learns_beats_random_on_a_separable_reward(strategy: str, number: int) -> None:
    seeds = range(4)
    assert best_of(strategy, seeds, number) > best_of("random", seeds, number)


def differing(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(mine != yours for mine, yours in zip(one, other, strict=True))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_but_random_begin_with_the_skeleton_or_near_it(strategy: str) -> None:
    space = load_space("mnasnet").search
    assert space is not None
    skeleton = space.encode(space.skeleton)
    assert skeleton is not None
    wide = propose(strategy, space, Budget(1, 10**10), [], 3)
    tight = propose(strategy, space, Budget.around(400_000_000, 0.05), [], 3)
    assert wide is not None and tight is not None
    assert (wide.point == skeleton) == (strategy != "random")
    assert (differing(tight.point, skeleton) < 12) == (strategy != "random")  # of 28 choices


def test_a_regularised_evolution_forgets_the_old() -> None:
    """The best of all is too old to be a parent once POPULATION younger ones have ended."""
    seen = search("random", POPULATION + 10)
    old = replace(seen[0], reward=9.0)
    others = [replace(one, reward=0.1) for one in seen[1:]]
    children = [propose("evolution", SPACE, BUDGET, [old, *others], seed) for seed in range(6)]
    near = [differing(old.point, child.point) for child in children if child is not None]
    young = [
        min(differing(one.point, child.point) for one in others[-POPULATION:])
        for child in children
        if child is not None
    ]
    assert max(young) == 1  # one choice of a living parent was changed
    assert min(near) > 1


def test_nsga2_breeds_from_its_own_generations() -> None:
    """All parents share one option: their children have it but for mutations, random networks a third of the time."""
    drawn = (propose("random", SPACE, BUDGET, [], seed) for seed in range(400))
    parents = {one.digest: one for one in map(judge, filter(None, drawn)) if one.point[0] == 1}
    seen = list(parents.values())[:POPULATION]
    assert len(seen) == POPULATION

    def sharing(history: Sequence[Judged]) -> float:
        found = [propose("nsga2", SPACE, BUDGET, history, seed) for seed in range(12)]
        return statistics.mean(one.point[0] == 1 for one in found if one is not None)

    assert sharing(seen) > 0.75
    assert sharing(seen[:-1]) < 0.75  # the generation is not whole yet
    running = [*seen[:-1], replace(seen[-1], reward=None, accuracy=None, running=True)]
    assert sharing(running) < 0.75
