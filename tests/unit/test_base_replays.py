"""benchmarks/base_search.py, docs/base_search.py and their figure, on a recorded space whose best network is known."""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from base_landscapes import SPACE, base_landscape
from base_runs import DATA
from scripts import load_script

from scalesearch.report.figures.base_strategies import draw_found, found_info
from scalesearch.report.figures.style import render
from scalesearch.search.base_landscape import write_base_landscape
from scalesearch.search.base_problem import budget_of, proxy_of, space_of
from scalesearch.search.base_strategies import STRATEGIES, Judged
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import DataError
from scalesearch.spec.feasible import Budget
from scalesearch.spec.settings import DEFAULT_STRATEGY, make_settings
from scalesearch.spec.settings import STRATEGIES as NAMES
from scalesearch.spec.settings_text import read_settings_file

ROOT = Path(__file__).resolve().parents[2]
PAGE = load_script("docs/base_search.py")


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """benchmarks/ is no package: its scripts import one another by name."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield load_script("benchmarks/base_search.py")
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(autouse=True)
def seers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two strategies that look at the answer: one takes the best that is left, one the worst."""
    for name, sign in (("oracle", 1), ("fool", -1)):

        def look(
            space: BaseSpace, budget: Budget, seen: Sequence[Judged], seed: int, rng: random.Random, sign: int = sign
        ) -> Point:
            landscape, known = base_landscape(), {one.digest for one in seen}
            left = [network for network in landscape.networks if network.digest not in known]
            return max(
                left, key=lambda one: sign * landscape.reward(one.flops, one.trainings[0].epochs[-1].accuracy)
            ).point

        monkeypatch.setitem(STRATEGIES, name, look)  # type: ignore[index]  # a dictionary, which is read only elsewhere


def test_the_closed_form_is_what_counting_all_draws_gives(script: ModuleType) -> None:
    truth = np.array([0.3, 0.9, 0.5, 0.5, 0.7, 0.1])
    truths = np.stack([truth, truth**2])
    for k, value in enumerate(script.chance_best(truths, 6), start=1):
        drawn = [max(some) for world in truths for some in itertools.combinations(world, k)]
        assert value == pytest.approx(sum(drawn) / len(drawn))
    for close in ([1], [2, 2], [4, 1, 3]):
        hit = [
            sum(min(some) < own for own in close for some in itertools.combinations(range(9), k)) for k in range(1, 10)
        ]
        shares = [number / math.comb(9, k) / len(close) for k, number in enumerate(hit, start=1)]
        assert script.chance_arrival(9, close) == 1 + next(k for k, share in enumerate(shares) if share >= 0.9)


def test_random_search_is_as_good_as_its_closed_form(script: ModuleType) -> None:
    field = script.make_field(base_landscape())
    worlds = [field.world(number) for number in range(100)]
    assert len(worlds[0].truth) == 100
    found = script.measure(field, "random", worlds, 25)
    exact = script.chance_best(np.stack([world.truth for world in worlds]), 25)
    errors = found.best.std(axis=0, ddof=1) / math.sqrt(100)
    assert (np.abs(found.best.mean(axis=0) - exact) < 4 * errors).all()
    means, lows, highs = np.array(found.curve).T
    assert (lows <= means).all() and (means <= highs).all() and (np.diff(means) >= 0).all()
    assert (found.best[:, 0] < found.best[:, -1]).any()


def test_who_looks_at_the_answer_wins_and_who_looks_away_loses(script: ModuleType) -> None:
    field, worlds, outcomes, trainings = script.run(base_landscape(), 10, ["random", "oracle", "fool"])
    assert outcomes["oracle"].arrival == 2  # after the skeleton
    assert outcomes["oracle"].best[:, 1].tolist() == [worlds[0].truth.max()] * 10
    assert outcomes["fool"].hits.min() > trainings - worlds[0].close
    exact, oracle, fool = script.rows(field, worlds, outcomes, trainings)
    assert exact["against"] == "its closed form" and exact["details"]["about"]["networks"] == 100
    assert oracle["low"] > 1 and oracle["ratio"] == min(outcomes["random"].arrival, trainings) / 2
    assert oracle["details"]["note"] == "oracle arrives after 2 trainings: it needs fewer trainings than random search"
    assert fool["high"] < 1 and fool["details"]["note"].endswith("it needs more trainings than random search")
    said = " ".join(PAGE.findings([exact, oracle, fool]))
    assert said.startswith("Fewer trainings than random search: oracle (") and "More trainings than random" in said
    again = script.ratio(outcomes["random"], outcomes["random"], trainings)
    assert again == (1.0, 1.0, 1.0) and script.verdict(*again[1:]) == "does not beat random search"
    assert PAGE.findings([exact, {**oracle, "low": 0.9}])[:2] == [
        "No strategy needs fewer trainings than random search, at 90 %.",
        f"Does not beat random search, as far as these replays can tell: oracle ({oracle['ratio']:.2f} times, 0.90–"
        f"{oracle['high']:.2f}).",
    ]


