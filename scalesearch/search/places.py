"""A run's pool as places on the simplex, and its ledger's trainings at them: what goes into `surface.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalesearch.search import surface
from scalesearch.search.candidates import Candidate, Interval, Shares
from scalesearch.search.records import TrialRecord
from scalesearch.search.surface import Observation, Posterior

POOL = "pool"  # the fact that holds it
STOPPED = ("failed", "pruned")  # a network with such a training gets no other


@dataclass(frozen=True, slots=True)
class Place:
    """One network of the pool, tried or not."""

    digest: str
    shares: Shares
    alpha: Interval
    beta: Interval
    gamma: Interval


def stored(candidates: Sequence[Candidate]) -> list[list[Any]]:
    """The pool as a run's fact: what is asked of a network that was never tried."""
    return [[one.digest, *([round(value, 6) for value in values] for values in _numbers(one))] for one in candidates]


def _numbers(one: Candidate) -> Iterable[tuple[float, float, float]]:
    yield one.shares
    for side in (one.alpha, one.beta, one.gamma):
        yield side.value, side.low, side.high


def read_pool(facts: Mapping[str, Any], tried: Iterable[Candidate]) -> tuple[Place, ...]:
    """The stored pool, and what was tried beside it: everything, where a run of an older version stored none."""
    places: dict[str, Place] = {}
    for digest, shares, alpha, beta, gamma in facts.get(POOL, ()):
        depth, width, resolution = shares
        sides = (Interval(*alpha), Interval(*beta), Interval(*gamma))
        places[digest] = Place(digest, (depth, width, resolution), *sides)
    for one in tried:
        places.setdefault(one.digest, Place(one.digest, one.shares, one.alpha, one.beta, one.gamma))
    return tuple(places.values())


def observations(records: Sequence[TrialRecord], digests: Sequence[str]) -> list[Observation]:
    """Every finished epoch of every candidate's training; the last of a finished one is its score, and `whole`."""
    index = {digest: place for place, digest in enumerate(digests)}
    found = []
    for record in records:
        if record.role != "candidate" or record.digest not in index:
            continue
        place, epochs = index[record.digest], record.epochs
        whole = record.status == "done" and record.score is not None
        for count, epoch in enumerate(epochs[: len(epochs) - whole], start=1):
            found.append(Observation(place, record.seed, float(epoch["accuracy"]), count, False))
        if whole and record.score is not None:
            found.append(Observation(place, record.seed, record.score, len(epochs), True))
    return found


def posterior_of(records: Sequence[TrialRecord], digests: Sequence[str], shares: Sequence[Shares]) -> Posterior:
    return surface.fit(np.array(shares), observations(records, digests))


def next_of(
    records: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    first: Sequence[Candidate],
    reference: str | None,
    precision: float,
    seeds: int,
) -> tuple[Candidate, int] | None:
    """The training that comes next under the sampler `surface`; None where the search ends.

    `first` are tried before the surface chooses, `reference` is the network that the recommended one is compared with.
    No network gets more than `seeds` trainings. Until one has finished, networks that nothing is known of are tried in
    the pool's order.
    """
    own = [record for record in records if record.role == "candidate"]
    tried = {record.digest for record in own}
    for one in first:
        if one.digest not in tried:
            return one, 0
    digests = [one.digest for one in candidates]
    index = {digest: place for place, digest in enumerate(digests)}
    if not any(record.status == "done" for record in own):
        return next(((one, 0) for one in candidates if one.digest not in tried), None)
    seen = observations(own, digests)
    chosen = surface.next_training(
        surface.fit(np.array([one.shares for one in candidates]), seen),
        seen,
        running=[(index[r.digest], r.seed) for r in own if r.status in ("waiting", "running")],
        seeds=seeds,
        precision=precision,
        left_out={index[record.digest] for record in own if record.status in STOPPED},
        reference=index.get(reference) if reference is not None else None,
    )
    return None if chosen is None else (candidates[chosen[0]], chosen[1])
