"""Rounding by hand, the tutorial's example, and solving for budgets."""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest

from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, SettingsError
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import (
    PAPER_COEFFICIENTS,
    ROUNDINGS,
    RULES,
    Coefficients,
    Multipliers,
    Rounding,
    family_dropout,
    multiply,
    scale,
)
from scalesearch.spec.solving import solve_resolution, to_flops
from scalesearch.spec.units import format_flops

OFFICIAL, PYCLS = ROUNDINGS["official"], ROUNDINGS["pycls"]
B0 = load_arch("efficientnet_b0")


# By hand from round_filters of tensorflow/tpu efficientnet_model.py:
# new = max(8, int(filters + 4) // 8 * 8); if new < 0.9 * filters: new += 8.
@pytest.mark.parametrize(
    ("requested", "channels"),
    [
        (1, 8),  # never below one step
        (8, 8),
        (8.8, 8),  # 8 >= 7.92
        (9, 16),  # 8 < 8.1
        (12, 16),  # half-way goes up
        (17.6, 16),  # 16 >= 15.84
        (19.2, 24),  # 16 < 17.28: B3's first stage
        (35.2, 32),  # 32 >= 31.68: B2's stem
        (44, 48),  # half-way goes up: B2's third stage
        (123.2, 120),
        (1280 * 1.1, 1408),  # 1408.0000000000002
        (1376, 1376),
    ],
)
def test_official_channels(requested: float, channels: int) -> None:
    assert OFFICIAL.channels(requested) == channels


# round_repeats: int(math.ceil(depth_coefficient * repeats)).
@pytest.mark.parametrize(
    ("requested", "repeats"), [(0.2, 1), (1, 1), (1.1, 2), (2.4, 3), (3 * 1.2, 4), (3.1, 4), (4.0, 4)]
)
def test_official_repeats(requested: float, repeats: int) -> None:
    assert OFFICIAL.repeats(requested) == repeats


def test_a_product_that_misses_its_integer_by_an_ulp_is_that_integer() -> None:
    assert Coefficients(math.sqrt(2), 1, 1).at(2).depth > 2
    assert OFFICIAL.repeats(math.sqrt(2) ** 2) == 2
    width = 1.2 ** (math.log(1.75) / math.log(1.2))  # the φ of a width of 1.75
    assert 16 * width < 28
    assert OFFICIAL.channels(16 * width) == OFFICIAL.channels(28) == 32
    assert Rounding("nearest", 1, 0.0, 1).side(108.5 - 1e-12) == 109


@pytest.mark.parametrize(("requested", "side"), [(224.4, 224), (224.5, 225), (0.3, 1)])
def test_official_side(requested: float, side: int) -> None:
    assert OFFICIAL.side(requested) == side


# pycls scaler.py: max(1, round(d)), max(1, round(w / 8)) * 8, round(r / 4) * 4; Python rounds halves to even.
@pytest.mark.parametrize(("requested", "repeats"), [(0.4, 1), (1.5, 2), (2.5, 2), (3.5, 4), (7.17, 7)])
def test_pycls_repeats(requested: float, repeats: int) -> None:
    assert PYCLS.repeats(requested) == repeats


@pytest.mark.parametrize(("requested", "channels"), [(3, 8), (12, 16), (20, 16), (28, 32), (19.2, 16), (11.9, 8)])
def test_pycls_channels(requested: float, channels: int) -> None:
    assert PYCLS.channels(requested) == channels


@pytest.mark.parametrize(("requested", "side"), [(226, 224), (230, 232), (316.8, 316), (1, 4)])
def test_pycls_side(requested: float, side: int) -> None:
    assert PYCLS.side(requested) == side


def test_the_tutorials_worked_example() -> None:
    """α = 1.2, β = γ = 1.1, φ = 7 on the paper's stage 4 (the stem is 1): 56 px, 40 channels, 2 layers."""
    coefficients = Coefficients(1.2, 1.1, 1.1)
    multipliers = coefficients.at(7)
    assert round(multipliers.depth, 2) == 3.58
    assert round(multipliers.width, 2) == round(multipliers.resolution, 2) == 1.95
    stage = B0.stages[2]
    assert (stage.channels, stage.repeats) == (40, 2)
    assert cost(B0).sections[3].in_side == 56
    nearest = Rounding(depth="nearest", channels_step=1, channels_floor=0.0, resolution_step=1)
    assert nearest.side(56 * multipliers.resolution) == 109
    scaled = scale(B0, coefficients, 7, nearest).stages[2]
    assert (scaled.channels, scaled.repeats) == (78, 7)


