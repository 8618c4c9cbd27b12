"""The confirmation: fresh seeds after the search, an unbiased lead, and what is said of it."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from landscapes import landscape, write_recording
from report_runs import Builder, candidates, pool

from scalesearch.report.html import _how_sure
from scalesearch.report.tables import candidates_table, trials_table
from scalesearch.report.wording import answer
from scalesearch.search import pipeline, surface
from scalesearch.search.confirmation import FACT, FIRST_SEED, ROLE, begin, confirm
from scalesearch.search.early_ranks import early_ranks
from scalesearch.search.landscape import Landscape
from scalesearch.search.queue import queue_confirmation
from scalesearch.search.resample import resampled
from scalesearch.search.run import Run
from scalesearch.search.stats import Scores
from scalesearch.search.surface import Observation
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.settings import make_settings

NOISE, PLACES, SEARCHES, PAPER = 0.006, 16, 300, 0
EACH = 48.0  # recorded processor seconds of one training


@cache
def simulated(unequal: float = 1.0) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Searches of nearly equal networks, four of them with a second seed: the choice is luck more than merit.

    The paper's network scatters `unequal` times as much as the others.

    Of the lead as the posterior of these trainings has it, and as two fresh seeds do: errors, in points, and whether
    the 90 % interval holds the truth.
    """
    found = []
    for number in range(SEARCHES):
        rng = np.random.default_rng([5, number])
        shares = rng.dirichlet([0.8, 0.8, 0.8], PLACES)
        truth = 0.75 + 0.0005 * rng.standard_normal(PLACES)

        def train(place: int, rng: np.random.Generator = rng, truth: Any = truth) -> float:
            return float(truth[place] + NOISE * (unequal if place == PAPER else 1) * rng.standard_normal())

        seen = [Observation(place, 0, train(place), 1, True) for place in range(PLACES)]
        seen += [Observation(place, 1, train(place), 1, True) for place in range(4)]
        posterior = surface.fit(shares, seen, count=300)
        chosen = surface.recommend(posterior)
        if chosen == PAPER:
            continue
        search: dict[str, dict[int, float]] = {}
        for one in seen:
            search.setdefault(str(one.place), {})[one.seed] = one.value
        fresh = {str(place): {700: train(place), 701: train(place)} for place in (chosen, PAPER)}
        spread = {str(place): float(value) for place, value in enumerate(posterior.spread)}
        confirmed = confirm(str(chosen), str(PAPER), fresh, search, spread, 0.9)
        assert confirmed is not None
        true = float(truth[chosen] - truth[PAPER])
        row = []
        for lead in (surface.difference(posterior, chosen, PAPER, 0.9), confirmed.lead):
            row += [100 * (lead.mean - true), float(lead.low <= true <= lead.high)]
        found.append(row)
    names = ("posterior", "posterior_holds", "confirmed", "confirmed_holds")
    return dict(zip(names, np.array(found).T, strict=True))


def test_the_confirmed_lead_is_unbiased_where_the_posteriors_is_not() -> None:
    found = simulated()
    reach = {name: 2.6 * found[name].std(ddof=1) / math.sqrt(len(found[name])) for name in ("posterior", "confirmed")}
    assert found["posterior"].mean() > reach["posterior"] + 0.1  # points: the winner's curse
    assert abs(found["confirmed"].mean()) < reach["confirmed"]  # 99 % of the Monte Carlo error
    assert reach["confirmed"] < 0.15  # so that a bias as large as the posterior's would show


@pytest.mark.parametrize("unequal", [1.0, 3.0])
def test_the_confirmed_interval_holds_the_truth_as_often_as_it_says(unequal: float) -> None:
    """Oftener where all networks scatter alike; 90 % are promised where they do not."""
    holds = simulated(unequal)["confirmed_holds"]
    assert 0.9 - 2.6 * math.sqrt(0.09 / len(holds)) < holds.mean() < 0.99


SEARCH: Scores = {"a": {0: 0.80, 1: 0.82}, "b": {0: 0.70, 1: 0.70}}
EQUAL = {"a": 0.01, "b": 0.01}


