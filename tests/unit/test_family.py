"""Families at their budgets, and a base brought to its own."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from scalesearch.search.family import base_for_budget, family
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import (
    PAPER_COEFFICIENTS,
    ROUNDINGS,
    Coefficients,
    Rounding,
    family_dropout,
    multiply,
    scale,
)

B0 = load_arch("efficientnet_b0")
FLOPS = 385_814_752  # tests/golden/complexity.csv
OFFICIAL, PYCLS = ROUNDINGS["official"], ROUNDINGS["pycls"]
RESOLUTION_ONLY = Coefficients(1.0, 1.0, 2**0.5)


@pytest.mark.parametrize("rounding", [OFFICIAL, PYCLS])
@pytest.mark.parametrize("coefficients", [PAPER_COEFFICIENTS, Coefficients(1.1, 1.2, 1.12), RESOLUTION_ONLY])
def test_budgets_double_and_members_meet_them_or_tell(coefficients: Coefficients, rounding: Rounding) -> None:
    members = family(B0, coefficients, rounding, 7)
    assert [member.name for member in members] == [f"B{k}" for k in range(8)]
    assert [member.budget for member in members] == [FLOPS * 2**k for k in range(8)]
    assert members[0].arch == B0
    assert members[0].phi == 0
    for member in members:
        assert member.cost == cost(member.arch)
        assert member.budget_ratio == pytest.approx(member.cost.flops / member.budget, rel=1e-12)
        assert 0.75 < member.budget_ratio < 1.3
    for smaller, larger in pairwise(members):
        assert larger.phi > smaller.phi
        assert larger.cost.flops > 1.4 * smaller.cost.flops


def test_most_members_come_within_a_few_percent() -> None:
    """A step of the depth moves B0 by 20 % at once; the larger the network, the smaller its steps."""
    ratios = [member.budget_ratio for member in family(B0, PAPER_COEFFICIENTS, OFFICIAL, 7)]
    assert sum(abs(ratio - 1) < 0.05 for ratio in ratios) >= 6
    assert all(abs(ratio - 1) < 0.05 for ratio in ratios[4:])


def test_a_member_is_the_base_scaled_by_its_phi() -> None:
    for member in family(B0, PAPER_COEFFICIENTS, OFFICIAL, 3)[1:]:
        scaled = scale(B0, PAPER_COEFFICIENTS, member.phi, OFFICIAL)
        assert scaled.stages == member.arch.stages
        assert scaled.resolution == member.arch.resolution
        requested = (member.requested.depth, member.requested.width, member.requested.resolution)
        assert requested == pytest.approx((1.2**member.phi, 1.1**member.phi, 1.15**member.phi))


def test_no_other_phi_comes_nearer() -> None:
    """Against a fine grid of φ."""
    networks = [cost(scale(B0, PAPER_COEFFICIENTS, k / 200, OFFICIAL)).flops for k in range(0, 500)]
    for member in family(B0, PAPER_COEFFICIENTS, OFFICIAL, 2)[1:]:
        nearest = min(abs(flops - member.budget) for flops in networks)
        assert abs(member.cost.flops - member.budget) <= nearest


def test_a_family_of_the_base_alone() -> None:
    assert [member.arch for member in family(B0, PAPER_COEFFICIENTS, OFFICIAL, 0)] == [B0]


@pytest.mark.parametrize("target", [400_000_000, FLOPS, 370_000_000])
def test_a_base_at_its_budget_stays_as_it_is(target: int) -> None:
    arch, note = base_for_budget(B0, target, PAPER_COEFFICIENTS, OFFICIAL)
    assert arch == B0
    assert note == (
        f"efficientnet_b0 is taken as it is: 385,814,752 FLOPs are {100 * FLOPS / target:.1f}% of the budget"
    )


@pytest.mark.parametrize("rounding", [OFFICIAL, PYCLS])
@pytest.mark.parametrize("target", [50, 100, 200, 300, 450, 500, 600, 700, 800, 900, 1_000, 1_500, 2_500, 10_000])
def test_a_base_off_its_budget_is_scaled_and_says_so(target: int, rounding: Rounding) -> None:
    target *= 1_000_000
    arch, note = base_for_budget(B0, target, PAPER_COEFFICIENTS, rounding)
    flops = cost(arch).flops
    assert abs(flops / target - 1) <= 0.05
    assert arch.name == "efficientnet_b0-scaled"
    start = (
        f"efficientnet_b0 costs 385,814,752 FLOPs, {100 * FLOPS / target:.1f}% of the budget, and was scaled to "
        f"{flops:,} ({100 * flops / target:.1f}%): "
    )
    assert note.startswith(start)
    how = note.removeprefix(start)
    told = re.fullmatch(
        r"(?:the next depth jumps over the budget, so from )?φ = (\S+) with α, β, γ = 1\.2, 1\.1, 1\.15"
        r"(?: only its (?:side was raised, to (\d+) px|width was raised, × (\S+)))?",
        how,
    )
    assert told, how
    multipliers = PAPER_COEFFICIENTS.at(float(told[1]))
    if told[3]:
        multipliers = replace(multipliers, width=multipliers.width * float(told[3]))
    again = multiply(B0, multipliers, rounding)
    if told[2]:
        again = replace(again, resolution=int(told[2]))
    again = replace(again, dropout=family_dropout(0.2, float(told[1])))
    assert replace(again, name=arch.name) == arch  # what is told is enough to build it


@pytest.mark.parametrize("target", [200, 1_000])
def test_typical_budgets_are_met_by_compound_scaling(target: int) -> None:
    _, note = base_for_budget(B0, target * 1_000_000, PAPER_COEFFICIENTS, OFFICIAL)
    assert "only" not in note


def test_450m_is_reached_by_the_side_alone() -> None:
    """The first step of the depth takes B0 from 386M to over 500M."""
    arch, note = base_for_budget(B0, 450_000_000, PAPER_COEFFICIENTS, OFFICIAL)
    assert arch.stages == B0.stages
    assert arch.resolution > B0.resolution
    assert note.endswith(
        f" so from φ = 0 with α, β, γ = 1.2, 1.1, 1.15 only its side was raised, to {arch.resolution} px"
    )


def test_600m_is_reached_by_the_width() -> None:
    """One pixel more costs 16 % at 224 px; widths come in steps of 8 channels of one stage."""
    arch, note = base_for_budget(B0, 600_000_000, PAPER_COEFFICIENTS, OFFICIAL)
    assert "only its width was raised" in note
    assert abs(cost(arch).flops / 600e6 - 1) < 0.05


def test_budgets_beyond_reach_are_refused() -> None:
    with pytest.raises(BudgetError, match=r"^efficientnet_b0: no φ gives 1 FLOPs within 5% after rounding; "):
        base_for_budget(B0, 1, PAPER_COEFFICIENTS, OFFICIAL)
    with pytest.raises(BudgetError, match=r"the nearest reachable are .* at φ = "):
        base_for_budget(B0, 10**18, PAPER_COEFFICIENTS, OFFICIAL)
