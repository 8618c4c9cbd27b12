"""EfficientNetV2's progressive learning: small images and weak regularisation first, both rising stage by stage.

Tan & Le 2021, arXiv:2104.00298v1, section 4 and Algorithm 1: of M stages with equal shares of the epochs, stage i has
the side S0 + (Se − S0)·i/(M − 1), and every regularisation follows the same line between its own ends. The ends are
theirs (Table 6, progressive.csv), sides as a share of the last, so that they serve networks and images of any size.
Their released code differs: other ends, dropout constant, and CutMix beside mixup.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scalesearch.fit.recipe import TrainingStage


@dataclass(frozen=True, slots=True)
class Ends:
    """Of the first stage and of the last: the side as a share of the last, and the regularisation."""

    side: tuple[float, float]
    magnitude: tuple[float, float]
    mixup: tuple[float, float]
    dropout: tuple[float, float]


@cache
def published() -> Mapping[str, Ends]:
    """The ends that are printed for EfficientNetV2-S, -M and -L: `s`, `m` and `l`."""
    with Path(__file__).with_name("progressive.csv").open(encoding="utf-8", newline="") as file:
        rows = {
            (row["model"], row["quantity"]): (float(row["first"]), float(row["last"])) for row in csv.DictReader(file)
        }
    models = {model for model, _ in rows}
    return {
        model: Ends(
            side=(rows[model, "side_px"][0] / rows[model, "side_px"][1], 1.0),
            magnitude=rows[model, "magnitude"],
            mixup=rows[model, "mixup"],
            dropout=rows[model, "dropout"],
        )
        for model in models
    }


def progressive_stages(ends: Ends, epochs: int, count: int, cutmix: float = 0.0) -> tuple[TrainingStage, ...]:
    """`count` stages of equal length, fewer if there are fewer epochs; the last one is at the last ends.

    `cutmix` is the same in all stages: nothing is published for it.
    """
    count = min(count, epochs)

    def at(pair: tuple[float, float], index: int) -> float:
        first, last = pair
        return last if index == count - 1 else first + (last - first) * index / (count - 1)

    return tuple(
        TrainingStage(
            stop=round(epochs * (index + 1) / count),
            side=at(ends.side, index),
            magnitude=at(ends.magnitude, index),
            mixup=at(ends.mixup, index),
            cutmix=cutmix,
            dropout=at(ends.dropout, index),
        )
        for index in range(count)
    )
