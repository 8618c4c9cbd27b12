"""The figures: their arithmetic against hand-made numbers, and their files."""

from __future__ import annotations

import math
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import pytest
from report_runs import Builder, candidates, epochs_to, pool, realistic

from scalesearch.report.captions import captions
from scalesearch.report.figures import FIGURES
from scalesearch.report.figures.accuracy_cost import accuracy_cost_info
from scalesearch.report.figures.curves import curves_info
from scalesearch.report.figures.simplex import simplex_info, spread, to_plane
from scalesearch.report.figures.single_dimension import single_dimension_info
from scalesearch.report.figures.style import DPI, WIDTH, accuracy_limits, log_ticks, render
from scalesearch.report.wording import paper_shares
from scalesearch.search.places import stored
from scalesearch.search.run import Run
from scalesearch.spec.cost import cost


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return realistic(tmp_path_factory.mktemp("figures") / "run")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The four anchors with two seeds; every second seed is 0.02 better, the paper's point 0.06."""
    builder = Builder(tmp_path_factory.mktemp("hand") / "run")
    for seed in range(2):
        builder.add_base(0.70 + 0.02 * seed, seed)
        for candidate, accuracy in zip(candidates(4), (0.80, 0.78, 0.79, 0.82), strict=True):
            gain = 0.06 if candidate is candidates(4)[3] else 0.02
            builder.add_candidate(candidate, accuracy + gain * seed, seed)
    builder.add_member("B2", 0.90)
    return builder.finish()


def test_pooled_error_bars(by_hand: Run) -> None:
    info = accuracy_cost_info(by_hand)
    # Differences between the seeds are 0.02, 0.02, 0.02, 0.06: their variance is 0.0004, half of it is one
    # training's (3 degrees of freedom). Scores are within 1 % of accuracies here.
    expected = math.sqrt(0.0004 / 2)
    assert by_hand.noise.freedom == 3
    for mark in info.marks:
        seeds = 1 if mark.member == "B2" else 2
        assert mark.error == pytest.approx(expected / math.sqrt(seeds), rel=0.02)


def test_accuracy_against_flops_knows_who_is_who(by_hand: Run) -> None:
    info = accuracy_cost_info(by_hand)
    assert [mark.cost for mark in info.marks] == sorted(mark.cost for mark in info.marks)
    assert [(mark.look, mark.member) for mark in info.marks if mark.member] == [
        ("base", "B0"), ("recommended", "B1"), ("family", "B2"),
    ]  # fmt: skip
    assert info.marks[0].accuracy == pytest.approx(0.71)
    assert info.front[0] == (cost(pool()[1]).flops, pytest.approx(0.71))
    assert info.front[-1][1] == pytest.approx(0.90)


def test_shares_lie_in_the_triangle_and_the_papers_point_where_its_coefficients_say() -> None:
    assert to_plane((1, 0, 0)) == (0, 0) and to_plane((0, 1, 0)) == (1, 0)
    assert to_plane((0, 0, 1)) == pytest.approx((0.5, math.sqrt(3) / 2))
    # log2 of 1.2, 1.1², 1.15²: 0.2630, 0.2750, 0.4033 of 0.9413.
    assert paper_shares() == pytest.approx((0.2794, 0.2922, 0.4284), abs=1e-4)


def test_markers_are_moved_apart_only_where_they_meet() -> None:
    apart = [(0.2, 0.1), (0.5, 0.3)]
    assert [math.dist(*pair) for pair in zip(spread(apart, 0.05), apart, strict=True)] == pytest.approx([0, 0])
    moved = spread([(0.5, 0.3), (0.5, 0.3), (0.51, 0.3)], 0.05)
    for i, place in enumerate(moved):
        assert math.dist(place, (0.5, 0.3)) < 0.08
        for other in moved[:i]:
            assert math.dist(place, other) >= 0.05 - 1e-5
    corner = spread([(0.0, 0.0)] * 4, 0.05)
    assert all(y >= -1e-12 and y <= math.sqrt(3) * x + 1e-9 for x, y in corner)


def test_simplex_marks_the_set_that_may_be_best(run: Run) -> None:
    info = simplex_info(run)
    assert {spot.digest for spot in info.spots if spot.may_be_best} == {
        result.candidate.digest for result in run.candidates if result.may_be_best
    }
    assert [spot.look for spot in info.spots].count("recommended") == 1
    assert info.paper_place is not None
    accuracies = [spot.accuracy for spot in info.spots]
    assert info.colours == pytest.approx((min(accuracies), max(accuracies)))


