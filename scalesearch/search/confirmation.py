"""The recommended network against the paper's, by seeds that the choice never saw.

The trainings that choose a network flatter it: it was chosen, among others, for its luck. So once the search has
ended, it and the network nearest to the paper's point are trained again with fresh seeds, and the reported lead is the
mean of the paired differences over these seeds alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scalesearch.search.ledger import Ledger
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import Difference, Noise, Scores, mean_lead, pooled_noise

ROLE = "confirmation"
FACT = "confirmation"  # the fact that says which two networks and which seeds; with it the search has ended
MOST_FREEDOM = 1  # degrees, of the search's repeats; with all of them too few 90 % intervals hold (docs/decisions.md)
FIRST_SEED = 700  # above what a search uses, and those of a check of the proxy (fidelity.FIRST_SEED)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """`lead`: true score of `chosen` minus `against`'s, over `seeds`. `noise` is of one training of `chosen`."""

    chosen: str
    against: str
    scores: Scores
    seeds: tuple[int, ...]
    lead: Difference
    noise: Noise


def fresh_seeds(count: int) -> range:
    return range(FIRST_SEED, FIRST_SEED + count)


def begin(ledger: Ledger, chosen: str, against: str, seeds: Sequence[int]) -> None:
    """Settle what is confirmed, once: the networks' digests and the seeds."""
    if FACT not in ledger.facts() and seeds:
        ledger.set_fact(FACT, {"chosen": chosen, "against": against, "seeds": list(seeds)})


def read_confirmation(
    facts: Mapping[str, object],
    records: Sequence[TrialRecord],
    search: Scores,
    spread: Mapping[str, float],
    confidence: float,
) -> Confirmation | None:
    """Of a run's ledger; None where no seed of both networks has finished."""
    begun = facts.get(FACT)
    if not isinstance(begun, dict):
        return None
    fresh: dict[str, dict[int, float]] = {begun["chosen"]: {}, begun["against"]: {}}
    for record in records:
        if record.role == ROLE and record.score is not None:
            fresh[record.digest][record.seed] = record.score
    return confirm(begun["chosen"], begun["against"], fresh, search, spread, confidence)


def confirm(
    chosen: str, against: str, fresh: Scores, search: Scores, spread: Mapping[str, float], confidence: float
) -> Confirmation | None:
    """From the `fresh` scores of both, by digest and seed; `search` are those that the search had.

    Its mean is unbiased, since no fresh score had a part in the choice. The interval is Student's t. One training's
    variance is pooled from the repeats of the search and from the paired differences themselves (one degree of freedom
    per seed but the first); as networks scatter unequally, both in units of each network's `spread`, the deviation
    that the surface expects of one training there. That expectation is itself a guess for this pair, so the search's
    repeats, however many, count no more than MOST_FREEDOM of the pair's own.
    """
    seeds = sorted(fresh[chosen].keys() & fresh[against].keys())
    if not seeds:
        return None
    leads = [fresh[chosen][seed] - fresh[against][seed] for seed in seeds]
    mean = sum(leads) / len(leads)
    pair = spread[chosen] ** 2 + spread[against] ** 2
    repeats = pooled_noise(
        {digest: {seed: value / spread[digest] for seed, value in row.items()} for digest, row in search.items()}
    )
    squares = sum((lead - mean) ** 2 for lead in leads) / pair
    counted = min(repeats.freedom, MOST_FREEDOM)
    if counted:
        squares += repeats.deviation**2 * counted
    freedom = counted + len(seeds) - 1
    unit = math.sqrt(squares / freedom) if freedom else math.inf
    lead = mean_lead(leads, unit * math.sqrt(pair), freedom, confidence)
    return Confirmation(chosen, against, fresh, tuple(seeds), lead, Noise(unit * spread[chosen], freedom))
