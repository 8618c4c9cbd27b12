"""Tables 3 and 7 of the EfficientNet paper: one base scaled in one dimension, or in all three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from scalesearch.report.figures.style import BLUE, GREEN, GREY, LOOKS, ORANGE, RED
from scalesearch.report.published import rows
from scalesearch.report.reproduce.charts import Series, accuracy_figure
from scalesearch.report.reproduce.record import (
    EMPTY,
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
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import Multipliers, multiply
from scalesearch.spec.units import format_flops

_BASES = {
    "MobileNetV1": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "ResNet-50": "resnet50",
    "EfficientNet-B0": "efficientnet_b0",
}
_SCALINGS = {"baseline": "base", "depth": "depth only", "width": "width only", "resolution": "resolution only"}


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A printed row, and the network that its coefficients make of the base; None where none are printed."""

    printed: dict[str, str]
    arch: Arch | None

    @property
    def pair(self) -> Pair | None:
        if self.arch is None:
            return None
        name = f"{self.printed['base_model']} {self.printed['scaling']}"
        return Pair(name, self.printed["flops_B_multiply_adds_paper"], cost(self.arch).flops, 1e9)


def table3() -> Experiment:
    """MobileNetV1, MobileNetV2 and ResNet-50, scaled."""
    found = _scaled("efficientnet_table3")
    exact = {(row.printed["base_model"], row.printed["scaling"]): row.pair for row in found if row.pair is not None}
    deep, wide = exact["ResNet-50", "depth"], exact["ResNet-50", "width"]
    crossed = (replace(deep, printed=wide.printed), replace(wide, printed=deep.printed))
    stemless = cost(multiply(replace(load_arch("resnet50"), fixed=("stem",)), Multipliers(1.0, 2.0, 1.0))).flops
    unknown = [row.printed["base_model"] for row in found if row.arch is None]
    neither = "" if any(pair.agrees for pair in crossed) else ", and neither rounds to it even then"
    notes = (
        agreement("FLOPs", exact.values()),
        f"ResNet-50's FLOPs for depth × 4 and width × 2 look swapped: {deep.printed}B and {wide.printed}B are printed "
        f"for {format_flops(deep.exact)} and {format_flops(wide.exact)} ({signed(deep.share)} and {signed(wide.share)} "
        f"%); the other way round they are {signed(crossed[0].share)} and {signed(crossed[1].share)} % off{neither}. "
        f"Width here includes the stem's; without that, width × 2 has {format_flops(stemless)}.",
        f"No coefficients are printed for the compound rows of {' and '.join(unknown)}: nothing to recompute.",
    )
    table = _table("table3", found, {"top1_percent": "imagenet_top1_pct"})
    return Experiment("table3", "Table 3: other bases scaled", (table,), notes, lambda: _by_base(found))


def table7() -> Experiment:
    """EfficientNet-B0, scaled; top-1 accuracy as two versions of the paper print it."""
    found = _scaled("efficientnet_table7")
    pairs = [row.pair for row in found if row.pair is not None]
    tops = found[0].printed
    table2 = {(row["model"], row["paper_version"][:2]): row["imagenet_top1_pct"] for row in rows("efficientnet_table2")}
    notes = (
        agreement("FLOPs", pairs),
        "; ".join(
            f"{pair.what}: {pair.printed}B for {format_flops(pair.exact)} ({signed(pair.share)} %)" for pair in pairs
        )
        + ".",
        f"The last version still prints {tops['imagenet_top1_pct_v5']} % for B0, which its Table 2 has at "
        f"{table2['EfficientNet-B0', 'v5']} % and "
        f"the first version at {tops['imagenet_top1_pct_v1']} %.",
    )
    tops_by = {"top1_percent_v1": "imagenet_top1_pct_v1", "top1_percent_v5": "imagenet_top1_pct_v5"}
    table = _table("table7", found, tops_by)
    return Experiment("table7", "Table 7: EfficientNet-B0 scaled", (table,), notes, lambda: _by_scaling(found))


def _scaled(name: str) -> list[_Scaled]:
    found = []
    for row in rows(name):
        factors = [row[f"{dimension}_coefficient"] for dimension in ("depth", "width", "resolution")]
        base = load_arch(_BASES[row["base_model"]])
        arch = multiply(base, Multipliers(*map(float, factors))) if all(factors) else None
        found.append(_Scaled(row, arch))
    return found


def _table(name: str, found: Sequence[_Scaled], tops: dict[str, str]) -> Table:
    """`tops` maps CSV columns of accuracies to those of the published file."""
    lines = []
    for row in found:
        printed, pair = row.printed, row.pair
        params = None if row.arch is None else cost(row.arch).params
        lines.append(
            Row(
                (
                    label(printed["base_model"]),
                    label(printed["scaling"]),
                    *(published(printed[f"{dimension}_coefficient"]) for dimension in ("depth", "width", "resolution")),
                    computed(None if row.arch is None else row.arch.resolution),
                    published(printed["flops_B_multiply_adds_paper"]),
                    computed(None if pair is None else int(pair.exact)),
                    EMPTY if pair is None else deviation(pair),
                    computed(params),
                    *(published(printed[top]) for top in tops.values()),
                ),
                printed["source"],
            )
        )
    columns = {
        "base": "base",
        "scaling": "scaled",
        "depth": "d",
        "width": "w",
        "resolution": "r",
        "side_px": "px",
        "published_flops_b": "FLOPs (B)",
        "flops": "FLOPs",
        "flops_deviation_percent": "printed / exact − 1 (%)",
        "params": "parameters",
        **{key: key.replace("top1_percent", "top-1").replace("_", ", ") + " (%)" for key in tops},
    }
    return Table(
        name, "Printed FLOPs beside those of the network that the printed coefficients make", columns, tuple(lines)
    )


def _by_base(found: Sequence[_Scaled]) -> Figure:
    """A colour per base, a marker per way of scaling."""
    colors = {"MobileNetV1": ORANGE, "MobileNetV2": BLUE, "ResNet-50": GREEN}
    series = []
    for row in found:
        color, marker = colors[row.printed["base_model"]], _marker(row.printed["scaling"])
        series.append(_point(row, "", color, marker))
        if row.pair is not None:
            series.append(_point(row, "", color, marker, row.pair.exact))
    keys = [Series(base, color, "o", ()) for base, color in colors.items()]
    keys += [Series(scaling, GREY, _marker(scaling), ()) for scaling in (*_SCALINGS, "compound")]
    return accuracy_figure(series, keys)


def _by_scaling(found: Sequence[_Scaled]) -> Figure:
    series = []
    for row in found:
        scaling = row.printed["scaling"]
        color = LOOKS[_SCALINGS[scaling]].color if scaling in _SCALINGS else RED
        series.append(_point(row, f"{scaling}, as printed", color, _marker(scaling)))
        if row.pair is not None:
            series.append(_point(row, "", color, _marker(scaling), row.pair.exact))
    return accuracy_figure(series)


def _marker(scaling: str) -> str:
    return LOOKS[_SCALINGS[scaling]].marker if scaling in _SCALINGS else "*"


def _point(row: _Scaled, name: str, color: str, marker: str, exact: float | None = None) -> Series:
    top = float(row.printed.get("imagenet_top1_pct") or row.printed["imagenet_top1_pct_v5"])
    flops = float(row.printed["flops_B_multiply_adds_paper"]) * 1e9 if exact is None else exact
    return Series(name, color, marker, ((flops, top),), exact is None, False)
