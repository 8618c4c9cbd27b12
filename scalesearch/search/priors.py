"""What scores known before any training are worth: how they rank networks, and what they would let one leave out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scalesearch.search.ranks import Floats, signs, tau_b, weighted_tau_b
from scalesearch.search.stats import Estimate, Noise, pooled_noise

DRAWS = 2000
BASELINES = ("params", "flops")
ALL_ALIKE = 0.0  # τ_b of a score that is the same for all: it ranks no better than a coin


@dataclass(frozen=True, slots=True)
class Worth:
    """How one score ranks networks by their accuracy after training; more is meant to be better.

    `tau`: Kendall's τ_b, 0 for a score that is the same for all. `partial`: the same with parameters held fixed.
    `over`: τ_b less the |τ_b| of each baseline. `repeatable`: mean τ_b between two initialisations (NaN: only one).
    `place`: of the network that measured best, 1 the score's first choice; ties share the middle. `upper_half`: the
    probability that the truly best is in the score's upper half; a coin gives a half. `loss`: expected accuracy (0 to
    1) lost by training the upper half only. `needed`: the share from the top that holds the best with 90 %.
    """

    score: str
    tau: Estimate
    partial: Estimate
    over: Mapping[str, Estimate]
    repeatable: float
    place: float
    upper_half: float
    loss: float
    needed: float


@dataclass(frozen=True, slots=True)
class Appraisal:
    """The worth of every score on the same networks.

    `noise`: of one training; infinite where no network has two seeds, and then the measured best counts as the truly
    best. `ceiling`: the τ_b that the true accuracies themselves would reach with the measured ones (NaN: not known).
    """

    networks: int
    trainings: int
    noise: Noise
    ceiling: float
    worths: tuple[Worth, ...]


def judge(
    scores: Mapping[str, Sequence[Sequence[float]]],
    accuracies: Sequence[Mapping[int, float]],
    confidence: float = 0.9,
    draws: int = DRAWS,
    seed: int = 0,
) -> Appraisal:
    """Judge `scores` (name -> network -> value by initialisation; their median counts) by `accuracies` (network ->
    training seed -> accuracy, 0 to 1; their mean counts). BASELINES must be among the scores.

    Intervals are percentiles of a bootstrap over networks: each brings its own seed and initialisation noise with it,
    so neither is drawn once more. The true accuracies are drawn from a normal law with the networks' mean and spread
    as its prior (empirical Bayes); `upper_half`, `loss` and `needed` are over draws of networks and truths alike.
    """
    rng = np.random.default_rng(seed)
    count = len(accuracies)
    means = np.array([np.mean(list(row.values())) for row in accuracies])
    seeds = np.array([len(row) for row in accuracies])
    noise = pooled_noise({str(index): row for index, row in enumerate(accuracies)})
    medians = {name: np.median(np.array(values, dtype=np.float64), axis=1) for name, values in scores.items()}
    truths = _truths(means, seeds, noise, draws, rng)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    once = np.ones((1, count))
    measured = signs(means)
    baselines = {name: signs(medians[name]) for name in BASELINES}
    tau_of = {name: _both(order, measured, once, weights) for name, order in baselines.items()}
    params_accuracy = tau_of["params"]

    def estimate(values: Floats) -> Estimate:
        low, high = np.quantile(values[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
        return Estimate(float(values[0]), float(low), float(high))

    worths = []
    for name, median in medians.items():
        order = signs(median)
        tau = _both(order, measured, once, weights)
        partial = _partial(tau, _both(order, baselines["params"], once, weights), params_accuracy)
        upper, loss, needed = _usefulness(median, truths, weights, rng)
        worths.append(
            Worth(
                score=name,
                tau=estimate(tau),
                partial=estimate(partial),
                over={other: estimate(tau - np.abs(values)) for other, values in tau_of.items()},
                repeatable=_repeatable(np.array(scores[name], dtype=np.float64)),
                place=_place(median, int(means.argmax())),
                upper_half=upper,
                loss=loss,
                needed=needed,
            )
        )
    return Appraisal(count, int(seeds.sum()), noise, _ceiling(truths, seeds, noise, rng), tuple(worths))


def _both(a: Floats, b: Floats, once: Floats, weights: Floats) -> Floats:
    """τ_b itself, and then its bootstrap."""
    return weighted_tau_b(a, b, np.concatenate([once, weights]), undefined=ALL_ALIKE)


def _partial(ab: Floats, ac: Floats, bc: Floats) -> Floats:
    """τ_b of a and b with c held fixed; 0 where a or b is c's order itself.

    Each τ is taken for the correlation of a normal law, sin(πτ/2) (Greiner's relation), whose partial correlation is
    taken back to τ. Kendall's own partial τ is not zero for a and b that c alone connects.
    """
    x, y, z = (np.sin(np.pi * tau / 2) for tau in (ab, ac, bc))
    norm: Floats = np.sqrt(np.maximum(0, 1 - y**2) * np.maximum(0, 1 - z**2))
    partial = np.divide(x - y * z, norm, out=np.zeros_like(norm), where=norm > 1e-9)
    # Three estimates need not fit together: what is past 1 is 1.
    return np.asarray(2 / np.pi * np.arcsin(np.clip(partial, -1, 1)))


def _truths(means: Floats, seeds: npt.NDArray[np.int64], noise: Noise, draws: int, rng: np.random.Generator) -> Floats:
    """Draws (draws, n) of the accuracies that infinitely many seeds would give."""
    if noise.freedom == 0:
        return np.broadcast_to(means, (draws, len(means)))
    error = noise.deviation**2 / seeds
    spread = max(0.0, float(means.var(ddof=1) - error.mean()))
    kept = spread / (spread + error) if spread > 0 else np.zeros(len(means))
    centre = means.mean() + kept * (means - means.mean())
    drawn: Floats = centre + np.sqrt(kept * error) * rng.standard_normal((draws, len(means)))
    return drawn


def _ceiling(truths: Floats, seeds: npt.NDArray[np.int64], noise: Noise, rng: np.random.Generator) -> float:
    if noise.freedom == 0:
        return math.nan
    some = truths[:200]
    seen = some + noise.deviation / np.sqrt(seeds) * rng.standard_normal(some.shape)
    return float(np.mean([tau_b(truth, measured, ALL_ALIKE) for truth, measured in zip(some, seen, strict=True)]))


def _usefulness(score: Floats, truths: Floats, weights: Floats, rng: np.random.Generator) -> tuple[float, float, float]:
    """P(best in the upper half), what training that half alone loses, and the share that holds the best with 90 %.

    Ties are broken at random, so that a score that is the same for all chooses like a coin.
    """
    present = weights > 0
    draws = np.arange(len(weights))
    _, ranks = np.unique(score, return_inverse=True)
    order = np.argsort(np.where(present, -(ranks + rng.random(present.shape)), np.inf), axis=1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(1, len(score) + 1)[None, :], axis=1)
    count = present.sum(1)
    there = np.where(present, truths, -np.inf)
    place = places[draws, there.argmax(1)]
    half = (count + 1) // 2
    upper = np.where(places <= half[:, None], there, -np.inf).max(1)
    return float((place <= half).mean()), float((there.max(1) - upper).mean()), float(np.quantile(place / count, 0.9))


def _place(score: Floats, index: int) -> float:
    """The place of one network, the highest score first; ties share the middle."""
    return float((score > score[index]).sum() + ((score == score[index]).sum() + 1) / 2)


def _repeatable(values: Floats) -> float:
    """Mean τ_b between two initialisations of (n, initialisations)."""
    count = values.shape[1]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    return float(np.mean([tau_b(values[:, i], values[:, j], ALL_ALIKE) for i, j in pairs])) if pairs else math.nan
