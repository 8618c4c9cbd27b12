"""Table 1 of the EfficientNet paper (Tan & Le 2019, arXiv:1905.11946): B0 by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from scalesearch.report.figures.style import BLUE, GREY, RED, new_figure, styled
from scalesearch.report.published import rows
from scalesearch.report.reproduce.record import Experiment, Row, Table, computed, label, published
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import SectionCost, cost
from scalesearch.spec.files import load_arch


@dataclass(frozen=True, slots=True)
class _Stage:
    """A printed row and the sections that it stands for: the last one is head and classifier."""

    printed: dict[str, str]
    parts: tuple[SectionCost, ...]
    stage: Stage

    @property
    def operator(self) -> str:
        """As the paper writes it: MBConv1 and MBConv6 by their expansion."""
        return self.printed["operator"] + self.printed["expand_ratio"]

    @property
    def as_built(self) -> bool:
        """Whether operator, kernel, channels and layers of the shipped network are those printed."""
        built = self.stage
        kind = {"mbconv": f"MBConv{built.expand:g}", "conv": "Conv"}.get(built.kind, built.kind)
        printed = (self.operator.removesuffix("1x1_Pool_FC"), *self._sizes)
        return printed == (kind, built.kernel, built.channels, built.repeats)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        kernel, channels, layers = (int(self.printed[key]) for key in ("kernel_size", "output_channels", "layers"))
        return kernel, channels, layers

    @property
    def flops(self) -> int:
        return sum(part.flops for part in self.parts)

    @property
    def params(self) -> int:
        return sum(part.params for part in self.parts)

    @property
    def activations(self) -> int:
        return sum(part.activations for part in self.parts)

    def side_as_printed(self, version: str) -> str:
        return self.printed[f"paper_{version}_table1_resolution_px"]


_COLUMNS = {
    "stage": "stage",
    "operator": "operator",
    "kernel": "kernel",
    "layers": "layers",
    "channels": "channels",
    "v1_resolution_px": "px in, v1",
    "v5_resolution_px": "px in, v5",
    "input_px": "px in",
    "output_px": "px out",
    "flops": "FLOPs",
    "params": "parameters",
}


def table1() -> Experiment:
    """B0's stages, and the resolutions that two versions of the paper print for them."""
    arch = load_arch("efficientnet_b0")
    sections = cost(arch).sections
    merged = [*((section,) for section in sections[:-2]), sections[-2:]]
    built = [stage for stage in (arch.stem, *arch.stages, arch.head) if stage is not None]
    stages = [_Stage(*each) for each in zip(rows("efficientnet_b0_stages"), merged, built, strict=True)]
    table = Table(
        "table1",
        "B0 by stage; px in, v1 and v5: the input resolution that each version of the paper prints",
        _COLUMNS,
        tuple(map(_row, stages)),
    )
    exact = sum(stage.as_built for stage in stages)
    totals = next(
        row
        for row in rows("efficientnet_table2")
        if row["model"] == "EfficientNet-B0" and row["paper_version"].startswith("v5")
    )
    flops, params = sum(stage.flops for stage in stages), sum(stage.params for stage in stages)
    notes = (
        *(_resolutions(stages, version) for version in ("v1", "v5")),
        f"Operator with its expansion, kernel, channels and layers of {exact} of {len(stages)} stages are those "
        "printed.",
        f"Together {flops:,} FLOPs and {params:,} parameters; the paper prints {totals['flops_B_multiply_adds']}B and "
        f"{totals['params_M']}M in Table 2.",
    )
    return Experiment("table1", "Table 1: EfficientNet-B0 by stage", (table,), notes, lambda: _shares(stages))


def _row(stage: _Stage) -> Row:
    printed = stage.printed
    return Row(
        (
            label(printed["stage"]),
            published(stage.operator),
            published(printed["kernel_size"]),
            published(printed["layers"]),
            published(printed["output_channels"]),
            published(stage.side_as_printed("v1")),
            published(stage.side_as_printed("v5")),
            computed(stage.parts[0].in_side),
            computed(stage.parts[0].out_side),
            computed(stage.flops),
            computed(stage.params),
        ),
        printed["source"],
    )


def _resolutions(stages: Sequence[_Stage], version: str) -> str:
    wrong = [
        f"stage {stage.printed['stage']} prints {stage.side_as_printed(version)} px for {stage.parts[0].in_side} px"
        for stage in stages
        if int(stage.side_as_printed(version)) != stage.parts[0].in_side
    ]
    return (
        f"Of the input resolutions that {version} of the paper prints, {len(stages) - len(wrong)} of {len(stages)} "
        f"follow from the strides of the released code{''.join(f'; {each}' for each in wrong)}."
    )


def _shares(stages: Sequence[_Stage]) -> Figure:
    """Shares of FLOPs, parameters and activations by stage."""
    kinds = (
        ("FLOPs", "flops", BLUE, ""),
        ("parameters", "params", RED, "////"),
        ("activations", "activations", GREY, ""),
    )
    with styled():
        figure = new_figure(3.0)
        axes = figure.add_subplot()
        for offset, (name, key, color, hatch) in enumerate(kinds):
            values = [getattr(stage, key) for stage in stages]
            axes.barh(
                [index + 0.27 * (offset - 1) for index in range(len(stages))],
                [100 * value / sum(values) for value in values],
                height=0.25,
                color=color,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.3,
                label=name,
            )
        axes.set_yticks(
            range(len(stages)), [f"stage {stage.printed['stage']} ({stage.parts[0].in_side} px)" for stage in stages]
        )
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("share of EfficientNet-B0 (%)")
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure
