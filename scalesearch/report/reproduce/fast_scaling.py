"""Fast and Accurate Model Scaling (Dollár et al. 2021, arXiv:2103.06877): Tables 5 to 8, Figure 2, and its scaler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.figure import Figure

from scalesearch.report.figures.style import BLUE, GREEN, ORANGE, RED, new_figure, styled
from scalesearch.report.published import rows
from scalesearch.report.reproduce.charts import log_panels
from scalesearch.report.reproduce.conventions import bias_additions, pooled_outputs
from scalesearch.report.reproduce.record import (
    Cell,
    Experiment,
    Pair,
    Row,
    Table,
    agreement,
    computed,
    exactness,
    label,
    published,
    reference,
)
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import ROUNDINGS, RULES, Coefficients, multiply

# The networks of Tables 5 to 8 that are shipped, or follow from B0 by dWr: name -> (base, factor s on FLOPs).
_MODELS = {
    **{f"EN-B{index}": (f"efficientnet_b{index}", 1) for index in range(6)},
    "RegNetY-4GF-224": ("regnety_4gf", 1),
    "ResNet50": ("resnet50", 1),
    "ResNeXt50": ("resnext50_32x4d", 1),
    "EfficientNet-B0->4GF": ("efficientnet_b0", 11),
    "EfficientNet-B0->16GF": ("efficientnet_b0", 48),
}
_BASES = {
    "EN-B0": "efficientnet_b0",
    "RegNetX-400MF": "regnetx_400mf",
    "RegNetY-400MF": "regnety_400mf",
    "RegNetY-4.0GF": "regnety_4gf",
}
# pycls's names of the strategies that have none in the paper.
_STRATEGIES: Mapping[str, Coefficients] = {
    **RULES,
    "none": Coefficients(1, 1, 1),
    "d1_w8_g8_r1": RULES["dWGr"],
    "d1_w4_g4_r1": Coefficients.from_shares(1 / 6, 4 / 6, 1 / 6, 4 / 6),
}
_LOOKS = {"dWr": (RED, "D"), "w": (BLUE, "o"), "dw": (ORANGE, "^"), "dwr": (GREEN, "v")}


@dataclass(frozen=True, slots=True)
class _Found:
    """A printed row and the network that it is of; counts are (FLOPs with biases, parameters, activations)."""

    name: str
    printed: dict[str, str]
    arch: Arch

    @property
    def counts(self) -> tuple[int, int, int]:
        """As pycls counts."""
        found = cost(self.arch)
        flops = found.flops + bias_additions(self.arch)
        return flops, found.params, found.activations + pooled_outputs(self.arch)

    def pairs(
        self,
        keys: tuple[str, str, str],
        units: tuple[float, float, float],
        readings: tuple[float | None, float | None, float | None] = (None, None, None),
    ) -> list[Pair]:
        return [
            Pair(self.name, self.printed[key], count, unit, reading)
            for key, count, unit, reading in zip(keys, self.counts, units, readings, strict=True)
        ]

    @property
    def released(self) -> bool:
        """Whether its side is a setting that somebody published, not the outcome of scaling here."""
        return _MODELS.get(self.name, ("", 0))[1] == 1


_TABLE_KEYS, _TABLE_UNITS = ("flops_B_multiply_adds", "params_M", "acts_M"), (1e9, 1e6, 1e6)
_FIGURE_KEYS = ("flops_B_figure", "params_M_figure", "acts_M_figure")
_FIGURE_READINGS = (0.001, 0.01, 0.01)  # B, M and M: a unit of the last digit that was kept of the vector paths
_SCALER_KEYS, _SCALER_UNITS = ("flops_multiply_adds_plus_bias", "params", "activations"), (1.0, 1.0, 1.0)
_CORRELATIONS = ("pearson_runtime_flops_EN", "pearson_runtime_params_EN", "pearson_runtime_acts_single_base")
_KINDS = ("FLOPs", "parameters", "activations")


def fast_scaling() -> Experiment:
    """The rows whose networks can be made here, by the pycls rounding; counts are those of pycls, biases included."""
    every = rows("fast_scaling")
    tables = [_Found(row["model"], row, _model(row["model"])) for row in every if row["model"] in _MODELS]
    figure = [
        _Found(f"{row['strategy']}, s = {row['s']}", row, _scaled("EN-B0", row["strategy"], row["s"]))
        for row in rows("fast_scaling_figure2")
    ]
    scaler = [
        _Found(
            f"{row['base_config']} {row['scaling_type']} s = {float(row['s']):g}",
            row,
            _scaled(row["base_config"], row["scaling_type"], row["s"]),
        )
        for row in rows("fast_scaling_pycls")
    ]
    missing = [row["model"] for row in every if row["model"] not in _MODELS]
    notes = (
        *_each("pycls's own scaler", exactness, [each.pairs(_SCALER_KEYS, _SCALER_UNITS) for each in scaler]),
        *_each(
            "Figure 2, read from the figure",
            agreement,
            [each.pairs(_FIGURE_KEYS, _TABLE_UNITS, _FIGURE_READINGS) for each in figure],
        ),
        *_each("Tables 5 to 8", agreement, [each.pairs(_TABLE_KEYS, _TABLE_UNITS) for each in tables]),
        _correlations(figure),
        f"Not made here, for want of the base ({len(missing)} of {len(every)} rows): {', '.join(missing)}.",
    )
    shown = (
        _table("fast-scaling", "Tables 5 to 8: networks that can be made here", tables, _TABLE_KEYS, _RESULTS),
        _table("fast-scaling_figure2", "Figure 2: B0 by four strategies, digitised", figure, _FIGURE_KEYS, _EPOCH),
        _table("fast-scaling_scaler", "The scaler of pycls against ours", scaler, _SCALER_KEYS, {}),
    )
    return Experiment("fast-scaling", "Fast and accurate model scaling", shown, notes, lambda: _draw(figure))


_RESULTS = {
    "epoch_time_min_8xv100_32gb": ("epoch_minutes", "epoch, 8 V100 (min)"),
    "top1_error_pct_1x_100ep": ("error_percent_100_epochs", "top-1 error, 100 epochs (%)"),
}
_EPOCH = {"epoch_time_min_8xv100_figure": ("epoch_minutes", "epoch, 8 V100 (min)")}


def _model(name: str) -> Arch:
    base, factor = _MODELS[name]
    arch = load_arch(base)
    return arch if factor == 1 else multiply(arch, RULES["dWr"].at(math.log2(factor)), ROUNDINGS["pycls"])


@cache
def _base(name: str) -> Arch:
    return load_arch(_BASES[name])


def _scaled(base: str, strategy: str, factor: str) -> Arch:
    multipliers = _STRATEGIES[strategy].at(math.log2(float(factor)))
    return multiply(_base(base), multipliers, ROUNDINGS["pycls"])


def _each(what: str, say: Callable[[str, list[Pair]], str], pairs: list[list[Pair]]) -> list[str]:
    return [say(f"{what}, {kind}", [each[index] for each in pairs]) for index, kind in enumerate(_KINDS)]


def _correlations(figure: list[_Found]) -> str:
    """Pearson's, of the published time of an epoch with each of the counts made here, over the points of its panel."""
    published_ = {row["name"]: row for row in rows("fast_scaling_correlations")}
    told = []
    for index, (key, kind, name) in enumerate(zip(_FIGURE_KEYS, _KINDS, _CORRELATIONS, strict=True)):
        shown = [each for each in figure if each.printed[key]]
        times = [float(each.printed["epoch_time_min_8xv100_figure"]) for each in shown]
        value = float(np.corrcoef(times, [each.counts[index] for each in shown])[0, 1])
        row = published_[name]
        where = row["source"].rpartition(") ")[2].replace("sec ", "section ").replace("Fig ", "Figure ")
        told.append(f"{value:.2f} with {kind} ({len(shown)} points; the paper prints {row['value']}, {where})")
    return f"The published time of an epoch correlates, over Figure 2's points: {', '.join(told)}, counted here."


