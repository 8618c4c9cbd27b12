"""The Gaussian model of the simplex: covariances, evidence and joint draws. `surface.py` says what it is for.

A transformed score of network i and seed q is

    y = level + smooth(shares_i) + own_i + effect_q + noise

with one overall variance s² (inverse gamma, integrated out) times: LEVEL for the level; λ for the smooth part, half
of it a quadratic of the shares (Scheffé's mixture polynomial), half a Gaussian process; ρ for what networks of equal
shares differ by; κ for what trainings of one seed share; 1 for the noise of one training. The hyperparameters
(length scale, λ, ρ, κ and the transformation) lie on a small grid, weighted by their marginal likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

LEVEL = 1e4  # variance of the level in noise variances: as good as flat
LENGTHS = (0.25, 0.7)  # of the process, in shares; an edge of the simplex is 1.41 long
SIGNALS = (0.02, 0.4, 4.0, 30.0, 250.0)  # λ: variance of the smooth part over the pool, in noise variances
OWN = (0.0, 0.1, 0.7, 5.0, 35.0)  # ρ: of the networks' own parts, in noise variances
SEEDED = (0.0, 0.5)  # κ
OFFSETS = (0.003, 0.03, 1.0)  # of the transformation −log(1 + offset − score); the last is nearly linear
PRIOR_FREEDOM = 1.0  # of the noise variance, in trainings
MANY, FEW = 64, 6
GRID = tuple(product(range(len(LENGTHS)), SIGNALS, OWN, SEEDED))


def transform(scores: FloatArray, offset: float) -> FloatArray:
    """−log(1 + offset − score): near the ceiling noise falls with what is left to gain. Scores stay below it."""
    ceiling: FloatArray = -np.log(np.maximum(1 + offset - scores, offset / 3))
    return ceiling


@dataclass(frozen=True, slots=True)
class Data:
    """Trainings for the model. `noise` is each one's noise variance in units of a whole training's."""

    places: IntArray  # (m,)
    seeds: IntArray  # (m,)
    values: FloatArray  # (m, len(OFFSETS)), transformed
    jacobians: FloatArray  # (len(OFFSETS),): sums of log dy/dscore
    guesses: FloatArray  # (len(OFFSETS),): prior guess of the noise's deviation, transformed
    noise: FloatArray  # (m,)


@dataclass(frozen=True, slots=True)
class Means:
    """All trainings as one value for each of the p tried places, seeds' effects of variance κ integrated out.

    Exact: a Gaussian likelihood of the places is one of `values`, times a constant. Their covariance, in noise
    variances, is diag(1 / `weights`) + `loading` `loading`ᵀ: a column for each seed.
    """

    places: IntArray  # (p,), rising
    values: FloatArray  # (p, len(OFFSETS))
    weights: FloatArray  # (p,)
    loading: FloatArray  # (p, seeds), or (p, 0) where seeds share nothing
    squares: FloatArray  # (len(OFFSETS),): what the trainings' quadratic form holds beside that of `values`
    determinant: float  # log of the trainings' determinant over that of `values`

    @property
    def covariance(self) -> FloatArray:
        """(p, p)"""
        found: FloatArray = self.loading @ self.loading.T
        found.flat[:: len(self.places) + 1] += 1 / self.weights
        return found


def means_of(data: Data, seeded: float) -> Means:
    """By Woodbury's formula; costs a pass over the trainings, and the cube of the seeds."""
    from scipy.linalg import solve_triangular

    places, at = np.unique(data.places, return_inverse=True)
    seeds, of = np.unique(data.seeds, return_inverse=True)
    weights = 1 / data.noise
    weighted = weights[:, None] * data.values
    counts = np.zeros((len(places), len(seeds)))
    np.add.at(counts, (at, of), weights)
    total, of_seed = counts.sum(axis=1), counts.sum(axis=0)
    by_place, by_seed = (np.zeros((len(one), data.values.shape[1])) for one in (places, seeds))
    np.add.at(by_place, at, weighted)
    np.add.at(by_seed, of, weighted)
    loading, determinant = np.zeros((len(places), 0)), 0.0
    if seeded:
        by_weight = counts / total[:, None]
        factor = np.linalg.cholesky(np.diag(1 / seeded + of_seed) - counts.T @ by_weight)
        loading = solve_triangular(factor, by_weight.T, lower=True, check_finite=False).T
        determinant = 2 * float(np.sum(np.log(np.diag(factor)))) + len(seeds) * math.log(seeded)
    shrunk = seeded / (1 + seeded * of_seed)  # 1 / (weight + 1/κ)
    right = by_place - (counts * shrunk) @ by_seed
    values = right / total[:, None] + loading @ (loading.T @ right)
    squares = np.sum(weighted * data.values, axis=0) - np.sum(shrunk[:, None] * by_seed**2, axis=0)
    return Means(
        places=places,
        values=values,
        weights=total,
        loading=loading,
        squares=np.maximum(squares - np.sum(right * values, axis=0), 0.0),
        determinant=determinant + float(np.sum(np.log(data.noise)) + np.sum(np.log(total))),
    )


@dataclass(frozen=True, slots=True)
class Prior:
    """What depends on the pool's shares only: smooth correlations by length scale, and k draws of both parts."""

    smooth: FloatArray  # (lengths, n, n), mean variance 1
    smooth_draws: FloatArray  # (lengths, k, n)
    own_draws: FloatArray  # (k, n)


def make_prior(shares: FloatArray, count: int, seed: int) -> Prior:
    """`count` draws, the same for every fit of one pool, so that successive decisions differ by the data alone."""
    return _prior(np.ascontiguousarray(shares, dtype=float).tobytes(), count, seed)


@lru_cache(maxsize=8)
def _prior(raw: bytes, count: int, seed: int) -> Prior:
    shares = np.frombuffer(raw, dtype=float).reshape(-1, 3)
    centred = shares - 1 / 3
    crossed = np.column_stack([shares[:, i] * shares[:, j] for i, j in ((0, 1), (0, 2), (1, 2))]) * 3
    basis = np.column_stack([centred, crossed - crossed.mean(axis=0)])
    trend = basis @ basis.T
    trend /= max(float(np.mean(np.diag(trend))), 1e-9)
    squares = np.sum((shares[:, None] - shares[None]) ** 2, axis=2)
    smooth = np.stack([trend / 2 + np.exp(-squares / (2 * length**2)) / 2 for length in LENGTHS])
    factors = np.linalg.cholesky(smooth + 1e-8 * np.eye(len(shares)))
    rng = np.random.default_rng([seed, 1])
    normal = rng.standard_normal((count, len(shares)))
    return Prior(smooth, normal @ np.swapaxes(factors, 1, 2), rng.standard_normal((count, len(shares))))


@dataclass(frozen=True, slots=True)
class Fitted:
    """The model given the data, for every point of the grid.

    `weights` (grid, offsets) are posterior probabilities; `factors` (grid, p, p) the Cholesky factors of the
    covariances of the tried places' `means` (by κ), in noise variances; `shape` and `rates` (grid, offsets) the noise
    variance's inverse gamma.
    """

    prior: Prior
    data: Data
    means: Mapping[float, Means]
    weights: FloatArray
    evidence: FloatArray
    factors: FloatArray
    shape: float
    rates: FloatArray
    rows: IntArray  # (grid,): places in GRID, all of them unless there is much data


def covariances(prior: Prior, means: Mapping[float, Means], rows: IntArray) -> FloatArray:
    """Of the tried places' means, (grid, p, p), in noise variances."""
    places = next(iter(means.values())).places
    smooth = prior.smooth[:, places[:, None], places]
    found = np.empty((len(rows), len(places), len(places)))
    fixed = {seeded: one.covariance + LEVEL for seeded, one in means.items()}
    for one, row in zip(found, rows, strict=True):
        length, signal, own, seeded = GRID[row]
        np.multiply(smooth[length], signal, out=one)
        one += fixed[seeded]
        one.flat[:: len(places) + 1] += own
    return found


def condition(prior: Prior, data: Data) -> Fitted:
    """Weigh the grid by its marginal likelihood, the noise variance integrated out.

    Costs the cube of the tried places. With more than MANY of them, all trainings of the first MANY choose the FEW
    points of the grid at which the others are used too.
    """
    rows = np.arange(len(GRID))
    tried, first = np.unique(data.places, return_index=True)
    if len(tried) > MANY:
        some = np.isin(data.places, tried[np.argsort(first)[:MANY]])
        values = data.values[some]
        part = Data(data.places[some], data.seeds[some], values, values.sum(axis=0), data.guesses, data.noise[some])
        rows = np.argsort(-_condition(prior, part, rows).evidence.max(axis=1), kind="stable")[:FEW]
    return _condition(prior, data, rows)


