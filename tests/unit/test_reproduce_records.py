"""Comparisons with printed numbers, and the coefficients that published members follow."""

from __future__ import annotations

import math

import pytest

from scalesearch.report.reproduce.conventions import bias_additions, norm_statistics, pooled_outputs
from scalesearch.report.reproduce.members import (
    Published,
    fits,
    followed,
    least_squares_coefficients,
    least_squares_phi,
    prints_as,
    published_members,
    side_phi,
    single_phis,
)
from scalesearch.report.reproduce.record import EMPTY, Pair, agreement, deviation, exactness, published, signed
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, Coefficients


@pytest.mark.parametrize(
    ("printed", "exact", "unit", "agrees"),
    [
        ("12", 12_233_232, 1e6, True),
        ("9.2", 9_109_994, 1e6, False),
        ("9.1", 9_109_994, 1e6, True),
        ("0.39", 385_814_752, 1e9, True),
        ("0.5", 0.45e9, 1e9, True),  # half a unit either way
        ("0.5", 0.4499e9, 1e9, False),
        ("37", 37_745_884_192, 1e9, False),
    ],
)
def test_rounding_to_the_printed_number(printed: str, exact: float, unit: float, agrees: bool) -> None:
    assert Pair("", printed, exact, unit).agrees is agrees


def test_deviations() -> None:
    cell = deviation(Pair("", "4.2", 4_393_771_024, 1e9))
    assert (cell.text, cell.origin) == ("-4.4", "computed")
    assert cell.value == pytest.approx(100 * (4.2e9 / 4_393_771_024 - 1))
    assert deviation(Pair("", "", 1.0)) == EMPTY
    assert published("") == EMPTY
    assert [signed(share) for share in (0.0004, -0.0004, 0.0006, -0.25)] == ["0.0", "0.0", "+0.1", "-25.0"]


def test_sentences() -> None:
    right, wrong, worse = Pair("a", "1.0", 1.04), Pair("b", "1.0", 1.10), Pair("c", "1.0", 0.80)
    assert agreement("x", [right]) == "x: 1 of 1 exact counts round to the printed number."
    assert agreement("x", [right, wrong, worse, Pair("d", "", 1)]) == (
        "x: 1 of 3 exact counts round to the printed number; of those that do not, the furthest is c, printed as 1.0, "
        "+25.0 %."
    )
    assert agreement("x", [Pair("e", "1.0", 1.0), Pair("f", "65.23", 65.2246)]).endswith("printed as 65.23, +0.0083 %.")
    assert exactness("x", [Pair("a", "1000", 1000), Pair("b", "1001", 1000)]) == (
        "x: 1 of 2 equal to the unit; b prints 1,001 for 1,000."
    )


def test_digits_say_nothing_of_a_number_read_from_a_figure() -> None:
    """8.6 in a file of digitised points is 8.60: an exact 8.64 is off, where a printed 8.6 would be right."""
    read = Pair("a", "8.6", 8.64e6, 1e6, 0.01)
    assert Pair("a", "8.6", 8.64e6, 1e6).agrees and not read.agrees
    assert agreement("x", [read, Pair("b", "8.64", 8.645e6, 1e6, 0.01)]) == (
        "x: 1 of 2 exact counts lie within 0.01M of what is read there; of those that do not, the furthest is a, read "
        "as 8.6, -0.5 %."
    )


def test_conventions_of_other_counters() -> None:
    # B0: pycls's FLOPs (tests/golden/complexity.csv), and all variables of the TensorFlow model.
    b0 = load_arch("efficientnet_b0")
    assert bias_additions(b0) == 385_825_092 - 385_814_752
    assert norm_statistics(b0) == 5_330_564 - 5_288_548
    assert (pooled_outputs(b0), pooled_outputs(load_arch("resnet50"))) == (0, 200_704)


B = published_members()


def test_the_paper_s_coefficients_ask_for_three_phis() -> None:
    assert [member.name for member in B] == [f"B{index}" for index in range(8)]
    depth, width, side = single_phis(B[7], PAPER_COEFFICIENTS)
    assert depth == pytest.approx(math.log(3.1) / math.log(1.2))
    assert width == pytest.approx(math.log(2.0) / math.log(1.1))
    assert side == pytest.approx(math.log(600 / 224) / math.log(1.15))
    assert [fits(member, PAPER_COEFFICIENTS) for member in B[1:]] == [True, True, *[False] * 5]
    assert not any(prints_as(member, PAPER_COEFFICIENTS.at(index)) for index, member in enumerate(B[1:], start=1))


def test_other_coefficients_give_the_published_members() -> None:
    found = followed(B[1:])
    assert found is not None
    assert found.coefficients.nominal_ratio == pytest.approx(2.0)
    for member in B[1:]:
        assert prints_as(member, found.coefficients.at(side_phi(member, found.coefficients)))
    for name in ("alpha", "beta", "gamma"):
        assert getattr(found.low, name) < getattr(found.coefficients, name) < getattr(found.high, name)
    assert all(fits(member, found.coefficients) for member in B[1:])
    # Just outside what was found, some member is printed otherwise.
    beyond = Coefficients(found.high.alpha + 0.005, found.coefficients.beta, found.coefficients.gamma)
    assert not all(prints_as(member, beyond.at(side_phi(member, beyond))) for member in B[1:])


def test_the_ends_of_the_published_members_are_where_a_search_finds_them() -> None:
    """The lowest β of any coefficients with αβ²γ² = 2 that give B1–B7, by a walk over α and a bisection over β."""
    found = followed(B[1:])
    assert found is not None

    def fit(alpha: float, beta: float) -> bool:
        gamma = math.sqrt(2 / alpha) / beta
        return all(fits(member, Coefficients(alpha, beta, gamma)) for member in B[1:])

    lowest = math.inf
    for step in range(401):
        alpha = found.low.alpha + (found.high.alpha - found.low.alpha) * step / 400
        betas = [1.108 + 0.0000125 * index for index in range(480)]
        lowest = min([lowest, *(beta for beta in betas if beta < lowest and fit(alpha, beta))])
    assert found.low.beta == pytest.approx(lowest, abs=2e-5)


def family(coefficients: Coefficients, *phis: float) -> list[Published]:
    """Members as they would be printed."""
    made = [coefficients.at(phi) for phi in phis]
    return [
        Published(f"B{phi:g}", f"{each.depth:.1f}", f"{each.width:.1f}", round(224 * each.resolution))
        for phi, each in zip(phis, made, strict=True)
    ]


def test_members_made_by_coefficients_are_found_to_follow_them() -> None:
    truth = Coefficients.from_shares(0.3, 0.3, 0.4)
    members = family(truth, 1.3, 2.6, 4.1, 6.0)
    found = followed(members)
    assert found is not None
    for name in ("alpha", "beta", "gamma"):
        assert getattr(found.low, name) <= getattr(truth, name) <= getattr(found.high, name)
    fitted = least_squares_coefficients(members)
    assert (fitted.alpha, fitted.beta) == (pytest.approx(truth.alpha, abs=0.02), pytest.approx(truth.beta, abs=0.02))
    assert least_squares_phi(members[-1], truth) == pytest.approx(6.0, abs=0.05)


def test_contradictory_members_follow_nothing() -> None:
    assert followed([Published("B1", "1.5", "1.1", 240), Published("B2", "1.6", "2.5", 600)]) is None
