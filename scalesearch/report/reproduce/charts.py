"""The kinds of figure that experiments share: deviations by row, and accuracy against FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from scalesearch.report.figures.style import BLACK, BLUE, GREY, ORANGE, RED, flops_axis, legend, new_figure, styled
from scalesearch.report.reproduce.record import Pair

_GROUPS = ((BLUE, "o"), (RED, "D"), (ORANGE, "^"), (BLACK, "x"))  # told apart by marker alone
_RING = 1.7  # an open marker's size in filled ones: it must show around one


@dataclass(frozen=True, slots=True)
class Series:
    """Points (FLOPs, top-1 accuracy in %), joined by rising FLOPs unless `joined` is off.

    Published points, printed or read from a figure, are `filled`; open ones have the published accuracy at the FLOPs
    counted here. A series without a label is not in the legend.
    """

    label: str
    color: str
    marker: str
    points: tuple[tuple[float, float], ...]
    filled: bool = True
    joined: bool = True


def deviations_figure(groups: Mapping[str, Sequence[Pair]]) -> Figure:
    """By how many per cent each printed number lies above the exact one; one row per network."""
    with styled():
        names = _names(groups)
        figure = new_figure(0.6 + 0.14 * len(names) + 0.15 * ((len(groups) + 1) // 2))
        axes = figure.add_subplot()
        draw_deviations(axes, groups)
        legend(figure, axes.get_legend_handles_labels()[0], handletextpad=0.4)
    return figure


def draw_deviations(axes: Axes, groups: Mapping[str, Sequence[Pair]]) -> None:
    names = _names(groups)
    axes.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    for (kind, pairs), (color, marker) in zip(groups.items(), _GROUPS, strict=False):
        known = [pair for pair in pairs if pair.printed]
        axes.plot(
            [100 * pair.share for pair in known],
            [names.index(pair.what) for pair in known],
            marker=marker,
            color=color,
            markersize=3.6,
            linestyle="none",
            label=kind,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first row on top
    axes.set_xlabel("printed number above the exact one (%)")
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.4)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def log_panels(figure: Figure, names: Sequence[str], heights: str) -> list[Axes]:
    """Panels side by side that share their vertical axis, all axes logarithmic with plain numbers."""
    panels = list(figure.subplots(1, len(names), sharey=True))
    for axes, name in zip(panels, names, strict=True):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(name)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
    panels[0].set_ylabel(heights)
    return panels


def _names(groups: Mapping[str, Sequence[Pair]]) -> list[str]:
    return list(dict.fromkeys(pair.what for pairs in groups.values() for pair in pairs))


def accuracy_figure(series: Sequence[Series], keys: Sequence[Series] = ()) -> Figure:
    """Published top-1 accuracy against FLOPs, as published (filled) and as counted here (open).

    `keys` stand in the legend, instead of the series that have a label.
    """
    with styled():
        named = len(keys) or sum(bool(curve.label) for curve in series)
        figure = new_figure(2.45 + 0.15 * ((named + 2) // 2))
        axes = figure.add_subplot()
        flops = [cost for curve in series for cost, _ in curve.points]
        heights = [height for curve in series for _, height in curve.points]
        for curve in series:
            points = sorted(curve.points)
            axes.plot(
                [cost for cost, _ in points],
                [height for _, height in points],
                color=curve.color,
                marker=curve.marker,
                markersize=(1.0 if curve.filled else _RING) * (7 if curve.marker == "*" else 3.8),
                markerfacecolor=curve.color if curve.filled else "none",
                markeredgewidth=0.7,
                linestyle=("-" if curve.filled else ":") if curve.joined else "none",
                linewidth=0.9,
                label=curve.label or None,
                zorder=2 if curve.filled else 3,
            )
        flops_axis(axes, min(flops) / 1.15, max(flops) * 1.15)
        margin = 0.06 * (max(heights) - min(heights))
        axes.set_ylim(min(heights) - margin, max(heights) + margin)
        axes.set_ylabel("published ImageNet top-1 (%)")
        handles: list[Artist] = [
            Line2D([], [], color=key.color, marker=key.marker, markersize=4.4, linestyle="none", label=key.label)
            for key in keys
        ] or axes.get_legend_handles_labels()[0]
        if any(not curve.filled for curve in series):
            dotted = any(curve.joined and not curve.filled for curve in series)
            open_ = Line2D([], [], color=GREY, marker="o", markersize=_RING * 3.8, markerfacecolor="none")
            open_.set_linestyle(":" if dotted else "none")
            open_.set_label("open: FLOPs counted here")
            handles.append(open_)
        legend(figure, handles)
    return figure
