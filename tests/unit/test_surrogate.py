"""The ImageNet surrogate: its points, its fit against closed forms, its hull, and what it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scalesearch.fit.surrogate import (
    CHOSEN,
    FAMILIES,
    MARGIN,
    design,
    fit,
    imagenet_surrogate,
    leave_one_out,
    place_of,
    published_points,
    root_mean_square,
)
from scalesearch.fit.surrogate_checks import compared_families, held_out, trends
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SurrogateError
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import ROUNDINGS, Multipliers, multiply


def test_there_are_34_distinct_networks_with_the_figures_flops() -> None:
    points = published_points()
    assert len({point.arch.digest for point in points}) == len(points) == 34
    # Figures are digitised to 0.001 G; pycls counts biases too, 0.003 % of B0.
    for point, printed in zip(points, _printed_flops(), strict=True):
        assert cost(point.arch).flops / 1e9 == pytest.approx(printed, abs=0.0015)


def _printed_flops() -> list[float]:
    import csv

    from scalesearch.fit.surrogate import POINTS_FILE

    with POINTS_FILE.open(encoding="utf-8", newline="") as file:
        return [float(row["flops_B_figure"]) for row in csv.DictReader(file)]


def test_the_points_are_of_the_200_epoch_schedule() -> None:
    """Table 5 prints 22.7, 20.8, 20.0, 18.8, 17.4, 16.7 for 200 epochs (and 23.6, … for 100), to a tenth."""
    by_digest = {point.arch.digest: point.error for point in published_points()}
    printed = {0: 22.7, 1: 20.8, 2: 20.0, 3: 18.8, 4: 17.4, 5: 16.7}
    base = load_arch("efficientnet_b0")
    for index, error in printed.items():
        arch = replace(load_arch(f"efficientnet_b{index}"), dropout=base.dropout, drop_path=base.drop_path)
        assert abs(by_digest[arch.digest] - error) <= 0.0501


def test_a_network_that_figures_show_twice_has_the_mean_and_both_values() -> None:
    twice = [point for point in published_points() if len(point.values) > 1]
    assert {point.strategy for point in twice} == {"dWr"}  # figure 8 shows other trainings than figures 1 and 6
    for point in twice:
        assert point.error == pytest.approx(sum(point.values) / 2)
    spreads = [max(point.values) - min(point.values) for point in twice]
    assert root_mean_square(spreads) == pytest.approx(0.11, abs=0.005)


def test_the_chosen_family_has_the_smallest_leave_one_out_error() -> None:
    table = compared_families()
    best = min((value, family, floor) for family, row in table.items() for floor, value in row.items())
    assert best[1:] == CHOSEN
    assert best[0] == pytest.approx(0.096, abs=0.001)
    assert imagenet_surrogate().loo == pytest.approx(best[0])
    assert imagenet_surrogate().deviation == pytest.approx(0.087, abs=0.001)
    # What is simpler is worse by more than noise; the floor hardly matters.
    assert min(table["linear"].values()) > 0.3 and min(table["additive"].values()) > 0.17
    assert max(table["quadratic"].values()) < 0.11


def test_refit_on_a_known_surface_recovers_it() -> None:
    places, _ = design(published_points())
    truth = np.array([2.5, -0.2, -0.16, -0.13, 0.03, 0.02, 0.01, 0.015, 0.0, 0.02])
    errors = 10.0 + np.exp(FAMILIES["quadratic"](places) @ truth)
    found = fit(places, errors, replicates=5)
    assert np.allclose(found.weights, truth, atol=1e-9)
    assert np.allclose(found.errors(places), errors, atol=1e-9)
    assert found.loo < 1e-9 and found.deviation < 1e-9


def test_the_bootstrap_covers_a_known_surface() -> None:
    """With noise of the published size, 90 % intervals hold the truth about 90 % of the time."""
    places, _ = design(published_points())
    truth = imagenet_surrogate().errors(places)
    rng = np.random.default_rng(1)
    held = []
    for _ in range(12):
        found = fit(places, truth + rng.normal(0, 0.09, len(truth)), replicates=60)
        low, high = np.quantile(found.replicates(places), [0.05, 0.95], axis=0)
        held.append(np.mean((low <= truth) & (truth <= high)))
    assert 0.8 <= np.mean(held) <= 0.98


def test_leave_one_out_is_that_of_the_closed_form_for_a_linear_model() -> None:
    """Without a floor and with errors exp(linear), residual over (1 − leverage) is the left-out residual."""
    places, errors = design(published_points())
    slow = leave_one_out(places, errors, "linear", 0.0)
    columns = FAMILIES["linear"](places) * errors[:, None]
    hat = columns @ np.linalg.pinv(columns)
    target = np.log(errors) * errors
    missed = (target - hat @ target) / (1 - np.diag(hat))  # in weighted logs, which are points to first order
    assert np.corrcoef(-slow, missed)[0, 1] > 0.99


def test_every_published_network_is_inside_and_b6_and_b7_are_not() -> None:
    surface = imagenet_surrogate()
    places, _ = design(published_points())
    assert surface.outside_by(places).max() < 1e-9
    for point in published_points():
        surface.predict(point.arch)
    with pytest.raises(SurrogateError) as caught:
        surface.predict(load_arch("efficientnet_b6"))
    assert str(caught.value) == (
        "efficientnet_b6: depth, width and resolution bring 1.52, 1.61 and 2.50 doublings of FLOPs; imagenet_surrogate "
        "answers only inside the hull of its 34 published networks (up to 5.4 doublings), and this is 0.44 outside; "
        "ask for a smaller network or a more even split, or use --evaluator train"
    )


def test_the_hull_is_convex_and_its_margin_small() -> None:
    surface = imagenet_surrogate()
    places, _ = design(published_points())
    rng = np.random.default_rng(0)
    mixed = rng.dirichlet(np.full(len(places), 0.3), 500) @ places
    assert surface.outside_by(mixed).max() < 1e-9
    middle = places.mean(axis=0)
    out = middle + (places - middle) * 1.5
    assert (surface.outside_by(out) > MARGIN).sum() >= 8  # the corners, pushed out, are outside


def test_another_base_is_refused_with_its_difference() -> None:
    b0 = load_arch("efficientnet_b0")
    kernel = replace(b0, stages=(*b0.stages[:2], replace(b0.stages[2], kernel=3), *b0.stages[3:]))
    with pytest.raises(SurrogateError, match="its stage3 is kernel 3, B0's is kernel 5; imagenet_surrogate knows only"):
        place_of(kernel)
    with pytest.raises(SurrogateError, match="has classes = 10, B0 has 1000"):
        place_of(replace(b0, classes=10))
    with pytest.raises(SurrogateError, match="has 6 stages, B0 has 7 and one"):
        place_of(replace(b0, stages=b0.stages[:6]))
    with pytest.raises(SurrogateError, match="use --base efficientnet_b0, or --evaluator train"):
        place_of(load_arch("resnet50"))
    assert place_of(replace(b0, dropout=0.5, drop_path=0.0)) == (0.0, 0.0, 0.0)


def test_places_of_single_dimensions() -> None:
    b0 = load_arch("efficientnet_b0")
    wide = multiply(b0, Multipliers(1, 2, 1), ROUNDINGS["official"])
    depth, width, resolution = place_of(wide)
    assert depth == resolution == 0
    assert width == pytest.approx(np.log2(cost(wide).flops / cost(b0).flops))


def test_held_out_b1_to_b3_are_predicted_within_the_seed_noise() -> None:
    """Tan & Le's multipliers, unseen: what the published families say of each other."""
    held = held_out("original")
    inside = [one.predicted - one.published for one in held if one.inside]
    assert len(held) == 5 and len(inside) == 3
    assert root_mean_square(inside) == pytest.approx(0.041, abs=0.005)
    assert max(abs(one.predicted - one.published) for one in held) < 0.1


