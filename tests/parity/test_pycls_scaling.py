"""`multiply` with the pycls rounding against pycls's own scaler, row by row (Dollár et al. 2021)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from scalesearch.spec.arch import Arch, sections
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.layers import Linear, SqueezeExcite
from scalesearch.spec.scaling import ROUNDINGS, Multipliers, multiply

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "fast_scaling_pycls_en_b0.csv"
with GOLDEN.open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))


def bias_additions(arch: Arch) -> int:
    """One per output of each layer with a bias, all of which have 1x1 outputs; pycls counts them as FLOPs."""
    total = 0
    for section in sections(arch):
        for block in section.blocks:
            for layer in block.layers:
                if isinstance(layer, SqueezeExcite):
                    total += layer.squeezed + layer.channels
                elif isinstance(layer, Linear):
                    total += layer.out_features
    return total


def scaled(row: dict[str, str]) -> Arch:
    factors = (float(row[f"{name}_factor"]) for name in ("depth", "width", "resolution"))
    return multiply(load_arch("efficientnet_b0"), Multipliers(*factors), ROUNDINGS["pycls"])


def test_goldens_are_all_there() -> None:
    assert len(ROWS) == 55
    assert {row["base_config"] for row in ROWS} == {"EN-B0"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['scaling_type']}-{row['s']}")
def test_same_network_as_pycls(row: dict[str, str]) -> None:
    arch = scaled(row)
    assert arch.head is not None
    assert [stage.repeats for stage in arch.stages] == [int(text) for text in row["stage_depths"].split()]
    assert [stage.channels for stage in arch.stages] == [int(text) for text in row["stage_widths"].split()]
    assert arch.stem.channels == int(row["stem_channels"])
    assert arch.head.channels == int(row["head_channels"])
    assert arch.resolution == int(row["resolution_px"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['scaling_type']}-{row['s']}")
def test_same_cost_as_pycls(row: dict[str, str]) -> None:
    arch = scaled(row)
    counted = cost(arch)
    assert counted.flops + bias_additions(arch) == int(row["flops_multiply_adds_plus_bias"])
    assert counted.params == int(row["params"])
    assert counted.activations == int(row["activations"])
