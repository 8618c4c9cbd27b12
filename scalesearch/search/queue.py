"""Which training comes next: a function of what the ledger holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from scalesearch.search.candidates import Candidate
from scalesearch.search.ledger import Ledger
from scalesearch.search.plan import Plan
from scalesearch.search.problem import Problem
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import candidate_attributes, read_candidate
from scalesearch.search.samplers import Pool, Seen, propose, simplex_to_square
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.settings import Settings

STOPPED = ("failed", "pruned")  # a network with such a training gets no other


@dataclass(frozen=True, slots=True)
class Observation:
    """One training's score after `epochs` finished epochs; `whole` if it was trained to the end."""

    place: int  # index into the pool
    seed: int
    value: float  # 0 to 1
    epochs: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What a function that chooses trainings one by one, seeds too, is told: the pool and what is known of it.

    `running` are (place, seed), `left_out` the places that are not to be trained any more, `seeds` the most per
    network.
    """

    pool: Pool
    observations: Sequence[Observation]
    running: Sequence[tuple[int, int]]
    left_out: frozenset[int]
    seeds: int
    seed: int  # of the run


Choose = Callable[[Question], tuple[int, int] | None]  # (place, seed); None ends the search
# By sampler. Every other one proposes networks, which get their seeds in turn.
CHOOSERS: Mapping[str, Choose] = {}


def queue_next(
    ledger: Ledger,
    problem: Problem,
    plan: Plan,
    settings: Settings,
    score: Callable[[TrialRecord, float], float] | None = None,
    choosers: Mapping[str, Choose] = CHOOSERS,
) -> bool:
    """Queue the next training: a function of what the ledger holds, so a resumed run goes on where it stopped.

    The base is trained first, then the anchors; then every other network once, or what the sampler chooses. `score`
    maps a training and an accuracy to the value of one that was stopped early (None: its accuracy). Where candidates
    inherit the base's weights, all its seeds come before them, and False may only mean that these are not done.
    Raises RunError if one of them failed.
    """
    tried = ledger.networks("candidate")
    base = problem.proxy
    bases = ledger.networks("base").get(base.digest, {})
    if settings.inherit:  # its weights are needed first
        if len(bases) < plan.seeds:
            ledger.queue(attributes_of("base", base, len(bases), budget=1.0), {})
            return True
        for record in bases.values():
            if record.status == "failed":
                raise RunError(
                    f"seed {record.seed}: the base's training failed, and no network can start from its weights: "
                    f"{record.reason}; start the run anew, or without --set inherit=true"
                )
        if any(record.status != "done" for record in bases.values()):
            return False  # asked again when one ends
    if 0 not in bases:
        ledger.queue(attributes_of("base", base, 0, budget=1.0), {})
        return True
    choose = choosers.get(settings.sampler)
    if choose is not None:
        return _queue_chosen(ledger, problem, plan, settings, choose, score)
    if len(tried) < plan.networks:
        proposed = propose(settings.sampler, problem.pool, _Tried(problem.pool, tried), settings.seed, tried)
        if proposed is not None:
            _queue_candidate(ledger, problem.pool, proposed, 0)
            return True
    return _queue_seed(ledger, problem, plan, tried, bases)


def _queue_seed(
    ledger: Ledger,
    problem: Problem,
    plan: Plan,
    tried: Mapping[str, Mapping[int, TrialRecord]],
    bases: Mapping[int, TrialRecord],
) -> bool:
    """The first seed of everything comes first, so that a run that ends early has compared all its candidates once."""
    open_to_more = {
        digest: _first_missing(trainings)
        for digest, trainings in tried.items()
        if not any(record.status in STOPPED for record in trainings.values())
    }
    seed = min([_first_missing(bases), *open_to_more.values()])
    if seed >= plan.seeds:
        return False
    if seed not in bases:
        ledger.queue(attributes_of("base", problem.proxy, seed, budget=1.0), {})
        return True
    digest = next(digest for digest, missing in open_to_more.items() if missing == seed)
    _queue_candidate(ledger, problem.pool, _candidate(problem.pool, digest, tried[digest]), seed)
    return True


def _queue_chosen(
    ledger: Ledger,
    problem: Problem,
    plan: Plan,
    settings: Settings,
    choose: Choose,
    score: Callable[[TrialRecord, float], float] | None,
) -> bool:
    """The base on every seed that a candidate has, the anchors, then what `choose` says; no more than is planned."""
    tried = ledger.networks("candidate")
    bases = ledger.networks("base")[problem.proxy.digest]
    wanted = {seed for trainings in tried.values() for seed in trainings} - bases.keys()
    if wanted:
        ledger.queue(attributes_of("base", problem.proxy, min(wanted), budget=1.0), {})
        return True
    if sum(map(len, tried.values())) >= plan.networks * plan.seeds:
        return False
    anchor = next((digest for digest in problem.pool.anchors_of if digest not in tried), None)
    if anchor is not None:
        _queue_candidate(ledger, problem.pool, problem.pool.by_digest[anchor], 0)
        return True
    question = question_of(ledger, problem.pool, plan.seeds, settings.seed, score)
    chosen = choose(question)
    if chosen is None:
        return False
    place, seed = chosen
    candidate = problem.pool.candidates[place]
    assert place not in question.left_out and seed not in tried.get(candidate.digest, {})
    _queue_candidate(ledger, problem.pool, candidate, seed)
    return True


def question_of(
    ledger: Ledger,
    pool: Pool,
    seeds: int,
    seed: int,
    score: Callable[[TrialRecord, float], float] | None = None,
) -> Question:
    """What the ledger holds of the pool's networks: whole trainings, those stopped early, those under way."""
    places = {digest: place for place, digest in enumerate(pool.by_digest)}
    observations: list[Observation] = []
    running: list[tuple[int, int]] = []
    left_out: set[int] = set()
    for digest, trainings in ledger.networks("candidate").items():
        place = places[digest]
        for record in trainings.values():
            if record.status in ("waiting", "running"):
                running.append((place, record.seed))
            if record.status in STOPPED:
                left_out.add(place)
            if record.score is not None:
                value: float | None = record.score
            elif record.status == "pruned":
                value = record.accuracy
                if score is not None and value is not None:
                    value = score(record, value)
            else:
                value = None
            if value is not None:
                epochs = len(record.epochs)
                observations.append(Observation(place, record.seed, value, epochs, record.status == "done"))
    return Question(pool, observations, running, frozenset(left_out), seeds, seed)