def _condition(prior: Prior, data: Data, rows: IntArray) -> Fitted:
    from scipy.linalg import solve_triangular

    means = {seeded: means_of(data, seeded) for seeded in SEEDED}
    factors = np.linalg.cholesky(covariances(prior, means, rows))
    used = [means[GRID[row][3]] for row in rows]
    pairs = zip(factors, used, strict=True)
    # (grid, p, offsets)
    white = np.stack([solve_triangular(factor, one.values, lower=True, check_finite=False) for factor, one in pairs])
    squares = np.sum(white**2, axis=1) + np.stack([one.squares for one in used])
    determinants = 2 * np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)
    determinants += np.array([one.determinant for one in used])
    start = PRIOR_FREEDOM / 2
    first = start * data.guesses**2
    shape = start + len(data.places) / 2
    rates = first + squares / 2
    evidence: FloatArray = start * np.log(first) - shape * np.log(rates) - determinants[:, None] / 2 + data.jacobians
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    return Fitted(prior, data, means, weights, evidence, np.asarray(factors, dtype=np.float64), shape, rates, rows)


@dataclass(frozen=True, slots=True)
class Draws:
    """Joint posterior draws: `surface` (k, n) of the transformed scores of all places, each draw with its own noise
    variance (of one training, seed's effect included in `variance`) and offset."""

    surface: FloatArray
    variance: FloatArray  # (k,)
    own_variance: FloatArray  # (k,), without the seed's effect
    offset: FloatArray  # (k,)


def draw(fitted: Fitted, seed: int) -> Draws:
    """Joint draws by Matheron's rule: a draw of the prior, corrected by what it misses the data by."""
    from scipy.linalg import cho_solve

    prior = fitted.prior
    count = len(prior.own_draws)
    tried = fitted.means[SEEDED[0]].places
    rng = np.random.default_rng(seed)
    picks = np.searchsorted(np.cumsum(fitted.weights.ravel()), (np.arange(count) + rng.random()) / count)
    rows, columns = np.divmod(np.minimum(picks, fitted.weights.size - 1), fitted.weights.shape[1])
    grid = np.array(GRID)[fitted.rows]
    lengths, signal, own, seeded = grid[rows, 0].astype(int), grid[rows, 1], grid[rows, 2], grid[rows, 3]
    scale = np.sqrt(fitted.rates[rows, columns] / _gamma(fitted.shape, count, seed))
    smooth = prior.smooth_draws[lengths, np.arange(count)]
    places = np.sqrt(signal)[:, None] * smooth + np.sqrt(own)[:, None] * prior.own_draws
    level = np.sqrt(LEVEL) * rng.standard_normal(count)
    normal = rng.standard_normal((count, len(tried)))
    by_seed = rng.standard_normal((count, max(one.loading.shape[1] for one in fitted.means.values())))
    weights = np.empty_like(normal)
    for row in np.unique(rows):
        chosen = rows == row
        means = fitted.means[GRID[fitted.rows[row]][3]]
        missed = means.values.T[columns[chosen]] / scale[chosen, None]
        missed -= level[chosen, None] + places[np.ix_(chosen, tried)] + normal[chosen] / np.sqrt(means.weights)
        missed -= by_seed[chosen, : means.loading.shape[1]] @ means.loading.T
        weights[chosen] = cho_solve((fitted.factors[row], True), missed.T, check_finite=False).T
    for length in range(len(LENGTHS)):
        chosen = lengths == length
        factor = signal[chosen, None]
        places[chosen] += factor * weights[chosen] @ prior.smooth[length][tried]
    places[:, tried] += own[:, None] * weights
    places += (level + LEVEL * weights.sum(axis=1))[:, None]
    return Draws(
        surface=places * scale[:, None],
        variance=scale**2 * (1 + seeded),
        own_variance=scale**2,
        offset=np.array(OFFSETS)[columns],
    )


@lru_cache(maxsize=512)
def _gamma(shape: float, count: int, seed: int) -> FloatArray:
    """Quantiles rather than draws, shuffled: no draw of the noise variance is wilder than its share."""
    from scipy.special import gammaincinv

    quantiles = gammaincinv(shape, (np.arange(count) + 0.5) / count)
    found: FloatArray = np.random.default_rng([seed, 2]).permutation(quantiles)
    return found
