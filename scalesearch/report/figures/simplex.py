"""The map of budget shares: what part of twice the compute went to depth, width, resolution; what it gave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon

from scalesearch.report.cast import part
from scalesearch.report.figures.style import BLACK, legend, new_figure, styled
from scalesearch.report.wording import PAPER_NAME, paper_result, paper_shares
from scalesearch.report.words import words
from scalesearch.search.candidates import Shares
from scalesearch.search.places import STOPPED
from scalesearch.search.run import Run

Place = tuple[float, float]
_HEIGHT = math.sqrt(3) / 2
_GAP = 0.045  # of the triangle's side: a marker's width, for up to this many candidates
_ROOMY = 20
_LEAST_SPAN = 0.005  # of accuracy, so that noise in the fifth digit gets no colours
_MARKERS = {"recommended": ("*", 110), "paper": ("D", 34), "dWr": ("d", 40)}
_REGION = "#F6E7C1"  # pale, so that colours and rings on it stay what they are
_REACH = 0.055  # of the triangle's side: how far a network stands for the region around it
_GRID = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Spot:
    """A candidate: its realised shares, where it is drawn, its mean accuracy and its chance to be best (0 to 1)."""

    digest: str
    shares: Shares
    place: Place
    accuracy: float
    may_be_best: bool
    look: str  # a key of _MARKERS, or "candidate"
    chance: float


@dataclass(frozen=True, slots=True)
class Untried:
    """A network of the pool without a finished training, at its own place; `stopped`: by the pruner, or a failure."""

    place: Place
    may_be_best: bool
    chance: float
    stopped: bool


@dataclass(frozen=True, slots=True)
class Simplex:
    """`paper` are the nominal shares of the paper's coefficients; their network is drawn at `paper_place`.

    `colours` are the accuracies at the ends of the colour bar. `gap` is a marker's width; the triangle's
    sides have length 1.
    """

    spots: tuple[Spot, ...]
    untried: tuple[Untried, ...]
    paper: Shares
    paper_place: Place | None
    colours: tuple[float, float]
    gap: float
    label: str


def simplex_info(run: Run) -> Simplex:
    gap = _GAP * min(1.0, math.sqrt(_ROOMY / len(run.candidates)))
    places = spread([to_plane(result.candidate.shares) for result in run.candidates], gap)
    spots = []
    for result, place in zip(run.candidates, places, strict=True):
        look = part(run, result).look
        spots.append(
            Spot(
                digest=result.candidate.digest,
                shares=result.candidate.shares,
                place=place,
                accuracy=result.accuracy_mean,
                may_be_best=result.may_be_best,
                look=look if look in _MARKERS else "candidate",
                chance=result.standing.chance,
            )
        )
    paper = paper_result(run)
    digest = "" if paper is None else paper.candidate.digest
    accuracies = [spot.accuracy for spot in spots]
    middle = (min(accuracies) + max(accuracies)) / 2
    reach = max(max(accuracies) - middle, _LEAST_SPAN / 2)
    tried = {spot.digest for spot in spots}
    stopped = {record.digest for record in run.trials if record.role == "candidate" and record.status in STOPPED}
    return Simplex(
        spots=tuple(spots),
        untried=tuple(
            Untried(to_plane(place.shares), standing.may_be_best, standing.chance, place.digest in stopped)
            for place, standing in run.standings
            if place.digest not in tried
        ),
        paper=paper_shares(),
        paper_place=next((spot.place for spot in spots if spot.digest == digest), None),
        colours=(middle - reach, middle + reach),
        gap=gap,
        label=words(run).colour,
    )


def to_plane(shares: Shares) -> Place:
    """Depth is the lower left corner, width the lower right, resolution the top; the sides have length 1."""
    _, width, resolution = shares
    return width + resolution / 2, resolution * _HEIGHT


def spread(places: Sequence[Place], gap: float) -> list[Place]:
    """Places moved apart until no markers hide each other: many networks realise nearly the same shares."""
    moved = [list(place) for place in places]
    for _ in range(200):
        still = True
        for i in range(len(moved)):
            for j in range(i):
                dx, dy = moved[i][0] - moved[j][0], moved[i][1] - moved[j][1]
                distance = math.hypot(dx, dy)
                if distance >= gap - 1e-6:
                    continue
                still = False
                push = (gap - distance) / 2
                if distance < 1e-9:  # the same place: the golden angle takes no direction twice
                    dx, dy, distance = math.cos(2.4 * i), math.sin(2.4 * i), 1.0
                moved[i][0] += dx / distance * push
                moved[i][1] += dy / distance * push
                moved[j][0] -= dx / distance * push
                moved[j][1] -= dy / distance * push
        moved = [list(_inside(x, y)) for x, y in moved]
        if still:
            break
    return [(x, y) for x, y in moved]


def _inside(x: float, y: float) -> Place:
    """The place itself, or one on the triangle's side near it."""
    resolution = max(0.0, y / _HEIGHT)
    width = max(0.0, x - y / _HEIGHT / 2)
    depth = max(0.0, 1 - y / _HEIGHT / 2 - x)
    total = depth + width + resolution
    return to_plane((depth / total, width / total, resolution / total))