class _Tried(Sequence[Seen]):
    """The tried networks, in their order. Most samplers ask how many there are and no more, so none is made before."""

    def __init__(self, pool: Pool, tried: Mapping[str, Mapping[int, TrialRecord]]) -> None:
        self._pool, self._tried = pool, tried

    def __len__(self) -> int:
        return len(self._tried)

    def __iter__(self) -> Iterator[Seen]:
        return (_seen(self._pool, digest, trainings) for digest, trainings in self._tried.items())

    @overload
    def __getitem__(self, index: int) -> Seen: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Seen]: ...

    def __getitem__(self, index: int | slice) -> Seen | Sequence[Seen]:
        return list(self)[index]


def _seen(pool: Pool, digest: str, trainings: Mapping[int, TrialRecord]) -> Seen:
    """A tried network, by its first training."""
    first = next(iter(trainings.values()))
    stopped = None
    if first.status == "pruned" and first.accuracy is not None:
        stopped = (len(first.epochs), first.accuracy)
    return Seen(_candidate(pool, digest, trainings), first.score, first.status in ("waiting", "running"), stopped)


def _candidate(pool: Pool, digest: str, trainings: Mapping[int, TrialRecord]) -> Candidate:
    return pool.by_digest.get(digest) or read_candidate(next(iter(trainings.values())))


def _first_missing(trainings: Mapping[int, TrialRecord]) -> int:
    """The lowest seed without a training. They are queued in turn, so mostly it is their number."""
    seed = len(trainings)
    if max(trainings, default=-1) + 1 == seed:
        return seed
    return next(seed for seed in range(len(trainings)) if seed not in trainings)


def _queue_candidate(ledger: Ledger, pool: Pool, candidate: Candidate, seed: int) -> None:
    anchors = pool.anchors_of.get(candidate.digest, ())
    attributes = attributes_of("candidate", candidate.arch, seed, **candidate_attributes(candidate, anchors))
    ledger.queue(attributes, simplex_to_square(candidate.shares))


def attributes_of(role: str, arch: AnyArch, seed: int, **more: Any) -> dict[str, Any]:
    """What every trial carries, and what its role adds."""
    found = cost(arch)
    return {
        "role": role,
        "arch": arch.to_dict(),
        "digest": arch.digest,
        "seed": seed,
        "flops": found.flops,
        "params": found.params,
        "activations": found.activations,
        **more,
    }
