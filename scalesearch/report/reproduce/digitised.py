"""Figures 3, 4 and 8 of the EfficientNet paper: points read from their vector paths, with FLOPs counted here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scalesearch.report.figures.style import BLUE, GREEN, LOOKS, ORANGE, RED
from scalesearch.report.published import rows
from scalesearch.report.reproduce.charts import Series, accuracy_figure
from scalesearch.report.reproduce.members import SOURCE
from scalesearch.report.reproduce.record import (
    EMPTY,
    Cell,
    Experiment,
    Pair,
    Row,
    Table,
    computed,
    deviation,
    label,
    published,
    signed,
)
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import Multipliers, multiply

_DIMENSIONS = ("width", "depth", "resolution")
_BASE_SIDE, _CAPTION_SIDE = 224, 299  # px: Figure 4's caption, for r = 1.0 and 1.3
_SAME_FLOPS, _SAME_TOP1 = 0.0015, 0.015  # B and points: what digitising can tell apart


@dataclass(frozen=True, slots=True)
class _Point:
    """A digitised point, and the network at it, where its coefficients are known.

    `side_published`: the side is somebody's printed setting, not the outcome of scaling here.
    """

    curve: str
    what: str
    printed: dict[str, str]
    arch: Arch | None
    side_published: bool = False

    @property
    def flops(self) -> float:
        return float(self.printed["flops_B_multiply_adds_figure"])

    @property
    def top1(self) -> float:
        return float(self.printed["imagenet_top1_pct_figure"])

    @property
    def pair(self) -> Pair | None:
        if self.arch is None:
            return None
        return Pair(self.what, self.printed["flops_B_multiply_adds_figure"], cost(self.arch).flops, 1e9)


def figure3() -> Experiment:
    """B0 scaled in one dimension."""
    points = [
        _Point(row["dimension"], row["coefficient"], row, _single(row["dimension"], row["coefficient"]))
        for row in rows("efficientnet_fig3_single_dimension")
    ]
    first = points[0]
    tops = [row["imagenet_top1_pct"] for row in rows("efficientnet_table2") if row["model"] == "EfficientNet-B0"]
    notes = [
        f"The curves begin at {first.flops:.2f}B and {first.top1} %; B0 has {_billions(first)}B and, in Table 2, "
        f"{min(tops, key=float)} to {max(tops, key=float)} %. So the figure's base, or its way of counting, is not "
        "that of Table 1's B0.",
        *(_range_note(points, dimension) for dimension in _DIMENSIONS),
        "Relative to their first points, the figure's FLOPs lie off those of B0 scaled by "
        + "; ".join(_relative_note(points, dimension) for dimension in _DIMENSIONS)
        + ".",
    ]
    return Experiment(
        "figure3",
        "Figure 3: EfficientNet-B0 scaled in one dimension",
        (_table("figure3", "scaled", points),),
        tuple(notes),
        lambda: accuracy_figure(_series(points)),
    )


def figure4() -> Experiment:
    """Width scaling from four baselines; the widths are known of six points, and of each curve's first."""
    points = []
    for row in rows("efficientnet_fig4_width_by_baseline"):
        depth, resolution = row["depth_coefficient"], row["resolution_coefficient"]
        width = row["width_coefficient"] or ("1.0" if row["point_index"] == "1" else "")
        arch = None
        if width:
            arch = multiply(load_arch("efficientnet_b0"), Multipliers(float(depth), float(width), 1.0))
            arch = replace(arch, resolution=_CAPTION_SIDE) if resolution != "1.0" else arch
        points.append(_Point(f"d = {depth}, r = {resolution}", width, row, arch, side_published=True))
    singles = {(row["dimension"], row["coefficient"]): row for row in rows("efficientnet_fig3_single_dimension")}
    firsts = {point.curve: point for point in points if point.printed["point_index"] == "1"}
    notes = [
        f"Widths are known of {sum(bool(row.printed['width_coefficient']) for row in points)} of {len(points)} points, "
        "from Figure 3, which labels them; the first point of each curve is taken as w = 1. The others have no FLOPs "
        "here.",
        f"Sides: {_BASE_SIDE} px, and {_CAPTION_SIDE} px for r = 1.3, as the figure's caption says.",
    ]
    for curve, key in (("d = 1.0, r = 1.3", ("resolution", "1.3")), ("d = 2.0, r = 1.0", ("depth", "2"))):
        mine, other = firsts[curve], singles[key]
        notes.append(
            f"The first point of {curve} has the FLOPs of Figure 3's {key[0]} {key[1]} "
            f"({mine.flops:.3f}B and {float(other['flops_B_multiply_adds_figure']):.3f}B) at another accuracy: "
            f"{mine.top1} % here, {other['imagenet_top1_pct_figure']} % there."
        )
    pairs = [point.pair for point in firsts.values()]
    notes.append(
        "First points against B0: "
        + "; ".join(
            f"{point.curve} {signed(pair.share)} %"
            for point, pair in zip(firsts.values(), pairs, strict=True)
            if pair is not None
        )
        + "; the labelled widths from 1.8 on: "
        + _span([p.pair for p in points if p.printed["width_coefficient"] and float(p.what) >= 1.8])
        + "."
    )
    looks = dict(zip(firsts, ((BLUE, "o"), (GREEN, "v"), (ORANGE, "^"), (RED, "*")), strict=True))
    series = [
        Series(curve, *look, tuple((p.flops * 1e9, p.top1) for p in points if p.curve == curve))
        for curve, look in looks.items()
    ]
    series += [
        Series(
            "",
            *look,
            tuple((p.pair.exact, p.top1) for p in points if p.curve == curve and p.pair is not None),
            filled=False,
            joined=False,
        )
        for curve, look in looks.items()
    ]
    return Experiment(
        "figure4",
        "Figure 4: width scaling from four baselines",
        (_table("figure4", "baseline", points),),
        tuple(notes),
        lambda: accuracy_figure(series),
    )