def test_published_multipliers_are_no_powers_of_one_phi() -> None:
    """B1 is depth 1.1, width 1.0 (tensorflow/tpu efficientnet_builder.py): φ = 0.52, or 0."""
    by_depth = math.log(1.1) / math.log(PAPER_COEFFICIENTS.alpha)
    by_width = math.log(1.0) / math.log(PAPER_COEFFICIENTS.beta)
    by_resolution = math.log(240 / 224) / math.log(PAPER_COEFFICIENTS.gamma)
    assert (round(by_depth, 2), by_width, round(by_resolution, 2)) == (0.52, 0, 0.49)
    b1 = load_arch("efficientnet_b1")
    member = multiply(B0, Multipliers(1.1, 1.0, 240 / 224), name="efficientnet_b1")
    assert member == b1
    assert scale(B0, PAPER_COEFFICIENTS, by_depth).stages != b1.stages
    assert scale(B0, PAPER_COEFFICIENTS, 1).stages != b1.stages


def test_nominal_ratio_of_the_paper() -> None:
    assert PAPER_COEFFICIENTS.nominal_ratio == pytest.approx(1.2 * 1.1**2 * 1.15**2)
    assert round(PAPER_COEFFICIENTS.nominal_ratio, 4) == 1.9203


def test_scale_is_multiply_by_powers() -> None:
    expected = multiply(B0, Multipliers(1.2**2, 1.1**2, 1.15**2), name="efficientnet_b0-phi2")
    assert scale(B0, PAPER_COEFFICIENTS, 2) == replace(expected, dropout=0.3)  # as the published B2
    assert scale(B0, PAPER_COEFFICIENTS, -1.5).name == "efficientnet_b0-phi-1.5"


def test_a_multiplier_of_one_leaves_its_dimension_alone() -> None:
    odd = Arch("odd", 33, Stage("conv", 5), (Stage("mbconv", 13, repeats=2),), head=Stage("conv", 21))
    assert multiply(odd, Multipliers(1.0, 1.0, 1.0), PYCLS) == odd
    deeper = multiply(odd, Multipliers(2.0, 1.0, 1.0))
    assert deeper == replace(odd, stages=(Stage("mbconv", 13, repeats=4),))
    wider = multiply(odd, Multipliers(1.0, 2.0, 1.0))
    assert (wider.resolution, wider.stages[0].repeats, wider.stages[0].channels) == (33, 2, 24)
    larger = multiply(odd, Multipliers(1.0, 1.0, 2.0))
    assert larger == replace(odd, resolution=66)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_multipliers_and_coefficients_must_be_positive(value: float) -> None:
    with pytest.raises(SettingsError) as raised:
        Coefficients(1.2, value, 1.15)
    assert str(raised.value) == (
        f"coefficients must be positive and finite, got beta={value!r}; B0's are 1.2, 1.1 and 1.15"
    )
    with pytest.raises(SettingsError) as raised:
        Multipliers(value, 1.0, value)
    assert str(raised.value) == (
        f"multipliers must be positive and finite, got depth={value!r}, resolution={value!r}; "
        "B0's are 1.2, 1.1 and 1.15"
    )


def test_to_flops_finds_what_scaling_made() -> None:
    for phi in (-2.3, -0.5, 0.0, 0.7, 1.0, 3.25):
        target = cost(scale(B0, PAPER_COEFFICIENTS, phi)).flops
        found = to_flops(B0, target, PAPER_COEFFICIENTS, tolerance=0.0)
        assert found.flops == cost(found.arch).flops == target
        assert found.arch == scale(B0, PAPER_COEFFICIENTS, found.phi)


def test_to_flops_starts_at_the_base() -> None:
    found = to_flops(B0, 385_814_752, PAPER_COEFFICIENTS, tolerance=0.0)
    assert found.phi == 0.0
    assert found.arch.to_dict() == B0.to_dict() | {"name": "efficientnet_b0-phi0"}


