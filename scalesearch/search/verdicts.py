"""What a run's scores allow to be said: from real trainings, or from the bootstrap replicates of a fitted surface."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scalesearch.search import stats, surface
from scalesearch.search.places import Place, posterior_of
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import Difference, Noise, Scores, interval


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one network's true score, tried or not: its expectation, an interval, its chance to be best."""

    expected: float
    low: float
    high: float
    chance: float
    may_be_best: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run's scores allow to be said. `standings` are by digest; `noise` is of one score; `regret` is what the
    recommended network is expected to miss of the best of the pool, in score."""

    standings: Mapping[str, Standing]
    recommended: str
    noise: Noise
    difference: Callable[[str, str], Difference]
    regret: float
    spread: Mapping[str, float]  # by digest: deviation of one training's score; empty for predictions


def scores_of(record: TrialRecord) -> dict[int, float]:
    """By seed, or by bootstrap replicate: what corrects a prediction to equal FLOPs is the same for all replicates."""
    if record.score is None:
        return {}
    if not record.replicates:
        return {record.seed: record.score}
    correction = record.score - (record.accuracy or 0.0)
    return {index: value + correction for index, value in enumerate(record.replicates)}


def scores_by_digest(records: Iterable[TrialRecord]) -> Scores:
    """Of finished candidates."""
    table: dict[str, dict[int, float]] = {}
    for record in records:
        if record.role == "candidate" and record.score is not None:
            table.setdefault(record.digest, {}).update(scores_of(record))
    return table


def bootstrap_best(scores: Scores, confidence: float) -> frozenset[str]:
    """The networks that cannot be told apart from the best (Hsu 1984), by replicates instead of seeds.

    A network leaves the set if another's lead exceeds, in its own standard errors, what the largest of all leads
    over it stays below in `confidence` of the replicates, each lead's mean taken out.
    """
    digests = sorted(scores)
    table = np.array([[scores[digest][index] for index in sorted(scores[digest])] for digest in digests])
    return frozenset(digests[index] for index in unbeaten(table, confidence))


def unbeaten(table: npt.NDArray[np.float64], confidence: float) -> list[int]:
    """The rows (networks; columns are replicates, more is better) that `bootstrap_best` keeps."""
    kept = []
    for index in range(len(table)):
        leads = np.delete(table, index, axis=0) - table[index]
        middle = leads.mean(axis=1)
        spread = np.maximum(leads.std(axis=1, ddof=1), 1e-12)
        largest = ((leads - middle[:, None]) / spread[:, None]).max(axis=0, initial=0.0)
        if not (middle > np.quantile(largest, confidence) * spread).any():
            kept.append(index)
    return kept


def bootstrap_difference(scores: Scores, a: str, b: str, confidence: float) -> Difference:
    """a − b replicate by replicate: what two predictions have in common cancels out."""
    values = [value - scores[b][index] for index, value in scores[a].items()]
    return Difference(sum(values) / len(values), *interval(values, confidence))


def mean_of(records: Sequence[TrialRecord]) -> tuple[float, float]:
    """Of one network's trials: mean accuracy and its standard error, between seeds or as predicted."""
    first = records[0]
    if first.replicates:
        return float(first.accuracy or 0.0), float(np.std(first.replicates, ddof=1))
    return stats.mean_and_error([float(record.accuracy or 0.0) for record in records])


def _replicate_noise(scores: Scores) -> Noise:
    """The median of the networks' standard errors: of one prediction, not of a training."""
    errors = [float(np.std(list(row.values()), ddof=1)) for row in scores.values()]
    return Noise(float(np.median(errors)), min(len(row) - 1 for row in scores.values()))


def by_surface(records: Sequence[TrialRecord], places: Sequence[Place], confidence: float) -> Verdict:
    """From trainings: the posterior of `surface.py` over the pool. Needs one finished training.

    Without a second seed of any network the noise rests on an assumption alone, and nothing is ruled out.
    """
    digests = [place.digest for place in places]
    index = {digest: number for number, digest in enumerate(digests)}
    noise = stats.pooled_noise(scores_by_digest(records))
    posterior = posterior_of(records, digests, [place.shares for place in places])
    kept = surface.best_set(posterior, confidence) if noise.freedom > 0 else frozenset(range(len(places)))
    lows, highs = np.quantile(posterior.draws, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    chances = surface.chances(posterior)
    standings = {
        digest: Standing(
            float(posterior.mean[number]),
            float(lows[number]),
            float(highs[number]),
            float(chances[number]),
            number in kept,
        )
        for digest, number in index.items()
    }

    def difference(a: str, b: str) -> Difference:
        found = surface.difference(posterior, index[a], index[b], confidence)
        return found if noise.freedom > 0 else Difference(found.mean, -math.inf, math.inf)

    recommended = digests[surface.recommend(posterior)]
    spread = {digest: float(posterior.spread[number]) for digest, number in index.items()}
    return Verdict(standings, recommended, noise, difference, surface.regret(posterior), spread)


def by_replicates(records: Sequence[TrialRecord], places: Sequence[Place], confidence: float) -> Verdict:
    """From predictions: the bootstrap replicates of the fitted surface."""
    own = {record.digest: record for record in records if record.role == "candidate" and record.score is not None}
    scores = {digest: scores_of(record) for digest, record in own.items()}
    kept = bootstrap_best(scores, confidence)
    digests = list(own)
    table = np.array([list(scores[digest].values()) for digest in digests])
    wins = np.bincount(table.argmax(axis=0), minlength=len(digests)) / table.shape[1]
    standings = {
        digest: Standing(
            float(own[digest].score or 0.0), *interval(row, confidence), float(wins[number]), digest in kept
        )
        for number, (digest, row) in enumerate(zip(digests, table, strict=True))
    }
    recommended = max(own, key=lambda digest: (own[digest].score or 0.0, digest))

    def difference(a: str, b: str) -> Difference:
        return bootstrap_difference(scores, a, b, confidence)

    regret = float(np.mean(table.max(axis=0) - table[digests.index(recommended)]))
    return Verdict(standings, recommended, _replicate_noise(scores), difference, regret, {})


VERDICTS: Mapping[str, Callable[[Sequence[TrialRecord], Sequence[Place], float], Verdict]] = {
    "train": by_surface,
    "replay": by_surface,
    "imagenet_surrogate": by_replicates,
}