def figure8() -> Experiment:
    """Single dimensions against the compound members."""
    points = []
    for row in rows("efficientnet_fig8_scaling_methods"):
        what = row["coefficient_or_model"]
        member = row["scaling"] == "compound"
        arch = load_arch(f"efficientnet_{what.lower()}") if member else _single(row["scaling"], what)
        points.append(_Point(row["scaling"], what, row, arch, side_published=member))
    third = {(row["dimension"], row["coefficient"]): row for row in rows("efficientnet_fig3_single_dimension")}
    shared = [(point, third[point.curve, point.what]) for point in points if point.curve != "compound"]
    moved = [point for point, other in shared if not _same(point, other)]
    spans = {dimension: [point.pair for point in _beyond(points, dimension)] for dimension in _DIMENSIONS}
    left = [name for name, pairs in spans.items() if all(pair is not None and pair.share > 0 for pair in pairs)]
    compound = [point.pair for point in points if point.curve == "compound"]
    notes = [
        f"Of {len(shared)} points of single dimensions, {len(shared) - len(moved)} are Figure 3's, to what digitising "
        f"can tell. The others, {', '.join(f'{point.curve} {point.what}' for point in moved)}, have moved from "
        f"{third['width', '1.0']['flops_B_multiply_adds_figure']}B to {moved[0].flops:.2f}B: B0's FLOPs at the head of "
        "curves that were counted otherwise.",
        f"The figure's FLOPs against exact ones: compound members {_span(compound)}; beyond their first points "
        + ", ".join(f"{name} {_span(pairs)}" for name, pairs in spans.items())
        + f". If those networks are B0 scaled, all of {' and '.join(left)} belongs further left, and the compound "
        f"curve leads {'those two' if len(left) == 2 else 'them'} by less than the figure shows.",
    ]
    return Experiment(
        "figure8",
        "Figure 8: compound scaling against single dimensions",
        (_table("figure8", "scaled", points),),
        tuple(notes),
        lambda: accuracy_figure(_series(points)),
    )


def _single(dimension: str, coefficient: str) -> Arch:
    factors = {name: float(coefficient) if name == dimension else 1.0 for name in _DIMENSIONS}
    return multiply(load_arch("efficientnet_b0"), Multipliers(**factors))


