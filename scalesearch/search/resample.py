"""Fresh noise for a recorded landscape: new trainings of its networks, as they might have come out.

A search that is judged on the recorded trainings alone is judged on one throw of the dice. So the recording is taken
apart into what belongs to a network, to a seed and to a single training, and put together with the last two drawn anew;
and the first as well, as far as so few trainings leave it open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from scalesearch.fit.recipe import Epoch
from scalesearch.search.landscape import Landscape
from scalesearch.search.recorded import Training
from scalesearch.search.stats import reward
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import DataError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
NODES = 9  # of the quadrature over the seed's effect
PEERS = 13  # networks that share their scatter: those of the most similar accuracy, the network itself included
TREND_FROM = 18  # networks: three for each of the trend's terms
_SMALLEST = 1e-12
_LEAST_KEPT = 1e-6  # of the variance between networks, so that their order stays where noise could explain it all


@dataclass(frozen=True, slots=True)
class Parts:
    """One column of a recording, taken apart on the scale of `to`; network n, seed s, epoch e.

    `networks` (n, e) are best guesses at the networks' own values, `unsure` (n, e) their posterior deviations, `seeds`
    (s, e) what a seed does to all of them, `rest` (n·s, e) what is left of each training. The last two are rescaled
    for the degrees of freedom that centring took.
    """

    networks: Floats
    unsure: Floats
    seeds: Floats
    rest: Floats

    def redrawn(self, normal: Floats) -> Parts:
        """Networks as they may truly be: `normal` (n,) deviations from the best guesses, alike in all epochs."""
        return replace(self, networks=self.networks + normal[:, None] * self.unsure, unsure=0 * self.unsure)


@dataclass(frozen=True, slots=True)
class Noise:
    """How a landscape's trainings scatter; networks are in the landscape's order.

    `truth` (n, e): the expected score of a training after each epoch, under this noise; the truly best network is the
    one whose last is highest. `redrawn` gives another truth that the recording is as likely to come from. A score is
    the accuracy times (FLOPs / T)^−0.07, T twice the base's. `seconds` (n, e): mean processor seconds of each epoch,
    evaluation included; they are not drawn anew.
    """

    shares: Floats
    correction: Floats  # (n,): of accuracy to the budget
    seconds: Floats
    accuracy: Parts
    images: int  # that the accuracies were measured on
    truth: Floats

    def redrawn(self, rng: np.random.Generator) -> Noise:
        """With the networks' own values drawn from what the recording says of them."""
        parts = self.accuracy.redrawn(rng.standard_normal(len(self.shares)))
        return replace(self, accuracy=parts, truth=expected(parts, self.images) * self.correction[:, None])

    def draw(self, rng: np.random.Generator, seeds: int, one_seed: bool = False) -> Floats:
        """Scores (n, seeds, e) of fresh trainings. All networks share the effect of seed k, as paired seeds do; with
        `one_seed` all trainings share one, as in a script with a fixed seed."""
        return fresh_accuracies(self.accuracy, self.images, rng, seeds, one_seed) * self.correction[:, None, None]


def noise_of(landscape: Landscape) -> Noise:
    """Take a landscape apart, over the seeds that all its networks share.

    Noise is additive in the logit of accuracy: near the top, networks with a tenth of the errors also scatter by far
    less, and additive noise would bury the differences between them. What is still unequal there (`unequal` measures
    it) stays with networks of similar accuracy: a network takes the scatter of its PEERS. Raises DataError if the
    networks share fewer than two seeds: then nothing tells noise from networks.
    """
    images = int(landscape.plan["val_images"])
    accuracy = _column(landscape, "accuracy")
    shares = _shares(landscape)
    parts = taken_apart(accuracy, images, _mixture(shares))
    budget = 2.0 * cost(landscape.proxy_base).flops
    correction = np.array([reward(1.0, network.candidate.flops, budget) for network in landscape.networks])
    return Noise(
        shares=shares,
        correction=correction,
        seconds=_column(landscape, "processor_seconds").mean(axis=1),
        accuracy=parts,
        images=images,
        truth=expected(parts, images) * correction[:, None],
    )


def taken_apart(accuracy: Floats, images: int, design: Floats) -> Parts:
    """Accuracies (network, seed, epoch), each of so many images, of at least two networks and two seeds. Networks lie
    about a linear trend over their columns of `design` (n, k), which include a constant."""
    return _take_apart(_to_logit(accuracy, images), design)


def fresh_accuracies(parts: Parts, images: int, rng: np.random.Generator, seeds: int, one_seed: bool = False) -> Floats:
    """Accuracies (n, seeds, e) of fresh trainings; all networks share the effect of seed k, or of one for all."""
    weights, donors = _draws(rng, parts, _donors(parts, parts.networks), seeds)
    return _from_logit(_assemble(parts, weights[:1] if one_seed else weights, donors), images)


