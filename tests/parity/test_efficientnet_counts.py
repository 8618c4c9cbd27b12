"""The published EfficientNets: our counts against other people's, to the unit."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import pytest
import torch

from scalesearch.nets.build import build
from scalesearch.spec.cost import cost
from scalesearch.spec.files import library_dir, load_arch

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def rows(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def our_name(model: str) -> str:
    return model.removeprefix("tf_").replace("-", "_")


STAGES = rows("efficientnet_scaled_stages.csv")
COEFFICIENTS = rows("efficientnet_coefficients.csv")


def test_goldens_cover_every_published_member() -> None:
    members = {f"efficientnet_b{index}" for index in range(9)} | {"efficientnet_l2"}
    assert {our_name(row["model"]) for row in STAGES} == members
    assert {our_name(row["model"]) for row in COEFFICIENTS} == members


@pytest.mark.parametrize("row", STAGES, ids=lambda row: row["model"])
def test_members_have_the_official_stages(row: dict[str, str]) -> None:
    arch = load_arch(our_name(row["model"]))
    assert arch.head is not None
    assert [stage.channels for stage in arch.stages] == [int(text) for text in row["stage_channels"].split()]
    assert [stage.repeats for stage in arch.stages] == [int(text) for text in row["stage_layers"].split()]
    assert sum(stage.repeats for stage in arch.stages) == int(row["total_blocks"])
    assert arch.stem.channels == int(row["stem_channels"])
    assert arch.head.channels == int(row["head_channels"])
    assert arch.resolution == int(row["resolution_px"])
    counted = cost(arch)
    assert counted.flops == int(row["macs_conv_linear"])
    assert counted.params == int(row["params"])


@pytest.mark.parametrize("row", COEFFICIENTS, ids=lambda row: row["model"])
def test_members_use_the_published_multipliers(row: dict[str, str]) -> None:
    name = our_name(row["model"])
    with (library_dir() / "efficientnet.toml").open("rb") as file:
        member = tomllib.load(file)["members"][name]
    assert member == {
        "width": float(row["width_coefficient"]),
        "depth": float(row["depth_coefficient"]),
        "resolution": int(row["resolution_px"]),
        "dropout": float(row["dropout_rate"]),
    }
    arch = load_arch(name)
    assert (arch.name, arch.resolution, arch.dropout) == (name, member["resolution"], member["dropout"])


@pytest.mark.parametrize("row", STAGES, ids=lambda row: row["model"])
def test_built_modules_have_the_published_parameters(row: dict[str, str]) -> None:
    with torch.device("meta"):
        network = build(load_arch(our_name(row["model"])))
    assert sum(parameter.numel() for parameter in network.parameters()) == int(row["params"])
