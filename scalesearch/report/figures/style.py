"""How every figure looks: size, fonts, colours and markers that survive grey print and colour blindness."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from scalesearch.spec.axes import AXES, Axis

WIDTH = 3.5  # inches: one column
DPI = 200

# Okabe & Ito 2008.
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE, GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#9A9A9A",
)  # fmt: skip

_RC: Any = {  # matplotlib types the keys as literals
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that a figure looks the same everywhere
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "svg.fonttype": "path",
    "svg.hashsalt": "scalesearch",  # the same run gives the same file
    "text.usetex": False,
}


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, marker, marker size in points, and line style of one thing, the same in every figure."""

    color: str
    marker: str
    size: float
    line: str


LOOKS: Mapping[str, Look] = {
    "base": Look(BLACK, "s", 4.5, ":"),
    "recommended": Look(RED, "*", 9.0, "-"),
    "paper": Look(PURPLE, "D", 4.8, "--"),
    "dWr": Look(PURPLE, "d", 5.0, ":"),
    "depth only": Look(ORANGE, "^", 5.5, "-."),
    "width only": Look(SKY, ">", 5.5, "-."),
    "resolution only": Look(GREEN, "v", 5.5, "-."),
    "candidate": Look(GREY, "o", 4.0, "-"),
    "family": Look(BLUE, "p", 5.5, "-"),
}


def styled() -> AbstractContextManager[None]:
    """Inside it figures are made and saved in this style; outside nothing changes."""
    return matplotlib.rc_context(_RC)


def new_figure(height: float) -> Figure:
    """A figure of one column's width and `height` inches, with a canvas of its own."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """The figure as `png` or `svg`, without a date in it."""
    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with styled():
        figure.savefig(out, format=kind, dpi=DPI, metadata=metadata)
    figure.set_layout_engine("none")  # the next file keeps this layout; solving it is half of the work
    return out.getvalue()


def legend(figure: Figure, handles: Sequence[Artist], **more: Any) -> None:
    """Below the axes; in one column if a label would not fit into half the width."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2 if longest <= 33 else 1,
        columnspacing=1.2,
        **more,
    )


def flops_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic FLOPs axis over [low, high] with round numbers in one unit."""
    cost_axis(axes, AXES["flops"], low, high)


def cost_axis(axes: Axes, axis: Axis, low: float, high: float) -> None:
    """A logarithmic axis of any cost over [low, high] with round numbers in one unit."""
    scale, unit = axis.per_unit, axis.unit
    if not unit:
        scale, unit = next(
            ((limit, name) for limit, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")) if high >= limit), (1.0, "")
        )
    ticks = log_ticks(low / scale, high / scale)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick * scale for tick in ticks]))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    words = (unit, "multiply-adds" if axis.name == "flops" else "")
    inside = " ".join(word for word in words if word)
    axes.set_xlabel(f"{axis.title} ({inside + ', ' if inside else ''}log scale)")


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers in [low, high]: of the series below, the longest that gives six ticks or fewer."""
    series = (
        [1 + step / 10 for step in range(90)],
        [1 + step / 5 for step in range(45)],
        [1 + step / 2 for step in range(18)],
        [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9],
        [1, 1.5, 2, 3, 4, 6, 8],
        [1, 2, 5],
        [1],
    )
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in series:
        values = (step * 10.0**decade for decade in decades for step in steps)
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) <= 6:
            break
    return ticks


def accuracy_axis(axes: Axes, values: Sequence[tuple[float, float]], label: str) -> None:
    """A vertical axis in % that holds every (accuracy, error) pair, given from 0 to 1."""
    axes.set_ylim(*accuracy_limits(values))
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylabel(label)


def accuracy_limits(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Limits in % that hold every (value, error) pair with a margin, at least two points apart."""
    errors = [(value, 0.0 if math.isnan(error) else error) for value, error in values]
    low = 100 * min((value - error for value, error in errors), default=0.0)
    high = 100 * max((value + error for value, error in errors), default=1.0)
    margin = max((high - low) * 0.08, (2 - (high - low)) / 2, 0.2)
    return max(-1.0, low - margin), min(101.0, high + margin)
