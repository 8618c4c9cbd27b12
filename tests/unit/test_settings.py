"""Every setting's rule, the presets, and what `--set` and `run.json` may hold."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from scalesearch.search import samplers
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.presets import PRESETS
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS
from scalesearch.spec.settings import (
    OPTIMIZERS,
    RULES,
    SAMPLERS,
    Settings,
    difference,
    from_dict,
    make_settings,
)
from scalesearch.spec.settings_text import read_assignment, read_settings_file

# (setting, values just outside its rule, what the message says it must be)
BAD: list[tuple[str, list[Any], str]] = [
    ("target_flops", [0, -1, 4e8, True, None, "400M"], "FLOPs like 400M"),
    ("base", ["", None, 3], "text"),
    ("data", ["", None], "text"),
    ("preset", ["fast", "", None], "one of smoke, quick, full"),
    ("evaluator", ["imagenet", "", None], "one of train, imagenet_surrogate, replay"),
    ("coefficients", ["free", None], "one of fixed, per-budget"),
    ("sampler", ["TPE", "cmaes", None], "one of surface, lattice, grid, random, tpe, gp, qmc"),
    ("trials", [0, 1_000_001, 2.0, True], "an integer from 1 to 1,000,000"),
    ("time_budget", [0, -1.0, math.inf, math.nan, "10m", True], "a duration like 10m"),
    ("seeds", [0, 1_001, None, 2.0], "an integer from 1 to 1,000"),
    ("confirm", [-1, 101, None, 2.0], "an integer from 0 to 100"),
    ("workers", [0, 1_025, "auto"], "an integer from 1 to 1,024"),
    ("device", ["gpu", "cuda:0"], "one of auto, cpu, cuda"),
    ("seed", [-1, 2**31, None], "an integer from 0 to 2,147,483,647"),
    ("objective", ["pareto"], "one of soft, hard, efficientnetv2, absolute, accuracy"),
    ("exponent", [0.01, -1.1, "fit", math.nan], "fit, or a number from -1 to 0"),
    ("space", ["", None], "text"),
    ("strategy", ["bayes", None], "one of random, evolution, tpe, nsga2, reinforce"),
    ("flops_window", [0, 0.91], "a number from 0.001 to 0.9"),
    ("max_params", [0, 5e6], "a number like 5M"),
    ("max_activations", [0, 5e6], "a number like 5M"),
    ("max_latency_ms", [0, math.inf], "a number from 0.001 to 1e+06"),
    ("max_memory_mb", [0, -1], "a number from 0.001 to 1e+09"),
    ("base_share", [0.04, 0.96], "a number from 0.05 to 0.95"),
    ("only", ["family", ""], "one of base"),
    ("cost", ["bananas", "FLOPs", None], "one of flops, params, activations, latency, train_step, memory"),
    ("measure_seconds", [0, 3601, math.nan], "a number from 0.01 to 3600"),
    ("precision", [-0.1, 101, math.nan, "0.2"], "a number from 0 to 100"),
    ("confidence", [0.49, 1.0, math.nan, "0.9"], "a number from 0.5 to 0.999"),
    ("rounding", ["floor"], "one of official, pycls, automl"),
    ("tolerance", [0, 0.51, -0.03], "a number from 0.001 to 0.5"),
    ("grid_tolerance", [0.0, 1.01], "a number from 0.001 to 1"),
    ("members", [-1, 21], "an integer from 0 to 20"),
    ("proxy_depth", [0.09, 11], "a number from 0.1 to 10"),
    ("proxy_width", [0.01, 10.5], "a number from 0.02 to 10"),
    ("proxy_resolution", [7, 2_049, 32.0], "an integer from 8 to 2,048"),
    ("proxy_stem_stride", [0, 9], "an integer from 1 to 8"),
    ("pixel_step", [0, 129], "an integer from 1 to 128"),
    ("epochs", [0, 10_001], "an integer from 1 to 10,000"),
    ("rungs", [0, 101, None], "an integer from 1 to 100"),
    ("train_images", [15, 100_000_001], "an integer from 16 to 100,000,000"),
    ("val_images", [15, 100_000_001], "an integer from 16 to 100,000,000"),
    ("batch", [1, 65_537, None], "an integer from 2 to 65,536"),
    ("optimizer", ["adam"], "one of adamw, sgd, rmsprop"),
    ("pruner", ["halving", None], "one of none, asha, hyperband, median, wilcoxon"),
    ("inherit", [1, "true", None], "true or false"),
    ("progressive", [1, "s", None], "true or false"),
    ("shift", [-0.01, 0.51, math.nan], "a number from 0 to 0.5"),
    ("learning_rate", [0, 9e-7, 101, math.inf], "a number from 1e-06 to 100"),
    ("image_size", [7, 2_049], "an integer from 8 to 2,048"),
    ("data_images", [15, 100_000_001], "an integer from 16 to 100,000,000"),
    ("glyph_classes", [1, 49], "an integer from 2 to 48"),
    ("glyph_zoom", [0.4, 1.9], "a number from 0.5 to 1.8"),
    ("glyph_bright", [1, "true", None], "true or false"),
    ("holdout_fonts", [1, "true", None], "true or false"),
    ("max_bad_share", [-0.01, 1.01], "a number from 0 to 1"),
]


def settings(**given: Any) -> Settings:
    return Settings(**{"target_flops": 400_000_000, **given})


@pytest.mark.parametrize(
    ("name", "value", "words"), [(name, value, words) for name, values, words in BAD for value in values]
)
def test_a_value_that_breaks_its_rule_is_refused_with_the_rule(name: str, value: Any, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{name: value})
    assert str(caught.value) == f"{name}: must be {words}, got {value!r}"


def test_every_setting_has_a_rule_and_every_rule_a_test() -> None:
    assert {name for name, _, _ in BAD} == set(RULES) == {field.name for field in fields(Settings)}


def test_what_the_surrogate_does_not_use_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(target_flops=400_000_000, evaluator="imagenet_surrogate", seeds=3, data="photos")
    assert str(caught.value) == (
        "--evaluator imagenet_surrogate: nothing is trained, so seeds, data would have no effect; leave them out, or "
        "use --evaluator train"
    )
    with pytest.raises(SettingsError, match="so preset would have no effect; leave it out"):
        make_settings("full", target_flops=400_000_000, evaluator="imagenet_surrogate")
    found = make_settings(target_flops=400_000_000, evaluator="imagenet_surrogate", coefficients="per-budget")
    assert (found.proxy_depth, found.proxy_width, found.seeds, found.time_budget) == (1.0, 1.0, 1, None)


def test_coefficients_follow_the_budget_only_where_every_budget_is_answered() -> None:
    with pytest.raises(SettingsError) as caught:
        settings(coefficients="per-budget")
    assert str(caught.value) == (
        "--coefficients per-budget: needs answers at every budget, got --evaluator train, which searches one; use "
        "--evaluator imagenet_surrogate, or leave it out"
    )


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        settings(seeds=0, batch=1)
    assert str(caught.value) == (
        "seeds: must be an integer from 1 to 1,000, got 0; batch: must be an integer from 2 to 65,536, got 1"
    )


def test_fewer_trials_than_seeds_are_refused() -> None:
    """`trials` counts trainings: one network with two seeds is two of them."""
    with pytest.raises(SettingsError) as caught:
        settings(trials=1, seeds=2)
    assert str(caught.value) == "trials: must be at least --seeds 2, got 1; give more trials, or fewer seeds"
    assert settings(trials=2, seeds=2).trials == 2


@pytest.mark.parametrize("cost", ["flops", "params", "activations", "latency", "memory"])
def test_efficientnetv2s_objective_needs_its_cost(cost: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(objective="efficientnetv2", cost=cost)
    assert str(caught.value) == (
        f"objective: efficientnetv2 weighs training-step time and parameters, got --cost {cost}; "
        "give --cost train_step with it"
    )
    assert settings(objective="efficientnetv2", cost="train_step").cost == "train_step"


@pytest.mark.parametrize(
    "name", ["trials", "time_budget", "workers", "epochs", "train_images", "val_images", "data_images"]
)
def test_what_the_plan_decides_may_be_left_out(name: str) -> None:
    assert getattr(settings(**{name: None}), name) is None


def test_names_agree_with_the_code_that_takes_them() -> None:
    assert set(SAMPLERS) == {"surface", *samplers.SAMPLERS}  # which proposes seeds too: queue.py
    for name in OPTIMIZERS:
        assert settings(optimizer=name).optimizer == name
    for name in ROUNDINGS:
        assert settings(rounding=name).rounding == name


@pytest.mark.parametrize("preset", ["smoke", "quick", "full"])
def test_presets_are_settings_and_can_be_overridden(preset: str) -> None:
    made = make_settings(preset, target_flops=400_000_000)
    assert made.preset == preset
    assert made.trials is not None or made.time_budget is not None  # something bounds the run
    assert make_settings(preset, target_flops=400_000_000, proxy_width=0.5).proxy_width == 0.5


def test_the_quick_preset_is_the_default_and_quick() -> None:
    quick = make_settings(target_flops=400_000_000)
    assert quick.preset == "quick"
    assert quick.time_budget is not None and quick.time_budget <= 600


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^preset: must be one of smoke, quick, full, got 'fast'$"):
        make_settings("fast", target_flops=400_000_000)
    assert set(PRESETS) == {"smoke", "quick", "full"}
    searching = make_settings("quick", target_flops=400_000_000, base="search")
    assert (searching.time_budget, searching.base_share) == (1_500.0, 0.6)  # under half an hour
    assert make_settings("full", target_flops=400_000_000, base="search").time_budget == 8 * 3_600


def test_the_grid_admits_the_papers_own_coefficients() -> None:
    """Their product is 1.92027 (1.2 · 1.1² · 1.15², by hand): a tolerance under 0.08 shuts it out."""
    assert PAPER_COEFFICIENTS.nominal_ratio == pytest.approx(1.92027, abs=1e-9)
    assert abs(1.92027 - 2) <= settings().grid_tolerance < 0.2


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("seeds=3", ("seeds", 3)),
        ("train_images=20_000", ("train_images", 20_000)),
        ("train-images=64", ("train_images", 64)),
        (" learning_rate = 1e-2 ", ("learning_rate", 0.01)),
        ("target_flops=0.4G", ("target_flops", 400_000_000)),
        ("exponent=fit", ("exponent", None)),
        ("max_params=5M", ("max_params", 5_000_000)),
        ("time_budget=1.5h", ("time_budget", 5400.0)),
        ("holdout_fonts=True", ("holdout_fonts", True)),
        ("holdout_fonts=false", ("holdout_fonts", False)),
        ("data=a=b", ("data", "a=b")),
        ("proxy_stem_stride=none", ("proxy_stem_stride", None)),
        ("epochs=None", ("epochs", None)),
    ],
)
def test_assignments_are_read(text: str, pair: tuple[str, Any]) -> None:
    assert read_assignment(text) == pair


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "--set epochs: must be key=value; keys are target_flops, base, data"),
        ("epoch=3", "--set epoch=3: there is no setting 'epoch'; did you mean 'epochs'?"),
        ("colour=3", "--set colour=3: there is no setting 'colour'; keys are target_flops, base, data"),
        ("=3", "--set =3: there is no setting ''; keys are target_flops"),
        ("epochs=3.5", "--set epochs=3.5: epochs must be an integer from 1 to 10,000, got '3.5'"),
        ("epochs=", "--set epochs=: epochs must be an integer from 1 to 10,000, got ''"),
        ("tolerance=x", "--set tolerance=x: tolerance must be a number from 0.001 to 0.5, got 'x'"),
        ("holdout_fonts=1", "--set holdout_fonts=1: holdout_fonts must be true or false, got '1'"),
        ("target_flops=4X", "FLOPs must be a number with a unit like 400M"),
        ("time_budget=soon", "a duration must be a number with a unit like 90s"),
    ],
)
def test_assignments_that_cannot_be_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_assignment(text)
    assert str(caught.value).startswith(message)


def test_difference_names_what_changed_and_what_came_and_went() -> None:
    old, new = {"seeds": 2, "batch": 32, "gone": 1}, {"seeds": 3, "batch": 32, "new": "x"}
    assert difference(old, new) == ["gone: 1 before, None now", "new: None before, 'x' now", "seeds: 2 before, 3 now"]
    assert difference(old, dict(old)) == []


def test_settings_survive_json() -> None:
    made = settings(time_budget=90.5, holdout_fonts=True, data="ä/ö.npz")
    assert from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"target_flops": 1, "colour": 3, "alpha": 1}, "it does not know alpha, colour"),
        ({"seeds": 3}, "target_flops is missing"),
    ],
)
def test_stored_settings_of_another_version_are_refused(table: dict[str, Any], found: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_dict(table)
    assert str(caught.value) == f"the stored settings do not fit this version of scalesearch: {found}"


def test_make_settings_names_the_nearest_setting() -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings("quick", target_flops=400_000_000, epoch=3)
    assert str(caught.value) == "there is no setting 'epoch'; did you mean 'epochs'?"


def test_settings_from_a_file_are_those_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text('target_flops = "400M"\ntime_budget = "2h"\nseeds = 3\nproxy_width = 0.25\ndata_images = "none"\n')
    assert read_settings_file(file) == {
        "target_flops": 400_000_000,
        "time_budget": 7200.0,
        "seeds": 3,
        "proxy_width": 0.25,
        "data_images": None,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = ", "is not TOML"),
        ("seds = 3", "seds: there is no such setting"),
        ("seeds = 0", "seeds: must be an integer from 1 to 1,000, got 0"),
        ('seeds = "many"', "seeds must be an integer from 1 to 1,000, got 'many'"),
        ("[proxy]\nwidth = 1", "proxy: there is no such setting"),
    ],
)
def test_a_settings_file_is_refused_with_file_key_and_rule(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "one.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_settings_file(file)
    assert str(file) in str(refused.value) and words in str(refused.value)


def test_a_settings_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file"):
        read_settings_file(tmp_path / "none.toml")


def test_every_experiment_is_a_valid_settings_file_with_its_command() -> None:
    files = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))
    assert files
    for file in files:
        make_settings(**read_settings_file(file))
        assert f"--settings experiments/{file.name}" in file.read_text()
