"""Accuracy against a cost of every measured proxy network, with the Pareto front."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from scalesearch.report.cast import part, standard_error
from scalesearch.report.figures.style import BLACK, LOOKS, accuracy_axis, cost_axis, new_figure, styled
from scalesearch.report.words import words
from scalesearch.search.run import Run
from scalesearch.spec.axes import AXES


@dataclass(frozen=True, slots=True)
class Mark:
    """One network.

    `look` is a key of LOOKS; `member` is its name in the family, or empty. `low` and `high` are the 10th and 90th
    percentile of a measured cost; a computed one has no spread.
    """

    digest: str
    look: str
    member: str
    cost: float
    low: float
    high: float
    accuracy: float
    error: float


@dataclass(frozen=True, slots=True)
class AccuracyCost:
    """`front` are (cost, accuracy) by rising cost on `axis`, a key of AXES; accuracies are from 0 to 1."""

    axis: str
    marks: tuple[Mark, ...]
    front: tuple[tuple[float, float], ...]
    knee: Mark | None
    label: str


_RING = 9.5  # points across, around the knee
_HALO = withStroke(linewidth=1.5, foreground="white")  # a label may lie on the front's line
_LEGEND = {
    "base": "base",
    "candidate": "candidate",
    "paper": "nearest to paper's",
    "recommended": "recommended",
    "family": "family member",
}


def accuracy_cost_info(run: Run, axis: str = "flops") -> AccuracyCost:
    looks = {}
    for result in run.candidates:
        look = part(run, result).look
        looks[result.candidate.digest] = look if look in _LEGEND else "candidate"
    members: dict[str, str] = {}
    for member in run.family:
        point = run.member_accuracy(member.name)
        if point is not None:
            members.setdefault(point.digest, member.name)
    base = run.proxy_base.digest
    for record in run.trials:
        if record.role == "family":
            looks.setdefault(record.digest, "family")
    looks[base] = "base"
    known = [point for point in run.points if not math.isnan(point.cost(axis))]
    marks = [
        Mark(
            digest=point.digest,
            look=looks.get(point.digest, "candidate"),
            member=members.get(point.digest, ""),
            cost=point.cost(axis),
            low=point.measured[axis].p10 if axis in point.measured else point.cost(axis),
            high=point.measured[axis].p90 if axis in point.measured else point.cost(axis),
            accuracy=point.accuracy,
            error=standard_error(run, point.seeds, point.error),
        )
        for point in sorted(known, key=lambda point: (point.cost(axis), point.digest))
    ]
    front = run.front(axis)
    knee = front.knee
    return AccuracyCost(
        axis=axis,
        marks=tuple(marks),
        front=tuple((point.cost(axis), point.accuracy) for point in front.points),
        knee=next((mark for mark in marks if knee is not None and mark.digest == knee.digest), None),
        label=words(run).axis,
    )


def draw_accuracy_cost(info: AccuracyCost) -> Figure:
    with styled():
        figure = new_figure(2.75)
        axes = figure.add_subplot()
        lowest, highest = min(mark.low for mark in info.marks), max(mark.high for mark in info.marks)
        cost_axis(axes, AXES[info.axis], lowest / max(1.2, (highest / lowest) ** 0.09), highest * 1.16)
        accuracy_axis(axes, [(mark.accuracy, mark.error) for mark in info.marks], info.label)
        # A step: what the front offers at a budget is its last network below it.
        costs = [cost for cost, _ in info.front] + [highest * 1.16]
        heights = [100 * accuracy for _, accuracy in info.front]
        heights.append(heights[-1])
        axes.step(costs, heights, where="post", color=BLACK, linewidth=0.8, label="Pareto front", zorder=1)
        for look, label in _LEGEND.items():
            style, chosen = LOOKS[look], [mark for mark in info.marks if mark.look == look]
            if not chosen:
                continue
            axes.errorbar(
                [mark.cost for mark in chosen],
                [100 * mark.accuracy for mark in chosen],
                yerr=[0.0 if math.isnan(mark.error) else 100 * mark.error for mark in chosen],
                xerr=[
                    [mark.cost - mark.low for mark in chosen],
                    [mark.high - mark.cost for mark in chosen],
                ],
                fmt=style.marker,
                markersize=style.size,
                color=style.color,
                markeredgecolor="white",
                markeredgewidth=0.4,
                elinewidth=0.6,
                alpha=0.8 if look == "candidate" else 1.0,
                label=label,
                zorder=2 if look == "candidate" else 3,
            )
        if info.knee is not None:
            axes.plot(
                info.knee.cost,
                100 * info.knee.accuracy,
                marker="o",
                markersize=_RING,
                markerfacecolor="none",
                markeredgecolor=BLACK,
                markeredgewidth=0.8,
                linestyle="none",
                label="knee",
                zorder=4,
            )
        for mark in info.marks:
            if mark.member:
                axes.annotate(
                    mark.member,
                    (mark.cost, 100 * mark.accuracy),
                    # Above and to the left of a point of the front there is nothing else.
                    xytext=(-5.5, 4.5) if mark == info.knee else (-3.5, 2.5),
                    textcoords="offset points",
                    ha="right",
                    va="bottom",
                    fontsize=7,
                    zorder=5,
                    path_effects=[_HALO],
                )
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2, handletextpad=0.5, labelspacing=0.7)
    return figure
