"""What to try next: an ordered choice among the feasible, distinct candidates that are still untried.

A sampler is one entry of SAMPLERS. Every proposal is a function of (pool, what has been seen, seed, n), so a
resumed run proposes what an uninterrupted one would. Optuna's samplers propose a point of the simplex, which goes
to the nearest untried candidate: none of their trials can be infeasible or a repeat.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from scalesearch.search.candidates import Candidate, Shares
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, RULES, Coefficients

ANCHORS = 5  # what every sampler tries first is enough for a model to start from
DISTRIBUTIONS = {"u": FloatDistribution(0.0, 1.0), "v": FloatDistribution(0.0, 1.0)}
FINEST_LATTICE = 24  # 325 nodes; finer ones only repeat what is nearest to these
CORNERS: Mapping[str, Shares] = {
    "depth only": (1.0, 0.0, 0.0),
    "width only": (0.0, 1.0, 0.0),
    "resolution only": (0.0, 0.0, 1.0),
}


# Whose answers to the same question every run is compared with: Tan & Le 2019, and Dollár et al. 2021 (d¹w⁸r¹).
POINTS: Mapping[str, Coefficients] = {"paper": PAPER_COEFFICIENTS, "dWr": RULES["dWr"]}


@dataclass(frozen=True, slots=True)
class Seen:
    """A candidate that has been proposed; `score` is None while it is unknown (running) or will stay so (failed).

    `stopped` is where its pruned training came to: epoch and accuracy.
    """

    candidate: Candidate
    score: float | None
    running: bool = False
    stopped: tuple[int, float] | None = None


@dataclass(frozen=True)
class Pool:
    """All candidates, and those that every sampler proposes first: the corners, the paper's point and dWr's."""

    candidates: tuple[Candidate, ...]
    anchors: Mapping[str, Candidate]

    @cached_property
    def by_digest(self) -> Mapping[str, Candidate]:
        """In the order of `candidates`. A digest is computed anew each time that a candidate is asked for it."""
        return {candidate.digest: candidate for candidate in self.candidates}

    @cached_property
    def anchors_of(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the anchors that a network stands for, by digest, in the order in which they are tried."""
        found: dict[str, tuple[str, ...]] = {}
        for name, anchor in self.anchors.items():
            digest = anchor.digest
            found[digest] = (*found.get(digest, ()), name)
        return found

    @cached_property
    def lattice(self) -> tuple[str, ...]:
        """Digests in the order of simplex lattices of rising fineness {i/m}; each node stands for the nearest one.

        Within a lattice the middle comes first, so that a short run covers the inside too. A candidate that is nearest
        to no node of the finest lattice comes last, the farthest from all before it and from the anchors first.
        """
        digests = sorted(self.by_digest)
        places = np.array([self.by_digest[digest].shares for digest in digests])
        order: dict[int, None] = {}
        for m in range(2, FINEST_LATTICE + 1):
            nearest = np.linalg.norm(np.array(lattice_nodes(m))[:, None] - places, axis=2).argmin(axis=1)
            order.update(dict.fromkeys(map(int, nearest)))
        away = np.full(len(places), np.inf)
        for index in (*order, *(digests.index(digest) for digest in self.anchors_of)):
            away = np.minimum(away, np.linalg.norm(places - places[index], axis=1))
        away[list(order)] = -1  # has its place
        while len(order) < len(digests):
            index = len(away) - 1 - int(away[::-1].argmax())  # of equals the last digest
            order[index] = None
            away = np.minimum(away, np.linalg.norm(places - places[index], axis=1))
            away[index] = -1
        return tuple(digests[index] for index in order)


def make_pool(candidates: Sequence[Candidate]) -> Pool:
    """The nearest realisable candidates to the three corners (in realised shares), to the paper's point and dWr's."""
    anchors = {
        name: min(candidates, key=lambda candidate: (math.dist(candidate.shares, corner), candidate.digest))
        for name, corner in CORNERS.items()
    }
    for name, point in POINTS.items():
        anchors[name] = _nearest_to(candidates, point)
    return Pool(tuple(candidates), anchors)


def propose(
    sampler: str, pool: Pool, seen: Sequence[Seen], seed: int, tried: Container[str] | None = None
) -> Candidate | None:
    """The next untried candidate, or None if there is none left. `tried` are the digests of `seen`, if at hand."""
    if tried is None:
        tried = {entry.candidate.digest for entry in seen}
    for digest in pool.anchors_of:
        if digest not in tried:
            return pool.by_digest[digest]
    untried = {digest: candidate for digest, candidate in pool.by_digest.items() if digest not in tried}
    if not untried:
        return None
    found: Candidate = SAMPLERS[sampler](pool, seen, untried, seed)
    return found


