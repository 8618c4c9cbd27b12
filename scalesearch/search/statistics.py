"""What the comparisons of a run rest on: seeds of real trainings, or the bootstrap replicates of a fitted surface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scalesearch.search import stats
from scalesearch.search.ledger import TrialRecord
from scalesearch.search.stats import Difference, Noise, Scores


@dataclass(frozen=True, slots=True)
class Statistics:
    """By `may_be_best` (scores, confidence), `difference` (scores, a, b, confidence), `mean` (of one network's trials:
    accuracy and its standard error) and `noise` (of one score)."""

    may_be_best: Callable[[Scores, float], frozenset[str]]
    difference: Callable[[Scores, str, str, float], Difference]
    mean: Callable[[Sequence[TrialRecord]], tuple[float, float]]
    noise: Callable[[Scores], Noise]


def scores_of(record: TrialRecord) -> dict[int, float]:
    """By seed, or by bootstrap replicate: what corrects a prediction to equal FLOPs is the same for all replicates."""
    if record.score is None:
        return {}
    if not record.replicates:
        return {record.seed: record.score}
    correction = record.score - (record.accuracy or 0.0)
    return {index: value + correction for index, value in enumerate(record.replicates)}


def interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """The middle `confidence` of bootstrap replicates (percentile interval)."""
    low, high = np.quantile(np.asarray(values), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


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


def _trained(records: Sequence[TrialRecord]) -> tuple[float, float]:
    return stats.mean_and_error([float(record.accuracy or 0.0) for record in records])


def _predicted(records: Sequence[TrialRecord]) -> tuple[float, float]:
    first = records[0]
    return float(first.accuracy or 0.0), float(np.std(first.replicates, ddof=1))


def _replicate_noise(scores: Scores) -> Noise:
    """The median of the networks' standard errors: of one prediction, not of a training."""
    errors = [float(np.std(list(row.values()), ddof=1)) for row in scores.values()]
    return Noise(float(np.median(errors)), min((len(row) - 1 for row in scores.values()), default=0)) if errors else (
        Noise(float("inf"), 0)
    )


STATISTICS: Mapping[str, Statistics] = {
    "train": Statistics(stats.may_be_best, stats.paired_difference, _trained, stats.pooled_noise),
    "replay": Statistics(stats.may_be_best, stats.paired_difference, _trained, stats.pooled_noise),
    "imagenet_surrogate": Statistics(bootstrap_best, bootstrap_difference, _predicted, _replicate_noise),
}