def test_the_interval_by_hand() -> None:
    """Residuals of a two-way layout of two by two: ±0.005 each, so 1e-4 with one degree of freedom; differences 0.04
    and 0.02: 2e-4 / 2 as squares of one training, with another. t(0.95, 2) = 2.919986 (any table)."""
    fresh = {"a": {700: 0.84, 701: 0.83}, "b": {700: 0.80, 701: 0.81}}
    found = confirm("a", "b", fresh, SEARCH, EQUAL, 0.9)
    assert found is not None and found.seeds == (700, 701) and found.noise.freedom == 2
    assert found.lead.mean == pytest.approx(0.03)
    deviation = math.sqrt((1e-4 + 2e-4 / 2) / 2)
    assert found.noise.deviation == pytest.approx(deviation)
    assert found.lead.high - found.lead.mean == pytest.approx(2.919986 * deviation * math.sqrt(2 / 2), rel=1e-6)
    other = confirm("a", "b", fresh, SEARCH, {"a": 5.0, "b": 5.0}, 0.9)  # only ratios of the expected deviations count
    assert other is not None and (other.lead.low, other.lead.high) == pytest.approx((found.lead.low, found.lead.high))


def test_many_repeats_of_the_search_count_as_one_degree() -> None:
    """Six networks of two seeds, residuals ±0.005: 3e-4 / 5, five degrees, counted as one beside the two of three
    differences 0.04, 0.02, 0.03 (squares 2e-4, half of it per training). t(0.95, 3) = 2.353363 (any table)."""
    search = {name: {0: 0.80, 1: 0.82 if number % 2 else 0.80} for number, name in enumerate("abcdef")}
    fresh = {"a": {700: 0.84, 701: 0.83, 702: 0.84}, "b": {700: 0.80, 701: 0.81, 702: 0.81}}
    found = confirm("a", "b", fresh, search, dict.fromkeys("abcdef", 0.01), 0.9)
    assert found is not None and found.noise.freedom == 3
    deviation = math.sqrt((3e-4 / 5 + 2e-4 / 2) / 3)
    assert found.noise.deviation == pytest.approx(deviation)
    assert found.lead.high - found.lead.mean == pytest.approx(2.353363 * deviation * math.sqrt(2 / 3), rel=1e-6)


def test_only_pairs_count_and_one_without_repeats_says_nothing_of_noise() -> None:
    single: Scores = {"a": {0: 0.8}, "b": {0: 0.7}}
    found = confirm("a", "b", {"a": {700: 0.84, 701: 0.9}, "b": {700: 0.80}}, single, EQUAL, 0.9)
    assert found is not None and found.seeds == (700,)
    assert (found.lead.mean, found.lead.low, found.noise.freedom) == (pytest.approx(0.04), -math.inf, 0)
    assert confirm("a", "b", {"a": {700: 0.8}, "b": {701: 0.7}}, SEARCH, EQUAL, 0.9) is None


def built(folder: Path, gain: float = 0.1, **given: Any) -> Builder:
    """Five networks, two seeds; the last is chosen, the paper's is among the first."""
    builder = Builder(folder, **given)
    for index, candidate in enumerate(candidates(5)):
        for seed in range(builder.seeds):
            level = 0.7 + (gain if index == 0 else 0)
            builder.add_candidate(candidate, level + 0.004 * (index + seed) % 0.007, seed)
    return builder


