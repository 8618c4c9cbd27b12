"""Which training comes next: a function of what the ledger holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from scalesearch.search.candidates import Candidate
from scalesearch.search.confirmation import FACT, ROLE
from scalesearch.search.ledger import Ledger
from scalesearch.search.places import STOPPED, next_of
from scalesearch.search.plan import Plan
from scalesearch.search.problem import Problem
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import candidate_attributes, read_candidate
from scalesearch.search.samplers import Pool, Seen, propose, simplex_to_square
from scalesearch.search.surface import MOST_SEEDS
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.settings import Settings

DONE = "all planned trainings done"


def most_seeds(plan: Plan, settings: Settings, recorded: int | None = None) -> int:
    """Trainings that one network may get: the plan's seeds, or more of a close contender's where the surface chooses,
    but no more than were `recorded` for a replay.

    A network that inherits can only be paired with the base's own seeds.
    """
    most = plan.seeds if settings.inherit or settings.sampler != "surface" else MOST_SEEDS
    return most if recorded is None else min(most, recorded)


def seeds_in_turn(plan: Plan, settings: Settings) -> int:
    """Trainings that every network is planned to get, so that one that is stopped spares the rest of them.

    Under the surface the number of trainings is what is planned: what a network does not get, another does.
    """
    return 1 if settings.sampler == "surface" else plan.seeds


def ending(
    ledger: Ledger, pool: Pool, plan: Plan, settings: Settings, out_of_time: bool, recorded: int | None = None
) -> str:
    """How the candidates' trainings ended, once nothing more is queued; of a replay, `recorded` as for queue_next."""
    tried = ledger.networks("candidate")
    trained, planned = sum(map(len, tried.values())), plan.networks * plan.seeds
    ended = DONE
    if trained < planned and out_of_time:
        ended = f"time budget used up after {trained} of {planned} candidate trainings"
    elif trained < planned and settings.sampler == "surface":
        most = most_seeds(plan, settings, recorded)
        why = f"the choice is expected to miss at most {settings.precision:g} points of score"
        if all(_closed(own := tried.get(one.digest, {})) or len(own) >= most for one in pool.candidates):
            why = "no network is left that may get another"
        ended = f"stopped after {trained} of {planned} candidate trainings: {why}"
    if ledger.count("pruned"):
        ended += f", {ledger.count('pruned')} of them stopped early by the {settings.pruner} pruner"
    return ended


def _closed(trainings: Mapping[int, TrialRecord]) -> bool:
    """Whether a network gets no other training, because one failed or was stopped."""
    return any(record.status in STOPPED for record in trainings.values())


def queue_next(ledger: Ledger, problem: Problem, plan: Plan, settings: Settings, recorded: int | None = None) -> bool:
    """Queue the next training: a function of what the ledger holds, so a resumed run goes on where it stopped.

    The base is trained first, then the anchors; then every other network once, or what the surface chooses. Where
    candidates inherit the base's weights, all its seeds come before them, and False may only mean that these are not
    done. Raises RunError if one of them failed. In a replay, no network gets more seeds than were `recorded`.
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
    if settings.sampler == "surface":
        return _queue_by_surface(ledger, problem, plan, settings, most_seeds(plan, settings, recorded))
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
    open_to_more = {digest: _first_missing(trainings) for digest, trainings in tried.items() if not _closed(trainings)}
    seed = min([_first_missing(bases), *open_to_more.values()])
    if seed >= plan.seeds:
        return False
    if seed not in bases:
        ledger.queue(attributes_of("base", problem.proxy, seed, budget=1.0), {})
        return True
    digest = next(digest for digest, missing in open_to_more.items() if missing == seed)
    _queue_candidate(ledger, problem.pool, _candidate(problem.pool, digest, tried[digest]), seed)
    return True


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


def _queue_by_surface(ledger: Ledger, problem: Problem, plan: Plan, settings: Settings, seeds: int) -> bool:
    """The training that the surface chooses, while the plan has any left; then the base's other seeds."""
    trainings = [record for own in ledger.networks("candidate").values() for record in own.values()]
    if len(trainings) < plan.networks * plan.seeds:
        anchors = problem.pool.anchors
        found = next_of(
            sorted(trainings, key=lambda record: record.number),
            problem.pool.candidates,
            list(anchors.values()),
            anchors["paper"].digest,
            settings.precision / 100,
            seeds,
        )
        if found is not None:
            _queue_candidate(ledger, problem.pool, *found)
            return True
    bases = ledger.networks("base").get(problem.proxy.digest, {})
    seed = _first_missing(bases)
    if seed >= plan.seeds:
        return False
    ledger.queue(attributes_of("base", problem.proxy, seed, budget=1.0), {})
    return True


def queue_confirmation(ledger: Ledger, bases: int | None = None) -> bool:
    """Queue the next training of the confirmation that has begun, seed by seed; False where none is left.

    Where networks inherit, the base was trained with the seeds 0 to `bases` − 1, and seed s starts from the one of
    s modulo `bases`.
    """
    begun = ledger.facts().get(FACT)
    if begun is None:
        return False
    taken, tried = ledger.networks(ROLE), ledger.networks("candidate")
    for seed in begun["seeds"]:
        for digest in (begun["chosen"], begun["against"]):
            if seed not in taken.get(digest, {}):
                first = next(iter(tried[digest].values()))
                more = {} if bases is None else {"origin": seed % bases}
                ledger.queue(attributes_of(ROLE, first.arch, seed, budget=2.0, **more), {})
                return True
    return False


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
