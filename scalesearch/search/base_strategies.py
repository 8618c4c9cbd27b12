"""Which base network to try next: strategies over a `BaseSpace`, within a budget.

A strategy is one entry of STRATEGIES. Every proposal is a function of (space, budget, what has been seen, seed), so a
resumed search proposes what an uninterrupted one would. No network is proposed twice, and none outside the budget.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from scalesearch.search.controller import BATCH, Batch, sample_controller
from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.feasible import DRAWS, Budget, Reached, approach, draw, reach
from scalesearch.spec.options import Grid

POPULATION, TOURNAMENT = 24, 6  # of the evolution; a quarter of it competes, as in Real et al. 2019 (P 100, S 25)
FIRST = 4  # proposals before the first mutation, the skeleton and random ones: a search of minutes has about twenty
TRIES = 60  # proposals that were seen before, or cannot get into the budget, before random ones stand in
RANDOM_TRIES = 60
STEPS = 200  # networks looked at to get a proposal into the budget
MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


@dataclass(frozen=True, slots=True)
class Judged:
    """A network that has been proposed, and what is known of it.

    `digest` is what tells networks apart. `reward` and `accuracy` are of a training to its end; `stopped` says of one
    that was stopped early after how many epochs, and which reward it had there. A failed one has none of these.
    """

    point: Point
    digest: str
    cost: float
    reward: float | None = None
    accuracy: float | None = None
    stopped: tuple[int, float] | None = None
    running: bool = False


Strategy = Callable[[BaseSpace, Budget, Sequence[Judged], int, random.Random], Point]


def propose(
    strategy: str,
    space: BaseSpace,
    budget: Budget,
    seen: Sequence[Judged],
    seed: int,
    identify: Callable[[Arch], str] = lambda arch: arch.digest,
) -> Reached | None:
    """The next network, new and within the budget; None if there is none, or none that random draws find.

    The first of all is the space's skeleton, or what a walk from there finds within the budget; not of random search.
    `seen` is in the order of the proposals. Networks that `identify` gives the same digest count as one. Raises
    BudgetError if no network of the space is within the budget.
    """
    known, missed = {one.digest for one in seen}, False
    if not seen and strategy != "random":
        skeleton = space.encode(space.skeleton)
        found = None if skeleton is None else _within(space, budget, skeleton, random.Random(f"{seed} skeleton"))
        if found is not None:
            return found
    for number in range(TRIES + RANDOM_TRIES):
        rng = random.Random(f"{seed} {len(seen)} {number}")
        chosen = strategy if number < TRIES else "random"
        try:
            # Where random draws miss the budget, changes of what was tried are nearer.
            point = (
                space.mutate(rng.choice(seen).point, rng)
                if missed
                else STRATEGIES[chosen](space, budget, seen, seed, rng)
            )
        except BudgetError:
            if not seen:
                raise
            missed = True
            continue
        found = _within(space, budget, point, rng)
        if found is not None and identify(found.arch) not in known:
            return found
    if space.size > DRAWS:
        return None
    left = [found for found in map(partial(reach, space, budget), space.points()) if found.excess.within]
    left = [found for found in left if identify(found.arch) not in known]
    return random.Random(f"{seed} {len(seen)}").choice(left) if left else None


def _within(space: BaseSpace, budget: Budget, point: Point, rng: random.Random) -> Reached | None:
    """The point, or the end of a short walk from it into the budget; from a random one where it makes no network."""
    start = point if space.sound(point) else space.sample(rng)
    found = reach(space, budget, start)
    if not found.excess.within:
        found = approach(space, budget, start, rng, STEPS)
    return found if found.excess.within else None


def _random(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    return draw(space, budget, rng).point


def _evolution(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """Regularised evolution (Real et al. 2019, algorithm 1): the best of a few of the youngest POPULATION, mutated.

    Age is by proposal, and who was stopped early or failed never joins the population. The first FIRST are not
    bred, rather than as many as the population has. Mutations are repeated until one is within the budget.
    """
    finished = [one for one in seen if one.reward is not None]
    if len(seen) < FIRST or not finished:
        return draw(space, budget, rng).point
    parent = max(rng.choices(finished[-POPULATION:], k=TOURNAMENT), key=lambda one: one.reward or 0.0)
    child = space.mutate(parent.point, rng)
    for _ in range(STEPS):
        if budget.excess(space.decode(child)).within:
            break
        child = space.mutate(parent.point, rng)
    return child


def _tpe(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """Optuna's TPE, each choice a parameter, on a study of what is visible now."""
    study = _study(space, seen, (MAXIMIZE,), _told_tpe)
    return _asked(study, space, optuna.samplers.TPESampler(seed=rng.getrandbits(32)))


