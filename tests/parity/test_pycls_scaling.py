"""Scaling by shares with the pycls rounding against pycls's own scaler, row by row (Dollár et al. 2021)."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from scalesearch.spec.arch import Arch, sections
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.layers import Linear, SqueezeExcite
from scalesearch.spec.scaling import ROUNDINGS, RULES, Coefficients, Multipliers, multiply

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "fast_scaling_pycls.csv"
with GOLDEN.open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))

BASES = {
    "EN-B0": "efficientnet_b0",
    "RegNetY-4.0GF": "regnety_4gf",
    "RegNetY-400MF": "regnety_400mf",
    "RegNetX-400MF": "regnetx_400mf",
}
# pycls's names of the strategies that are ours under another one; d1_w4_g4_r1 is none of the paper's.
STRATEGIES: dict[str, Coefficients] = {
    **RULES,
    "none": Coefficients(1, 1, 1),
    "d1_w8_g8_r1": RULES["dWGr"],
    "d1_w4_g4_r1": Coefficients.from_shares(1 / 6, 4 / 6, 1 / 6, 4 / 6),
}


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
    factors = STRATEGIES[row["scaling_type"]].at(math.log2(float(row["s"])))
    return multiply(load_arch(BASES[row["base_config"]]), factors, ROUNDINGS["pycls"])


def named(row: dict[str, str]) -> str:
    return f"{row['base_config']}-{row['scaling_type']}-{row['s']}"


def test_goldens_are_all_there() -> None:
    assert len(ROWS) == 190
    assert {row["base_config"] for row in ROWS} == set(BASES)
    assert {row["scaling_type"] for row in ROWS} <= set(STRATEGIES)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_same_factors_as_pycls(row: dict[str, str]) -> None:
    found = STRATEGIES[row["scaling_type"]].at(math.log2(float(row["s"])))
    for name in ("depth", "width", "resolution"):
        assert getattr(found, name) == pytest.approx(float(row[f"{name}_factor"]), abs=1e-6)
    if row["base_config"] != "EN-B0":  # pycls computes a group factor for it too, and has nothing to apply it to
        assert found.group_width == pytest.approx(float(row["group_factor"]), abs=1e-6)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_same_network_as_pycls(row: dict[str, str]) -> None:
    arch = scaled(row)
    assert [stage.repeats for stage in arch.stages] == [int(text) for text in row["stage_depths"].split()]
    assert [stage.channels for stage in arch.stages] == [int(text) for text in row["stage_widths"].split()]
    if row["stage_group_widths"]:
        assert [stage.group_width for stage in arch.stages] == [int(t) for t in row["stage_group_widths"].split()]
    assert arch.stem.channels == int(row["stem_channels"])
    assert (arch.head.channels if arch.head else None) == (int(row["head_channels"]) if row["head_channels"] else None)
    assert arch.resolution == int(row["resolution_px"])


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_same_cost_as_pycls(row: dict[str, str]) -> None:
    arch = scaled(row)
    counted = cost(arch)
    assert counted.flops + bias_additions(arch) == int(row["flops_multiply_adds_plus_bias"])
    assert counted.params == int(row["params"])
    assert counted.activations == int(row["activations"])


def test_shares_are_powers_of_the_factor_at_its_logarithm() -> None:
    """Table 4 of the paper: for α = 0.8, d = s^0.1, w = s^0.4, r = s^0.05."""
    expected = Multipliers(16**0.1, 16**0.4, 16**0.05)
    found = Coefficients.from_shares(0.1, 0.8, 0.1).at(math.log2(16))
    assert (found.depth, found.width, found.resolution) == pytest.approx(
        (expected.depth, expected.width, expected.resolution)
    )
    assert found == RULES["dWr"].at(4)
