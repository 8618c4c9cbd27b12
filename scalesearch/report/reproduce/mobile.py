"""The complexity tables of MnasNet (Tan et al. 2019, arXiv:1807.11626) and of its released code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from scalesearch.report.figures.style import BLACK, BLUE, GREEN, ORANGE, RED
from scalesearch.report.published import rows
from scalesearch.report.reproduce.charts import Series, accuracy_figure
from scalesearch.report.reproduce.record import (
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
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import Cost, cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import Multipliers, multiply

_MODELS = {
    "MobileNetV1": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV2 (1.4x)": "mobilenet_v2_140",
    "MobileNetV2 (0.35x)": "mobilenet_v2_035",
    "MnasNet-A1": "mnasnet_a1",
    "MnasNet-small": "mnasnet_small",
}
_LOOKS = {"224": (BLUE, "o"), "192": (RED, "D"), "160": (GREEN, "v"), "128": (ORANGE, "^"), "96": (BLACK, "s")}


def mnasnet() -> Experiment:
    """Tables 1 and 4 of the paper, as far as the networks are shipped, and A1 at 25 widths and resolutions."""
    models = [(row, row["model"], cost(_model(row["model"]))) for row in rows("mnasnet")]
    grid = [
        (row, f"{row['resolution_px']} px × {row['width_multiplier']}", cost(_a1(row)))
        for row in rows("mnasnet_a1_width_resolution_grid")
    ]
    a1 = next(found for _, name, found in models if name == "MnasNet-A1")
    readme = next(row for row, *_ in grid if (row["resolution_px"], row["width_multiplier"]) == ("224", "1.0"))
    printed = next(row for row, name, _ in models if name == "MnasNet-A1")
    odd = next(row for row, *_ in grid if (row["resolution_px"], row["width_multiplier"]) == ("160", "0.35"))
    above, below = (
        next(row for row, *_ in grid if (row["resolution_px"], row["width_multiplier"]) == (side, "0.35"))
        for side in ("192", "128")
    )
    repeated = [row for row, *_ in grid if row["unlabelled_last_column"] == row["imagenet_top1_pct"]]
    notes = (
        *_agreements("Networks", models),
        *_agreements("A1's grid", grid),
        f"A1 has {a1.flops:,} multiply-adds; the paper prints {printed['mult_adds_M']}M, the README of the code "
        f"{readme['mult_adds_M']}M ({signed(float(readme['mult_adds_M']) * 1e6 / a1.flops - 1)} %).",
        f"A1 at 160 px × 0.35 is printed with {odd['imagenet_top1_pct']} % top-1, less than the "
        f"{below['imagenet_top1_pct']} % at 128 px ({above['imagenet_top1_pct']} % at 192 px), but with "
        f"{odd['imagenet_top5_pct']} % top-5, which lies between theirs: the top-1 looks misprinted. The README's last "
        f"column has no heading; it repeats the top-1 in {len(repeated)} of {len(grid)} rows and has "
        f"{odd['unlabelled_last_column']} in that one.",
    )
    tables = (
        _table("mnasnet", "Networks of the paper's Tables 1 and 4 and of the code's README", models),
        _table(
            "mnasnet_grid", "MnasNet-A1 by side and width", grid, {"unlabelled_last_column": "last column, no heading"}
        ),
    )
    series = []
    for side, look in _LOOKS.items():
        mine = [(row, found) for row, _, found in grid if row["resolution_px"] == side]
        tops = [float(row["imagenet_top1_pct"]) for row, _ in mine]
        flops = [float(row["mult_adds_M"]) * 1e6 for row, _ in mine]
        series.append(Series(f"A1 at {side} px", *look, tuple(zip(flops, tops, strict=True))))
        counted = tuple(zip((float(found.flops) for _, found in mine), tops, strict=True))
        series.append(Series("", *look, counted, filled=False, joined=False))
    return Experiment("mnasnet", "MnasNet and its neighbours", tables, notes, lambda: accuracy_figure(series))


_Found = list[tuple[dict[str, str], str, Cost]]


def _model(name: str) -> Arch:
    if name == "MnasNet-A1 (0.35x)":
        return multiply(load_arch("mnasnet_a1"), Multipliers(1.0, 0.35, 1.0))
    return load_arch(_MODELS[name])


def _a1(row: dict[str, str]) -> Arch:
    arch = multiply(load_arch("mnasnet_a1"), Multipliers(1.0, float(row["width_multiplier"]), 1.0))
    return replace(arch, resolution=int(row["resolution_px"]))


def _agreements(kind: str, found: _Found) -> tuple[str, str]:
    params, flops = ([pairs[index] for pairs in map(_pairs, found)] for index in (0, 1))
    return agreement(f"{kind}, parameters", params), agreement(f"{kind}, FLOPs", flops)


def _pairs(entry: tuple[dict[str, str], str, Cost]) -> tuple[Pair, Pair]:
    row, name, counted = entry
    return Pair(name, row["params_M"], counted.params, 1e6), Pair(name, row["mult_adds_M"], counted.flops, 1e6)


def _table(name: str, title: str, found: _Found, more: Mapping[str, str] = MappingProxyType({})) -> Table:
    """`more` maps further columns of the published file to their headings."""
    lines = []
    for entry in found:
        row, model, counted = entry
        params, flops = _pairs(entry)
        lines.append(
            Row(
                (
                    label(model),
                    published(params.printed),
                    computed(counted.params),
                    deviation(params),
                    published(flops.printed),
                    computed(counted.flops),
                    deviation(flops),
                    published(row["imagenet_top1_pct"]),
                    published(row["pixel1_latency_ms"]),
                    *(published(row[key]) for key in more),
                ),
                row["source"],
            )
        )
    columns = {
        "model": "network",
        "published_params_m": "params (M)",
        "params": "parameters",
        "params_deviation_percent": "printed / exact − 1 (%)",
        "published_flops_m": "FLOPs (M)",
        "flops": "FLOPs",
        "flops_deviation_percent": "printed / exact − 1 (%)",
        "top1_percent": "top-1 (%)",
        "pixel1_latency_ms": "Pixel 1 (ms)",
        **more,
    }
    return Table(name, title, columns, tuple(lines))
