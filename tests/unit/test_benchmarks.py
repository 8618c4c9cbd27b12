"""The benchmarks' own arithmetic, their files, and the page that is written from them."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from landscapes import landscape, write_recording
from report_runs import Builder, candidates

from scalesearch.search.landscape import Landscape, Training, read_landscape, record, with_zero_cost, write_landscape
from scalesearch.search.plan import BASE_EPOCHS
from scalesearch.search.resample import noise_of
from scalesearch.spec.errors import DataError

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Any:
    """benchmarks/ is no package: its scripts import one another by name, as `python benchmarks/search.py` has them."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def here() -> Any:
    return script("strategies").make_field(landscape(10, 3))


def test_the_page_is_what_the_files_say() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == script("table").page(), "run `python benchmarks/table.py`"


def test_a_file_becomes_a_section(tmp_path: Path) -> None:
    results, table = script("results"), script("table")
    rows = [
        results.row("cost", "a | b", 4.04, 3.0, None, "at least 10", note="why", bound=True),
        results.row("speed", "the loop", 2.512, 2.4, 2.6, "at least 2.5"),
        results.row("growth", "100 trials", 3.0, target="under 3"),
        results.row("plain", "nothing", 1.0),
    ]
    results.write(tmp_path / "search.json", "search", rows)
    stored = json.loads((tmp_path / "search.json").read_text(encoding="utf-8"))
    assert set(stored) == {"benchmark", "machine", "date", "commit", "rows"}
    assert [set(row) for row in stored["rows"]] == [set(results.KEYS)] * 4
    assert "cores" in stored["machine"]["machine"]
    page = table.page(tmp_path)
    assert "## search" in page and "`python benchmarks/search.py`" in page
    assert "| cost | a \\| b | ≥ 4.04 (3–…) | at least 10; **missed** | why |" in page
    assert "| speed | the loop | 2.51 (2.4–2.6) | at least 2.5; **met** |  |" in page
    assert "| growth | 100 trials | 3 | under 3; **missed** |  |" in page
    assert "| plain | nothing | 1 |  |  |" in page
    with pytest.raises(ValueError, match=r"a target reads `at least 2\.5` or `under 3`, not 'fast 3'"):
        table.met(results.row("x", "y", 1.0, target="fast 3"))
    assert table.page(tmp_path / "empty").endswith(table.NONE_YET)


def test_a_run_is_packed_and_its_zero_cost_scores_are_kept(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=1)
    for candidate in candidates(5):
        builder.add_candidate(candidate, 0.8)
    run, file = builder.finish(), tmp_path / "deep" / "packed.json.gz"
    packed = script("record").pack(builder.folder, file, "words")
    assert packed == read_landscape(file) == record(run, "words")
    scored = with_zero_cost(packed, {candidates(5)[0].digest: {"params": [3.0]}})
    write_landscape(scored, file)
    assert script("record").pack(builder.folder, file, "words") == scored == read_landscape(file)


def test_arrival_is_where_the_share_stays() -> None:
    search = script("search")
    costs = np.array([1.0, 2.0, 3.0, 4.0])
    assert search.arrival(costs, np.array([0.95, 0.5, 0.9, 0.95])) == 3.0
    assert search.arrival(costs, np.array([0.95, 0.9, 0.9, 1.0])) == 1.0
    assert search.arrival(costs, np.array([0.95, 0.9, 0.9, 0.89])) == math.inf


def test_ratios_and_bounds() -> None:
    search, costs = script("search"), np.arange(1.0, 11.0)

    def outcome(first_close: int, spent: float) -> Any:
        regret = np.where(costs >= first_close, 0.0, 0.01) * np.ones((20, 1))
        return search.Outcome("x", costs, regret, spent, 0.0, 0.02)

    rng = np.random.default_rng(0)
    assert search.ratio(outcome(8, 10.0), outcome(2, 10.0), rng) == (4.0, 4.0, 4.0, False)
    assert search.ratio(outcome(99, 10.0), outcome(2, 10.0), rng) == (5.0, 5.0, None, True)
    assert search.ratio(outcome(2, 10.0), outcome(99, 10.0), rng)[0] == 0.0  # what never arrives is no cheaper
    unanswered = search.Outcome("x", costs, np.array([[np.nan] * 10, [0.01] * 10]), 10.0, 0.0, 0.03)
    assert unanswered.mean_regret == pytest.approx(2.0) and unanswered.close.sum() == 0
    assert search.first_to_arrive([outcome(99, 1.0), outcome(5, 1.0), outcome(4, 1.0)]).arrival() == 4.0


def test_the_papers_grid_is_the_whole_grid(here: Any) -> None:
    """109 nodes of the 0.05 grid of α in [1, 2], β and γ in [1, 1.6] lie within 0.1 of 2; counted by brute force."""
    nodes = [
        (a, b, c)
        for a in range(100, 201, 5) for b in range(100, 161, 5) for c in range(100, 161, 5)
        if abs(a * b * b * c * c - 2 * 10**10) <= 10**9
    ]  # fmt: skip
    assert len(here.nodes) == len(nodes)
    assert len(set(here.nodes)) <= len(here.distinct) <= len(nodes)
    assert set(here.distinct) == set(here.nodes)


def test_every_strategy_pays_for_what_it_trains(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = script("strategies")
    monkeypatch.setattr(strategies, "MOST_ASKED", 60)  # enough in world 5
    each, stop = float(here.whole[0]), 15 * float(here.whole[0])
    assert set(here.whole) == {each}
    for name, search in strategies.STRATEGIES.items():
        if name in strategies.INHERIT:
            continue  # the next test
        limit = 3 * each if name.startswith("tpe") else stop
        path = search(strategies.make_world(here, 5, name in strategies.ONE_SEED), limit)
        again = search(strategies.make_world(here, 5, name in strategies.ONE_SEED), limit)
        assert (path.costs, path.answers) == (again.costs, again.answers), name
        assert path.costs == sorted(path.costs) and path.costs[0] >= each, name
        assert path.costs[-1] <= path.spent, name
        assert set(path.answers) <= set(range(10)), name
        if name in ("paper", "paper_distinct", "grid_any_time"):
            count = len(here.distinct if name == "paper_distinct" else here.nodes)
            assert path.spent == pytest.approx(count * each)
        else:
            assert path.spent < limit + each, name


def test_a_search_that_inherits_pays_for_the_base_and_looks_at_its_own_trainings(tmp_path: Path) -> None:
    """Inherited trainings of two epochs, without noise, that rank the other way round than those from scratch."""
    strategies = script("strategies")
    scratch = landscape(10, 3)
    grown = grown_of(landscape(10, 3, noise=0.0, seed_noise=0.0))
    here = strategies.make_field(scratch, grown)
    base = sum(epoch.processor_seconds for epoch in scratch.base_trainings[0].epochs) / 4
    seeds = grown.settings["seeds"]
    assert (here.grown.seeds, here.grown.before) == (seeds, pytest.approx(BASE_EPOCHS * 2 * seeds * base))
    path = strategies.surface(strategies.make_world(here, 1, False), math.inf, precision=0.0005, inherit=True)
    assert path.costs[0] == pytest.approx(here.grown.before + here.whole[0] / 2)
    worst = here.noise.truth[:, -1].argmin()
    assert path.answers[-1] == here.grown.noise.truth[:, -1].argmax() == worst
    search = script("search")
    write_landscape(scratch, tmp_path / "scratch.gz")
    write_landscape(grown, tmp_path / "grown.gz")
    _, found = search.run(tmp_path / "scratch.gz", tmp_path / "grown.gz", 2, ["surface_inherit"], quick=True)
    worlds = [search.FIRST_WORLD + number for number in range(2)]
    truths = [strategies.make_world(here, number, False).truth for number in worlds]  # from scratch
    assert found["surface_inherit"].regret[:, -1] == pytest.approx([truth.max() - truth[worst] for truth in truths])


def grown_of(scratch: Landscape) -> Landscape:
    """The first two epochs of each training, with what is right and wrong exchanged."""

    def training(own: Training) -> Training:
        return replace(own, epochs=tuple(replace(epoch, accuracy=1 - epoch.accuracy) for epoch in own.epochs[:2]))

    networks = (replace(one, trainings=tuple(map(training, one.trainings))) for one in scratch.networks)
    settings = {**scratch.settings, "inherit": True}
    return replace(
        scratch, networks=tuple(networks), base_trainings=(), settings=settings, plan={**scratch.plan, "epochs": 2}
    )


def test_recordings_that_do_not_belong_together_are_refused() -> None:
    strategies, scratch = script("strategies"), landscape(10, 3)
    grown = grown_of(scratch)
    other = {**grown.settings, "batch": 8, "inherit": False}
    foreign = replace(grown, networks=grown.networks[1:], settings=other)
    with pytest.raises(DataError) as caught:
        strategies.make_field(scratch, foreign)
    batch = scratch.settings["batch"]
    assert str(caught.value) == (
        f"inherited: batch must be {batch} as in the recording from scratch, got 8; its settings must have inherit = "
        "true; networks and images must be those of the recording from scratch; record it by "
        "experiments/scalebench_inherited.toml"
    )
    with pytest.raises(DataError, match=r"^the recording must hold a training of the base, which every search pays"):
        strategies.make_field(replace(scratch, base_trainings=()))
    with pytest.raises(DataError, match=r"^inherited: networks and images must be those of"):
        strategies.make_field(scratch, replace(grown, data_fingerprint="1" * 32))


def test_who_names_a_search_that_inherits_needs_its_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py", str(tmp_path / "any.gz"), "--ours", "surface_inherit"])
    with pytest.raises(SystemExit):
        script("search").main()
    assert "--ours surface_inherit: needs a recording of trainings that inherit; give --inherited FILE" in (
        capsys.readouterr().err
    )


def test_without_noise_the_lattice_finds_the_best(here: Any) -> None:
    strategies = script("strategies")
    quiet = replace(here, noise=noise_of(landscape(10, 3, noise=0.0, seed_noise=0.0)))
    path = strategies.lattice(strategies.make_world(quiet, 0, False), math.inf, seeds=1)
    assert path.answers[-1] == quiet.noise.truth[:, -1].argmax()
    assert path.spent == pytest.approx(quiet.base + quiet.whole.sum())
    assert sorted(quiet.order) == list(range(10))


def test_coverage_is_counted_in_worlds_of_fresh_noise(tmp_path: Path) -> None:
    confidence = script("confidence")
    write_recording(tmp_path, 10, 3)
    make = confidence.recorded(tmp_path / "tiny.json.gz")
    world, other = make(np.random.default_rng(1)), make(np.random.default_rng(2))
    truth = noise_of(landscape(10, 3)).truth[:, -1]
    assert (world.truth != other.truth).all()
    assert world.truth == pytest.approx(truth, abs=0.05) and other.truth == pytest.approx(truth, abs=0.05)
    assert (world.scores != other.scores).mean() > 0.9 and len(world.first) == 5 and world.paper in world.first
    # Without noise, and with every network trained, the set holds the best and the gain is as it is.
    sure = replace(world, scores=np.repeat(world.truth[:, None], world.scores.shape[1], axis=1))
    found = confidence.search(sure, "random", 10, np.random.default_rng(0))
    assert found["coverage"] and found["within"] and found["trainings"] == 10
    assert abs(found["search_error_points"]) < 0.6
    for seeds in (2, 3):
        assert found[f"confirm_{seeds}_error_points"] == pytest.approx(0, abs=1e-9) and found[f"confirm_{seeds}_holds"]
    kept, *gains = confidence.measure("recorded", 0, make, "stops", 4, 7)
    assert kept["target"] == "at least 1" and kept["details"]["searches"] == 4
    assert kept["ratio"] == pytest.approx(kept["details"]["coverage"] / 0.9)
    assert 5 <= kept["details"]["trainings"] <= 7
    assert [row["measure"].split(" by ")[1].split(":")[0] for row in gains] == [
        "the search alone", "3 fresh seeds", "2 fresh seeds"
    ]  # fmt: skip
    others = confidence.measure("recorded", 1, make, "stops", 4, 7)
    again = confidence.measure("recorded", 0, make, "stops", 4, 7)
    errors = [[row["details"]["error_points"] for row in rows[1:]] for rows in (again, [kept, *gains], others)]
    assert errors[0] == errors[1] != errors[2]


def test_searches_that_choose_the_papers_network_say_nothing_of_gains(tmp_path: Path) -> None:
    confidence = script("confidence")
    write_recording(tmp_path, 10, 3)
    world = confidence.recorded(tmp_path / "tiny.json.gz")(np.random.default_rng(1))
    scores = np.repeat(world.truth[:, None], world.scores.shape[1], axis=1)
    scores[world.paper] = scores.max() + 0.05
    same = confidence.search(replace(world, scores=scores), "random", 10, np.random.default_rng(0))
    assert not [name for name in same if "error" in name or "holds" in name]
    one = {"search_error_points": 0.3, "search_holds": 1.0}
    two = {"search_error_points": 0.5, "search_holds": 0.0}
    assert confidence.gain_row("recorded", "stops", [same, one], "search") is None
    row = confidence.gain_row("recorded", "stops", [same, one, two], "search")
    assert row["ratio"] == pytest.approx(0.5 / 0.9) and row["details"]["error_points"] == pytest.approx(0.4)
    assert row["details"]["error_se_points"] == pytest.approx(0.1)  # by hand: 0.1414 / sqrt(2)
    assert "in 50.0% of the 2 searches of 3 that did not choose" in row["details"]["note"]


def test_outcomes_follow_the_paths(here: Any) -> None:
    search = script("search")
    costs = np.geomspace(12.0, 2000.0, 40)
    found = search.measure(here, "lattice", 5, math.inf, costs)
    assert found.regret.shape == (5, 40) and np.isnan(found.regret[:, costs < here.base + here.whole[0]]).all()
    assert (found.regret[:, -1] >= 0).all() and found.spent == pytest.approx(here.base + 2 * here.whole.sum())
    printed = search.table(here, {"lattice": found})
    assert len(printed) == 2 and printed[1].startswith("lattice")
    rows = search.rows(here, {name: found for name in ("lattice", "paper", "tpe", "random")}, "lattice")
    assert [row["target"] for row in rows] == ["at least 10", "at least 3", "at least 1.5", "", "", ""]
    assert [row["ratio"] for row in rows[3:]] == [1.0, 1.0, 1.0]  # of a strategy against itself
    stopped = replace(found, ends=np.array([1.0, 2.0, 3.0, 4.0, 5.0]) * here.whole[0])
    every = {name: found for name in ("lattice", "paper", "tpe", "random")} | {"surface_stops": stopped}
    row = search.rows(here, every, "lattice")[-1]
    assert row["ratio"] == pytest.approx(min(found.arrival(), found.spent) / (3 * here.whole[0]))
    assert row["low"] < row["ratio"] < row["high"] and row["target"] == ""
    assert row["details"]["note"].startswith("it ends after 3.0 trainings of the mean cost; its answer is then within")


def test_a_pruner_of_the_tool_saves_the_surface_what_it_stops(here: Any) -> None:
    """Its decisions are the tool's own: after the anchors, a pruned network is left out for good."""
    strategies = script("strategies")
    world, each = strategies.make_world(here, 1, False), float(here.whole[0])
    spent = {name: strategies.STRATEGIES[name](world, 8 * each).costs for name in ("surface", "surface_asha")}
    steps = {name: set(np.diff(costs, prepend=here.base).round(6)) for name, costs in spent.items()}
    assert steps["surface"] == {each}
    rungs = np.diff(here.rung_stops, prepend=0) * each / here.rung_stops[-1]
    assert min(steps["surface_asha"]) < each and steps["surface_asha"] <= set(np.cumsum(rungs).round(6))
