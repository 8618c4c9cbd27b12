"""Which base network to try next: strategies over a `BaseSpace`, within a budget.

A strategy is one entry of STRATEGIES. Every proposal is a function of (space, budget, what has been seen, seed, n), so
a resumed search proposes what an uninterrupted one would. No network is proposed twice, and none outside the budget.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from scalesearch.search.controller import sample as sample_controller
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.feasible import Budget, Reached, approach, draw
from scalesearch.spec.options import Grid

POPULATION, TOURNAMENT = 24, 6  # of the evolution; a quarter of it competes, as in Real et al. 2019 (P 100, S 25)
TRIES = 60  # proposals that were seen before, or cannot get into the budget, before a random one stands in
STEPS = 200  # networks looked at to get a proposal into the budget


@dataclass(frozen=True, slots=True)
class Judged:
    """A network that has been proposed. `reward` and `accuracy` are None while it is trained, or if that failed."""

    point: Point
    digest: str
    flops: int
    reward: float | None = None
    accuracy: float | None = None
    running: bool = False


Strategy = Callable[[BaseSpace, Budget, Sequence[Judged], int, random.Random], Point]


def propose(strategy: str, space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int) -> Reached | None:
    """The next network, new and within the budget; None if random draws find nothing new either.

    `seen` is in the order of the proposals. Raises BudgetError if no network of the space is within the budget.
    """
    known = {one.digest for one in seen}
    rng = random.Random(f"{seed} {len(seen)}")
    for number in range(2 * TRIES):
        own = random.Random(f"{seed} {len(seen)} {number}")
        if number < TRIES and strategy != "random":
            found = _within(space, budget, STRATEGIES[strategy](space, budget, seen, seed, own), own)
        else:
            found = draw(space, budget, rng)
        if found is not None and found.arch.digest not in known:
            return found
    return None


def _within(space: BaseSpace, budget: Budget, point: Point, rng: random.Random) -> Reached | None:
    """The point, or the end of a short walk from it into the budget."""
    arch = space.decode(point) if space.sound(point) else None
    if arch is not None and (excess := budget.excess(arch)).within:
        return Reached(point, arch, excess)
    start = point if arch is not None else space.sample(rng)
    found = approach(space, budget, start, rng, STEPS)
    return found if found.excess.within else None


def _random(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    return draw(space, budget, rng).point


def _evolution(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """Regularised evolution (Real et al. 2019, algorithm 1): the best of a few of the youngest POPULATION, mutated.

    Age is by proposal. Until POPULATION networks have been proposed, they are drawn at random.
    """
    finished = [one for one in seen if one.reward is not None]
    if len(seen) < POPULATION or not finished:
        return draw(space, budget, rng).point
    alive = finished[-POPULATION:]
    parent = max(rng.sample(alive, min(TOURNAMENT, len(alive))), key=lambda one: one.reward or 0.0)
    for _ in range(STEPS):  # a child that is within the budget as it is, if there is one
        child = space.mutate(parent.point, rng)
        if budget.excess(space.decode(child)).within:
            return child
    return space.mutate(parent.point, rng)


def _tpe(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """Optuna's TPE, each choice a parameter; a fresh sampler on a study of what is visible now."""
    sampler = optuna.samplers.TPESampler(seed=rng.getrandbits(32), constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(space)
    for one in seen:
        if one.reward is not None or one.running:
            study.add_trial(
                create_trial(
                    state=TrialState.RUNNING if one.running else TrialState.COMPLETE,
                    params=dict(zip(distributions, one.point, strict=True)),
                    distributions=distributions,
                    value=one.reward,
                )
            )
    asked = study.ask(distributions).params
    return tuple(asked[path] for path in distributions)


def _nsga2(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """Optuna's NSGA-II (Deb et al. 2002) on accuracy, maximised, and FLOPs, minimised.

    The sampler keeps generations in its study, so the study is played again from its start: each proposal that was
    made is asked for as it was, and told what came of it. The last ask is the answer.
    """
    sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=rng.getrandbits(32))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    distributions = _distributions(space)
    for one in seen:
        study.enqueue_trial(dict(zip(distributions, one.point, strict=True)))
        trial = study.ask(distributions)
        if one.accuracy is not None:
            study.tell(trial, [one.accuracy, float(one.flops)])
        elif not one.running:
            study.tell(trial, state=TrialState.FAIL)
    asked = study.ask(distributions).params
    return tuple(asked[path] for path in distributions)


def _reinforce(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """The controller of MnasNet, which its rewards have trained so far (search/controller.py)."""
    finished = tuple((one.point, one.reward) for one in seen if one.reward is not None)
    return sample_controller(tuple(map(len, space.choices.values())), finished, seed, rng.getrandbits(63))


def _distributions(space: BaseSpace) -> dict[str, BaseDistribution]:
    """A choice among values has no order; a grid has."""
    return {
        path: IntDistribution(0, len(options) - 1)
        if isinstance(options, Grid)
        else CategoricalDistribution(tuple(range(len(options))))
        for path, options in space.choices.items()
    }


def judged(point: Point, space: BaseSpace, **more: object) -> Judged:
    """Of a point: its digest and FLOPs are its network's."""
    arch = space.decode(point)
    return Judged(point, arch.digest, cost(arch).flops, **more)  # type: ignore[arg-type]


STRATEGIES: Mapping[str, Strategy] = {
    "random": _random,
    "evolution": _evolution,
    "tpe": _tpe,
    "nsga2": _nsga2,
    "reinforce": _reinforce,
}

__all__ = ["POPULATION", "STRATEGIES", "BudgetError", "Judged", "judged", "propose"]