def test_simplex_tells_who_was_stopped_from_who_was_not_tried(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", pruner="asha", rungs=2)
    tried = candidates(6)
    for seed in range(2):
        for candidate in tried[:4]:
            builder.add_candidate(candidate, 0.80 + 0.01 * seed, seed)
    builder.add_pruned(tried[4], 0.3)
    builder.add_candidate(tried[5], None)
    builder.ledger.set_fact("pool", stored(candidates(8)))
    found = builder.finish()
    info = simplex_info(found)
    places = sorted(one.place for one in info.untried if one.stopped)
    wanted = sorted(to_plane(one.shares) for one in tried[4:])
    for place, other in zip(places, wanted, strict=True):
        assert place == pytest.approx(other, abs=1e-5)  # a stored pool has six digits
    assert sum(not one.stopped for one in info.untried) == 2
    text = captions(found, {"simplex": info})["simplex"]
    assert "Small: 2 networks of the pool, not trained. Triangles: 2 networks stopped early by the pruner" in text


def test_arms_start_at_the_base_and_are_named_for_what_they_are(by_hand: Run) -> None:
    info = single_dimension_info(by_hand)
    assert info.base is not None and info.base.accuracy == pytest.approx(0.71)
    assert [arm.label for arm in info.arms] == [
        "depth only", "mostly width (69%)", "resolution only", "recommended = nearest to the paper's point",
    ]  # fmt: skip
    assert [len(arm.stations) for arm in info.arms] == [1, 1, 1, 2]  # the recommended goes on to B2
    assert [arm.stations[0].accuracy for arm in info.arms] == pytest.approx([0.81, 0.79, 0.80, 0.85])
    # Set side by side around their true FLOPs, 2.5 % apart.
    shifts = [arm.stations[0].shown / arm.stations[0].flops - 1 for arm in info.arms]
    assert shifts == pytest.approx([-0.0375, -0.0125, 0.0125, 0.0375])


def test_curves_are_means_over_seeds_with_their_range(by_hand: Run) -> None:
    info = curves_info(by_hand)
    paper = info.curves[-1]
    assert (paper.look, paper.seeds, paper.epochs) == ("recommended", 2, (1, 2, 3, 4))
    lower = [epoch["accuracy"] for epoch in epochs_to(0.82, 4)]
    upper = [epoch["accuracy"] for epoch in epochs_to(0.88, 4)]
    assert paper.low == pytest.approx(lower) and paper.high == pytest.approx(upper)
    assert paper.mean == pytest.approx([(a + b) / 2 for a, b in zip(lower, upper, strict=True)])


def test_ticks_are_few_and_round() -> None:
    assert log_ticks(2.3e6, 11e6) == [3e6, 4e6, 6e6, 8e6, 1e7]
    assert log_ticks(4.1e6, 5.8e6) == [4.5e6, 5e6, 5.5e6]
    for low, high in ((1.1e6, 2.5e6), (9e5, 3.9e9), (386e6, 800e6), (95, 105)):
        assert 1 <= len(log_ticks(low, high)) <= 6


def test_limits_stay_in_percent_and_never_collapse() -> None:
    low, high = accuracy_limits([(0.5, math.nan)])
    assert (low, high) == (49, 51)
    assert accuracy_limits([(0.0, 0.1), (1.0, 0.1)]) == (-1, 101)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_png_of_one_column_and_an_svg_without_dates(name: str, run: Run) -> None:
    compute, draw = FIGURES[name]
    before = dict(matplotlib.rcParams)
    figure = draw(compute(run))
    svg, png = render(figure, "svg"), render(figure, "png")
    assert dict(matplotlib.rcParams) == before  # nothing global is left changed
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert width == round(WIDTH * DPI) == 700 and height < 800
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and root.attrib["width"] == "252pt"
    assert b"<dc:date>" not in svg


def test_one_seed_gives_no_error_bars_and_says_so(tmp_path: Path) -> None:
    run = realistic(tmp_path / "run", number=4, seeds=1, members=())
    infos = {name: compute(run) for name, (compute, _) in FIGURES.items()}
    assert all(math.isnan(mark.error) for mark in infos["accuracy_flops"].marks)
    texts = captions(run, infos)
    assert "no error bars" in texts["accuracy_flops"] and "no error bars" in texts["single_dimension"]
    assert "without a noise estimate none can be ruled out" in texts["simplex"]
    render(FIGURES["single_dimension"][1](infos["single_dimension"]), "png")


def test_one_candidate_of_one_epoch_without_base_or_family_still_draws(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=1, epochs=1)
    builder.add_candidate(candidates(1)[0], 0.5)
    run = builder.finish()
    infos = {name: compute(run) for name, (compute, _) in FIGURES.items()}
    for name, (_, draw) in FIGURES.items():
        assert render(draw(infos[name]), "png")
    assert infos["single_dimension"].base is None
    assert infos["accuracy_flops"].knee is None
    assert infos["simplex"].paper_place is None
