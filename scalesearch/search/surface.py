"""What the trainings so far say about every network of the pool, and which training says most next.

The model (`gaussian.py`) borrows strength from neighbours on the simplex of realised budget shares, so that networks
with one training, several, or none can be compared, and unequal seeds do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalesearch.search.gaussian import (
    OFFSETS,
    PRIOR_FREEDOM,
    Data,
    FloatArray,
    IntArray,
    condition,
    draw,
    make_prior,
    transform,
)
from scalesearch.search.stats import Difference, interval

DRAWS = 1_000
NOISE = 0.05  # seed noise of one training in log odds that is assumed before there are repeats; see docs/decisions.md
POWER = 0.8
MOST_SEEDS = 30  # of one network, however close the contest
REPEAT_EVERY = 3
LEAST_REPEATS = 3  # that the noise is estimated from, before a search may stop
LEAST_PAIRS = 4  # trainings seen to the end, before others are judged by their start
EARLY = 0  # the OFFSETS entry in which they are


class Observation(NamedTuple):  # by the ten thousand, at every decision
    """One training's score after `epochs` finished epochs; `whole` if it was trained to the end."""

    place: int  # index into the pool
    seed: int
    value: float  # 0 to 1
    epochs: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Posterior:
    """Of the true (seed-averaged) scores of all places. `noise` is the deviation of one training's score.

    `freedom` counts the repeats that the noise is estimated from; with 0 it rests on the model and its prior.
    """

    mean: FloatArray  # (n,)
    draws: FloatArray  # (k, n)
    noise: float
    freedom: int
    tried: frozenset[int]  # places with a whole training
    spread: FloatArray  # (n,): deviation of one training's score at each place


def fit(shares: FloatArray, observations: Sequence[Observation], seed: int = 0, count: int = DRAWS) -> Posterior:
    """The posterior of all places, from trainings at some of them; deterministic in its arguments.

    A training that has stopped early counts as far as trainings seen to the end tell what becomes of such a start;
    where fewer than LEAST_PAIRS do, it is left out.
    """
    return _fit(np.ascontiguousarray(shares, dtype=float).tobytes(), tuple(observations), seed, count)


@lru_cache(maxsize=8)  # two workers ask about the same trainings, and so does a report, network by network
def _fit(raw: bytes, observations: tuple[Observation, ...], seed: int, count: int) -> Posterior:
    shares = np.frombuffer(raw, dtype=float).reshape(-1, 3)
    prior = make_prior(shares, count, seed)
    whole = [one for one in observations if one.whole]
    fitted = condition(prior, _data(whole, _completed(observations)))
    found = draw(fitted, seed)
    half = np.minimum(found.variance / 2, 1.0)  # a log-normal mean; no more than a factor e, whatever the tail
    left = np.exp(np.minimum(half[:, None] - found.surface, 0.5))  # to the ceiling
    draws = 1 + found.offset[:, None] - left
    draws.flags.writeable = False  # kept for who asks again
    share = np.expm1(np.minimum(found.own_variance, 1.0))  # variance of one training, in units of left²
    tried = frozenset(one.place for one in whole)
    at = sorted(tried) or list(range(len(shares)))
    return Posterior(
        mean=draws.mean(axis=0),
        draws=draws,
        noise=float(np.median(np.sqrt(share)[:, None] * left[:, at])),
        freedom=max(0, len(whole) - len(tried) - max(0, len({one.seed for one in whole}) - 1)),
        tried=tried,
        spread=np.sqrt(share @ left**2 / len(left)),
    )


def assumed_noise(score: float) -> float:
    """Deviation of one training's score that is assumed before there are repeats: NOISE in log odds."""
    inside = min(max(score, OFFSETS[0]), 1 - OFFSETS[0])
    return NOISE * inside * (1 - inside)


def _data(whole: Sequence[Observation], early: Sequence[tuple[Observation, float]]) -> Data:
    """`early` are predicted ends of trainings, each with the error's deviation in log(1 + offset − score)."""
    seen = [*whole, *(one for one, _ in early)]
    values = np.array([one.value for one in seen])
    places = np.array([one.place for one in seen], dtype=np.intp)
    transformed = np.column_stack([transform(values, offset) for offset in OFFSETS])
    middle = float(np.median(values)) if seen else 0.0
    # dy/dscore = exp(y)
    guesses = assumed_noise(middle) * np.exp([float(transform(np.array(middle), offset)) for offset in OFFSETS])
    count = len(whole)
    estimated = _noise(places[:count], transformed[:count, EARLY], float(guesses[EARLY])) if early else 1.0
    extra = np.array([0.0] * count + [(error / estimated) ** 2 for _, error in early])
    return Data(
        places=places,
        seeds=np.array([one.seed for one in seen], dtype=np.intp),
        values=transformed,
        jacobians=transformed.sum(axis=0),
        guesses=guesses,
        noise=1 + extra,
    )


