"""One dimension against all three: what twice the compute gives in depth, width, resolution, and compound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalesearch.report.cast import highlighted, standard_error
from scalesearch.report.figures.style import LOOKS, accuracy_axis, flops_axis, legend, new_figure, styled
from scalesearch.report.words import words
from scalesearch.search.run import Run

_DODGE = 0.025  # share of the FLOPs between neighbours


@dataclass(frozen=True, slots=True)
class Station:
    """A measured network on a line. It is drawn at `shown` FLOPs, its own being `flops`."""

    flops: int
    shown: float
    accuracy: float
    error: float


@dataclass(frozen=True, slots=True)
class Arm:
    """A line that starts at the base. `look` is a key of LOOKS."""

    label: str
    look: str
    stations: tuple[Station, ...]


@dataclass(frozen=True, slots=True)
class SingleDimension:
    """`base` is None if it was not trained to its end; the arms then have no line to it."""

    base: Station | None
    arms: tuple[Arm, ...]
    axis: str


def single_dimension_info(run: Run) -> SingleDimension:
    base = run.member_accuracy("B0")
    chosen = highlighted(run)
    arms = []
    for index, (result, part) in enumerate(chosen):
        # Side by side: all cost about twice the base, and their error bars would cover each other.
        factor = 1 + _DODGE * (index - (len(chosen) - 1) / 2)
        error = standard_error(run, len(result.accuracies), result.accuracy_se)
        flops = result.candidate.flops
        stations = [Station(flops, flops * factor, result.accuracy_mean, error)]
        if part.look == "recommended":
            for member in run.family[2:]:
                point = run.member_accuracy(member.name)
                if point is not None:
                    own = standard_error(run, point.seeds, point.error)
                    stations.append(Station(point.flops, float(point.flops), point.accuracy, own))
        arms.append(Arm(part.label, part.look, tuple(stations)))
    start = None
    if base is not None:
        start = Station(base.flops, float(base.flops), base.accuracy, standard_error(run, base.seeds, base.error))
    return SingleDimension(start, tuple(arms), words(run).axis)


def draw_single_dimension(info: SingleDimension) -> Figure:
    with styled():
        figure = new_figure(2.75)
        axes = figure.add_subplot()
        base = [] if info.base is None else [info.base]
        stations = [*base, *(station for arm in info.arms for station in arm.stations)]
        shown = [station.shown for station in stations]
        flops_axis(axes, min(shown) / 1.08, max(shown) * 1.08)
        accuracy_axis(axes, [(station.accuracy, station.error) for station in stations], info.axis)
        for arm in info.arms:
            look = LOOKS[arm.look]
            line = [*base, *arm.stations]
            axes.plot(
                [station.shown for station in line],
                [100 * station.accuracy for station in line],
                color=look.color,
                linestyle=look.line,
                linewidth=1.3 if arm.look == "recommended" else 0.9,
                marker=look.marker,
                markersize=look.size,
                markevery=range(len(base), len(line)),  # the base has a marker of its own
                markeredgecolor="white",
                markeredgewidth=0.4,
                label=arm.label,
                zorder=3,
            )
            _error_bars(axes, arm.stations, look.color)
        for station in base:
            look = LOOKS["base"]
            axes.plot(
                station.shown,
                100 * station.accuracy,
                color=look.color,
                linestyle="none",
                marker=look.marker,
                markersize=look.size,
                label="base",
                zorder=4,
            )
        _error_bars(axes, base, LOOKS["base"].color)
        legend(figure, axes.get_legend_handles_labels()[0], handlelength=2.6)
    return figure


def _error_bars(axes: Axes, stations: Sequence[Station], color: str) -> None:
    known = [station for station in stations if not math.isnan(station.error)]
    axes.errorbar(
        [station.shown for station in known],
        [100 * station.accuracy for station in known],
        yerr=[100 * station.error for station in known],
        fmt="none",
        ecolor=color,
        elinewidth=0.7,
        capsize=1.5,
        capthick=0.7,
        zorder=2,
    )
