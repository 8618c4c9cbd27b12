"""The surface over the simplex: what is claimed of the paper's coefficients, and the figure of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scalesearch.fit.surrogate import FAMILIES, design, fit, published_points
from scalesearch.report.coefficients import findings
from scalesearch.report.figures.error_simplex import draw_error_simplex
from scalesearch.report.figures.style import render
from scalesearch.search.response import BudgetMap, Rank, budget_map, coefficients_of, response, shares_of, table
from scalesearch.search.stats import Difference
from scalesearch.spec.scaling import PAPER_COEFFICIENTS


@pytest.fixture(scope="module")
def maps() -> dict[float, BudgetMap]:
    return {found.phi: found for found in response()}


def ranked(found: BudgetMap, name: str) -> Rank:
    return next(rank for rank in found.ranks if rank.name.startswith(name))


def test_shares_and_coefficients_are_inverse() -> None:
    found = coefficients_of((0.5, 0.25, 0.25))
    assert found.nominal_ratio == pytest.approx(2)
    assert shares_of(found) == pytest.approx((0.5, 0.25, 0.25))
    assert shares_of(PAPER_COEFFICIENTS) == pytest.approx((0.2795, 0.2922, 0.4284), abs=1e-3)


def test_a_known_surface_gives_its_own_minimum() -> None:
    """Errors that depend on the shares alone through a bowl: the best node is the bowl's bottom."""
    places, _ = design(published_points())
    target = np.array([0.5, 0.25, 0.25])
    bowl = FAMILIES["quadratic"](places)
    # log(error − 10) = 2.4 − 0.2·total + 0.02·|place − total·target|²: a quadratic form, minimal along the target.
    deviation = places - places.sum(axis=1, keepdims=True) * target
    errors = 10 + np.exp(2.4 - 0.2 * places.sum(axis=1) + 0.02 * (deviation**2).sum(axis=1))
    surface = fit(places, errors, replicates=50)
    assert np.allclose(surface.errors(places), errors) and bowl.shape[1] == 10
    found = budget_map(2.0, surface)
    assert found.best == pytest.approx(tuple(target))
    assert found.best in found.region


def test_depth_is_best_at_twice_the_flops(maps: dict[float, BudgetMap]) -> None:
    found = maps[1.0]
    assert found.best == (1.0, 0.0, 0.0) and found.answered == 325
    assert found.span(0)[0] >= 0.85  # of every split that may be best
    paper, fast = ranked(found, "paper"), ranked(found, "dWr")
    assert paper.miss is not None and fast.miss is not None
    assert paper.miss.mean == pytest.approx(0.31, abs=0.01) and paper.miss.low > 0.15
    assert fast.miss.mean == pytest.approx(0.32, abs=0.01) and fast.miss.low > 0.15


def test_a_balanced_split_is_best_at_eleven_times_the_flops(maps: dict[float, BudgetMap]) -> None:
    """φ = 3.5: the paper's coefficients miss the best by 0.09 points, which may be nothing; dWr by 0.35."""
    found = maps[3.5]
    assert found.best is not None and max(found.best) < 0.5
    paper, fast = ranked(found, "paper"), ranked(found, "dWr")
    assert paper.miss is not None and fast.miss is not None
    assert paper.miss.mean == pytest.approx(0.09, abs=0.01) and paper.miss.low < 0 < paper.miss.high < 0.2
    assert fast.miss.low > 0.15


def test_width_gains_as_the_budget_grows_as_far_as_is_known(maps: dict[float, BudgetMap]) -> None:
    widths = []
    for phi in (1.0, 2.0, 3.0, 3.5, 4.0):
        best = maps[phi].best
        assert best is not None
        widths.append(best[1])
    assert widths == sorted(widths) and widths[-1] == pytest.approx(0.25)
    assert maps[5.0].answered < 10  # too few to say anything
    assert ranked(maps[5.0], "paper").error is None


def test_beyond_the_published_networks_there_is_no_answer(maps: dict[float, BudgetMap]) -> None:
    found = maps[6.0]
    assert found.best is None and found.region == () and found.answered == 0
    assert all(rank.error is None for rank in found.ranks)


