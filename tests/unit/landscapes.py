"""A small synthetic landscape with a known truth: nothing in it was trained. For tests of what reads recordings."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from report_runs import PROXY, pool

from scalesearch.fit.recipe import Epoch
from scalesearch.search.landscape import Landscape, Network, write_landscape
from scalesearch.search.plan import Plan, Speed
from scalesearch.search.recorded import Training
from scalesearch.spec.settings import make_settings

IMAGES = 2_000  # that an accuracy is measured on
EPOCHS = 4
NOISE = 0.12  # of a training, in log odds of being right, after the first epoch
SEED_NOISE = 0.06  # of a seed, the same for all networks
RISE = np.array([-1.5, 1.0, 2.5, 3.2])  # log odds after each epoch, at equal shares


@cache
def landscape(
    networks: int = 12, seeds: int = 3, noise: float = NOISE, seed_noise: float = SEED_NOISE, own: float = 0.0
) -> Landscape:
    """Log odds that fall with the share of depth, plus noise of a training and of a seed, the same in all its
    epochs, and what networks of equal shares would differ by: deviation `own`."""
    rng = np.random.default_rng(0)
    offsets = np.random.default_rng(1).standard_normal(networks) * own
    base, proxy, found = pool()
    settings = make_settings("quick", target_flops=400_000_000, seeds=seeds, **PROXY)
    effects = rng.standard_normal(seeds) * seed_noise

    def trainings(level: float) -> tuple[Training, ...]:
        made = []
        for seed in range(seeds):
            odds = RISE + level + effects[seed] + rng.standard_normal() * noise
            made.append(Training(seed, tuple(_epoch(number, float(odd)) for number, odd in enumerate(odds, 1))))
        return tuple(made)

    anchored = {candidate.digest: candidate for candidate in found.anchors.values()}
    chosen = {**anchored, **{candidate.digest: candidate for candidate in found.candidates}}
    recorded = []
    for candidate, offset in zip(list(chosen.values())[:networks], offsets, strict=False):
        anchors = tuple(name for name, anchor in found.anchors.items() if anchor.digest == candidate.digest)
        depth, width, _ = candidate.shares
        recorded.append(Network(candidate, anchors, trainings(0.6 - 1.2 * depth - 0.4 * width + offset), {}))
    plan = Plan(networks, seeds, EPOCHS, 3000, IMAGES, 2, "cpu", Speed(1000, 3000, 500, 1500), 200.0, 50.0)
    return Landscape(
        measured="synthetic: nothing was trained",
        settings=settings.to_dict(),
        plan=plan.to_dict(),
        environment={"machine": "none", "commit": None, "started": "2026-11-21"},
        data_fingerprint="0" * 32,
        notes=("data: synthetic",),
        base=base,
        base_note="efficientnet_b0 is taken as it is",
        proxy_base=proxy,
        base_trainings=trainings(-0.5),
        networks=tuple(sorted(recorded, key=lambda network: network.candidate.digest)),
    )


def write_recording(folder: Path, networks: int, seeds: int) -> Path:
    """The file of such a landscape."""
    path = folder / "tiny.json.gz"
    write_landscape(landscape(networks, seeds), path)
    return path


def _epoch(number: int, odds: float) -> Epoch:
    accuracy = round(IMAGES / (1 + np.exp(-odds))) / IMAGES
    values: dict[str, Any] = {
        "train_loss": 2.0 / number,
        "val_loss": float(f"{1.5 * (1 - accuracy) + 0.1:.6g}"),
        "accuracy": float(f"{accuracy:.6g}"),
        "seconds": 10.0,
        "images_per_second": 300.0,
        "processor_seconds": 12.0,
    }
    return Epoch(number, **values)
