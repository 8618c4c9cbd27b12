"""A small recorded search of a base whose truth is known: nothing in it was trained. For tests of what reads these."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import numpy as np

from scalesearch.fit.recipe import Epoch
from scalesearch.search.base_landscape import BaseLandscape, BaseNetwork, Source
from scalesearch.search.base_problem import budget_of, proxy_of
from scalesearch.search.plan import Plan, Speed
from scalesearch.search.recorded import Training
from scalesearch.spec.base_space import Point
from scalesearch.spec.cost import cost
from scalesearch.spec.files import parse_space, space_text
from scalesearch.spec.settings import make_settings

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "experiments" / "spaces" / "small_b0.toml"
IMAGES, EPOCHS, CLASSES, CHANNELS = 2_000, 2, 10, 1
PLAN = Plan(400, 1, EPOCHS, 3_000, IMAGES, 2, "cpu", Speed(400, 1_200, 400, 1_200), 1_000.0, 0.0)


def worth(point: Point) -> float:
    """Log odds of being right: every choice adds its own part, whatever the others are."""
    parts = random.Random(11)
    table = [[parts.gauss(0, 0.5) for _ in range(2)] for _ in point]
    return 1.5 + sum(row[index] for row, index in zip(table, point, strict=True))


@cache
def base_landscape(seeds: int = 1, noise: float = 0.0, window: float = 0.006) -> BaseLandscape:
    """All networks of the small space within a narrow budget; a training's noise is in log odds."""
    settings = make_settings(
        target_flops=13_700_000, base="search", only="base", space=str(SPACE), strategy="random", flops_window=window,
        proxy_depth=1.0, proxy_width=1.0, proxy_resolution=32, proxy_stem_stride=1, seeds=1, trials=400,
        time_budget=None, confirm=0,
    )  # fmt: skip
    file, text = space_text(SPACE)
    space, rng = parse_space(file, text).search, np.random.default_rng(0)
    assert space is not None
    budget, networks = budget_of(settings), []
    for point in space.points():
        arch = space.decode(point)
        if budget.excess(arch).within:
            proxy = proxy_of(arch, space, settings, CLASSES, CHANNELS)
            odds = [worth(point) + noise * float(rng.standard_normal()) for _ in range(seeds)]
            trainings = tuple(Training(seed, _epochs(value)) for seed, value in enumerate(odds))
            networks.append(BaseNetwork(point, proxy.digest, cost(arch).flops, cost(proxy).flops, trainings))
    sources = tuple(
        Source(seed, "all tried", PLAN.to_dict(), {"commit": "abc", "machine": "none"}, f"{seed}" * 32)
        for seed in range(seeds)
    )
    ordered = tuple(sorted(networks, key=lambda network: network.digest))
    return BaseLandscape("synthetic", settings, file, text, CLASSES, CHANNELS, sources, ordered)


def _epochs(odds: float) -> tuple[Epoch, ...]:
    right = [round(IMAGES / (1 + np.exp(-value))) / IMAGES for value in (odds - 1, odds)]
    return tuple(Epoch(number, 1.0, 1.0, float(value), 5.0, 400.0, 5.0) for number, value in enumerate(right, 1))