def test_the_table_marks_what_has_no_answer(maps: dict[float, BudgetMap]) -> None:
    rows = table(list(maps.values()))
    assert len(rows) == len(maps) * 4
    assert {row["how"] for row in rows if row["error"] is None} == {"no answer: outside the hull"}
    last = {row["split"] for row in rows if row["phi"] == 6.0 and row["error"] is None}
    assert last >= {"best", "dWr (0.1, 0.8, 0.1)"}
    first = rows[0]
    assert (first["phi"], first["split"], first["rank"], first["alpha"]) == (1.0, "best", 1, 2.0)


def test_findings_say_what_the_maps_say(maps: dict[float, BudgetMap]) -> None:
    lines = findings(list(maps.values()))
    text = "\n".join(lines)
    assert "φ = 1: best of 325 answered splits (of 325) α, β, γ = 2.00, 1.00, 1.00" in text
    assert "φ = 6: no split lies inside the hull" in text
    assert "figures 1, 4, 6 and 8) trained for 200 epochs" in lines[0] and "Dollár et al." in lines[0]
    assert "on depth at φ = 1? Yes: splits that may be best spend 88% or more on it." in text
    assert "at φ = 3.5? Yes, by the fit, but its interval reaches further: 0.09 [−0.01, 0.16] points; the" in text
    assert "Does width gain beyond φ = 3.5? Not shown" in text
    assert "dWr (0.1, 0.8, 0.1) is behind all 7, 0.37" in text
    assert "Fitted networks, no check of the surface, Dollár et al. Table 5, 200 epochs" in text
    assert "Other recipes, EfficientNet v5 Table 2: published minus predicted −0.13" in text
    edge = [line.split(":")[0] for line in lines if "it lies on the hull's edge" in line]
    assert edge == ["φ = 3.5", "φ = 4", "φ = 5"]
    (few,) = (line for line in lines if line.startswith("φ = 5"))
    assert "may be best at 90 %" not in few
    assert "leave-one-out error 0.096 points" in text and "dw 0.34 (3 networks)" in text


def test_verdicts_follow_the_maps(maps: dict[float, BudgetMap]) -> None:
    """The same questions of other maps: without depth, with the paper far off, and with an inner best beyond."""
    wide = replace(maps[1.0], region=((0.2, 0.5, 0.3),))
    far = replace(maps[3.5].ranks[0], miss=Difference(0.3, 0.2, 0.4))
    behind = replace(maps[3.5], ranks=(far, *maps[3.5].ranks[1:]))
    inner = replace(maps[3.0], phi=4.0)
    text = "\n".join(findings([wide, behind, inner]))
    assert "on depth at φ = 1? No: splits that may be best spend 20% or more" in text
    assert "at φ = 3.5? No, by the fit" in text
    assert "width gain beyond φ = 3.5? No: the best width share goes 0% (φ = 1), 21% (φ = 3.5), 17% (φ = 4)" in text


def test_a_best_on_the_edge_of_few_bounds_no_region(maps: dict[float, BudgetMap]) -> None:
    assert {phi: found.at_edge for phi, found in maps.items()} == {
        1.0: False, 2.0: False, 3.0: False, 3.5: True, 4.0: True, 5.0: True, 6.0: False
    }  # fmt: skip
    assert {phi for phi, found in maps.items() if not found.region} == {5.0, 6.0}
    shown = {row["phi"]: row for row in table(list(maps.values())) if row["split"] == "best"}
    assert shown[5.0]["at_edge"] is True and shown[5.0]["region_depth_low"] is None
    assert shown[3.0]["at_edge"] is False and shown[6.0]["at_edge"] is None


def test_the_figure_is_drawn_with_and_without_answers(maps: dict[float, BudgetMap]) -> None:
    figure = draw_error_simplex([maps[1.0], maps[4.0], maps[6.0]])
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sum("no answer" in text for text in texts) == 1
    assert render(figure, "png").startswith(b"\x89PNG")
    blank = replace(maps[6.0])
    assert render(draw_error_simplex([blank]), "png").startswith(b"\x89PNG")
