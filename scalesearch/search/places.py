"""A run's pool as places on the simplex, and its ledger's trainings at them: what goes into `surface.py`."""

from __future__ import annotations

import math
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
    """Every candidate's training as scores: of a finished one its own, `whole`, and of one that runs or was pruned the
    last so far. Beside these, what finished ones had after as many epochs, from which the model learns what becomes of
    such starts. A failed training says nothing.
    """
    index = {digest: place for place, digest in enumerate(digests)}
    own = [
        (index[record.digest], record, record.epochs_done)
        for record in records
        if record.role == "candidate" and record.status != "failed" and record.digest in index
    ]
    reached = {epoch for _, record, epoch in own if record.score is None and epoch}
    factor = _factors([record for _, record, _ in own]) if reached else {}
    found = []
    for place, record, epoch in own:
        starts = [count for count in reached if (count == epoch if record.score is None else count < epoch)]
        epochs = record.epochs if starts else []
        for count in starts:
            value = float(epochs[count - 1]["accuracy"]) * factor[record.digest]
            found.append(Observation(place, record.seed, value, count, False))
        if record.score is not None:
            found.append(Observation(place, record.seed, record.score, epoch, True))
    return found


def _factors(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Score over accuracy of every network: of one that was never finished by its FLOPs and parameters.

    A reward is accuracy times powers of costs, so the logarithm is linear in theirs: exact where they are what costs
    (`spec/axes.py`), a prediction where cost is measured.
    """
    networks = {record.digest: record for record in records}
    known = {record.digest: record.score / record.accuracy for record in records if record.score and record.accuracy}
    if not known:
        return dict.fromkeys(networks, 1.0)
    costs = {digest: np.log([float(one.flops), float(one.params)]) for digest, one in networks.items()}
    middle = np.mean([costs[digest] for digest in known], axis=0)
    design = np.array([[1.0, *(costs[digest] - middle)] for digest in known])
    weights = np.linalg.lstsq(design, np.log(list(known.values())), rcond=1e-9)[0]
    return {
        digest: known.get(digest, math.exp(float(weights @ [1.0, *(costs[digest] - middle)]))) for digest in networks
    }


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