def test_held_out_dw_is_off_by_several_times_the_noise() -> None:
    """No other strategy is between depth and width alone: the surface needs these points."""
    inside = [one.predicted - one.published for one in held_out("dw") if one.inside]
    assert root_mean_square(inside) == pytest.approx(0.34, abs=0.01)


def test_trends_of_other_recipes() -> None:
    found = {trend.name: trend for trend in trends()}
    assert {name for name, trend in found.items() if trend.fitted} == {"table 5", "table 8"}
    fitted = {point.error for point in published_points() if point.strategy in ("base", "original")}
    assert all(min(abs(printed - error) for error in fitted) < 0.1 for _, printed, _ in found["table 5"].rows)
    same = found["table 5"]
    assert abs(same.offset) < 0.03 and same.scatter < 0.07  # the rows behind the points, rounded to a tenth
    assert found["table 8"].offset == pytest.approx(-0.07, abs=0.02)
    assert found["paper"].offset == pytest.approx(-0.13, abs=0.01)
    assert found["paper"].scatter == pytest.approx(0.20, abs=0.01)
    plain = found["pycls"]  # 100 epochs and a plain recipe: large networks gain less, B5 is worse than B4
    assert plain.offset == pytest.approx(3.6, abs=0.05) and plain.scatter == pytest.approx(0.85, abs=0.02)


def test_a_move_to_the_budget_keeps_the_split() -> None:
    surface = imagenet_surrogate()
    place = (0.5, 0.3, 0.2)
    assert surface.at_budget(place, 0.0) == pytest.approx(float(surface.errors(np.array([place]))[0]))
    assert surface.at_budget(place, 1.0) == pytest.approx(float(surface.errors(np.array([(1.0, 0.6, 0.4)]))[0]))