def _table(
    name: str, title: str, found: list[_Found], keys: tuple[str, str, str], more: Mapping[str, tuple[str, str]]
) -> Table:
    """`more` maps columns of the published file to (CSV column, heading)."""
    whole = keys == _SCALER_KEYS
    columns = {"network": "network", "side_px": "px"}
    for heading, key, unit in (
        ("FLOPs with biases", "flops_with_bias", "b"),
        ("parameters", "params", "m"),
        ("activations", "activations", "m"),
    ):
        if whole:
            columns |= {f"reference_{key}": f"{heading}, pycls", key: "here"}
        else:
            columns |= {f"published_{key}_{unit}": f"{heading} ({unit.upper()})", key: "same here"}
    columns |= dict(more.values())
    lines = []
    for each in found:
        side = published(str(each.arch.resolution)) if each.released else computed(each.arch.resolution)
        cells: list[Cell] = [label(each.name), side]
        for key, count in zip(keys, each.counts, strict=True):
            cells += [reference(each.printed[key]) if whole else published(each.printed[key]), computed(count)]
        cells += [published(each.printed[key]) for key in more]
        source = each.printed["source"] + ("; px: the network's own published setting" if each.released else "")
        lines.append(Row(tuple(cells), source))
    return Table(name, title, columns, tuple(lines))


def _draw(figure: list[_Found]) -> Figure:
    """Published time of an epoch against FLOPs and activations counted here."""
    with styled():
        drawn = new_figure(2.5)
        left, right = log_panels(
            drawn, ("FLOPs (G multiply-adds)", "activations (M)"), "epoch on 8 V100, published (min)"
        )
        for strategy, (color, marker) in _LOOKS.items():
            mine = [each for each in figure if each.printed["strategy"] == strategy]
            times = [float(each.printed["epoch_time_min_8xv100_figure"]) for each in mine]
            for axes, index, unit in ((left, 0, 1e9), (right, 2, 1e6)):
                axes.plot(
                    [each.counts[index] / unit for each in mine],
                    times,
                    color=color,
                    marker=marker,
                    markersize=3.4,
                    linewidth=0.7,
                    label=strategy if axes is left else None,
                )
        drawn.legend(loc="outside lower center", ncols=4, columnspacing=1.2, handletextpad=0.4)
    return drawn