def confirmed(builder: Builder, accuracies: list[tuple[float, float]]) -> Run:
    """With fresh trainings of (the recommended network, the paper's), a pair per seed."""
    run = Run(builder.folder, builder.ledger)
    paper = run.trained("paper")
    assert paper is not None and paper.candidate.digest != run.recommended.candidate.digest
    pair = (run.recommended.candidate, paper.candidate)
    begin(builder.ledger, pair[0].digest, pair[1].digest, range(FIRST_SEED, FIRST_SEED + len(accuracies)))
    for seed, values in enumerate(accuracies, FIRST_SEED):
        for candidate, accuracy in zip(pair, values, strict=True):
            builder._train(ROLE, candidate.arch, seed, accuracy, {"budget": 2.0}, {})
    return builder.finish()


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (0.05, "Its lead over the network nearest to the paper's point is confirmed by 2 fresh seeds: +"),
        (0.0, "Its lead over the network nearest to the paper's point is not confirmed by 2 fresh seeds: "),
        (-0.05, "Its lead over the network nearest to the paper's point is refuted by 2 fresh seeds: −"),
    ],
)
def test_the_lead_is_that_of_the_fresh_seeds(tmp_path: Path, gain: float, words: str) -> None:
    run = confirmed(built(tmp_path / "run"), [(0.75 + gain, 0.75), (0.748 + gain, 0.75)])
    lead, found = run.lead_over("paper"), run.confirmation
    assert lead is not None and found is not None and found.lead == lead
    expected = np.mean([found.scores[found.chosen][s] - found.scores[found.against][s] for s in (700, 701)])
    assert lead.mean == pytest.approx(expected)
    text = answer(run).paper
    assert text.startswith(words) and "by the trainings that chose it" not in text.lower()
    span = f"points of score [{100 * lead.low:+.1f}, {100 * lead.high:+.1f}] at 90% confidence".replace("-", "−")
    assert span in text
    assert ("cannot be told apart" in text) == (gain == 0)
    assert "no allowance" not in _how_sure(run)


def test_only_the_lead_takes_the_fresh_trainings_up(tmp_path: Path) -> None:
    without = built(tmp_path / "without").finish()
    run = confirmed(built(tmp_path / "with"), [(0.1, 0.9), (0.1, 0.9)])
    assert run.recommended.candidate.digest == without.recommended.candidate.digest
    assert run.verdict.standings == without.verdict.standings and run.noise == without.noise
    assert run.points == without.points and early_ranks(run) == early_ranks(without)
    roles = Counter(trials_table(run)["role"])
    assert roles == {"candidate": 10, ROLE: 4}
    frame = candidates_table(run).set_index("digest")
    assert frame["confirmed_seeds"].sum() == 4
    assert frame.loc[run.recommended.candidate.digest, "confirmed_score"] == pytest.approx(0.1, abs=0.005)
    assert frame["accuracy_mean"].min() > 0.69


def test_without_a_confirmation_the_words_say_who_chose(tmp_path: Path) -> None:
    run = built(tmp_path / "run").finish()
    assert run.confirmation is None
    assert (
        "By the trainings that chose it, this is too high on average, and the interval too narrow." in answer(run).paper
    )
    assert "makes no allowance for having picked the best of many." in _how_sure(run)


def test_one_fresh_seed_without_repeats_is_called_that(tmp_path: Path) -> None:
    run = confirmed(built(tmp_path / "run", seeds=1), [(0.8, 0.7)])
    assert "points of score by 1 fresh seed; nothing says how much of that is noise." in answer(run).paper


def test_fresh_seeds_are_queued_in_pairs_once(tmp_path: Path) -> None:
    builder = built(tmp_path / "run")
    assert not queue_confirmation(builder.ledger)  # not begun
    first, second = candidates(2)
    begin(builder.ledger, first.digest, second.digest, (700, 701))
    begin(builder.ledger, second.digest, first.digest, (900,))  # settled once
    while queue_confirmation(builder.ledger, bases=3):
        pass
    queued = [record for record in builder.ledger.records() if record.role == ROLE]
    assert [(record.digest, record.seed) for record in queued] == [
        (digest, seed) for seed in (700, 701) for digest in (first.digest, second.digest)
    ]
    assert [record.attributes["origin"] for record in queued] == [1, 1, 2, 2]  # 700 and 701 modulo 3
    assert {record.attributes["budget"] for record in queued} == {2.0}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recording(tmp_path_factory.mktemp("recordings"), 6, 4)


def replay(recording: Path, **given: Any) -> Any:
    return make_settings(**{"evaluator": "replay", "data": str(recording), "members": 0, "sampler": "lattice", **given})


def fresh_of(run: Run) -> list[tuple[str, int, float | None]]:
    return [(r.digest, r.seed, r.accuracy) for r in run.trials if r.role == ROLE]


