"""The proxy, and the arithmetic from seconds to networks, epochs and images."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesearch.search.plan import Plan, Speed, from_dict, make_plan, proxy_base, proxy_rounding, recipe_of
from scalesearch.search.problem import describe_power
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.files import load_arch
from scalesearch.spec.settings import Settings
from scalesearch.spec.units import parse_duration

B0 = load_arch("efficientnet_b0")
SPEED = Speed(base_train=1_000, base_eval=3_000, candidate_train=500, candidate_eval=1_500)


def settings(**given: Any) -> Settings:
    plain = {"target_flops": 400_000_000, "proxy_depth": 1.0, "proxy_width": 0.15, "proxy_resolution": 32}
    return Settings(**{**plain, **given})


def plan(speed: Speed = SPEED, elapsed: float = 5.0, **given: Any) -> Plan:
    around = {"pool_size": 200, "train_count": 20_000, "val_count": 4_000, "workers": 2}
    counts = {key: given.pop(key, value) for key, value in around.items()}
    return make_plan(settings(**given), speed, **counts, device="cpu", elapsed=elapsed)


def test_the_proxy_is_the_base_shrunk_in_width_and_side() -> None:
    """By hand: 0.15 of B0's 32, 16, 24, 40, 80, 112, 192, 320, 1280, to whole channels (8 · 0.15 = 1.2)."""
    proxy = proxy_base(B0, settings(), classes=10, channels=1)
    assert [stage.channels for stage in proxy.stages] == [3, 4, 6, 12, 17, 29, 48]  # 2.4 would lose over 10 % as 2
    assert (proxy.stem.channels, proxy.head.channels if proxy.head else 0) == (5, 192)
    assert [stage.repeats for stage in proxy.stages] == [1, 2, 2, 3, 3, 4, 1]
    assert (proxy.resolution, proxy.classes, proxy.in_channels) == (32, 10, 1)
    assert (proxy.stem.stride, B0.stem.stride) == (1, 2)
    assert (proxy.dropout, proxy.drop_path, proxy.norm_momentum) == (0.0, 0.0, 0.1)
    assert cost(proxy).flops < cost(B0).flops / 20


def test_the_proxy_keeps_what_is_not_shrunk() -> None:
    whole = settings(proxy_width=1.0, proxy_resolution=224, proxy_stem_stride=None)
    proxy = proxy_base(B0, whole, classes=1000, channels=3)
    assert replace(proxy, name=B0.name, dropout=B0.dropout, drop_path=B0.drop_path, norm_momentum=0.01) == B0


def test_the_proxys_rounding_is_the_runs_with_smaller_steps() -> None:
    official = proxy_rounding(settings(proxy_width=0.25, pixel_step=2))
    assert (official.depth, official.channels_step, official.channels_floor) == ("ceil", 2, 0.9)
    assert (official.resolution_step, official.ties) == (2, "up")
    pycls = proxy_rounding(settings(rounding="pycls", proxy_width=1.0, pixel_step=4))
    assert (pycls.depth, pycls.channels_step, pycls.channels_floor) == ("nearest", 8, 0.0)
    assert (pycls.resolution_step, pycls.ties) == (4, "even")
    assert proxy_rounding(settings(proxy_width=0.02)).channels_step == 1  # never none


def test_the_recipe_is_the_settings() -> None:
    recipe = recipe_of(settings(batch=48, optimizer="rmsprop", learning_rate=0.02, shift=0.03), epochs=7)
    assert (recipe.epochs, recipe.batch, recipe.optimizer, recipe.learning_rate) == (7, 48, "rmsprop", 0.02)
    assert recipe.shift == 0.03


def test_progressive_proxies_begin_small_and_are_planned_as_faster() -> None:
    recipe = recipe_of(settings(progressive=True), epochs=4)
    assert [stage.pixels(300) for stage in recipe.stages] == [128, 185, 243, 300]  # EfficientNetV2-S's ends
    assert {(stage.magnitude, stage.mixup, stage.cutmix, stage.dropout) for stage in recipe.stages} == {(0, 0, 0, 0)}
    assert recipe_of(settings(), epochs=4).stages == ()
    plain, staged = plan(time_budget=330.0), plan(time_budget=330.0, progressive=True)
    area = (1 + (128 / 300) ** 2 + (214 / 300) ** 2) / 3
    assert staged.speed.candidate_train == pytest.approx(plain.speed.candidate_train / area)
    assert staged.networks * staged.train_images > 1.5 * plain.networks * plain.train_images


