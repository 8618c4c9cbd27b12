"""Figure of how soon strategies find a good base: the best true reward against the number of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalesearch.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, new_figure, styled

CHANCE = "random"
_LOOKS = {  # colour and line of each strategy; one without an entry is solid black
    CHANCE: (GREY, "-"),
    "evolution": (RED, "-"),
    "tpe": (BLUE, "--"),
    "nsga2": (GREEN, "-."),
    "reinforce": (ORANGE, ":"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Rewards from 0 to 1. `curves`: by strategy, per number of trainings from 1 the mean over the replays and the ends
    of its 90 % interval. `best` is the best network's, `close` what counts as close to it."""

    curves: Mapping[str, tuple[tuple[float, float, float], ...]]
    best: float
    close: float


def found_info(rows: Sequence[Mapping[str, Any]]) -> Found:
    """Of the rows that benchmarks/base_search.py writes."""
    about = rows[0]["details"]["about"]
    curves = {
        row["details"]["strategy"]: tuple((float(m), float(a), float(b)) for m, a, b in row["details"]["curve"])
        for row in rows
    }
    return Found(curves, float(about["rewards"][-1]), float(about["rewards"][-1]) - float(about["distance"]))


def draw_found(info: Found) -> Figure:
    with styled():
        figure = new_figure(2.9)
        axes = figure.add_subplot()
        for name, curve in info.curves.items():
            color, line = _LOOKS.get(name, (BLACK, "-"))
            numbers = range(1, len(curve) + 1)
            mean, low, high = ([100 * value for value in column] for column in zip(*curve, strict=True))
            if name == CHANCE:  # five bands over one another cannot be read; the page's table has them all
                axes.fill_between(numbers, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(numbers, mean, line, color=color, label=name)
        axes.axhline(100 * info.best, color=BLACK, linewidth=0.6)
        axes.axhline(100 * info.close, color=BLACK, linewidth=0.6, linestyle=":")
        axes.set_xlabel("networks trained")
        axes.set_ylabel("best true reward so far (points)")
        axes.set_xlim(1, max(map(len, info.curves.values())))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure
