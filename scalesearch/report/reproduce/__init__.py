"""The experiments of `scalesearch reproduce`: each is one entry of EXPERIMENTS."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scalesearch.report.reproduce.coefficients import coefficients
from scalesearch.report.reproduce.digitised import figure3, figure4, figure8
from scalesearch.report.reproduce.family import table2
from scalesearch.report.reproduce.fast_scaling import fast_scaling
from scalesearch.report.reproduce.latency import table4, table4_largest
from scalesearch.report.reproduce.mobile import mnasnet
from scalesearch.report.reproduce.record import Experiment
from scalesearch.report.reproduce.regnet import regnet
from scalesearch.report.reproduce.rescaled import table3, table7
from scalesearch.report.reproduce.stages import table1
from scalesearch.report.reproduce.v2 import efficientnetv2
from scalesearch.spec.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Entry:
    """`measured` experiments time this machine: up to a minute, and other numbers each time."""

    make: Callable[[], Experiment]
    summary: str
    measured: bool = False


EXPERIMENTS: Mapping[str, Entry] = {
    "table1": Entry(table1, "EfficientNet-B0's stages: resolutions, FLOPs and parameters of each"),
    "table2": Entry(table2, "B0–B7: parameters and FLOPs; which α, β, γ and φ the members follow"),
    "table3": Entry(table3, "MobileNetV1, MobileNetV2 and ResNet-50, scaled in one dimension or in all"),
    "table4": Entry(table4, "latency of ResNet-152 and EfficientNet-B1 on one CPU core", measured=True),
    "table4-largest": Entry(table4_largest, "the same with EfficientNet-B7", measured=True),
    "table7": Entry(table7, "EfficientNet-B0, scaled in one dimension or in all"),
    "figure3": Entry(figure3, "accuracy of one dimension scaled, with recomputed FLOPs"),
    "figure4": Entry(figure4, "accuracy of width scaling from four baselines, with recomputed FLOPs"),
    "figure8": Entry(figure8, "accuracy of compound scaling against one dimension, with recomputed FLOPs"),
    "mnasnet": Entry(mnasnet, "MnasNet and its neighbours, and A1 by width and resolution"),
    "efficientnetv2": Entry(efficientnetv2, "EfficientNetV2 in the paper, the README and the released unit tests"),
    "regnet": Entry(regnet, "RegNetX, RegNetY, ResNet, ResNeXt and EfficientNet as pycls counts them"),
    "fast-scaling": Entry(fast_scaling, "fast compound scaling: Tables 5 to 8, Figure 2, and the scaler of pycls"),
    "coefficients": Entry(
        coefficients, "α, β, γ by budget against published ImageNet results; the paper's and dWr among them"
    ),
}


def reproduce(name: str) -> Experiment:
    """Run one experiment. Raises SettingsError, with the nearest name, if there is none of that name."""
    entry = EXPERIMENTS.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(EXPERIMENTS)
        raise SettingsError(f"{name}: no such experiment; {hint}")
    return entry.make()


__all__ = ["EXPERIMENTS", "Entry", "Experiment", "reproduce"]
