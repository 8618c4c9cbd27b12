"""RegNetX and RegNetY (Radosavovic et al. 2020, arXiv:2003.13678), and the baselines of the same code, pycls."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from scalesearch.report.figures.style import BLACK, BLUE, GREEN, ORANGE, RED, new_figure, styled
from scalesearch.report.published import rows
from scalesearch.report.reproduce.charts import log_panels
from scalesearch.report.reproduce.conventions import bias_additions, pooled_outputs
from scalesearch.report.reproduce.record import (
    Experiment,
    Pair,
    Row,
    Table,
    agreement,
    computed,
    exactness,
    label,
    published,
)
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch

_OTHERS = ("regnetx_400mf_torchvision", "regnety_800mf_torchvision")
_RESNEXT = {"50": "resnext50_32x4d", "101": "resnext101_32x4d", "152": "resnext152_32x4d"}


@dataclass(frozen=True, slots=True)
class Counted:
    """A row of pycls's model_complexity.json, and the same network here, counted as pycls does."""

    printed: dict[str, str]
    arch: Arch

    def pairs(self) -> tuple[Pair, Pair, Pair]:
        """FLOPs with bias additions, parameters, and activations with the outputs of pooling."""
        found, name = cost(self.arch), self.printed["model"]
        return (
            Pair(name, self.printed["flops_multiply_adds_plus_bias"], found.flops + bias_additions(self.arch)),
            Pair(name, self.printed["params"], found.params),
            Pair(name, self.printed["activations"], found.activations + pooled_outputs(self.arch)),
        )


def regnet() -> Experiment:
    """The 24 RegNets and 12 baselines of pycls, whose counts are published to the unit."""
    found = [Counted(row, load_arch(shipped(row["model"]))) for row in [*rows("regnet"), *rows("pycls_baselines")]]
    flops, params, activations = zip(*(each.pairs() for each in found), strict=True)
    zoo = [
        Pair(each.printed["model"], each.printed.get("zoo_flops_B", ""), cost(each.arch).flops, 1e9) for each in found
    ]
    biases = {each.printed["model"]: bias_additions(each.arch) / cost(each.arch).flops for each in found}
    most = max(biases, key=lambda name: biases[name])
    notes = (
        exactness("FLOPs with bias additions, as pycls counts", flops),
        exactness("Parameters", params),
        exactness("Activations with the outputs of the stem's pooling, as pycls counts", activations),
        f"The biases are at most {biases[most]:.4%} of the FLOPs ({most}); elsewhere this tool does not count them.",
        "torchvision's RegNetX-400MF and RegNetY-800MF are other networks than these, of "
        f"{' and '.join(f'{cost(load_arch(name)).params:,}' for name in _OTHERS)} parameters.",
        agreement("The model zoo's FLOPs, without bias additions", zoo),
    )
    return Experiment(
        "regnet", "RegNetX, RegNetY and the baselines of pycls", (_table(found),), notes, lambda: _draw(found)
    )


def shipped(model: str) -> str:
    """Our name of a pycls model."""
    if model.startswith("ResNeXt-"):
        return _RESNEXT[model.removeprefix("ResNeXt-")]
    name = model.lower().replace(".0gf", "gf")
    if name.startswith("resnet-"):
        return name.replace("-", "")
    return name.replace("-", "_").replace(".", "_")


def _table(found: list[Counted]) -> Table:
    columns = {
        "model": "network",
        "flops": "FLOPs",
        "published_flops_with_bias": "pycls, with biases",
        "flops_with_bias": "same here",
        "published_params": "parameters, pycls",
        "params": "same here",
        "published_activations": "activations, pycls",
        "activations": "same here",
        "top1_error_percent": "top-1 error (%)",
        "inference_ms": "64 images on a V100 (ms)",
    }
    lines = []
    for each in found:
        counts = [
            cell
            for pair in each.pairs()
            for cell in (published(pair.printed, f"{int(pair.printed):,}"), computed(int(pair.exact)))
        ]
        lines.append(
            Row(
                (
                    label(each.printed["model"]),
                    computed(cost(each.arch).flops),
                    *counts,
                    published(each.printed["top1_error_pct"]),
                    published(each.printed["zoo_infer_ms_64img_v100"].removesuffix(".0")),
                ),
                each.printed["source"],
            )
        )
    return Table("regnet", "Published counts beside the same ones made here", columns, tuple(lines))


def _draw(found: list[Counted]) -> Figure:
    """Published inference time against FLOPs and against activations, both counted here."""
    looks = {"RegNetX": (BLUE, "o"), "RegNetY": (RED, "D"), "ResNet": (GREEN, "^"), "ResNeXt": (ORANGE, "v")}
    looks["EfficientNet"] = (BLACK, "s")
    with styled():
        figure = new_figure(2.6)
        left, right = log_panels(
            figure, ("FLOPs (G multiply-adds)", "activations (M)"), "64 images, V100, published (ms)"
        )
        for family, (color, marker) in looks.items():
            mine = [each for each in found if each.printed["model"].split("-")[0] == family]
            times = [float(each.printed["zoo_infer_ms_64img_v100"]) for each in mine]
            for axes, key, unit in ((left, "flops", 1e9), (right, "activations", 1e6)):
                values = [getattr(cost(each.arch), key) / unit for each in mine]
                axes.plot(
                    values,
                    times,
                    color=color,
                    marker=marker,
                    markersize=3.6,
                    linestyle="none",
                    label=family if axes is left else None,
                )
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2, handletextpad=0.4)
    return figure