def simplex_to_square(shares: Shares) -> dict[str, float]:
    """(u, v) in the unit square; uniform there is uniform on the simplex: a = 1 − √u, b = √u·(1 − v), c = √u·v."""
    depth, width, resolution = shares
    rest = width + resolution
    return {"u": (1 - depth) ** 2, "v": resolution / rest if rest > 0 else 0.5}


def square_to_simplex(u: float, v: float) -> Shares:
    root = math.sqrt(u)
    return 1 - root, root * (1 - v), root * v


def _lattice(pool: Pool, seen: Sequence[Seen], untried: Mapping[str, Candidate], seed: int) -> Candidate:
    return untried[next(digest for digest in pool.lattice if digest in untried)]


@cache
def lattice_nodes(m: int) -> list[Shares]:
    """The points {i/m} of the simplex, from its middle outwards."""
    nodes = [(i / m, j / m, (m - i - j) / m) for i in range(m + 1) for j in range(m + 1 - i)]
    return sorted(nodes, key=lambda node: (round(math.dist(node, (1 / 3, 1 / 3, 1 / 3)), 9), node))


def _random(pool: Pool, seen: Sequence[Seen], untried: Mapping[str, Candidate], seed: int) -> Candidate:
    rng = np.random.default_rng([seed, len(seen)])
    return list(untried.values())[int(rng.integers(len(untried)))]


def _optuna(
    make: Callable[[int], optuna.samplers.BaseSampler], asks_from_start: bool = False
) -> Callable[[Pool, Sequence[Seen], Mapping[str, Candidate], int], Candidate]:
    """A fresh sampler per proposal, seeded from (seed, n), on a study of what is visible now.

    One long-lived sampler would carry a state that no resumed run has. QMC is a fixed sequence instead: its n-th
    point under the run's own seed.
    """

    def sample(pool: Pool, seen: Sequence[Seen], untried: Mapping[str, Candidate], seed: int) -> Candidate:
        number = len(seen)
        mixed = seed if asks_from_start else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        study = optuna.create_study(direction="maximize", sampler=make(mixed))
        for entry in () if asks_from_start else seen:
            if entry.score is None and entry.stopped is None and not entry.running:
                continue
            state = TrialState.RUNNING if entry.running else TrialState.COMPLETE
            study.add_trial(
                create_trial(
                    state=state if entry.stopped is None else TrialState.PRUNED,
                    params=simplex_to_square(entry.candidate.shares),
                    distributions=dict(DISTRIBUTIONS),
                    value=entry.score,
                    intermediate_values={} if entry.stopped is None else dict([entry.stopped]),
                )
            )
        for _ in range(number if asks_from_start else 0):
            study.ask(dict(DISTRIBUTIONS))
        asked = study.ask(dict(DISTRIBUTIONS)).params
        return _nearest(list(untried.values()), square_to_simplex(asked["u"], asked["v"]))

    return sample


def _qmc(seed: int) -> optuna.samplers.BaseSampler:
    """Scrambled Sobol points. Optuna calls the class experimental, each time anew; its version is pinned here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.QMCSampler(seed=seed, scramble=True)


def _nearest(candidates: Sequence[Candidate], shares: Shares) -> Candidate:
    return min(candidates, key=lambda candidate: (math.dist(candidate.shares, shares), candidate.digest))


def _nearest_to(candidates: Sequence[Candidate], point: Coefficients) -> Candidate:
    return min(candidates, key=lambda candidate: (_distance(candidate, point), candidate.digest))


def _distance(candidate: Candidate, point: Coefficients) -> float:
    """Of a point from the candidate's box of intervals, in budget shares; 0 inside."""
    total = 0.0
    sides = (candidate.alpha, candidate.beta, candidate.gamma)
    for side, value, power in zip(sides, (point.alpha, point.beta, point.gamma), (1, 2, 2), strict=True):
        inside = min(max(value, side.low), side.high)
        total += (power * math.log2(value / inside)) ** 2
    return math.sqrt(total)


SAMPLERS: Mapping[str, Callable[[Pool, Sequence[Seen], Mapping[str, Candidate], int], Candidate]] = {
    "lattice": _lattice,
    "grid": _lattice,  # the same order over another pool: the nominal grid instead of the realised surface
    "random": _random,
    "tpe": _optuna(lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=ANCHORS)),
    "gp": _optuna(
        lambda seed: optuna.samplers.GPSampler(seed=seed, deterministic_objective=False, n_startup_trials=ANCHORS)
    ),
    "qmc": _optuna(_qmc, asks_from_start=True),
}