def test_others_are_compared_with_the_default_too(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (script, PAGE):
        monkeypatch.setattr(module, "DEFAULT_STRATEGY", "fool")
    found = script.rows(*script.run(base_landscape(), 10, ["random", "oracle", "fool"]))
    rival = found[1]["details"]["default_over_this"]
    assert rival["low"] > 1 and "default_over_this" not in found[2]["details"]
    rival |= {"ratio": 4.0, "low": 2.0, "high": 5.0}
    said = "fewer trainings than the default, fool. The default's trainings over theirs: oracle 4.00 ("
    assert PAGE.default_found(found) == [f"Other strategies need {said}2.00–5.00)."]
    rival["low"] = 1.0
    assert PAGE.default_found(found) == [f"No other strategy is shown to need {said}1.00–5.00)."]
    assert PAGE.default_found(script.rows(*script.run(base_landscape(), 10, ["random", "oracle"]))) == []


def test_the_default_is_beaten_by_no_other_strategy() -> None:
    """By the committed measurement, random search among them."""
    file = ROOT / "results" / "reference" / "benchmarks" / "base_search.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert {row["details"]["strategy"] for row in rows} == set(NAMES)
    own, *others = sorted(rows[1:], key=lambda row: row["details"]["strategy"] != DEFAULT_STRATEGY)
    assert own["details"]["strategy"] == DEFAULT_STRATEGY and own["high"] >= 1
    assert all(row["details"]["default_over_this"]["low"] <= 1 for row in others)


def test_every_strategy_of_the_tool_is_replayed(script: ModuleType) -> None:
    """Past its first, random networks, on rewards that all differ."""
    field = script.make_field(base_landscape(2, 0.2))
    world = field.world(3)
    for name in STRATEGIES:
        tried = script.search(field, world, name, 3, 28)
        assert set(tried) <= set(world.truth.tolist())
        assert len(tried) == 28 or tried[-1] == world.truth.max()  # nothing is left to find


def test_two_seeds_give_fresh_noise_and_one_gives_the_recorded_rewards(script: ModuleType) -> None:
    once, twice = script.make_field(base_landscape()), script.make_field(base_landscape(2, 0.3))
    assert once.world(1).accuracies.tolist() == once.world(2).accuracies.tolist()
    assert once.world(1).truth.tolist() == once.world(2).truth.tolist()
    worlds = [twice.world(number) for number in range(400)]
    for name in ("accuracies", "truth"):
        assert (getattr(worlds[1], name) != getattr(worlds[2], name)).mean() > 0.9
        assert getattr(worlds[1], name).tolist() == getattr(twice.world(1), name).tolist()
    # Noise apart, both know the same truth; the worlds' middle is near it.
    truths = np.stack([world.truth for world in worlds])
    assert np.corrcoef(once.world(0).truth, truths.mean(axis=0))[0, 1] > 0.9
    rewards = np.array(
        [
            [
                twice.landscape.reward(n.flops, float(a))
                for n, a in zip(twice.landscape.networks, world.accuracies, strict=True)
            ]
            for world in worlds
        ]
    )
    error = (rewards - truths).std(axis=0) / 20
    assert (np.abs((rewards - truths).mean(axis=0)) < 5 * error).all()


def test_worlds_lie_about_the_choices_effects(script: ModuleType) -> None:
    """The made-up space's rewards are mostly a sum over its choices: two noisy trainings then tell more than means."""
    whole, noisy = script.make_field(base_landscape()), base_landscape(2, 1.0)
    field, truth = script.make_field(noisy), whole.world(0).truth
    means = np.array([np.mean([t.epochs[-1].accuracy for t in network.trainings]) for network in noisy.networks])
    found = np.stack([field.world(number).truth for number in range(200)])
    assert np.corrcoef(found.mean(axis=0), truth)[0, 1] > np.corrcoef(means, truth)[0, 1]


def test_a_network_that_is_missing_is_a_training_that_failed(script: ModuleType) -> None:
    whole = base_landscape()
    field = script.make_field(replace(whole, networks=whole.networks[:50]))
    world = field.world(0)
    tried = script.search(field, world, "fool", 0, 100)
    assert tried[-1] == world.truth.max() and (tried == world.truth.min()).sum() > 25
    with pytest.raises(DataError, match="the recording holds 2 networks, a search needs three; let the run go on"):
        script.make_field(replace(whole, networks=whole.networks[:2]))


def test_without_noise_a_training_tells_what_its_network_is_worth(script: ModuleType) -> None:
    field, worlds, _, _ = script.run(base_landscape(2, 0.3), 10, ["random"], noiseless=True)
    for world in worlds:
        pairs = zip(field.landscape.networks, world.accuracies, strict=True)
        told = [field.landscape.reward(network.flops, float(value)) for network, value in pairs]
        assert told == pytest.approx(world.truth.tolist())


def test_the_script_writes_rows_a_page_and_a_figure(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, file = tmp_path / "space.json.gz", tmp_path / "base_search.json"
    write_base_landscape(base_landscape(2, 0.2), recording)
    script.main([str(recording), "--replays", "10", "--strategies", "evolution", "--json", str(file)])
    printed = capsys.readouterr().out
    assert "100 networks, the best worth " in printed and "fresh noise in each of 10 replays" in printed
    assert "evolution arrives after " in printed
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert [row["details"]["strategy"] for row in stored["rows"]] == ["random", "evolution"]
    page = PAGE.page(file)
    assert page.startswith(
        "# Which strategy finds a base soonest\n\nAll 100 networks of a small space (small_b0, 13.7M"
    )
    assert "One training's noise is " in page and "| evolution | " in page and "| chance, exact | " in page
    assert "## If there were no noise" not in page
    other = str(tmp_path / "base_search_noiseless.json")
    script.main([str(recording), "--replays", "10", "--strategies", "evolution", "--noiseless", "--json", other])
    assert "what networks are expected to give in each of 10 replays" in capsys.readouterr().out
    assert PAGE.page(file).count("| evolution | ") == page.count("| evolution | ") + 1
    info = found_info(stored["rows"])
    assert set(info.curves) == {"random", "evolution"} and info.close == pytest.approx(info.best - 0.01)
    assert info.curves["random"] == tuple(map(tuple, stored["rows"][0]["details"]["curve"]))
    for kind in ("svg", "png"):
        assert render(draw_found(info), kind)


def test_without_a_recording_it_says_so(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "RECORDING", tmp_path / "none.json.gz")
    script.main([str(tmp_path / "none.json.gz")])
    assert capsys.readouterr().out.startswith("nothing has been recorded yet: ")
    with pytest.raises(SystemExit, match="cannot be read: No such file"):
        script.main([str(tmp_path / "other.json.gz")])
    with pytest.raises(SystemExit):
        script.main(["--replays", "15"])
    assert "--replays 15: must be a multiple of 10" in capsys.readouterr().err
    assert PAGE.page(tmp_path / "none.json") == PAGE.NONE_YET


def test_the_page_is_that_of_the_measurement() -> None:
    """docs/base_search.md: after a measurement, write it again with `python docs/base_search.py`."""
    assert (ROOT / "docs" / "base_search.md").read_text(encoding="utf-8") == PAGE.page()


def test_the_experiments_space_can_be_exhausted_and_its_proxies_are_of_equal_flops() -> None:
    """296 networks and as many proxies, as experiments/base_space.toml says; no two proxies 6 % apart."""
    settings = make_settings(**read_settings_file(ROOT / "experiments" / "base_space.toml"))
    assert ROOT / settings.space == SPACE
    settings = replace(settings, space=str(SPACE))
    space, budget = space_of(settings), budget_of(settings)
    inside = [arch for arch in map(space.decode, space.points()) if budget.excess(arch).within]
    proxies = [proxy_of(arch, space, settings, len(DATA.classes), DATA.channels) for arch in inside]
    assert len(inside) == len({arch.digest for arch in inside}) == len({proxy.digest for proxy in proxies}) == 296
    assert settings.trials is not None and settings.trials > 296
    flops = [cost(proxy).flops for proxy in proxies]
    assert max(flops) / min(flops) < 1.06
