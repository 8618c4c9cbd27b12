"""A recorded space of bases to search again: what its networks are worth, and what a strategy tries of them.

`base_search.py` compares the strategies; here is one replay of one of them, and the closed form of random search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalesearch.search.base_landscape import BaseLandscape
from scalesearch.search.base_problem import proxy_of
from scalesearch.search.base_strategies import Judged, propose
from scalesearch.search.resample import Floats, Parts, expected, fresh_accuracies, taken_apart
from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.errors import DataError
from scalesearch.spec.feasible import Budget, Excess

CLOSE = 0.01  # of reward: one point
SHARE = 0.9  # of the replays


class Remembered(BaseSpace):
    """The same space, which works out each network once: replays ask for the same few again and again."""

    def __init__(self, space: BaseSpace) -> None:
        super().__init__(space.name, space.skeleton, space.choices, space.regnet, space.stages)
        object.__setattr__(self, "made", {})
        object.__setattr__(self, "named", {})

    def _network(self, point: Point) -> Arch:
        if point not in self.made:
            self.made[point] = super()._network(point)
        return self.made[point]

    def decode(self, point: Point) -> Arch:
        if point not in self.named:
            self.named[point] = super().decode(point)
        return self.named[point]


class RememberedBudget(Budget):
    """The same budget, which counts each network of a space once, by its name."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget.low, budget.high, budget.limits)
        object.__setattr__(self, "counted", {})

    def excess(self, arch: Arch) -> Excess:
        if arch.name not in self.counted:
            self.counted[arch.name] = super().excess(arch)
        return self.counted[arch.name]


@dataclass(frozen=True)
class World:
    """What one replay takes for true, in the landscape's order: `truth` is the expected reward of a training,
    `accuracies` are of one training of every network, `worth` what they are expected to be."""

    truth: Floats
    accuracies: Floats
    worth: Floats

    @property
    def close(self) -> int:
        """How many networks are within CLOSE of the best."""
        return int((self.truth >= self.truth.max() - CLOSE).sum())


@dataclass(frozen=True)
class Field:
    """A recorded space. `parts` are what worlds are drawn from, None where each network was trained once. `proxies`
    remembers digests, by the network's own."""

    landscape: BaseLandscape
    space: BaseSpace
    budget: Budget
    index: dict[str, int]
    parts: Parts | None
    proxies: dict[str, str]

    def identify(self, arch: Arch) -> str:
        """The digest of the proxy: networks of one proxy count as one, as in the search itself."""
        if arch.name not in self.proxies:
            own = self.landscape
            self.proxies[arch.name] = proxy_of(arch, self.space, own.settings, own.classes, own.channels).digest
        return self.proxies[arch.name]

    def world(self, replay: int) -> World:
        """A truth that the recording leaves open, and fresh trainings under it; or what was recorded."""
        if self.parts is None:
            recorded = _recorded(self.landscape)[:, 0, 0]
            return World(self._rewards(recorded), recorded, recorded)
        images, normal = self.landscape.images, np.random.default_rng([replay, 1]).standard_normal(len(self.index))
        parts = self.parts.redrawn(normal)
        accuracies = fresh_accuracies(parts, images, np.random.default_rng(replay), 1)[:, 0, 0]
        worth = expected(parts, images)[:, 0]
        return World(self._rewards(worth), accuracies, worth)

    def _rewards(self, accuracies: Floats) -> Floats:
        pairs = zip(self.landscape.networks, accuracies, strict=True)
        return np.array([self.landscape.reward(network.flops, float(value)) for network, value in pairs])


def make_field(landscape: BaseLandscape) -> Field:
    """Raises DataError for fewer than three networks: then there is nothing to search."""
    if len(landscape.networks) < 3:
        raise DataError(
            f"the recording holds {len(landscape.networks)} networks, a search needs three; let the run go on"
        )
    accuracy, parts = _recorded(landscape), None
    if accuracy.shape[1] > 1:
        parts = taken_apart(accuracy, landscape.images, main_effects(landscape))
    index = {network.digest: number for number, network in enumerate(landscape.networks)}
    space, budget = Remembered(landscape.space), RememberedBudget(landscape.budget)
    return Field(landscape, space, budget, index, parts, {})


def main_effects(landscape: BaseLandscape) -> Floats:
    """(n, k): a constant, and of every choice each option but the first as 0 or 1; of few networks the constant."""
    points = np.array([network.point for network in landscape.networks])
    columns = [np.ones(len(points))]
    columns += [(own == option).astype(float) for own in points.T for option in sorted(set(own))[1:]]
    return np.column_stack(columns if len(points) >= 3 * len(columns) else columns[:1])


def _recorded(landscape: BaseLandscape) -> Floats:
    """Accuracy after the last epoch (n, seeds, 1), over the seeds that all networks have, or of the first of each."""
    table = []
    for network in landscape.networks:
        own = {training.seed: training.epochs[-1].accuracy for training in network.trainings}
        table.append([[own[seed]] for seed in landscape.seeds] or [[next(iter(own.values()))]])
    return np.array(table)


def search(field: Field, world: World, strategy: str, seed: int, trainings: int) -> Floats:
    """The true reward of every network that a strategy tries, in order, until it has tried the best.

    A network that was not recorded is one whose training failed: the strategy hears that, and nothing is found.
    """
    landscape, truth, accuracies = field.landscape, world.truth, world.accuracies
    seen: list[Judged] = []
    tried: list[float] = []
    while len(seen) < trainings and (not tried or tried[-1] < truth.max()):
        found = propose(strategy, field.space, field.budget, seen, seed, field.identify)
        if found is None:
            break
        digest = field.identify(found.arch)
        place = field.index.get(digest)
        if place is None:
            seen.append(Judged(found.point, digest, 0.0))
            tried.append(float(truth.min()))
            continue
        flops, accuracy = landscape.networks[place].flops, float(accuracies[place])
        seen.append(Judged(found.point, digest, float(flops), landscape.reward(flops, accuracy), accuracy))
        tried.append(float(truth[place]))
    return np.array(tried)


def chance_best(truths: Floats, trainings: int) -> Floats:
    """The expected best of k = 1, 2, … networks drawn without replacement, over worlds' `truths` (w, n): the closed
    form of random search.

    The i-th best of n is the best of k with probability C(n − i, k − 1) / C(n, k).
    """
    n = truths.shape[1]
    falling = np.sort(truths, axis=1)[:, ::-1].mean(axis=0)
    found = []
    for k in range(1, trainings + 1):
        total = math.comb(n, k)
        found.append(sum(math.comb(n - 1 - i, k - 1) / total * float(falling[i]) for i in range(n - k + 1)))
    return np.array(found)


def chance_arrival(networks: int, close: Sequence[int]) -> int:
    """After how many draws without replacement one of a world's close networks is there, in SHARE of the worlds."""
    total = (math.comb(networks, k) for k in range(networks + 1))
    missed = (sum(math.comb(networks - own, k) for own in close) / each for k, each in enumerate(total))
    return next(k for k, worlds in enumerate(missed) if 1 - worlds / len(close) >= SHARE)