def test_a_time_budget_by_hand() -> None:
    """330 s − 5 − 25 leave 300; 80 % are 240 s; · 2 workers · 500/s · 0.85 / 2 seeds = 102,000 images.

    sqrt(102) = 10 networks (10.1); 102,000 / 10.5 = 9,714 images each: 3 epochs of 3,238, judged on 1,079.
    """
    found = plan(time_budget=330.0)
    assert (found.networks, found.seeds, found.epochs) == (10, 2, 3)
    assert (found.train_images, found.val_images) == (3_238, 1_079)
    candidate = 3 * (3_238 / 500 + 1_079 / 1_500)
    base = 3 * (3_238 / 1_000 + 1_079 / 3_000)
    assert found.seconds == pytest.approx(2 * (10 * candidate + base) / 2)
    assert found.family_seconds == pytest.approx(300 - found.seconds)
    assert 200 < found.seconds < 250


def test_the_time_of_the_confirmation_is_kept() -> None:
    """Two rounds of two workers: 102,000 images (above) over 10 + 1/2 + 4/2 trainings per seed, 8,160 each."""
    found = plan(time_budget=330.0, confirm=2)
    assert (found.networks, found.epochs, found.train_images) == (10, 3, 2_720)
    assert found.confirm_seconds == pytest.approx(2 * found.trial_seconds(2))
    assert found.seconds + found.confirm_seconds + found.family_seconds == pytest.approx(300)


@given(st.floats(200, 100_000), st.integers(1, 64), st.integers(1, 8), st.floats(100, 5_000))
def test_a_plan_fits_its_budget(budget: float, workers: int, seeds: int, rate: float) -> None:
    """With some room for the evaluation, which is not counted in images but bounded by a third of them."""
    speed = Speed(2 * rate, 6 * rate, rate, 3 * rate)
    try:
        found = plan(speed, time_budget=budget, seeds=seeds, workers=workers)
    except SettingsError:
        return
    assert found.networks >= 6
    assert found.epochs * found.train_images >= 1_000 - 3
    if found.train_images < 20_000 and found.val_images <= found.train_images:
        assert found.seconds <= (budget - 30) * 1.02
        assert found.family_seconds >= 0


def test_more_time_means_more_networks_and_longer_trainings() -> None:
    short, long = plan(time_budget=330.0), plan(time_budget=1_230.0)  # 300 s and four times that
    assert long.networks == 2 * short.networks
    assert 1.8 < long.epochs * long.train_images / (short.epochs * short.train_images) < 2.1


def test_trials_are_networks_times_seeds() -> None:
    assert plan(time_budget=330.0, trials=9, seeds=2).networks == 4
    assert plan(time_budget=330.0, trials=3, seeds=3).networks == 1
    assert plan(trials=1_000, epochs=1, train_images=64, pool_size=17).networks == 17


def test_epochs_and_images_that_are_given_are_kept() -> None:
    both = plan(time_budget=330.0, epochs=2, train_images=4_000, val_images=500)
    assert (both.epochs, both.train_images, both.val_images) == (2, 4_000, 500)
    # 102,000 images are 12.75 trainings of 8,000; half of one is the base's.
    assert both.networks == 12
    epochs = plan(time_budget=330.0, epochs=5)
    assert (epochs.epochs, epochs.train_images) == (5, int(102_000 / 10.5 / 5))
    images = plan(time_budget=330.0, train_images=2_000)
    assert (images.epochs, images.train_images) == (4, 2_000)  # 9,714 / 2,000, not more
    # 10 networks and the base, 2 seeds, 15,000 images at 500/s and 5,000 at 1,500/s: 351 s on two workers.
    with pytest.raises(
        SettingsError, match=r"10 networks of 1 epochs and 15,000 images take about 5m\d+s, 5m00s are left"
    ):
        plan(time_budget=330.0, train_images=15_000)


def test_a_small_data_set_is_seen_more_often() -> None:
    found = plan(time_budget=330.0, train_count=1_000, val_count=300)
    assert (found.epochs, found.train_images, found.val_images) == (10, 971, 300)  # 9,714 images in 10 epochs


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, (12, 10, 20_000, 4_000)),
        ({"epochs": 2}, (12, 2, 20_000, 4_000)),
        ({"train_images": 500}, (12, 10, 500, 500)),
        ({"epochs": 1, "train_images": 64, "trials": 4, "seeds": 1}, (4, 1, 64, 500)),
        ({"train_count": 60, "val_count": 20}, (12, 10, 60, 20)),  # few images are no reason to refuse
        ({"train_count": 60, "val_count": 20, "epochs": 1}, (12, 1, 60, 20)),
        ({"train_count": 60, "val_count": 20, "epochs": 3, "train_images": 500}, (12, 3, 60, 20)),
    ],
)
def test_without_a_time_budget_everything_is_used(given: dict[str, Any], wanted: tuple[int, ...]) -> None:
    found = plan(**given)
    assert (found.networks, found.epochs, found.train_images, found.val_images) == wanted
    assert math.isfinite(found.seconds) and found.seconds > 0
    assert found.family_seconds == pytest.approx(0.2 * found.seconds)


