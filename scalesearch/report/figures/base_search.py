"""Figures of a base search: accuracy against FLOPs with the Pareto front, and the best reward so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalesearch.report.figures.style import BLACK, GREY, RED, accuracy_axis, flops_axis, new_figure, styled
from scalesearch.search.base_run import BaseRun


@dataclass(frozen=True, slots=True)
class Tried:
    """`points` are (FLOPs, accuracy of the first training, part); `front` is what no other beats, by rising FLOPs."""

    points: tuple[tuple[float, float, str], ...]
    front: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """By proposal: its number, its reward (NaN where it was not trained to its end), the best until then."""

    rows: tuple[tuple[int, float, float], ...]


_MARKS = {
    "tried": ("o", 4.0, GREY, "tried"),
    "finalist": ("o", 5.0, BLACK, "in the final"),
    "winner": ("*", 9.0, RED, "found"),
}


def tried_info(run: BaseRun) -> Tried:
    known = [one for one in run.networks if one.status == "done" and one.accuracy is not None]
    return Tried(
        tuple((float(one.flops), one.accuracy or 0.0, one.part) for one in known),
        tuple((float(one.flops), one.accuracy or 0.0) for one in run.front),
    )


def draw_tried(info: Tried) -> Figure:
    with styled():
        figure = new_figure(2.75)
        axes = figure.add_subplot()
        costs = [cost for cost, _, _ in info.points]
        low, high = min(costs) / 1.02, max(costs) * 1.02
        flops_axis(axes, low, high)
        accuracy_axis(axes, [(accuracy, 0.0) for _, accuracy, _ in info.points], "proxy top-1 accuracy (%)")
        # A step: what the front offers at a budget is its last network below it.
        steps = [*info.front, (high, info.front[-1][1])]
        heights = [100 * accuracy for _, accuracy in steps]
        axes.step([cost for cost, _ in steps], heights, where="post", color=BLACK, linewidth=0.8, label="Pareto front")
        for part, (marker, size, color, label) in _MARKS.items():
            own = [(cost, 100 * accuracy) for cost, accuracy, name in info.points if name == part]
            if own:
                xs, ys = zip(*own, strict=True)
                axes.plot(xs, ys, marker, markersize=size, color=color, markeredgecolor="white", markeredgewidth=0.4)
                axes.lines[-1].set_label(label)
        figure.legend(loc="outside lower center", ncols=4, columnspacing=1.2, handletextpad=0.5)
    return figure


def progress_info(run: BaseRun) -> Progress:
    return Progress(tuple(run.best_so_far))


def draw_progress(info: Progress) -> Figure:
    with styled():
        figure = new_figure(2.75)
        axes = figure.add_subplot()
        known = [(number, value) for number, value, _ in info.rows if not math.isnan(value)]
        axes.plot(*zip(*known, strict=True), "o", color=GREY, markersize=4.0, label="a network's first training")
        best = [(number, value) for number, _, value in info.rows if not math.isnan(value)]
        numbers, values = zip(*best, strict=True)
        axes.step(numbers, values, where="post", color=BLACK, linewidth=1.1, label="best so far")
        axes.set_xlabel("networks tried")
        axes.set_ylabel("reward")
        axes.set_xlim(0.5, info.rows[-1][0] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        figure.legend(loc="outside lower center", ncols=2)
    return figure