def _told_tpe(study: optuna.Study, one: Judged, distributions: Mapping[str, BaseDistribution]) -> None:
    if one.reward is None and one.stopped is None and not one.running:
        return
    state = TrialState.RUNNING if one.running else TrialState.COMPLETE
    study.add_trial(
        create_trial(
            state=state if one.stopped is None else TrialState.PRUNED,
            params=dict(zip(distributions, one.point, strict=True)),
            distributions=dict(distributions),
            value=one.reward,
            intermediate_values={} if one.stopped is None else dict([one.stopped]),
        )
    )


def _nsga2(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """Optuna's NSGA-II (Deb et al. 2002) on accuracy, maximised, and cost, minimised.

    The sampler keeps generations in its study, so the study is played again from its start: each proposal that was
    made is asked for as it was, and told what came of it. The last ask is the answer. A network that was stopped early
    counts as failed, since Optuna knows no stopped trial of several objectives.
    """
    study = _study(space, seen, (MAXIMIZE, MINIMIZE), _told_nsga2)
    # Whoever asks first in a generation gets its parents in another order: an ask whose answer is dropped is that one.
    for number in (0, rng.getrandbits(32)):
        answer = _asked(study, space, optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=number))
    return answer


def _told_nsga2(study: optuna.Study, one: Judged, distributions: Mapping[str, BaseDistribution]) -> None:
    study.enqueue_trial(dict(zip(distributions, one.point, strict=True)))
    trial = study.ask(dict(distributions))
    _ = trial.relative_params  # there the sampler notes the generation; a trial of fixed parameters never gets there
    if one.accuracy is not None:
        study.tell(trial, [one.accuracy, one.cost])
    elif not one.running:
        study.tell(trial, state=TrialState.FAIL)


Told = Callable[[optuna.Study, Judged, Mapping[str, BaseDistribution]], None]

# The latest study with what it was told, in order. It saves time and changes no answer: what was only asked counts as
# failed, of which the samplers take no notice.
_latest: dict[tuple[object, ...], tuple[tuple[Judged, ...], optuna.Study]] = {}


def _study(space: BaseSpace, seen: Sequence[Judged], directions: Sequence[StudyDirection], told: Told) -> optuna.Study:
    """One that was told what was seen: the latest, if the first that was seen made it."""
    distributions = _distributions(space)
    key, history = (told, tuple(distributions.items())), tuple(seen)
    known, study = _latest.pop(key, ((), None))
    if study is None or history[: len(known)] != known:
        sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=0)
        known, study = (), optuna.create_study(directions=directions, sampler=sampler)
    for one in history[len(known) :]:
        told(study, one, distributions)
    _latest.clear()
    _latest[key] = history, study
    return study


def _asked(study: optuna.Study, space: BaseSpace, sampler: optuna.samplers.BaseSampler) -> Point:
    """The answer of a fresh sampler."""
    study.sampler = sampler
    distributions = _distributions(space)
    trial = study.ask(distributions)
    study.tell(trial, state=TrialState.FAIL)
    return tuple(trial.params[path] for path in distributions)


def _reinforce(space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random) -> Point:
    """The controller of MnasNet, which its rewards have trained so far (search/controller.py).

    A network that was stopped early counts with the reward that it had there. Proposals that had to walk into the
    budget, and random ones that stood in, are learned from as if the controller had written them.
    """
    batches: list[Batch] = []
    for first in range(0, len(seen) - BATCH + 1, BATCH):  # whole ones, in the order of the proposals
        own = seen[first : first + BATCH]
        if any(one.running for one in own):
            break
        ends = ((one.point, one.reward if one.stopped is None else one.stopped[1]) for one in own)
        batches.append(tuple((point, reward) for point, reward in ends if reward is not None))
    return sample_controller(tuple(map(len, space.choices.values())), tuple(batches), seed, rng.getrandbits(62))


def _distributions(space: BaseSpace) -> dict[str, BaseDistribution]:
    """A choice among values has no order; a grid has."""
    return {
        path: IntDistribution(0, len(options) - 1)
        if isinstance(options, Grid)
        else CategoricalDistribution(tuple(range(len(options))))
        for path, options in space.choices.items()
    }


STRATEGIES: Mapping[str, Strategy] = {
    "random": _random,
    "evolution": _evolution,
    "tpe": _tpe,
    "nsga2": _nsga2,
    "reinforce": _reinforce,
}
