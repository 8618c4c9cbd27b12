"""Predicted ImageNet error over the simplex of budget shares, one map per budget; blank where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.tri import Triangulation

from scalesearch.report.figures.simplex import to_plane
from scalesearch.report.figures.style import BLACK, GREY, PURPLE, RED, legend, new_figure, styled
from scalesearch.search.response import BudgetMap

_HEIGHT = math.sqrt(3) / 2
_REACH = 1.0  # points of error above a budget's best at the end of the colours
_COLUMNS = 2
_MARKS = {"paper": ("D", PURPLE), "dWr": ("s", BLACK)}


def draw_error_simplex(maps: Sequence[BudgetMap]) -> Figure:
    """Colour is the error above the budget's best, the same scale for all budgets, so that splits compare by eye."""
    with styled():
        rows = -(-len(maps) // _COLUMNS)
        figure = new_figure(1.62 * rows + 0.95)
        grid = figure.subplots(rows, _COLUMNS, squeeze=False)
        drawn = None
        for axes, found in zip(grid.flat, maps, strict=False):
            drawn = _map(axes, found) or drawn
        for axes in list(grid.flat)[len(maps) :]:
            axes.axis("off")
        if drawn is not None:
            bar = figure.colorbar(
                drawn, ax=grid, orientation="horizontal", shrink=0.7, aspect=32, pad=0.015, extend="max"
            )
            bar.set_label("predicted top-1 error above the budget's best (points)")
            bar.outline.set_linewidth(0.4)
        legend(figure, _legend())
    return figure


def _map(axes: Axes, found: BudgetMap) -> PathCollection | None:
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_xlim(-0.22, 1.22)
    axes.set_ylim(-0.2, _HEIGHT + 0.3)
    corners = [to_plane(corner) for corner in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0))]
    axes.plot(*zip(*corners, strict=True), color=GREY, linewidth=0.6, zorder=1)
    for (x, y), name in zip(corners[:2], ("depth", "width"), strict=True):
        axes.text(x, y - 0.06, f"share of {name}", ha="center", va="top", fontsize=6.5)
    axes.text(0.5, _HEIGHT + 0.04, "share of resolution", ha="center", va="bottom", fontsize=6.5)
    axes.text(0.5, _HEIGHT + 0.18, f"φ = {found.phi:g} ({2**found.phi:.3g}× FLOPs)", ha="center", va="bottom")
    if found.best is None or found.best_error is None:
        axes.text(0.5, 0.24 * _HEIGHT, "no answer:\noutside\nthe hull", ha="center", va="center", fontsize=6.5)
        return None
    known = [(shares, error) for shares, error in zip(found.nodes, found.errors, strict=True) if error is not None]
    places = [to_plane(shares) for shares, _ in known]
    # A lattice of n nodes to a side has n(n + 1)/2 in all.
    side = 1 / (round(math.sqrt(2 * len(found.nodes) + 0.25) - 0.5) - 1)
    drawn = axes.scatter(
        [x for x, _ in places],
        [y for _, y in places],
        c=[error - found.best_error.mean for _, error in known],
        cmap="viridis_r",
        vmin=0.0,
        vmax=_REACH,
        marker="h",
        s=(side * 108) ** 2,  # cells that touch
        linewidths=0,
        zorder=2,
        clip_on=False,
    )
    for x, y in map(to_plane, found.region):
        _mark(axes, x, y, "o", 1.6, BLACK, width=0.0)
    if len(known) < len(found.nodes):
        _outline(axes, places, side)
    for rank in found.ranks:
        marker, colour = _MARKS.get(rank.name.split()[0], ("", ""))
        if marker:
            _mark(axes, *to_plane(rank.shares), marker, 4.2, colour, hollow=rank.error is None)
    _mark(axes, *to_plane(found.best), "*", 9, RED)
    return drawn


def _mark(
    axes: Axes, x: float, y: float, marker: str, size: float, colour: str, hollow: bool = False, width: float = 0.5
) -> None:
    axes.plot(
        x,
        y,
        linestyle="none",
        marker=marker,
        markersize=size,
        markerfacecolor="none" if hollow else colour,
        markeredgecolor=colour if hollow else "white",
        markeredgewidth=0.9 if hollow else width,
        zorder=5,
        clip_on=False,
    )


def _outline(axes: Axes, places: Sequence[tuple[float, float]], side: float) -> None:
    """The border of the answered cells: edges that belong to one triangle only."""
    mesh = Triangulation([x for x, _ in places], [y for _, y in places])
    edges: dict[tuple[int, int], int] = {}
    for triangle in mesh.triangles:
        points = [places[index] for index in triangle]
        longest = max(math.dist(points[i], points[i - 1]) for i in range(3))
        if longest > 1.9 * side:  # bridges a gap of the lattice
            continue
        for i in range(3):
            low, high = sorted((int(triangle[i]), int(triangle[i - 1])))
            edges[low, high] = edges.get((low, high), 0) + 1
    for (one, other), count in edges.items():
        if count == 1:
            axes.plot(*zip(places[one], places[other], strict=True), color=BLACK, linewidth=0.6, zorder=3)


def _legend() -> list[Line2D]:
    def handle(marker: str, size: float, colour: str, label: str, face: str | None = None) -> Line2D:
        return Line2D(
            [], [], linestyle="none", marker=marker, markersize=size, color=colour, label=label,
            markerfacecolor=face or colour,
        )  # fmt: skip

    return [
        handle("*", 8, RED, "best predicted split"),
        handle("D", 4, PURPLE, "paper: 1.2, 1.1, 1.15"),
        handle("s", 4, BLACK, "dWr: 0.1, 0.8, 0.1"),
        handle("o", 1.8, BLACK, "may be best (90 %)"),
        Line2D([], [], color=BLACK, linewidth=0.7, label="edge of the answered splits"),
        handle("s", 4, BLACK, "hollow: no answer there", "none"),
    ]