def test_an_interrupted_confirmation_goes_on_and_searches_no_more(recording: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.done == 2 * 7 + 1:  # six networks and the base, two seeds; then the first that confirms
            raise Stop

    asked = replay(recording, seed=3)
    with pytest.raises(Stop):
        pipeline.run(asked, tmp_path / "broken", observer=stop)
    broken = Run.load(tmp_path / "broken")
    assert 1 <= len(fresh_of(broken)) < 4
    resumed, whole = pipeline.run(asked, tmp_path / "broken"), pipeline.run(asked, tmp_path / "whole")
    assert [(r.role, *rest) for r in resumed.trials for rest in [(r.digest, r.seed, r.accuracy)]] == [
        (r.role, r.digest, r.seed, r.accuracy) for r in whole.trials
    ]
    found = whole.confirmation
    assert found is not None and found.seeds == (700, 701) and found.against == anchor(whole)
    drawn = accuracies(resampled(landscape(6, 4), 3, 2, (700, 701)))
    assert {(digest, seed): value for digest, seed, value in fresh_of(whole)} == {
        (digest, seed): drawn[digest, seed] for digest in (found.chosen, found.against) for seed in (700, 701)
    }
    with (tmp_path / "whole" / "run.json").open(encoding="utf-8") as file:
        assert '"confirm": 2' in file.read()


def anchor(run: Run) -> str:
    paper = run.trained("paper")
    assert paper is not None
    return paper.candidate.digest


def accuracies(found: Landscape) -> dict[tuple[str, int], float]:
    return {(n.candidate.digest, own.seed): own.epochs[-1].accuracy for n in found.networks for own in n.trainings}


def test_recorded_seeds_confirm_where_the_search_has_left_some(recording: Path, tmp_path: Path) -> None:
    run = pipeline.run(replay(recording, seeds=2), tmp_path / "two")
    assert run.confirmation is not None and run.confirmation.seeds == (2, 3)
    lines: list[str] = []
    every = pipeline.run(replay(recording, seeds=4), tmp_path / "four", say=lines.append)
    assert every.confirmation is None and not fresh_of(every) and FACT not in every.facts
    assert any(
        line.startswith("no confirmation: the search has used every recorded seed of the recommended network")
        and line.endswith("give fewer --seeds, or --seed 1 or higher for fresh noise")
        for line in lines
    )


def test_the_time_of_the_confirmation_is_kept(recording: Path, tmp_path: Path) -> None:
    """Ten trainings' time: four confirm, so the search stops when six have been done."""
    run = pipeline.run(replay(recording, seed=2, seeds=1, trials=6, time_budget=10 * EACH), tmp_path / "run")
    assert run.plan is not None and run.plan.confirm_seconds == 4 * EACH
    assert Counter(r.role for r in run.trials) == {"base": 1, "candidate": 5, ROLE: 4}
    assert sum(record.seconds for record in run.trials) == 10 * EACH


def test_a_replay_too_short_for_it_is_refused(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        pipeline.run(replay(recording, seed=1, time_budget=5 * EACH), tmp_path / "run")
    assert str(caught.value) == (
        "--time-budget 4m00s: the confirmation's 4 trainings take 3m12s, which leaves no time for the base and a "
        "network; give it about 11m12s, or --set confirm=0"
    )


def test_none_is_asked_none_is_trained(recording: Path, tmp_path: Path) -> None:
    run = pipeline.run(replay(recording, seed=1, confirm=0), tmp_path / "run")
    assert run.confirmation is None and not fresh_of(run)


def test_presets_ask_for_it() -> None:
    asked = {name: make_settings(name, target_flops=1_000_000).confirm for name in ("smoke", "quick", "full")}
    assert asked == {"smoke": 0, "quick": 2, "full": 3}


def test_a_run_of_an_older_version_goes_on_without_one(recording: Path, tmp_path: Path) -> None:
    """Its stored settings say nothing of it, and the same command now asks for two."""
    builder = Builder(tmp_path / "run")
    stored = {key: value for key, value in builder.settings.to_dict().items() if key != "confirm"}
    builder.ledger.set_fact("settings", stored)
    builder.ledger.set_fact("finished", "all planned trainings done")
    builder.add_candidate(candidates(1)[0], 0.5)
    assert builder.settings.confirm == 2
    found = pipeline.run(builder.settings, tmp_path / "run")
    assert found.settings.confirm == 0 and pool()