def test_to_flops_comes_nearest() -> None:
    found = to_flops(B0, 1_600_000_000, PAPER_COEFFICIENTS)
    assert abs(found.flops - 1_600_000_000) <= 0.03 * 1_600_000_000
    nearby = [cost(scale(B0, PAPER_COEFFICIENTS, found.phi + step / 1000)).flops for step in range(-50, 51)]
    assert abs(found.flops - 1_600_000_000) <= min(abs(flops - 1_600_000_000) for flops in nearby)


def test_to_flops_between_two_networks_names_both() -> None:
    """Any depth above 1 turns B0's one-block stages into two blocks: φ = 0 has no near neighbour above."""
    with pytest.raises(BudgetError) as raised:
        to_flops(B0, 450_000_000, PAPER_COEFFICIENTS)
    just_above = cost(multiply(B0, Multipliers(1.0001, 1.0001, 1.0001))).flops
    assert just_above > 1.4 * cost(B0).flops
    message = str(raised.value)
    assert message.startswith(
        "efficientnet_b0: no φ gives 450.0M FLOPs within 3% after rounding; "
        f"the nearest reachable are 385.8M at φ = 0 and {format_flops(just_above)} at φ = "
    )
    assert message.endswith("; choose one of these, or allow a wider tolerance")
    phi = float(message.split(" at φ = ")[2].split(";")[0])
    assert cost(scale(B0, PAPER_COEFFICIENTS, phi)).flops == just_above


def test_to_flops_takes_a_near_network_only_within_tolerance() -> None:
    with pytest.raises(BudgetError):
        to_flops(B0, 450_000_000, PAPER_COEFFICIENTS, tolerance=0.14)
    # 385.8M is 14.3 % below 450M.
    assert to_flops(B0, 450_000_000, PAPER_COEFFICIENTS, tolerance=0.15).flops == 385_814_752


def test_to_flops_finds_what_lies_past_a_jump_of_the_group_width() -> None:
    """Around φ = 1.41 FLOPs fall where the group width goes from 32 to 40: one network costs less than an earlier."""
    arch, rule = load_arch("regnety_1_6gf"), RULES["dWGr"]
    assert cost(scale(arch, rule, 1.4125)).flops == 4_767_913_216
    found = to_flops(arch, 4_767_913_216, rule, tolerance=0.0)
    assert found.flops == cost(found.arch).flops == 4_767_913_216
    assert found.arch == scale(arch, rule, found.phi)
    for phi in (-2.5, -0.4, 0.9, 1.7, 2.2, 3.6):
        target = cost(scale(arch, rule, phi, PYCLS)).flops
        assert to_flops(arch, target, rule, PYCLS, tolerance=0.0).flops == target


def test_to_flops_finds_what_lies_past_the_end_of_a_projection() -> None:
    """Where rounding gives a block as many input as output channels, its shortcut is no convolution any more."""
    arch = Arch("near", 32, Stage("conv", 8), (Stage("conv", 20, kernel=1), Stage("bottleneck", 24)))
    wider = Coefficients(1.0, 1.5, 1.0)
    reached = [cost(scale(arch, wider, step / 100)).flops for step in range(-99, 300, 2)]
    assert reached != sorted(reached)
    for flops in set(reached):
        assert to_flops(arch, flops, wider, tolerance=0.0).flops == flops


def test_to_flops_names_the_nearest_of_all_pieces() -> None:
    arch, rule = load_arch("regnety_1_6gf"), RULES["dWGr"]
    reached = {cost(scale(arch, rule, step / 2000)).flops for step in range(0, 6000)}
    gaps = [(high - low, low, high) for low, high in itertools.pairwise(sorted(reached))]
    _, low, high = max(gaps)
    with pytest.raises(BudgetError) as raised:
        to_flops(arch, (low + high) // 2, rule, tolerance=0.001)
    assert f"reachable are {format_flops(low)} at φ = " in str(raised.value)
    assert f" and {format_flops(high)} at φ = " in str(raised.value)


def test_to_flops_outside_the_range_names_its_end() -> None:
    with pytest.raises(BudgetError) as raised:
        to_flops(B0, 1_000, PAPER_COEFFICIENTS)
    smallest = cost(scale(B0, PAPER_COEFFICIENTS, -10)).flops
    assert 3_371_500 <= smallest < 3_372_500
    assert str(raised.value) == (
        "efficientnet_b0: no φ gives 1.000K FLOPs within 3% after rounding; the nearest reachable are "
        "3.372M at φ = -10; did you mean 1000M?"
    )
    with pytest.raises(BudgetError) as raised:
        to_flops(B0, 10**18, PAPER_COEFFICIENTS)
    assert "the nearest reachable are 170.1T at φ = 20; choose" in str(raised.value)


def test_too_many_blocks_are_refused() -> None:
    with pytest.raises(SettingsError) as raised:
        scale(B0, PAPER_COEFFICIENTS, 50)
    # B0 has 16 blocks; 1.2^50 = 9100.44.
    assert str(raised.value) == (
        "efficientnet_b0: depth × 9100 asks for 1.456e+05 blocks; at most 20,000 are allowed; lower α or φ"
    )


def test_to_flops_ends_where_the_blocks_do() -> None:
    """Thin blocks beside a large stem and head: no depth that is allowed makes the network dear, or cheap."""
    arch = Arch("top", 64, Stage("conv", 512, 7), (Stage("mbconv", 1, 2),), head=Stage("conv", 4096, 7))
    with pytest.raises(BudgetError) as raised:
        to_flops(arch, 10**13, Coefficients(2.0, 1.0, 1.0))
    phi = float(str(raised.value).split(" at φ = ")[1].split(";")[0])
    assert 0 <= math.log2(20_000 / 2) - phi < 2e-4
    deep = replace(arch, stages=(Stage("mbconv", 1, 100),))  # 100 / 0.5^10 would be 102,400 blocks
    with pytest.raises(BudgetError):
        to_flops(deep, 1, Coefficients(0.5, 1.0, 1.0))


@pytest.mark.parametrize("target", [1, 30_000_000, 100_000_000, 385_814_752, 390_000_000, 10**12])
@pytest.mark.parametrize(("low", "high", "step"), [(32, 300, 1), (96, 300, 32), (224, 224, 1), (33, 257, 16)])
def test_solve_resolution_equals_trying_all(target: int, low: int, high: int, step: int) -> None:
    found = solve_resolution(B0, target, low, high, step)
    assert found == replace(B0, resolution=found.resolution)
    assert found.resolution in range(low, high + 1, step)
    gaps = [abs(cost(replace(B0, resolution=side)).flops - target) for side in range(low, high + 1, step)]
    assert abs(cost(found).flops - target) == min(gaps)


def test_dropout_follows_the_published_family() -> None:
    """tests/golden/efficientnet_coefficients.csv: tensorflow/tpu efficientnet_builder.py, B0 to B7 at φ = 0 to 7."""
    path = Path(__file__).resolve().parents[1] / "golden" / "efficientnet_coefficients.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["model"]: float(row["dropout_rate"]) for row in csv.DictReader(file)}
    for phi in range(9):
        assert family_dropout(0.2, phi) == rows[f"efficientnet-b{phi}"]
    assert family_dropout(0.0, 5) == 0  # a base without dropout stays without
    assert family_dropout(0.2, -3) == 0.2
    assert family_dropout(0.7, 3) == 0.7  # never below the base's
    assert scale(B0, PAPER_COEFFICIENTS, 5).drop_path == B0.drop_path  # the published rate is 0.2 throughout


def test_rules_spend_one_doubling() -> None:
    for name, rule in RULES.items():
        assert rule.nominal_ratio == pytest.approx(2), name
        assert (rule.group > 1) == ("g" in name.lower()), name
    assert RULES["d"].at(3) == Multipliers(8.0, 1.0, 1.0)
    assert RULES["w"].at(2).width == pytest.approx(2)


@pytest.mark.parametrize(
    ("requested", "width"), [(0.3, 1), (2.4, 2), (3.1, 4), (5.4, 4), (5.6, 8), (20.16, 16), (27.86, 32), (84.45, 80)]
)
def test_group_widths_round_as_in_pycls(requested: float, width: int) -> None:
    """The last three are RegNets of tests/golden/fast_scaling_pycls.csv; small ones by models/scaler.py."""
    assert PYCLS.group_width(requested) == width
