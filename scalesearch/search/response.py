"""Which split of a budget the published ImageNet results favour: the surface of `fit.surrogate` over the simplex.

Here splits are exact, as no rounding can realise them: a network at φ with shares (a, b, c) has the place φ·(a, b, c).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from scalesearch.fit.surrogate import Surrogate, imagenet_surrogate
from scalesearch.search.candidates import Shares
from scalesearch.search.samplers import lattice_nodes
from scalesearch.search.stats import Difference, interval
from scalesearch.search.verdicts import unbeaten
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, Coefficients

FINENESS = 24
PHIS = (1.0, 2.0, 3.0, 3.5, 4.0, 5.0, 6.0)
CONFIDENCE = 0.9
FEW = 25  # answered splits; fewer, with the best on their edge, are a corner of the hull, and bound no region


def shares_of(coefficients: Coefficients) -> Shares:
    """Nominal budget shares, normalised to sum 1: the paper's product is 1.92, not 2."""
    logs = (math.log2(coefficients.alpha), 2 * math.log2(coefficients.beta), 2 * math.log2(coefficients.gamma))
    return logs[0] / sum(logs), logs[1] / sum(logs), logs[2] / sum(logs)


# Whose splits are ranked: Tan & Le 2019; Dollár et al. 2021 (their d¹w⁸r¹, α = 0.8), and even thirds (their dwr).
RANKED: Mapping[str, Shares] = {
    "paper (1.2, 1.1, 1.15)": shares_of(PAPER_COEFFICIENTS),
    "dWr (0.1, 0.8, 0.1)": (0.1, 0.8, 0.1),
    "dwr (1/3, 1/3, 1/3)": (1 / 3, 1 / 3, 1 / 3),
}


@dataclass(frozen=True, slots=True)
class Rank:
    """One split among the answered ones of a budget. `miss` is its error minus the best's, in points.

    None for `error`, `rank` and `miss` if the split is outside the hull there.
    """

    name: str
    shares: Shares
    error: float | None
    rank: int | None
    miss: Difference | None


@dataclass(frozen=True, slots=True)
class BudgetMap:
    """The simplex at 2^φ times the base's FLOPs.

    `errors` (%) are by node of the lattice, None outside the hull. `region` are the nodes that cannot be told apart
    from the best at CONFIDENCE, none where the best is on the edge of fewer than FEW; `best` and its error with its
    interval are None where no node has an answer.
    """

    phi: float
    nodes: tuple[Shares, ...]
    errors: tuple[float | None, ...]
    best: Shares | None
    best_error: Difference | None
    region: tuple[Shares, ...]
    ranks: tuple[Rank, ...]

    @property
    def answered(self) -> int:
        return sum(error is not None for error in self.errors)

    @property
    def at_edge(self) -> bool:
        """Whether a neighbour of the best on the lattice is outside the hull, so that the true best may be as well."""
        if self.best is None:
            return False
        step = min(share for node in self.nodes for share in node if share > 0)
        known = {_steps(node, step): error for node, error in zip(self.nodes, self.errors, strict=True)}
        best = _steps(self.best, step)
        around = [tuple(map(sum, zip(best, move, strict=True))) for move in permutations((1, -1, 0))]
        return any(place in known and known[place] is None for place in around)

    def span(self, dimension: int) -> tuple[float, float]:
        """Lowest and highest share of one dimension in the region."""
        values = [shares[dimension] for shares in self.region]
        return min(values), max(values)


def _steps(shares: Shares, step: float) -> tuple[int, ...]:
    return tuple(round(share / step) for share in shares)


def coefficients_of(shares: Shares) -> Coefficients:
    """α = 2^a, β = 2^(b/2), γ = 2^(c/2): one doubling, split so."""
    return Coefficients(2 ** shares[0], 2 ** (shares[1] / 2), 2 ** (shares[2] / 2))


def budget_map(phi: float, surface: Surrogate | None = None, fineness: int = FINENESS) -> BudgetMap:
    """The surface over the simplex at one φ, with the best split, its region, and the ranks of RANKED."""
    surface = surface or imagenet_surrogate()
    nodes = tuple(lattice_nodes(fineness))
    places = phi * np.array(nodes)
    inside = surface.inside(places)
    values = surface.errors(places)
    errors = tuple(float(value) if known else None for value, known in zip(values, inside, strict=True))
    kept = np.flatnonzero(inside)
    if not len(kept):
        ranks = tuple(Rank(name, shares, None, None, None) for name, shares in RANKED.items())
        return BudgetMap(phi, nodes, errors, None, None, (), ranks)
    replicates = surface.replicates(places[kept])
    best = int(values[kept].argmin())
    region = tuple(nodes[kept[index]] for index in unbeaten(-replicates.T, CONFIDENCE))
    best_error = Difference(float(values[kept][best]), *interval(list(replicates[:, best]), CONFIDENCE))
    ranked: list[Rank] = []
    for name, shares in RANKED.items():
        place = phi * np.array([shares])
        if not surface.inside(place)[0]:
            ranked.append(Rank(name, shares, None, None, None))
            continue
        error = float(surface.errors(place)[0])
        gaps = surface.replicates(place)[:, 0] - replicates[:, best]
        miss = Difference(error - best_error.mean, *interval(list(gaps), CONFIDENCE))
        # Even thirds are a node themselves, and processors differ in the last digit of its error.
        ranked.append(Rank(name, shares, error, 1 + int((values[kept] < error - 1e-9).sum()), miss))
    found = BudgetMap(phi, nodes, errors, nodes[kept[best]], best_error, region, tuple(ranked))
    return replace(found, region=()) if found.at_edge and found.answered < FEW else found


def response(phis: tuple[float, ...] = PHIS) -> list[BudgetMap]:
    """The maps of all budgets. A few seconds."""
    return [budget_map(phi) for phi in phis]


def table(maps: list[BudgetMap]) -> list[dict[str, object]]:
    """One row per budget and split (the best, and those of RANKED): what `reproduce coefficients` prints and writes.

    Errors in %, misses in points; `at_edge`: the true best may lie outside the hull; `region_…` are the shares that
    cannot be told apart from the best; blank where the surface has no answer.
    """
    rows: list[dict[str, object]] = []
    for found in maps:
        common: dict[str, object] = {"phi": found.phi, "answered": found.answered, "of": len(found.nodes)}
        common["at_edge"] = None if found.best is None else found.at_edge
        for index, name in enumerate(("depth", "width", "resolution")):
            span = found.span(index) if found.region else (None, None)
            common |= {f"region_{name}_low": span[0], f"region_{name}_high": span[1]}
        if found.best is not None and found.best_error is not None:
            rows.append(_row("best", found.best, found.best_error.mean, 1, Difference(0.0, 0.0, 0.0)) | common)
        else:
            rows.append(_row("best", None, None, None, None) | common)
        rows += [_row(rank.name, rank.shares, rank.error, rank.rank, rank.miss) | common for rank in found.ranks]
    return rows


def _row(
    name: str, shares: Shares | None, error: float | None, rank: int | None, miss: Difference | None
) -> dict[str, object]:
    values = None if shares is None else coefficients_of(shares)
    return {
        "split": name,
        **{key: None if shares is None else shares[i] for i, key in enumerate(("depth", "width", "resolution"))},
        **{key: None if values is None else getattr(values, key) for key in ("alpha", "beta", "gamma")},
        "error": error,
        "rank": rank,
        "miss": None if miss is None else miss.mean,
        "miss_low": None if miss is None else miss.low,
        "miss_high": None if miss is None else miss.high,
        "how": "no answer: outside the hull" if error is None else "computed here, from published points",
    }