def test_a_budget_that_is_too_short_is_refused_with_one_that_is_not() -> None:
    """6 networks and half for the base, 1,000 images each, 2 seeds, on 850 images/s: 15.3 s, /0.8, + 30 s: 49.1 s."""
    with pytest.raises(SettingsError) as caught:
        plan(time_budget=40.0)
    # (40 − 30) · 0.8 · 850 / 2 / 6.5 = 523
    assert str(caught.value) == (
        "--time-budget 40s: leaves 523 images per training, at least 1,000 are needed; "
        "give it about 50s, or fewer --seeds or --trials"
    )
    assert plan(time_budget=50.0).networks == 6


@given(st.floats(1, 600), st.floats(0, 300), st.floats(5, 2_000), st.integers(1, 8))
def test_the_advice_for_a_short_budget_works(budget: float, elapsed: float, rate: float, seeds: int) -> None:
    speed = Speed(2 * rate, 6 * rate, rate, 3 * rate)
    try:
        plan(speed, elapsed, time_budget=budget, seeds=seeds)
    except SettingsError as error:
        advised = re.search(r"give it about (\S+),", str(error))
        assert advised is not None
        hours = re.fullmatch(r"(\d+)h(\d+)m", advised[1])
        minutes = re.fullmatch(r"(\d+)m(\d+)s", advised[1])
        if hours:
            seconds = int(hours[1]) * 3600 + int(hours[2]) * 60 + 60
        else:
            seconds = int(minutes[1]) * 60 + int(minutes[2]) if minutes else int(parse_duration(advised[1]))
        assert seconds > budget
        assert plan(speed, elapsed, time_budget=float(seconds), seeds=seeds).networks == 6


def test_a_budget_that_is_spent_already_leaves_nothing() -> None:
    with pytest.raises(SettingsError, match=r"^--time-budget 20s: leaves 0 images per training"):
        plan(time_budget=20.0, elapsed=60.0)


@pytest.mark.parametrize(
    ("epochs", "rungs", "stops"),
    [(3, 3, [1, 2, 3]), (1, 3, [1]), (2, 3, [1, 2]), (10, 3, [3, 7, 10]), (9, 1, [9]), (4, 100, [1, 2, 3, 4])],
)
def test_rung_stops_by_hand(epochs: int, rungs: int, stops: list[int]) -> None:
    assert replace(plan(trials=2), epochs=epochs).rung_stops(rungs) == stops


@given(st.integers(1, 500), st.integers(1, 100))
def test_rungs_rise_and_end_with_the_training(epochs: int, rungs: int) -> None:
    stops = Plan(1, 1, epochs, 1, 1, 1, "cpu", SPEED, 0.0, 0.0).rung_stops(rungs)
    assert stops[0] >= 1
    assert stops[-1] == epochs
    assert stops == sorted(set(stops))
    assert len(stops) <= rungs


def test_a_training_takes_as_long_as_its_images() -> None:
    found = Plan(1, 1, 2, 1_000, 600, 1, "cpu", SPEED, 0.0, 0.0)
    assert found.trial_seconds(1) == pytest.approx(2 * (1_000 / 1_000 + 600 / 3_000))
    assert found.trial_seconds(2) == pytest.approx(2 * (1_000 / 500 + 600 / 1_500))
    assert found.trial_seconds(8) == pytest.approx(4 * found.trial_seconds(2))


def test_a_plan_survives_json() -> None:
    found = plan(time_budget=330.0)
    assert from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    ("networks", "given", "words"),
    [
        (6, {"seeds": 2}, "power: 6 networks × 2 paired seeds show a difference of "),
        (6, {"seeds": 1}, "power: 3 networks × 2 paired seeds show a difference of "),  # as many trainings
        (
            6,
            {"seeds": 1, "sampler": "lattice"},
            "power: one seed each has no repeat to estimate noise from, and no difference can be shown",
        ),
        (1, {"seeds": 2, "confidence": 0.999}, "power: 1 × 2 trainings have too few repeats to show any difference; "),
    ],
)
def test_the_power_line(networks: int, given: dict[str, Any], words: str) -> None:
    assert describe_power(networks, settings(**given)).startswith(words)
