"""Formulas on plain numbers: rewards, seed noise, means and errors, Pareto front, hypervolume and knee."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scalesearch.spec.settings import REWARD_EXPONENT

PARAMS_EXPONENT = -0.05  # v of EfficientNetV2's A·S^w·P^v, w as above (arXiv:2104.00298v1, section 3.3)
# β of TuNAS' absolute reward (Bender et al. 2020, arXiv:2008.06120): the default of the authors' released code
# (google-research, tunas/mobile_architecture_search.py, `rl_cost_model_exponent`).
ABSOLUTE_WEIGHT = -0.10
STEEPEST = -1.0  # of a fitted exponent: that of the hard reward above its target


def reward(
    accuracy: float,
    cost: float,
    target: float,
    form: str = "soft",
    params_ratio: float = 1.0,
    exponent: float = REWARD_EXPONENT,
) -> float:
    """Accuracy·(cost/T)^w: `cost` of the realised network on the run's axis, T = `target` on the same axis.

    soft: w = `exponent` on both sides of T. hard: w = 0 up to T and −1 above (MnasNet, equation 3 and figure 3).
    efficientnetv2: soft, times `params_ratio`^−0.05, parameters over their own target. absolute: accuracy +
    β·|cost/T − 1| (TuNAS), which a network that falls short of T loses as one that passes it. accuracy: that alone.
    """
    if form == "accuracy":
        return accuracy
    if form == "absolute":
        return accuracy + ABSOLUTE_WEIGHT * abs(cost / target - 1)
    if form == "hard":
        exponent = 0.0 if cost <= target else -1.0
    value = accuracy * math.pow(cost / target, exponent)
    return value * math.pow(params_ratio, PARAMS_EXPONENT) if form == "efficientnetv2" else value


Scores = Mapping[str, Mapping[int, float]]  # digest -> seed -> score


@dataclass(frozen=True, slots=True)
class Noise:
    """Seed noise pooled over candidates: standard deviation of one training, and its degrees of freedom."""

    deviation: float
    freedom: int


def pooled_noise(scores: Scores) -> Noise:
    """Residual deviation after the effects of candidate and seed (two-way layout, least squares).

    With one seed per candidate nothing is left to estimate it from: the deviation is infinite, freedom 0.
    """
    cells = [(digest, seed, value) for digest, row in scores.items() for seed, value in row.items()]
    digests = sorted({cell[0] for cell in cells})
    seeds = sorted({cell[1] for cell in cells})
    design = np.zeros((len(cells), len(digests) + len(seeds)))
    values = np.array([cell[2] for cell in cells])
    for row, (digest, seed, _) in enumerate(cells):
        design[row, digests.index(digest)] = 1
        design[row, len(digests) + seeds.index(seed)] = 1
    if not cells:
        return Noise(math.inf, 0)
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(cells) - int(rank)
    if freedom == 0:
        return Noise(math.inf, 0)
    squares = float(np.sum((values - design @ solution) ** 2))
    return Noise(math.sqrt(squares / freedom), freedom)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """a − b: its expectation, and the interval that holds it at a confidence."""

    mean: float
    low: float
    high: float


def fitted_exponent(points: Sequence[tuple[float, float]], confidence: float) -> Estimate | None:
    """w of the reward from the (cost, accuracy) of one design at several costs, and its interval.

    MnasNet's −0.07 says that on ImageNet twice the cost buys 5 % more accuracy: 1.05·2^w = 1, so that both are worth
    the same. Here the line log accuracy = a + s·log cost is fitted by least squares, and w = −s for the same reason. It
    is kept between STEEPEST and 0: a line that falls would reward cost. The interval is Student's t on the residuals,
    cut in the same way, and all of that where only two points are known. None with fewer than two costs.
    """
    known = [(math.log(cost), math.log(accuracy)) for cost, accuracy in points if accuracy > 0]
    if len({x for x, _ in known}) < 2:
        return None
    from scipy.stats import t

    xs, ys = (np.array(column) for column in zip(*known, strict=True))
    away = xs - xs.mean()
    slope = float(away @ ys / (away @ away))
    freedom, half = len(known) - 2, math.inf
    if freedom:
        squares = float(np.sum((ys - ys.mean() - slope * away) ** 2))
        half = float(t.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(squares / freedom / float(away @ away))
    return Estimate(*(min(0.0, max(STEEPEST, value)) for value in (-slope, -slope - half, -slope + half)))


def mean_lead(leads: Sequence[float], deviation: float, freedom: int, confidence: float) -> Difference:
    """The mean of paired differences with Student's t interval, from the `deviation` of one of them, known with so many
    degrees of `freedom`; infinite with none."""
    from scipy.stats import t

    mean, half = sum(leads) / len(leads), math.inf
    if freedom:
        half = float(t.ppf(0.5 + confidence / 2, freedom)) * deviation / math.sqrt(len(leads))
    return Difference(mean, mean - half, mean + half)


def paired_difference(scores: Scores, a: str, b: str, confidence: float) -> Difference | None:
    """Mean of a − b over the seeds that both have, and its Student's t interval; None where they share none.

    One training's noise is pooled over all `scores`, as if equal for all networks: two seeds of one pair leave a single
    degree of freedom. Where there is no repeat the interval is infinite.
    """
    leads = [scores[a][seed] - scores[b][seed] for seed in scores[a].keys() & scores[b].keys()]
    if not leads:
        return None
    noise = pooled_noise(scores)
    return mean_lead(leads, noise.deviation * math.sqrt(2), noise.freedom, confidence)


def interval(values: Sequence[float] | npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The middle `confidence` of draws or bootstrap replicates (percentile interval)."""
    low, high = np.quantile(np.asarray(values), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error (NaN for a single value)."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return mean, math.nan
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, math.sqrt(variance / count)


def mean_by_digest(scores: Scores) -> dict[str, float]:
    """Over the seeds that all have, so that no network is compared by a luckier seed; empty where there is none."""
    common = frozenset.intersection(*(frozenset(row) for row in scores.values())) if scores else frozenset[int]()
    return {digest: sum(row[seed] for seed in common) / len(common) for digest, row in scores.items() if common}


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, accuracy) points that no other point beats in both, by rising cost."""
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area dominated by (cost, accuracy) points up to the reference (highest cost, lowest accuracy)."""
    front = [points[index] for index in pareto_front(points)]
    area = 0.0
    for position, (cost, accuracy) in enumerate(front):
        following = front[position + 1][0] if position + 1 < len(front) else reference[0]
        width = min(following, reference[0]) - min(cost, reference[0])
        area += max(0.0, width) * max(0.0, accuracy - reference[1])
    return area


def knee(points: Sequence[tuple[float, float]]) -> int | None:
    """Index of the front's point farthest above the chord between its ends (log cost and accuracy, normalised).

    None if the front has fewer than three points, or none lies above the chord.
    """
    front = pareto_front(points)
    if len(front) < 3:
        return None
    costs = [math.log(points[index][0]) for index in front]
    accuracies = [points[index][1] for index in front]
    heights = [
        (accuracy - accuracies[0]) / (accuracies[-1] - accuracies[0]) - (cost - costs[0]) / (costs[-1] - costs[0])
        for cost, accuracy in zip(costs, accuracies, strict=True)
    ]
    best = max(range(len(front)), key=heights.__getitem__)
    return front[best] if heights[best] > 1e-12 else None