def draw_simplex(info: Simplex) -> Figure:
    with styled():
        figure = new_figure(3.35)
        axes = figure.add_subplot()
        _triangle(axes)
        low, high = info.colours
        shrunk = info.gap / _GAP
        _region(axes, info)
        _untried(axes, info)
        drawn = None
        for look in ("candidate", "dWr", "paper", "recommended"):
            marker, size = _MARKERS.get(look, ("o", 32))
            for best in (False, True):
                chosen = [spot for spot in info.spots if spot.look == look and spot.may_be_best == best]
                if chosen:
                    drawn = axes.scatter(
                        [spot.place[0] for spot in chosen],
                        [spot.place[1] for spot in chosen],
                        c=[100 * spot.accuracy for spot in chosen],
                        vmin=100 * low,
                        vmax=100 * high,
                        cmap="viridis",
                        marker=marker,
                        # Those that are named stay larger than the crowd, whose area grows with its chance to be best.
                        s=[size * shrunk**2 * _area(info, spot.chance) for spot in chosen]
                        if look == "candidate"
                        else size * shrunk,
                        edgecolors=BLACK if best else "#BBBBBB",
                        linewidths=(1.0 if best else 0.5) * (shrunk if look == "candidate" else 1),
                        zorder=4 if look == "recommended" else 3,
                        clip_on=False,
                    )
        nominal = to_plane(info.paper)
        if info.paper_place is not None:
            ends = zip(nominal, info.paper_place, strict=True)
            axes.plot(*ends, color=BLACK, linewidth=0.6, linestyle=":", zorder=2)
        axes.plot(*nominal, marker="x", color=BLACK, markersize=5, markeredgewidth=1.1, zorder=5)
        if drawn is not None:
            bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.62, aspect=28, pad=0.01)
            bar.set_label(info.label)
            bar.outline.set_linewidth(0.4)
        legend(figure, _legend(info))
    return figure


def _all(info: Simplex) -> list[Spot | Untried]:
    return [*info.spots, *info.untried]


def _area(info: Simplex, chance: float) -> float:
    """Of a marker, from 0.4 for no chance to be best to 1.6 for the best chance of all."""
    most = max(one.chance for one in _all(info))
    return 0.4 + 1.2 * chance / most if most > 0 else 1.0


