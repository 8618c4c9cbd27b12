"""Table 2 of the EfficientNet paper (Tan & Le 2019, arXiv:1905.11946), and what B1–B7 follow from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from scalesearch.report.figures.style import BLACK, GREY, LOOKS, new_figure, styled
from scalesearch.report.published import rows
from scalesearch.report.reproduce.charts import draw_deviations
from scalesearch.report.reproduce.members import (
    SOURCE,
    Followed,
    Published,
    fits,
    followed,
    least_squares_coefficients,
    least_squares_phi,
    prints_as,
    published_members,
    side_phi,
    single_phis,
)
from scalesearch.report.reproduce.record import (
    EMPTY,
    Cell,
    Experiment,
    Pair,
    Row,
    Table,
    agreement,
    computed,
    deviation,
    label,
    published,
    signed,
)
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, Coefficients
from scalesearch.spec.units import format_flops

_VERSIONS = {"v1": "v1/ICML (2019-05)", "between": "intermediate arXiv (100 - error)", "v5": "v5 (2020-09)"}


def table2() -> Experiment:
    """Parameters and FLOPs of B0–B7, and the coefficients that the members follow."""
    members = published_members()
    printed = {
        (row["model"].removeprefix("EfficientNet-"), row["paper_version"]): row for row in rows("efficientnet_table2")
    }
    final = {member.name: printed[member.name, _VERSIONS["v5"]] for member in members}
    exact = {member.name: cost(load_arch(f"efficientnet_{member.name.lower()}")) for member in members}
    params = [Pair(name, row["params_M"], exact[name].params, 1e6) for name, row in final.items()]
    flops = [Pair(name, row["flops_B_multiply_adds"], exact[name].flops, 1e9) for name, row in final.items()]
    table = Table(
        "table2",
        "Printed and exact parameters and FLOPs; top-1 accuracy in three versions of the paper",
        {
            "member": "member",
            "published_params_m": "params (M)",
            "params": "params",
            "params_deviation_percent": "printed / exact − 1 (%)",
            "published_flops_b": "FLOPs (B)",
            "flops": "FLOPs",
            "flops_deviation_percent": "printed / exact − 1 (%)",
            **{f"top1_percent_{version}": f"top-1 {version} (%)" for version in _VERSIONS},
        },
        tuple(
            Row(
                (
                    label(size.what),
                    published(size.printed),
                    computed(exact[size.what].params),
                    deviation(size),
                    published(work.printed),
                    computed(exact[size.what].flops),
                    deviation(work),
                    *(_top1(printed.get((size.what, version))) for version in _VERSIONS.values()),
                ),
                "; ".join(
                    f"{row['source']} ({row['paper_version']})" for key, row in printed.items() if key[0] == size.what
                ),
            )
            for size, work in zip(params, flops, strict=True)
        ),
    )
    scaled = members[1:]
    best = followed(scaled)
    notes = [
        agreement("Parameters", params),
        agreement("FLOPs", flops),
        "FLOPs that do not round to the printed number: "
        + ", ".join(f"{pair.what} {pair.printed}B for {format_flops(pair.exact)}" for pair in flops if not pair.agrees)
        + ".",
        *_versions_note(printed),
        *_phi_notes(scaled, best),
    ]
    ratios = {name: math.log2(each.flops / exact["B0"].flops) for name, each in exact.items()}
    tables = (table, _phi_table(scaled, ratios), *([] if best is None else [_fit_table(scaled, best.coefficients)]))
    return Experiment(
        "table2",
        "Table 2: EfficientNet-B0 to B7",
        tables,
        tuple(notes),
        lambda: _table2_figure({"parameters": params, "FLOPs": flops}, scaled, ratios),
    )


def _top1(row: dict[str, str] | None) -> Cell:
    """As printed; of the version in between only errors were seen, so that its accuracies are 100 minus those."""
    if row is None:
        return EMPTY
    top = row["imagenet_top1_pct"]
    return published(top) if row["paper_version"] != _VERSIONS["between"] else computed(float(top), top)


def _versions_note(printed: dict[tuple[str, str], dict[str, str]]) -> list[str]:
    first, between, last = (printed["B0", version]["imagenet_top1_pct"] for version in _VERSIONS.values())
    return [
        f"B0's top-1 accuracy is printed as {first} (v1) and {last} % (v5); Dollár et al. 2021, Table 5, quote an "
        f"error of {100 - float(between):.1f} % from a version in between, which is {between} %."
    ]


def _phi_table(members: Sequence[Published], ratios: dict[str, float]) -> Table:
    rows_ = []
    for member in members:
        phi = least_squares_phi(member, PAPER_COEFFICIENTS)
        rows_.append(
            Row(
                (
                    label(member.name),
                    *_printed(member),
                    *(computed(each, f"{each:.2f}") for each in single_phis(member, PAPER_COEFFICIENTS)),
                    computed(ratios[member.name], f"{ratios[member.name]:.2f}"),
                    *_residuals(member, PAPER_COEFFICIENTS, phi),
                ),
                SOURCE,
            )
        )
    return Table(
        "table2_phi",
        f"The φ that each published multiplier asks for under the paper's {_named(PAPER_COEFFICIENTS, 'g')}, and what "
        "remains at the one φ nearest to all three",
        {
            **_PRINTED,
            "phi_depth": "φ of depth",
            "phi_width": "of width",
            "phi_side": "of side",
            "log2_flops_ratio": "log2 FLOPs/B0's",
            **_RESIDUALS,
        },
        tuple(rows_),
    )


def _fit_table(members: Sequence[Published], coefficients: Coefficients) -> Table:
    rows_ = []
    for member in members:
        phi = side_phi(member, coefficients)
        asked = coefficients.at(phi)
        rows_.append(
            Row(
                (
                    label(member.name),
                    *_printed(member),
                    computed(asked.depth, f"{asked.depth:.3f}"),
                    computed(asked.width, f"{asked.width:.3f}"),
                    *_residuals(member, coefficients, phi)[:-1],
                ),
                SOURCE,
            )
        )
    headings = {key: heading for key, heading in _RESIDUALS.items() if key != "side_residual_percent"}
    return Table(
        "table2_fit",
        f"The middle of the ranges that fit, {_named(coefficients, '.4f')} (αβ²γ² = 2), with φ from the side, which so "
        "always fits",
        {**_PRINTED, "fitted_depth": "depth", "fitted_width": "width", **headings},
        tuple(rows_),
    )


_PRINTED = {"member": "member", "depth": "depth", "width": "width", "side_px": "px"}
_RESIDUALS = {
    "phi": "φ",
    "depth_residual_percent": "depth off (%)",
    "width_residual_percent": "width off (%)",
    "side_residual_percent": "side off (%)",
}


def _printed(member: Published) -> tuple[Cell, ...]:
    return published(member.depth), published(member.width), published(str(member.side))


def _residuals(member: Published, coefficients: Coefficients, phi: float) -> tuple[Cell, ...]:
    """φ, and by how many per cent the published multipliers lie above those it gives."""
    asked, given = coefficients.at(phi), member.multipliers
    shares = (getattr(given, name) / getattr(asked, name) - 1 for name in ("depth", "width", "resolution"))
    return computed(phi, f"{phi:.2f}"), *(computed(100 * share, signed(share)) for share in shares)


def _phi_notes(members: Sequence[Published], best: Followed | None) -> list[str]:
    notes = []
    first, last = (single_phis(member, PAPER_COEFFICIENTS) for member in (members[0], members[-1]))
    whole = [member.name for index, member in enumerate(members, 1) if prints_as(member, PAPER_COEFFICIENTS.at(index))]
    notes.append(
        "Under the paper's coefficients the multipliers of a member ask for different φ: "
        f"{members[0].name}'s depth, width and side ask for φ = {first[0]:.2f}, {first[1]:.2f}, {first[2]:.2f}, "
        f"{members[-1].name}'s for {last[0]:.2f}, {last[1]:.2f}, {last[2]:.2f}; with one φ for all three, "
        + _which([m.name for m in members if fits(m, PAPER_COEFFICIENTS)])
        + f" out as published; with φ = 1 to 7, {_which(whole)}."
    )
    squares = least_squares_coefficients(members)
    notes.append(
        f"Least squares over B1–B7 in the logarithms, a free φ per member: α = {squares.alpha:.3f}, "
        f"β = {squares.beta:.3f}, γ = {squares.gamma:.3f} at αβ²γ² = 2."
    )
    if best is not None:
        phis = ", ".join(f"{side_phi(member, best.coefficients):.2f}" for member in members)
        low, high = best.low, best.high
        paper = ", ".join(map(str, _values(PAPER_COEFFICIENTS)))
        coarse = ", ".join(f"{round(20 * value) / 20:g}" for value in _values(best.coefficients))
        notes.append(
            "But other coefficients, with a φ of its own for each member, give every multiplier of "
            f"{members[0].name}–{members[-1].name} as the released code has them (the paper prints none): "
            f"α from {low.alpha:.4f} to {high.alpha:.4f}, β {low.beta:.4f} to {high.beta:.4f}, "
            f"γ {low.gamma:.4f} to {high.gamma:.4f} at αβ²γ² = 2. With φ being free, the side always fits; what is "
            f"tested are the {2 * len(members)} depths and widths, to one decimal. In the middle φ = {phis}, no whole "
            f"numbers. To the nearest 0.05 these are {coarse}; the paper prints {paper}."
        )
    return notes


def _values(coefficients: Coefficients) -> tuple[float, float, float]:
    return coefficients.alpha, coefficients.beta, coefficients.gamma


def _named(coefficients: Coefficients, form: str) -> str:
    return ", ".join(f"{symbol} = {value:{form}}" for symbol, value in zip("αβγ", _values(coefficients), strict=True))


def _which(names: Sequence[str]) -> str:
    if not names:
        return "none comes"
    return f"only {' and '.join(names)} {'comes' if len(names) == 1 else 'come'}"


def _table2_figure(groups: dict[str, list[Pair]], members: Sequence[Published], ratios: dict[str, float]) -> Figure:
    """Deviations of parameters and FLOPs, and the φ that each dimension asks for."""
    with styled():
        figure = new_figure(4.3)
        top, bottom = figure.subplots(2, 1, height_ratios=(1, 1.1))
        draw_deviations(top, groups)
        top.legend(loc="lower left")
        index = range(1, len(members) + 1)
        phis = [single_phis(member, PAPER_COEFFICIENTS) for member in members]
        bottom.plot(index, index, color=GREY, linewidth=0.8, linestyle="--", label="φ = 1, 2, … 7")
        for position, look in enumerate(("depth only", "width only", "resolution only")):
            style = LOOKS[look]
            bottom.plot(
                index,
                [phi[position] for phi in phis],
                color=style.color,
                marker=style.marker,
                markersize=4.0,
                linewidth=0.8,
                label=("depth", "width", "side")[position],
            )
        bottom.plot(
            index,
            [ratios[member.name] for member in members],
            color=BLACK,
            marker="x",
            markersize=4,
            linestyle=":",
            linewidth=0.8,
            label="log2 of FLOPs / B0's",
        )
        bottom.set_xticks(index, [member.name for member in members])
        bottom.set_ylabel("φ under 1.2, 1.1, 1.15")
        bottom.legend(loc="upper left")
    return figure
