"""Which training comes next: a function of what the ledger holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalesearch.search.candidates import Candidate
from scalesearch.search.ledger import Ledger, TrialRecord
from scalesearch.search.plan import Plan
from scalesearch.search.problem import Problem
from scalesearch.search.run import candidate_attributes, read_candidate
from scalesearch.search.samplers import Pool, Seen, propose, simplex_to_square
from scalesearch.search.standing import next_of
from scalesearch.spec.cost import cost
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.settings import Settings


def queue_next(ledger: Ledger, problem: Problem, plan: Plan, settings: Settings) -> bool:
    """Queue the next training: a function of what the ledger holds, so a resumed run goes on where it stopped.

    The first seed of everything comes first, so that a run that ends early has compared all its candidates once.
    """
    records = [record for record in ledger.records() if record.role in ("base", "candidate")]
    existing = {(record.digest, record.seed) for record in records}
    failed = {record.digest for record in records if record.status == "failed"}
    base = problem.proxy
    if (base.digest, 0) not in existing:
        ledger.queue(attributes_of("base", base, 0, budget=1.0), {})
        return True
    if settings.sampler == "surface":
        return _queue_by_surface(ledger, records, problem, plan, settings)
    tried: dict[str, Seen] = {}
    for record in records:
        if record.role == "candidate" and record.digest not in tried:
            tried[record.digest] = Seen(read_candidate(record), record.score, record.status in ("waiting", "running"))
    if len(tried) < plan.networks:
        proposed = propose(settings.sampler, problem.pool, list(tried.values()), settings.seed)
        if proposed is not None:
            _queue_candidate(ledger, problem.pool, proposed, 0)
            return True
    for seed in range(1, plan.seeds):
        if (base.digest, seed) not in existing:
            ledger.queue(attributes_of("base", base, seed, budget=1.0), {})
            return True
        for digest, entry in tried.items():
            if (digest, seed) not in existing and digest not in failed:
                _queue_candidate(ledger, problem.pool, entry.candidate, seed)
                return True
    return False


def _queue_by_surface(
    ledger: Ledger, records: Sequence[TrialRecord], problem: Problem, plan: Plan, settings: Settings
) -> bool:
    """The training that the surface chooses, while the plan has any left; then the base's other seeds."""
    trainings = [record for record in records if record.role == "candidate"]
    if len(trainings) < plan.networks * plan.seeds:
        anchors = problem.pool.anchors
        reference = anchors["paper"].digest
        precision = settings.precision / 100
        found = next_of(trainings, problem.pool.candidates, list(anchors.values()), reference, precision)
        if found is not None:
            _queue_candidate(ledger, problem.pool, *found)
            return True
    for seed in range(plan.seeds):
        if not any(record.role == "base" and record.seed == seed for record in records):
            ledger.queue(attributes_of("base", problem.proxy, seed, budget=1.0), {})
            return True
    return False


def _queue_candidate(ledger: Ledger, pool: Pool, candidate: Candidate, seed: int) -> None:
    anchors = tuple(name for name, anchor in pool.anchors.items() if anchor.digest == candidate.digest)
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