def _region(axes: Axes, info: Simplex) -> None:
    """What may hold the best: a disc around each network that may be it, cut off at the triangle's sides."""
    corners = [to_plane(corner) for corner in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    triangle = Polygon(corners, closed=True, transform=axes.transData)
    for one in _all(info):
        if one.may_be_best:
            disc = Circle(one.place, _REACH, facecolor=_REGION, edgecolor="none", zorder=0.5)
            axes.add_patch(disc)
            disc.set_clip_path(triangle)


def _untried(axes: Axes, info: Simplex) -> None:
    for best, stopped in product((False, True), repeat=2):
        chosen = [one for one in info.untried if (one.may_be_best, one.stopped) == (best, stopped)]
        if chosen:
            axes.scatter(
                [one.place[0] for one in chosen],
                [one.place[1] for one in chosen],
                marker="v" if stopped else "o",
                s=[(14 if stopped else 6) * _area(info, one.chance) for one in chosen],
                facecolors="white",
                edgecolors=BLACK if best else "#BBBBBB",
                linewidths=0.6 if best else 0.4,
                zorder=2.5,
                clip_on=False,
            )


def _triangle(axes: Axes) -> None:
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_xlim(-0.13, 1.13)
    axes.set_ylim(-0.16, _HEIGHT + 0.11)
    corners = [to_plane(corner) for corner in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0))]
    axes.plot(*zip(*corners, strict=True), color=BLACK, linewidth=0.7, zorder=1)
    for share in _GRID:
        rest = 1 - share
        # Each line of equal share ends at the side where its number stands.
        for start, end, (right, up) in (
            ((rest, share, 0), (0, share, rest), (0, -1)),  # width, along the bottom
            ((0, rest, share), (rest, 0, share), (_HEIGHT, 0.5)),  # resolution, along the right
            ((share, 0, rest), (share, rest, 0), (-_HEIGHT, 0.5)),  # depth, along the left
        ):
            x, y = to_plane(start)
            axes.plot(*zip((x, y), to_plane(end), strict=True), color="#DDDDDD", linewidth=0.5, zorder=0)
            _small(axes, x + 0.06 * right, y + 0.06 * up, f"{100 * share:.0f}")
    axes.text(-0.03, -0.045, "depth", ha="center", va="top")
    axes.text(1.03, -0.045, "width", ha="center", va="top")
    axes.text(0.5, _HEIGHT + 0.045, "resolution", ha="center", va="bottom")
    middle = _HEIGHT / 2
    _small(axes, 0.5, -0.13, "width share (%) →")
    _small(axes, 0.75 + 0.13 * _HEIGHT, middle + 0.065, "← resolution share (%)", -60)
    _small(axes, 0.25 - 0.13 * _HEIGHT, middle + 0.065, "← depth share (%)", 60)


def _small(axes: Axes, x: float, y: float, text: str, rotation: float = 0) -> None:
    axes.text(
        x,
        y,
        text,
        rotation=rotation,
        rotation_mode="anchor",
        ha="center",
        va="center",
        fontsize=6.5,
        color="#555555",
    )


def _legend(info: Simplex) -> list[Line2D]:
    def handle(
        marker: str, size: float, label: str, edge: str = BLACK, width: float = 1.0, face: str = "white"
    ) -> Line2D:
        return Line2D(
            [], [], linestyle="none", marker=marker, markersize=size, markerfacecolor=face,
            markeredgecolor=edge, markeredgewidth=width, label=label,
        )  # fmt: skip

    handles = [handle("*", 8.5, "recommended")]
    if any(spot.look == "paper" for spot in info.spots):
        handles.append(handle("D", 5, PAPER_NAME))
    handles.append(handle("x", 5, "paper's point, nominal"))
    if any(spot.look == "dWr" for spot in info.spots):
        handles.append(handle("d", 5, "nearest to dWr"))
    handles.append(handle("o", 5.5, "may be best (black edge)"))
    if not all(one.may_be_best for one in _all(info)):
        handles.append(handle("o", 5.5, "ruled out (grey edge)", "#BBBBBB", 0.6))
        handles.append(handle("s", 6.5, "region of the best", _REGION, 0, _REGION))
    if not all(one.stopped for one in info.untried):
        handles.append(handle("o", 2.5, "not tried (small)", "#777777", 0.5))
    if any(one.stopped for one in info.untried):
        handles.append(handle("v", 3.5, "stopped early or failed", "#777777", 0.5))
    return handles
