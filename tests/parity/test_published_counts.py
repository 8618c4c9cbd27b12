"""Every base against other people's counts, to the unit, and against their stage tables."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scalesearch.nets.build import build
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch, load_space, shipped_spaces
from scalesearch.spec.regnet import RegNet, regnet_stages

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def rows(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


COMPLEXITY = rows("complexity.csv")
COUNTED = [row for row in COMPLEXITY if row["macs_conv_linear"]]
PYCLS = [row for row in COMPLEXITY if "pycls" in row["library_or_source"]]
REGNET = rows("regnet.csv")
MNASNET = rows("mnasnet_stages.csv")
V2_STAGES = rows("efficientnetv2_stages.csv")
V2_COUNTS = rows("efficientnetv2_counts.csv")


def test_goldens_are_all_there() -> None:
    assert (len(COMPLEXITY), len(COUNTED), len(PYCLS)) == (101, 70, 31)
    assert len({row["arch"] for row in COMPLEXITY}) == 54
    assert (len(REGNET), len(MNASNET), len(V2_STAGES), len(V2_COUNTS)) == (24, 21, 43, 16)


def identified(row: dict[str, str]) -> str:
    return f"{row['library_or_source'].split('-')[0].split()[0]}-{row['model']}-{row['resolution_px']}"


@pytest.mark.parametrize("row", COUNTED, ids=identified)
def test_cost_equals_torchvision_and_timm(row: dict[str, str]) -> None:
    counted = cost(replace(load_arch(row["arch"]), resolution=int(row["resolution_px"])))
    assert counted.flops == int(row["macs_conv_linear"])
    assert counted.params == int(row["params"])
    assert counted.activations == int(row["conv_linear_output_activations"])


@pytest.mark.parametrize("row", PYCLS, ids=lambda row: row["model"])
def test_cost_equals_pycls(row: dict[str, str]) -> None:
    arch = load_arch(row["arch"])
    counted = cost(arch)
    # pycls adds one per bias: here only in squeeze-and-excitation (1x1 outputs) and the classifier.
    with torch.device("meta"):
        network = build(arch)
    biases = sum(p.numel() for name, p in network.named_parameters() if name.endswith("bias"))
    norms = sum(m.bias.numel() for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert counted.flops + biases - norms == int(row["macs_plus_bias_adds"])
    assert counted.params == int(row["params"])
    assert counted.activations + pooled(arch) == int(row["conv_linear_output_activations"])


def pooled(arch: Arch) -> int:
    """pycls counts the output of the stem's max pooling as activations."""
    if arch.stem.kind != "conv_pool":
        return 0
    with torch.device("meta"):
        stem = build(arch).sections["stem"]
        output = stem(torch.empty(1, 3, arch.resolution, arch.resolution))
    return int(output.numel())


@pytest.mark.parametrize("row", REGNET, ids=lambda row: row["model"])
def test_five_numbers_give_the_published_regnets(row: dict[str, str]) -> None:
    numbers = RegNet(
        depth=int(row["depth"]),
        w0=int(row["w0"]),
        wa=float(row["wa"]),
        wm=float(row["wm"]),
        group_width=int(row["group_w"]),
        se=float(row["se_ratio"]),
    )
    stages = regnet_stages(numbers)
    assert " ".join(str(stage.channels) for stage in stages) == row["stage_widths"]
    assert " ".join(str(stage.repeats) for stage in stages) == row["stage_depths"]
    assert " ".join(str(stage.group_width) for stage in stages) == row["stage_group_widths"]
    family, _, size = row["model"].lower().partition("-")
    arch = load_arch(f"{family}_{size.replace('.0', '').replace('.', '_')}")
    assert arch.stages == stages
    assert arch.stem.channels == int(row["stem_channels"])
    assert cost(arch).params == int(row["params"])


def read_stage(row: dict[str, str]) -> Stage:
    kind = {"SepConv": "mbconv", "MBConv": "mbconv", "Fused-MBConv": "fused_mbconv"}[row["operator"]]
    return Stage(
        kind,
        channels=int(row["output_channels"]),
        repeats=int(row["layers"]),
        kernel=int(row["kernel_size"]),
        stride=int(row["stride_first_layer"]),
        expand=int(row["expand_ratio"]),
        se=float(row["se_ratio"]),
    )


@pytest.mark.parametrize("model", ["mnasnet-a1", "mnasnet-b1", "mnasnet-small"])
def test_mnasnet_has_the_official_stages(model: str) -> None:
    own = [row for row in MNASNET if row["model"] == model]
    arch = load_arch(model.replace("-", "_"))
    assert arch.stages == tuple(map(read_stage, own))
    assert arch.stem.channels == int(own[0]["stem_channels"])


@pytest.mark.parametrize("size", ["s", "m", "l", "xl", "base"])
def test_efficientnetv2_has_the_official_stages(size: str) -> None:
    own = [row for row in V2_STAGES if row["model"].startswith(f"efficientnetv2-{size}")]
    own = [row for row in own if row["model"].split()[0] == f"efficientnetv2-{size}"]
    arch = load_arch("efficientnetv2_b0" if size == "base" else f"efficientnetv2_{size}")
    assert arch.head is not None
    assert arch.stages == tuple(map(read_stage, own[1:-1]))
    assert (arch.stem.channels, arch.head.channels) == tuple(int(own[i]["output_channels"]) for i in (0, -1))


@pytest.mark.parametrize("row", V2_COUNTS, ids=lambda row: f"{row['model']}-{row['version'].split()[0]}")
def test_efficientnetv2_counts(row: dict[str, str]) -> None:
    """The rows are in millions and billions, to the digits printed."""
    arch = load_arch(row["model"].lower().replace("-", "_"))
    counted = cost(arch)
    statistics = int(row["bn_statistics_count"] or 0)  # the official unit test counts the moving averages too
    assert f"{(counted.params + statistics) / 1e6:.6f}".rstrip("0") == f"{float(row['params_M']):.6f}".rstrip("0")
    if row["flops_B_multiply_adds"]:
        assert counted.flops / 1e9 == pytest.approx(float(row["flops_B_multiply_adds"]), abs=6e-7)
        assert arch.resolution == int(row["resolution_px"])


ALL_NAMES = sorted({name for space in shipped_spaces() for name in load_space(space).members})


@pytest.mark.parametrize("name", ALL_NAMES)
def test_modules_have_the_counted_parameters_and_sides(name: str) -> None:
    arch = load_arch(name)
    counted = cost(arch)
    with torch.device("meta"):
        network = build(arch).eval()
        image = torch.empty(1, arch.in_channels, arch.resolution, arch.resolution)
    assert sum(parameter.numel() for parameter in network.parameters()) == counted.params
    x = image
    for section, module in zip(counted.sections[:-1], list(network.sections.values())[:-1], strict=True):
        x = module(x)
        assert tuple(x.shape) == (1, section.channels, section.out_side, section.out_side), section.name
    # All these families stride by 32 in all.
    assert x.shape[-1] == -(-arch.resolution // 32)