def _noise(places: IntArray, values: FloatArray, guess: float) -> float:
    """Deviation of one training of a network, from the repeats; `guess` counts as PRIOR_FREEDOM of them."""
    _, at, counts = np.unique(places, return_inverse=True, return_counts=True)
    centred = values - (np.bincount(at, values) / counts)[at]
    freedom = PRIOR_FREEDOM + len(values) - len(counts)
    return math.sqrt((PRIOR_FREEDOM * guess**2 + float(centred @ centred)) / freedom)


def _completed(observations: Sequence[Observation]) -> list[tuple[Observation, float]]:
    """For each training that stopped early: its predicted end, and the prediction's error (transformed).

    By a straight line from the score after as many epochs to the one at the end, through the trainings that have both;
    in transformed scores, in which such pairs correlate more (experiments/README.md).
    """
    if all(one.whole for one in observations):
        return []
    ends = {(one.place, one.seed): one.value for one in observations if one.whole}
    last: dict[tuple[int, int], Observation] = {}
    pairs: dict[int, list[tuple[float, float]]] = {}
    for one in observations:
        key = (one.place, one.seed)
        if one.whole:
            continue
        if key in ends:
            pairs.setdefault(one.epochs, []).append((one.value, ends[key]))
        elif key not in last or one.epochs > last[key].epochs:
            last[key] = one
    found = []
    for one in last.values():
        known = np.array(pairs.get(one.epochs, ()))
        if len(known) < LEAST_PAIRS:
            continue
        start, end = transform(known, OFFSETS[EARLY]).T
        centred = start - start.mean()
        # A slope below 0 would say that a better start ends worse; half a unit of ridge for starts all alike.
        slope = max(0.0, float(centred @ (end - end.mean())) / (float(centred @ centred) + 1e-6))
        at = float(transform(np.array([one.value]), OFFSETS[EARLY])[0]) - float(start.mean())
        residual = end - end.mean() - slope * centred
        error = float(residual @ residual) / (len(known) - 2)
        error *= 1 + 1 / len(known) + at**2 / (float(centred @ centred) + 1e-6)
        value = 1 + OFFSETS[EARLY] - math.exp(-float(end.mean()) - slope * at)
        found.append((one._replace(value=min(value, 1.0)), math.sqrt(error)))
    return found


def chances(posterior: Posterior) -> FloatArray:
    """Each place's probability of being the best of the pool, (n,)."""
    wins = np.bincount(posterior.draws.argmax(axis=1), minlength=len(posterior.mean))
    found: FloatArray = wins / len(posterior.draws)
    return found


def best_set(posterior: Posterior, confidence: float) -> frozenset[int]:
    """The places that may be the best, the untried included; it is among them with at least `confidence`.

    The error allowed is halved: the fewest places that hold the best with 1 − half of it, and every place whose chance
    of beating the recommended one is at least the other half. Without the second, a flat landscape, where chances
    are many and small, is covered too seldom (experiments/README.md).
    """
    allowed = (1 - confidence) / 2
    probability = chances(posterior)
    order = np.lexsort((-posterior.mean, -probability))
    enough = int(np.searchsorted(np.cumsum(probability[order]), 1 - allowed - 1e-12)) + 1
    kept = set(map(int, order[:enough]))
    if posterior.tried:
        leader = posterior.draws[:, recommend(posterior)]
        kept |= set(map(int, np.flatnonzero((posterior.draws >= leader[:, None]).mean(axis=0) >= allowed)))
    return frozenset(kept)


def recommend(posterior: Posterior) -> int:
    """The tried place of the highest expected score."""
    tried = sorted(posterior.tried)
    return tried[int(np.argmax(posterior.mean[tried]))]


def regret(posterior: Posterior) -> float:
    """What the recommended place is expected to miss of the best of the whole pool, in score."""
    return float(np.mean(posterior.draws.max(axis=1) - posterior.draws[:, recommend(posterior)]))


def difference(posterior: Posterior, a: int, b: int, confidence: float) -> Difference:
    """Score of a minus score of b, with the middle `confidence` of its posterior."""
    values = posterior.draws[:, a] - posterior.draws[:, b]
    return Difference(float(values.mean()), *interval(values, confidence))


def next_training(
    posterior: Posterior,
    observations: Sequence[Observation],
    running: Sequence[tuple[int, int]] = (),
    seeds: int = MOST_SEEDS,
    precision: float | None = None,
    left_out: Collection[int] = (),
    reference: int | None = None,
) -> tuple[int, int] | None:
    """(place, seed) of the training that is expected to raise the recommended score most; None where none is left, or
    the recommendation is expected to miss no more than `precision`, as far as LEAST_REPEATS repeats show the noise: up
    to then that expectation rests on an assumption, and what comes next is a repeat.

    One-step knowledge gradient (Frazier, Powell & Dayanik 2009) over a new network or another seed of a known one, on
    the joint draws. What is `running` counts as if its outcome were as expected, unless its start counts already.
    `left_out` are failed places. Every REPEAT_EVERY-th training goes to the recommended network or the `reference`
    that it is compared with (where it is the reference itself: its likeliest rival), whichever has fewer: only repeats
    tell noise from what networks differ by, and a leader's luck from its merit. They come in pairs, since a seed that
    one network alone was trained with says nothing of the noise.
    """
    enough = precision is not None and regret(posterior) <= precision
    if enough and posterior.freedom >= LEAST_REPEATS:
        return None
    taken: dict[int, set[int]] = {}
    for one in observations:
        taken.setdefault(one.place, set()).add(one.seed)
    for place, seed in running:
        taken.setdefault(place, set()).add(seed)
    free = [
        place for place in range(len(posterior.mean)) if place not in left_out and len(taken.get(place, ())) < seeds
    ]
    if not free:
        return None
    if enough or sum(map(len, taken.values())) % REPEAT_EVERY == REPEAT_EVERY - 1:
        leader = recommend(posterior)
        rival = _rival(posterior, leader) if reference in (None, leader) else reference
        known = [place for place in (leader, rival) if place is not None and place in free]
        if known:
            return _with_seed(min(known, key=lambda place: len(taken.get(place, ()))), taken, seeds)
    centred = posterior.draws - posterior.mean
    covariance = centred.T @ centred / len(centred)
    started = {(one.place, one.seed) for one, _ in _completed(observations)}
    for place, _ in set(running) - started:
        column = covariance[place].copy()
        covariance -= np.outer(column, column) / (column[place] + posterior.spread[place] ** 2)
    gains = _knowledge_gradient(posterior.mean, covariance, posterior.spread, np.array(free, dtype=np.intp))
    # Where no training can be expected to change the choice, the likeliest to be best.
    chosen = np.lexsort((posterior.mean[free], chances(posterior)[free], gains))[-1]
    return _with_seed(free[int(chosen)], taken, seeds)


def _rival(posterior: Posterior, leader: int) -> int | None:
    """The likeliest best of the tried places but the leader."""
    others = sorted(posterior.tried - {leader})
    best = chances(posterior)
    return max(others, key=lambda place: (best[place], posterior.mean[place]), default=None)


def _with_seed(place: int, taken: Mapping[int, set[int]], seeds: int) -> tuple[int, int]:
    return place, next(seed for seed in range(seeds) if seed not in taken.get(place, ()))


def _knowledge_gradient(mean: FloatArray, covariance: FloatArray, spread: FloatArray, free: IntArray) -> FloatArray:
    """By how much one training at each free place is expected to raise the highest mean, (len(free),).

    Exact (Frazier, Powell & Dayanik 2009): with an outcome z of N(0, 1) each mean moves along a line, the highest along
    their upper envelope, here walked from the smallest slope to the largest for all free places at once.
    """
    variance = np.diag(covariance)[free] + spread[free] ** 2
    slopes = covariance[free] / np.sqrt(variance)[:, None]
    every = np.arange(len(free))
    lowest = slopes == slopes.min(axis=1, keepdims=True)
    on = np.where(lowest, mean, -np.inf).argmax(axis=1)
    gains = np.zeros(len(free))
    for _ in range(len(mean)):
        steeper = slopes - slopes[every, on][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossed = np.where(steeper > 0, (mean[on][:, None] - mean) / steeper, np.inf)
        at = crossed.min(axis=1)
        if not np.isfinite(at).any():
            break
        # Of lines through one point the steepest goes on.
        following = np.where(crossed == at[:, None], slopes, -np.inf).argmax(axis=1)
        moved = np.isfinite(at)
        gains[moved] += (steeper[every, following] * _expected_excess(-np.abs(np.where(moved, at, 0.0))))[moved]
        on = np.where(moved, following, on)
    return gains


def _expected_excess(z: FloatArray) -> FloatArray:
    """E max(0, z + N(0, 1)) for z <= 0, by Mills' ratio: exact far out, where φ(z) + z·Φ(z) would cancel."""
    from scipy.special import erfcx

    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    found: FloatArray = density * np.maximum(0.0, 1 + z * math.sqrt(math.pi / 2) * erfcx(-z / math.sqrt(2)))
    return found


def power(noise: float, networks: int, seeds: int, confidence: float) -> float:
    """The difference between two networks of `seeds` paired trainings each that a run shows 4 times of 5.

    Shown: the interval at `confidence` excludes 0. The noise of one training is estimated from the run's own
    repeats; infinite where there are none.
    """
    from scipy.stats import nct, t

    freedom = (networks - 1) * (seeds - 1)
    each = noise * math.sqrt(2 / seeds)
    if freedom < 1:
        return math.inf
    bar = float(t.ppf(0.5 + confidence / 2, freedom))
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if nct.sf(bar, freedom, middle) < POWER else (low, middle)
    return each * high
