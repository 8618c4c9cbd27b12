"""The experiments of `scalesearch reproduce`: each is one entry of EXPERIMENTS."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scalesearch.report.reproduce.digitised import figure3, figure4, figure8
from scalesearch.report.reproduce.family import table2
from scalesearch.report.reproduce.record import Experiment
from scalesearch.report.reproduce.rescaled import table3, table7
from scalesearch.report.reproduce.stages import table1
from scalesearch.spec.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Entry:
    """`measured` experiments time this machine: minutes, and other numbers each time."""

    make: Callable[[], Experiment]
    summary: str
    measured: bool = False


EXPERIMENTS: Mapping[str, Entry] = {
    "table1": Entry(table1, "EfficientNet-B0's stages: resolutions, FLOPs and parameters of each"),
    "table2": Entry(table2, "B0–B7: parameters and FLOPs; which α, β, γ and φ the members follow"),
    "table3": Entry(table3, "MobileNetV1, MobileNetV2 and ResNet-50, scaled in one dimension or in all"),
    "table7": Entry(table7, "EfficientNet-B0, scaled in one dimension or in all"),
    "figure3": Entry(figure3, "accuracy of one dimension scaled, with recomputed FLOPs"),
    "figure4": Entry(figure4, "accuracy of width scaling from four baselines, with recomputed FLOPs"),
    "figure8": Entry(figure8, "accuracy of compound scaling against one dimension, with recomputed FLOPs"),
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
