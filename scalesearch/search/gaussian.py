"""The Gaussian model of the simplex: covariances, evidence and joint draws. `surface.py` says what it is for.

A transformed score of network i and seed q is

    y = level + smooth(shares_i) + own_i + effect_q + noise

with one overall variance s² (inverse gamma, integrated out) times: LEVEL for the level; λ for the smooth part, half
of it a quadratic of the shares (Scheffé's mixture polynomial), half a Gaussian process; ρ for what networks of equal
shares differ by; κ for what trainings of one seed share; 1 for the noise of one training. The hyperparameters
(length scale, λ, ρ, κ and the transformation) lie on a small grid, weighted by their marginal likelihood.
"""

from __future__ import annotations

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
MANY, FEW = 150, 6
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

    `weights` (grid, offsets) are posterior probabilities; `inverse` (grid, m, m) the inverses of the covariances
    of the trainings in noise variances; `shape` and `rates` (grid, offsets) the noise variance's inverse gamma.
    """

    prior: Prior
    data: Data
    weights: FloatArray
    evidence: FloatArray
    inverse: FloatArray
    shape: float
    rates: FloatArray
    rows: IntArray  # (grid,): places in GRID, all of them unless there is much data


def covariances(prior: Prior, data: Data, rows: IntArray) -> FloatArray:
    """Of the trainings, (grid, m, m), in noise variances."""
    same_place = data.places[:, None] == data.places
    same_seed = data.seeds[:, None] == data.seeds
    smooth = prior.smooth[:, data.places[:, None], data.places]
    fixed = np.diag(data.noise) + LEVEL
    found = np.empty((len(rows), len(data.places), len(data.places)))
    for index, row in enumerate(rows):
        length, signal, own, seeded = GRID[row]
        found[index] = fixed + signal * smooth[length] + own * same_place + seeded * same_seed
    return found


def condition(prior: Prior, data: Data) -> Fitted:
    """Weigh the grid by its marginal likelihood, the noise variance integrated out.

    With more than MANY trainings, the first MANY choose the FEW points of the grid at which all are used.
    """
    rows = np.arange(len(GRID))
    if len(data.places) > MANY:
        first = Data(
            data.places[:MANY], data.seeds[:MANY], data.values[:MANY], data.values[:MANY].sum(axis=0), data.guesses,
            data.noise[:MANY],
        )  # fmt: skip
        rows = np.argsort(-_condition(prior, first, rows).evidence.max(axis=1), kind="stable")[:FEW]
    return _condition(prior, data, rows)


def _condition(prior: Prior, data: Data, rows: IntArray) -> Fitted:
    count = len(data.places)
    factors = np.linalg.cholesky(covariances(prior, data, rows))
    halves = np.linalg.inv(factors)
    white = halves @ data.values  # (grid, m, offsets)
    squares = np.sum(white**2, axis=1)
    determinants = 2 * np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)
    start = PRIOR_FREEDOM / 2
    first = start * data.guesses**2
    shape = start + count / 2
    rates = first + squares / 2
    evidence = start * np.log(first) - shape * np.log(rates) - determinants[:, None] / 2 + data.jacobians
    weights = np.exp(evidence - evidence.max())
    inverse = np.swapaxes(halves, 1, 2) @ halves
    return Fitted(prior, data, weights / weights.sum(), evidence, inverse, shape, rates, rows)


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
    prior, data = fitted.prior, fitted.data
    (count, size), trainings = prior.own_draws.shape, len(data.places)
    rng = np.random.default_rng(seed)
    picks = np.searchsorted(np.cumsum(fitted.weights.ravel()), (np.arange(count) + rng.random()) / count)
    rows, columns = np.divmod(np.minimum(picks, fitted.weights.size - 1), fitted.weights.shape[1])
    grid = np.array(GRID)[fitted.rows]
    lengths, signal, own, seeded = grid[rows, 0].astype(int), grid[rows, 1], grid[rows, 2], grid[rows, 3]
    scale = np.sqrt(fitted.rates[rows, columns] / _gamma(fitted.shape, count, seed))
    smooth = prior.smooth_draws[lengths, np.arange(count)]
    places = np.sqrt(signal)[:, None] * smooth + np.sqrt(own)[:, None] * prior.own_draws
    level = np.sqrt(LEVEL) * rng.standard_normal(count)
    effects = np.sqrt(seeded)[:, None] * rng.standard_normal((count, int(data.seeds.max(initial=0)) + 1))
    noise = rng.standard_normal((count, trainings)) * np.sqrt(data.noise)
    imagined = level[:, None] + places[:, data.places] + effects[:, data.seeds] + noise
    missed = data.values.T[columns] / scale[:, None] - imagined
    weights = np.empty_like(missed)
    for row in np.unique(rows):
        chosen = rows == row
        weights[chosen] = missed[chosen] @ fitted.inverse[row]
    for length in range(len(LENGTHS)):
        chosen = lengths == length
        factor = signal[chosen, None]
        places[chosen] += factor * weights[chosen] @ prior.smooth[length][data.places]
    members = np.zeros((trainings, size))
    members[np.arange(trainings), data.places] = 1
    places += own[:, None] * (weights @ members)
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


def exact(fitted: Fitted, row: int, column: int) -> tuple[FloatArray, FloatArray]:
    """Mean (n,) and covariance (n, n; in noise variances) of the transformed scores at one point of the grid."""
    length, signal, own, _ = GRID[fitted.rows[row]]
    places = fitted.data.places
    full = signal * fitted.prior.smooth[length] + own * np.eye(len(fitted.prior.smooth[length])) + LEVEL
    across = full[:, places]
    mean = across @ fitted.inverse[row] @ fitted.data.values[:, column]
    return mean, full - across @ fitted.inverse[row] @ across.T
