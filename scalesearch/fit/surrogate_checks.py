"""The ImageNet surrogate against what it has not seen: held-out strategies, other recipes, the paper's errors."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalesearch.fit.surrogate import (
    FAMILIES,
    FLOORS,
    Point,
    design,
    fit,
    imagenet_surrogate,
    leave_one_out,
    place_of,
    published_points,
    root_mean_square,
)
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch

EPOCHS = 200  # of the surface's recipe
# Whose printed errors the sets of CHECKS_FILE are.
TITLES = {
    "table 5": "Dollár et al. Table 5",
    "table 8": "Dollár et al. Table 8",
    "pycls": "pycls's model zoo",
    "table 5 1x": "Dollár et al. Table 5",
    "paper": "EfficientNet v5 Table 2",
}
CHECKS_FILE = Path(__file__).with_name("imagenet_checks.csv")


@dataclass(frozen=True, slots=True)
class Held:
    """A network predicted by a fit without its whole strategy; errors in %. `inside` is of that fit's own hull."""

    strategy: str
    arch_flops_b: float
    published: float
    predicted: float
    inside: bool


@dataclass(frozen=True, slots=True)
class Trend:
    """One recipe against the surface, network by network: (name, published, predicted), in % error.

    `offset` is the mean difference, published minus predicted; `scatter` the root mean square of what is left.
    `fitted`: the surface was fitted to these very networks under this recipe, so that they check nothing.
    """

    name: str  # of the set; `title` for people
    title: str
    source: str
    fitted: bool
    epochs: int | None  # None: not stated
    rows: tuple[tuple[str, float, float], ...]
    offset: float
    scatter: float


def compared_families() -> dict[str, dict[float, float]]:
    """Leave-one-out error (root mean square, points) of each family at each floor."""
    places, errors = design(published_points())
    return {
        family: {floor: root_mean_square(leave_one_out(places, errors, family, floor)) for floor in FLOORS}
        for family in FAMILIES
    }


def held_out(strategy: str) -> list[Held]:
    """Predictions of a strategy's networks by all the others'. B0 itself belongs to every strategy and stays."""
    points = published_points()
    kept = [point for point in points if point.strategy != strategy]
    left = [point for point in points if point.strategy == strategy]
    surface = fit(*design(kept), replicates=1)
    places, _ = design(left)
    return [
        Held(strategy, _flops_b(point), point.error, float(predicted), bool(inside))
        for point, predicted, inside in zip(left, surface.errors(places), surface.inside(places), strict=True)
    ]


def trends() -> list[Trend]:
    """Every set of imagenet_checks.csv, inside the hull."""
    with CHECKS_FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    surface = imagenet_surrogate()
    scaled = {f"{point.strategy} {_flops_b(point):.1f}G": point for point in published_points()}
    places = {point.place for point in published_points()}
    found = []
    for name in dict.fromkeys(row["set"] for row in rows):
        chosen = [row for row in rows if row["set"] == name]
        triples = []
        fitted = chosen[0]["epochs"] == str(EPOCHS)
        for row in chosen:
            known = scaled.get(row["network"])
            place = known.place if known is not None else place_of(load_arch(row["network"]))
            predicted = float(surface.errors(np.array([place]))[0])
            fitted = fitted and place in places
            triples.append((row["network"], float(row["top1_error_pct"]), predicted))
        gaps = [published - predicted for _, published, predicted in triples]
        offset = sum(gaps) / len(gaps)
        left = root_mean_square([gap - offset for gap in gaps])
        epochs = int(chosen[0]["epochs"]) if chosen[0]["epochs"] else None
        found.append(Trend(name, TITLES[name], chosen[0]["source"], fitted, epochs, tuple(triples), offset, left))
    return found


def _flops_b(point: Point) -> float:
    return cost(point.arch).flops / 1e9