def _same(point: _Point, other: dict[str, str]) -> bool:
    return (
        abs(point.flops - float(other["flops_B_multiply_adds_figure"])) <= _SAME_FLOPS
        and abs(point.top1 - float(other["imagenet_top1_pct_figure"])) <= _SAME_TOP1
    )


def _table(name: str, curve: str, points: Sequence[_Point]) -> Table:
    firsts: dict[str, _Point] = {}
    lines = []
    for point in points:
        first = firsts.setdefault(point.curve, point)
        pair, base = point.pair, first.pair
        lines.append(
            Row(
                (
                    label(point.curve),
                    _coefficient(point),
                    published(point.printed["flops_B_multiply_adds_figure"]),
                    _side(point),
                    computed(None if pair is None else int(pair.exact)),
                    EMPTY if pair is None else deviation(pair),
                    computed(point.flops / first.flops, f"{point.flops / first.flops:.2f}"),
                    _ratio(pair, base),
                    published(point.printed["imagenet_top1_pct_figure"]),
                ),
                point.printed["source"] + _side_source(point),
            )
        )
    columns = {
        "curve": curve,
        "coefficient": "w" if name == "figure4" else "coefficient",
        "figure_flops_b": "FLOPs (B)",
        "side_px": "px",
        "flops": "FLOPs",
        "flops_deviation_percent": "figure / exact − 1 (%)",
        "figure_ratio": "× first, figure",
        "ratio": "× first, exact",
        "top1_percent": "top-1 (%)",
    }
    return Table(name, "Digitised points, and the FLOPs of EfficientNet-B0 scaled the same way", columns, tuple(lines))


def _coefficient(point: _Point) -> Cell:
    """As labelled; a curve's first width is an assumption, which is nobody's number."""
    if point.printed.get("width_coefficient", "-"):
        return published(point.what)
    return label(f"{float(point.what):g} (taken)") if point.what else EMPTY


def _side(point: _Point) -> Cell:
    if point.arch is None:
        return EMPTY
    side = point.arch.resolution
    return published(str(side)) if point.side_published else computed(side)


def _side_source(point: _Point) -> str:
    if not point.side_published:
        return ""
    return "; px: the figure's caption" if "width_coefficient" in point.printed else f"; px: {SOURCE}"


def _ratio(pair: Pair | None, base: Pair | None) -> Cell:
    return (
        EMPTY if pair is None or base is None else computed(pair.exact / base.exact, f"{pair.exact / base.exact:.2f}")
    )


def _billions(point: _Point) -> str:
    return "" if point.pair is None else f"{point.pair.exact / 1e9:.3f}"


def _span(pairs: Sequence[Pair | None]) -> str:
    shares = [pair.share for pair in pairs if pair is not None]
    return f"{signed(min(shares))} to {signed(max(shares))} %"


def _beyond(points: Sequence[_Point], dimension: str) -> list[_Point]:
    return [point for point in points if point.curve == dimension and float(point.what) > 1]


def _range_note(points: Sequence[_Point], dimension: str) -> str:
    return (
        f"{dimension.capitalize()}, beyond the first point: the figure's FLOPs lie "
        f"{_span([point.pair for point in _beyond(points, dimension)])} from those of B0 scaled the same way."
    )


def _relative_note(points: Sequence[_Point], dimension: str) -> str:
    first = next(point for point in points if point.curve == dimension)
    if first.pair is None:
        return ""
    shares = [
        point.flops / first.flops / (point.pair.exact / first.pair.exact) - 1
        for point in _beyond(points, dimension)
        if point.pair is not None
    ]
    return f"{dimension} {signed(min(shares))} to {signed(max(shares))} %"


def _series(points: Sequence[_Point]) -> list[Series]:
    series = []
    for curve in dict.fromkeys(point.curve for point in points):
        look = LOOKS[f"{curve} only"] if f"{curve} only" in LOOKS else LOOKS["recommended"]
        mine = [point for point in points if point.curve == curve]
        series.append(
            Series(f"{curve}, as in the figure", look.color, look.marker, tuple((p.flops * 1e9, p.top1) for p in mine))
        )
        exact = tuple((p.pair.exact, p.top1) for p in mine if p.pair is not None)
        series.append(Series("", look.color, look.marker, exact, filled=False))
    return series