def unequal(landscape: Landscape) -> tuple[float, float]:
    """How unequal the noise of a training is: its deviation in the third of the networks with the lowest accuracies
    over that in the highest third, after the last epoch; in accuracy, and in log odds. 1 is equal."""
    accuracy = _column(landscape, "accuracy")[:, :, -1:]
    order = accuracy.mean(axis=(1, 2)).argsort()
    third = max(1, len(order) // 3)
    found = []
    for values in (accuracy, _to_logit(accuracy, int(landscape.plan["val_images"]))):
        rest = _take_apart(values, _mixture(_shares(landscape))).rest.reshape(len(order), -1)
        low, high = (np.sqrt((rest[some] ** 2).mean()) for some in (order[:third], order[-third:]))
        found.append(float(low / max(high, _SMALLEST)))
    return found[0], found[1]


def resampled(landscape: Landscape, seed: int, seeds: int, more: Sequence[int] = ()) -> Landscape:
    """A landscape with fresh trainings of every network, and of the base: seeds 0 to `seeds` − 1, and those in `more`.

    The networks' own values are drawn anew too (`Noise.redrawn`). A function of `seed` alone.

    Accuracy and both losses of a training come from the same draw, so that they stay as correlated as recorded. A
    training's seed k does not depend on how many are drawn. Times are the networks' means.
    """
    columns = {name: _column(landscape, name) for name in ("accuracy", "val_loss", "train_loss")}
    images = int(landscape.plan["val_images"])
    shares = _shares(landscape)
    normal = np.random.default_rng([seed, 0, 1]).standard_normal(len(shares))
    parts = {
        name: _take_apart(_scale(name, values, images), _mixture(shares)).redrawn(
            normal if name == "accuracy" else -normal
        )
        for name, values in columns.items()
    }
    base = {name: _base_values(landscape, name, images) for name in columns}
    donors = _donors(parts["accuracy"], np.vstack([parts["accuracy"].networks, base["accuracy"]]))
    drawn = {
        number: _draws(np.random.default_rng([seed, number]), parts["accuracy"], donors, 1)
        for number in (*range(seeds), *more)
    }
    networks = []
    for index, network in enumerate(landscape.networks):
        own = {name: part.networks[index] for name, part in parts.items()}
        networks.append(replace(network, trainings=_fresh(network.trainings, own, parts, drawn, index, images)))
    of_base = _fresh(landscape.base_trainings, base, parts, drawn, len(networks), images)
    return replace(landscape, networks=tuple(networks), base_trainings=of_base)


def _column(landscape: Landscape, name: str) -> Floats:
    """(network, seed, epoch) of a column, over the common seeds."""
    seeds = landscape.seeds
    if len(seeds) < 2 or len(landscape.networks) < 2:
        raise DataError(
            f"fresh noise: needs at least two networks and two seeds that all of them were trained with, got "
            f"{len(landscape.networks)} networks and {len(seeds)} such seeds; record more seeds"
        )
    table = []
    for network in landscape.networks:
        own = {training.seed: training for training in network.trainings}
        table.append([[getattr(epoch, name) for epoch in own[seed].epochs] for seed in seeds])
    return np.array(table)


def _shares(landscape: Landscape) -> Floats:
    return np.array([network.candidate.shares for network in landscape.networks])


def _mixture(shares: Floats) -> Floats:
    """Terms of Scheffé's quadratic mixture polynomial (1958) of `shares` (n, 3); of few networks a constant alone."""
    if len(shares) < TREND_FROM:
        return np.ones((len(shares), 1))
    depth, width, resolution = shares.T
    return np.column_stack([shares, depth * width, depth * resolution, width * resolution])


def _take_apart(values: Floats, design: Floats) -> Parts:
    networks, seeds, _ = values.shape
    means = values.mean(axis=1)
    left = values - means[:, None]
    common = left.mean(axis=0)
    rest = (left - common) * np.sqrt(networks * seeds / ((networks - 1) * (seeds - 1)))
    variance = (rest**2).mean(axis=(0, 1))
    # What the mean over networks leaves of single trainings' noise is no effect of the seed.
    own = np.maximum((common**2).sum(axis=0) / (seeds - 1) - variance / networks, 0.0)
    seen = np.maximum((common**2).sum(axis=0) / (seeds - 1), _SMALLEST)
    common = common * np.sqrt(own / seen) * np.sqrt(seeds / (seeds - 1))
    # Means of few trainings lie farther from the trend than networks do: empirical Bayes (Fay & Herriot
    # 1979), the noisier the more. What networks keep off the trend is estimated from the recording.
    local = (rest**2).mean(axis=1)[_nearest(means, means)].mean(axis=1) / seeds
    trend, own = _trend(means, design, np.ones_like(means), local)
    trend, own = _trend(means, design, 1 / (own + local), local)
    kept = own / (own + local)
    unsure = np.sqrt((1 - kept) * own)
    return Parts(trend + kept * (means - trend), unsure, common, rest.reshape(networks * seeds, -1))


def _trend(means: Floats, design: Floats, weights: Floats, local: Floats) -> tuple[Floats, Floats]:
    """Means (n, e) as a linear function of the design has them, and the variance (e,) that networks keep about it
    beside that of noise, `local` (n, e)."""
    trend, own = np.empty_like(means), np.empty(means.shape[1])
    for epoch, root in enumerate(np.sqrt(weights / weights.mean(axis=0)).T):
        found, _, rank, _ = np.linalg.lstsq(design * root[:, None], means[:, epoch] * root, rcond=None)
        trend[:, epoch] = design @ found
        left = (root * (means[:, epoch] - trend[:, epoch])) ** 2
        about = max(float(left.sum()) / (len(means) - int(rank)), _SMALLEST)
        noise = float((root**2 * local[:, epoch]).mean())
        own[epoch] = max(about - noise, _LEAST_KEPT * about)
    return trend, own


def _nearest(values: Floats, networks: Floats) -> Integers:
    """For each row of `values` (m, e) the PEERS rows of `networks` (n, e) nearest to it at the last epoch, (m, k)."""
    distance = np.abs(values[:, -1:] - networks[None, :, -1])
    found: Integers = distance.argsort(axis=1, kind="stable")[:, :PEERS]
    return found


def _donors(parts: Parts, values: Floats) -> Integers:
    """For each row of `values` (m, e) the trainings (m, k) of its nearest networks, as rows of `parts.rest`."""
    recorded = len(parts.seeds)
    nearest = _nearest(values, parts.networks)
    found: Integers = (nearest[:, :, None] * recorded + np.arange(recorded)).reshape(len(values), -1)
    return found


def _draws(rng: np.random.Generator, parts: Parts, donors: Integers, seeds: int) -> tuple[Floats, Integers]:
    """Weights (seeds, recorded seeds) of the seeds' effects, and one of the `donors` (networks, k) of each training's
    rest, (networks, seeds).

    Recorded seeds are too few to draw from: a normal mixture of them has their covariance over the epochs.
    """
    recorded = len(parts.seeds)
    weights = rng.standard_normal((seeds, recorded)) / np.sqrt(recorded)
    return weights, np.take_along_axis(donors, rng.integers(donors.shape[1], size=(len(donors), seeds)), axis=1)


def _assemble(parts: Parts, weights: Floats, donors: Integers) -> Floats:
    found: Floats = parts.networks[:, None] + (weights @ parts.seeds)[None] + parts.rest[donors]
    return found


def expected(parts: Parts, images: int) -> Floats:
    """Mean accuracy (n, e) over a network's every donor and, by Gauss–Hermite, over the seed's effect."""
    places, weights = np.polynomial.hermite_e.hermegauss(NODES)
    deviation = np.sqrt((parts.seeds**2).mean(axis=0))
    total, rest = np.zeros_like(parts.networks), parts.rest[_donors(parts, parts.networks)]
    for place, weight in zip(places, weights / weights.sum(), strict=True):
        values = parts.networks[:, None] + place * deviation + rest
        total += weight * _from_logit(values, images).mean(axis=1)
    return total


def _scale(name: str, values: Floats, images: int) -> Floats:
    found: Floats = _to_logit(values, images) if name == "accuracy" else np.log(np.maximum(values, _SMALLEST))
    return found


def _to_logit(accuracy: Floats, images: int) -> Floats:
    """log odds of being right, half an image added to each side: finite at 0 and 1 too."""
    right = accuracy * images
    found: Floats = np.log((right + 0.5) / (images - right + 0.5))
    return found


def _from_logit(values: Floats, images: int) -> Floats:
    share = 1 / (1 + np.exp(-values))
    found: Floats = np.clip((share * (images + 1) - 0.5) / images, 0.0, 1.0)
    return found


def _base_values(landscape: Landscape, name: str, images: int) -> Floats:
    values = np.array([[getattr(epoch, name) for epoch in own.epochs] for own in landscape.base_trainings])
    found: Floats = _scale(name, values, images).mean(axis=0)
    return found


def _fresh(
    recorded: tuple[Training, ...],
    own: dict[str, Floats],
    parts: dict[str, Parts],
    drawn: Mapping[int, tuple[Floats, Integers]],
    index: int,
    images: int,
) -> tuple[Training, ...]:
    trainings = []
    seconds, processor, rate = (
        np.mean([[getattr(epoch, name) for epoch in training.epochs] for training in recorded], axis=0)
        for name in ("seconds", "processor_seconds", "images_per_second")
    )
    for seed, (weights, donors) in drawn.items():
        curves = {
            name: own[name] + weights[0] @ part.seeds + part.rest[donors[index, 0]] for name, part in parts.items()
        }
        accuracy = _from_logit(curves["accuracy"], images)
        rows = zip(
            np.exp(curves["train_loss"]), np.exp(curves["val_loss"]), accuracy, seconds, rate, processor, strict=True
        )
        trainings.append(Training(seed, tuple(Epoch(n, *map(float, row)) for n, row in enumerate(rows, 1))))
    return tuple(trainings)
