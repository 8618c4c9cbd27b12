"""The rounds of a base search: their seeds, what they choose, and going on after a kill."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from base_runs import NETWORKS, Here, Killed, problem, run, trained

from scalesearch.fit.recipe import Rung, RungResult
from scalesearch.report.base_wording import base_answer
from scalesearch.search.base_problem import budget_of, space_of
from scalesearch.search.base_run import BaseRun
from scalesearch.search.base_search import (
    CHOSEN,
    ENTRANTS,
    EXPONENT,
    FINALISTS,
    later_trainings,
    proposals,
    queue_confirmation,
)
from scalesearch.search.confirmation import FIRST_SEED
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, SettingsError, SpaceError, TrainingError
from scalesearch.spec.files import shipped_spaces
from scalesearch.spec.settings import make_settings


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[BaseRun, Here]:
    executor = Here()
    return run(tmp_path_factory.mktemp("whole") / "base", problem(), executor), executor


def seeds_by_role(found: BaseRun) -> dict[str, set[int]]:
    table: dict[str, set[int]] = {}
    for record in found.trials:
        table.setdefault(record.role, set()).add(record.seed)
    return table


def test_every_round_has_seeds_of_its_own(done: tuple[BaseRun, Here]) -> None:
    found, _ = done
    fresh = {FIRST_SEED, FIRST_SEED + 1}
    assert seeds_by_role(found) == {"candidate": {0}, "final": {1, 2}, "confirmation": fresh, "match": fresh}
    assert len(found.trials) == NETWORKS + (FINALISTS + 1) * 2 + 3 * 2 == NETWORKS + later_trainings(found.settings)
    assert found.finished == f"all {NETWORKS} planned networks tried"


def test_the_best_of_first_trainings_enter_the_final_and_its_means_choose(done: tuple[BaseRun, Here]) -> None:
    found, _ = done
    tried = sorted((r for r in found.trials if r.role == "candidate"), key=lambda r: -(r.score or 0))
    assert found.facts[ENTRANTS]["digests"] == [record.digest for record in tried[:FINALISTS]]
    means = {
        digest: sum(r.score or 0 for r in found.trials if r.role == "final" and r.digest == digest) / 2
        for digest in found.facts[ENTRANTS]["digests"]
    }
    assert found.winner.digest == max(means, key=means.__getitem__)
    assert found.facts[CHOSEN]["by_final"]


def test_rewards_weigh_the_whole_networks_flops(done: tuple[BaseRun, Here]) -> None:
    found, _ = done
    for record in found.trials:
        whole = (
            cost(space_of(found.settings).decode(tuple(record.attributes["point"])))
            if record.role == "candidate"
            else None
        )
        if whole is not None:
            assert record.attributes["base_flops"] == whole.flops
            assert 380_000_000 <= whole.flops <= 420_000_000
            assert record.score == pytest.approx((record.accuracy or 0) * (whole.flops / 4e8) ** -0.07)


def test_the_lead_is_of_fresh_seeds_alone(done: tuple[BaseRun, Here]) -> None:
    found, _ = done
    fresh = {
        (record.digest, record.seed): record.score or 0.0 for record in found.trials if record.role == "confirmation"
    }
    reference = found.reference_network
    assert reference is not None and reference.part == "reference"
    leads = [fresh[found.winner.digest, seed] - fresh[reference.digest, seed] for seed in (FIRST_SEED, FIRST_SEED + 1)]
    assert found.lead is not None
    assert found.lead.mean == pytest.approx(sum(leads) / 2)
    assert found.lead.low < found.lead.mean < found.lead.high


def test_the_match_has_the_flops_of_the_winners_proxy_and_is_compared_by_accuracy(done: tuple[BaseRun, Here]) -> None:
    found, _ = done
    match, flops = found.match, cost(found.match).flops
    assert abs(flops / found.winner.proxy_flops - 1) < 0.05
    assert flops != cost(problem().proxy(found.reference)).flops
    fresh: dict[str, dict[int, float]] = {"match": {}, "confirmation": {}}
    for record in found.trials:
        if record.role in fresh and record.digest in (match.digest, found.winner.digest):
            fresh[record.role][record.seed] = record.accuracy or 0.0
            assert record.role != "match" or (record.score == record.accuracy and record.flops == flops)
    leads = [fresh["confirmation"][seed] - fresh["match"][seed] for seed in fresh["match"]]
    confirmed = found.match_confirmation
    assert confirmed is not None and len(leads) == 2
    assert confirmed.lead.mean == pytest.approx(sum(leads) / 2)
    assert all(one.digest != match.digest for one in found.networks)


def test_a_match_that_would_outgrow_the_images_keeps_their_side() -> None:
    posed = problem()
    flops = 12 * cost(posed.proxy(posed.reference)).flops
    assert posed.proxy_at(flops).resolution <= posed.dataset.size
    small = replace(posed, dataset=replace(posed.dataset, size=posed.settings.proxy_resolution))
    kept = small.proxy_at(flops)
    assert kept.resolution == posed.settings.proxy_resolution
    assert abs(cost(kept).flops / flops - 1) < 0.1


@pytest.mark.parametrize("kill_at", [4, 11, 40])
def test_killed_between_any_two_rungs_it_ends_as_if_it_had_not_been(
    done: tuple[BaseRun, Here], tmp_path: Path, kill_at: int
) -> None:
    """In the proposals, and in the final; each rung is done once, but that which was cut off."""
    whole, straight = done
    first, second = Here(kill_at=kill_at), Here()
    with pytest.raises(Killed):
        run(tmp_path / "base", problem(), first)
    found = run(tmp_path / "base", problem(), second)
    assert [(r.role, r.digest, r.seed, r.score) for r in found.trials] == [
        (r.role, r.digest, r.seed, r.score) for r in whole.trials
    ]
    assert len(first.rungs) + len(second.rungs) == len(straight.rungs)
    assert found.winner == whole.winner and found.lead == whole.lead


def test_a_skip_that_does_nothing_in_the_proxy_makes_no_other_proxy() -> None:
    """Three blocks with their inputs added or not are one block in the proxy, whose input does not fit."""
    posed = problem(proxy_depth=0.3)
    whole = posed.space.decode(posed.space.encode(posed.space.skeleton) or ())
    stages = list(whole.stages)
    stages[2] = replace(stages[2], skip="none")
    other = replace(whole, stages=tuple(stages))
    assert whole.stages[2].repeats > 1 and posed.proxy(whole).stages[2].repeats == 1
    assert whole.digest != other.digest and posed.proxy(whole).digest == posed.proxy(other).digest


def test_networks_of_equal_proxies_are_tried_once(tmp_path: Path) -> None:
    """At a tenth of the width many choices of channels make the same proxy."""
    found = run(tmp_path / "base", problem(proxy_width=0.05, proxy_depth=0.3, strategy="random"))
    assert len({record.digest for record in proposals(found.ledger)}) == NETWORKS


def test_pruned_networks_do_not_enter_the_final(tmp_path: Path) -> None:
    found = run(tmp_path / "base", problem(pruner="asha", strategy="random"))
    status = {record.digest: record.status for record in found.trials if record.role == "candidate"}
    assert "pruned" in status.values()
    assert all(status[digest] == "done" for digest in found.facts[ENTRANTS]["digests"])
    assert "stopped early" in (found.finished or "")


def test_without_time_for_a_final_the_first_trainings_choose(tmp_path: Path) -> None:
    executor = Here()
    posed = problem()
    with pytest.raises(Killed):
        run(tmp_path / "base", posed, Here(kill_at=14))  # four networks are trained to their end
    found = run(tmp_path / "base", posed, executor, ends=-math.inf)
    assert not found.facts[CHOSEN]["by_final"]
    best = max((r for r in found.trials if r.score is not None), key=lambda r: r.score or 0)
    assert found.winner.digest == best.digest
    assert found.lead is None
    assert found.finished is not None and "the time was used up" in found.finished


def test_slow_trainings_leave_time_for_the_comparison(tmp_path: Path) -> None:
    """Each takes 500 times the 6 seconds that were planned: what is kept for the final and the match grows alike."""

    def slow(rung: Rung) -> RungResult:
        return replace(trained(rung), seconds=1_000.0)

    found = run(tmp_path / "base", problem(), train=slow, ends=time.monotonic() + 600)
    assert len(proposals(found.ledger)) == 1
    assert found.match_confirmation is not None and "the time was used up" in (found.finished or "")
    plan, records = found.plan, found.ledger.records()
    assert plan is not None and plan.pace([], 1) == 1
    flops = cost(problem().proxy(problem().reference)).flops
    expected = sum(3_000 for _ in records) / sum(plan.trial_seconds(one.flops / flops) for one in records)
    assert plan.pace(records, flops) == pytest.approx(expected) and expected > 200
    assert plan.pace([replace(one, rungs=({**one.rungs[0], "seconds": 0.1},)) for one in records], flops) == 1


@pytest.mark.parametrize("planned", [0.0, 600.0])
def test_a_comparison_may_begin_after_the_steps_end(planned: float, done: tuple[BaseRun, Here], tmp_path: Path) -> None:
    """Up to half of its planned time later."""
    first = next(index for index, rung in enumerate(done[1].rungs) if rung.seed == FIRST_SEED)
    with pytest.raises(Killed):
        run(tmp_path / "base", problem(), Here(kill_at=first))
    found = run(tmp_path / "base", problem(), ends=time.monotonic() - 1, confirm_seconds=planned)
    assert found.facts[CHOSEN] == done[0].facts[CHOSEN]
    assert (found.match_confirmation is None) == (planned == 0)


def test_a_finalist_that_fails_in_the_final_is_out_and_the_others_are_judged(
    done: tuple[BaseRun, Here], tmp_path: Path
) -> None:
    whole, _ = done
    best = whole.facts[ENTRANTS]["digests"][0]  # by its first training

    def failing(rung: Rung) -> RungResult:
        if rung.arch.digest == best and rung.seed == 1:
            raise TrainingError("the loss is no number")
        return trained(rung)

    found = run(tmp_path / "base", problem(), train=failing)
    assert found.facts[ENTRANTS] == whole.facts[ENTRANTS]
    assert found.facts[CHOSEN]["by_final"]
    assert found.winner.digest in whole.facts[ENTRANTS]["digests"][1:]
    finals = {d: sum(s.values()) for d, s in ((one.digest, one.final) for one in found.networks) if len(s) == 2}
    rivals = {digest: finals[digest] for digest in whole.facts[ENTRANTS]["digests"][1:]}
    assert found.winner.digest == max(rivals, key=rivals.__getitem__)


def test_a_search_of_an_older_version_has_no_match(tmp_path: Path) -> None:
    found = run(tmp_path / "base", problem())
    chosen = {key: value for key, value in found.facts[CHOSEN].items() if key != "match"}
    found.ledger.set_fact(CHOSEN, chosen)
    again = BaseRun(found.folder, found.ledger)
    assert again.match is None and again.match_confirmation is None
    assert len(base_answer(again)) == len(base_answer(found)) - 1
    assert not queue_confirmation(found.ledger, problem())


def test_nothing_trained_to_its_end_is_said_with_the_reason(tmp_path: Path) -> None:
    def failing(rung: Rung) -> RungResult:
        raise TrainingError("the loss is no number")

    with pytest.raises(RunError, match=r"trainings all failed; the last: the loss is no number"):
        run(tmp_path / "base", problem(), train=failing)
    with pytest.raises(RunError, match=r"no network was trained to its end.* give more time"):
        run(tmp_path / "other", problem(), ends=-math.inf)


def test_w_is_fitted_to_the_reference_at_several_budgets(tmp_path: Path) -> None:
    """Accuracy as (whole FLOPs)^0.11 of the line's networks, to be found again."""
    posed, lines = problem(exponent=None, seeds=1), list[str]()
    flops = {posed.proxy(arch).digest: cost(arch).flops for arch in posed.line()}
    assert sorted(round(value / 4e8, 1) for value in flops.values()) == [0.5, 1.0, 2.0]

    def power(rung: Rung) -> RungResult:
        if rung.arch.digest not in flops:
            return trained(rung)
        epochs = [
            replace(epoch, accuracy=0.6 * (flops[rung.arch.digest] / 4e8) ** 0.11) for epoch in trained(rung).epochs
        ]
        return RungResult(tuple(epochs), seconds=1.0, peak_memory=0)

    found = run(tmp_path / "base", posed, train=power, say=lines.append)
    assert found.facts[EXPONENT]["value"] == pytest.approx(-0.11)
    assert found.settings.exponent == pytest.approx(-0.11)
    assert lines[0].startswith("w: -0.110 [-0.110, -0.110], fitted to the reference at 3 budgets, 3 trainings")
    tried = next(record for record in found.trials if record.role == "candidate")
    ratio = tried.attributes["base_flops"] / 4e8
    assert tried.score == pytest.approx((tried.accuracy or 0) * ratio**-0.11)


@pytest.mark.parametrize("objective", ["accuracy", "absolute", "hard"])
def test_other_objectives(tmp_path: Path, objective: str) -> None:
    found = run(tmp_path / "base", problem(objective=objective, strategy="random", confirm=0))
    for record in found.trials:
        ratio, accuracy = record.attributes["base_flops"] / 4e8, record.accuracy or 0.0
        expected = {
            "accuracy": accuracy,
            "absolute": accuracy - 0.1 * abs(ratio - 1),
            "hard": accuracy / max(1.0, ratio),
        }
        assert record.score == pytest.approx(expected[objective])


def test_parameters_as_the_cost_are_weighed_against_the_references(tmp_path: Path) -> None:
    found = run(tmp_path / "base", problem(cost="params", strategy="random", confirm=0))
    target = cost(found.reference).params
    for record in found.trials:
        ratio = record.attributes["base_params"] / target
        assert record.score == pytest.approx((record.accuracy or 0.0) * ratio**-0.07)


def test_a_limit_of_parameters_is_part_of_the_budget() -> None:
    assert budget_of(problem(max_params=5_000_000).settings).limits == {"params": 5_000_000}


def test_a_space_without_choices_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain.toml"
    whole = shipped_spaces()["mobilenet_v1"].read_text(encoding="utf-8")
    plain.write_text(whole[: whole.index("[choices]")], encoding="utf-8")
    with pytest.raises(SpaceError, match=r"plain\.toml: --space: must have \[choices\].* take efficientnet, .*mnasnet"):
        space_of(replace(problem().settings, space=str(plain)))


def test_the_proxys_side_keeps_its_ratio_to_the_skeletons() -> None:
    posed = problem()
    arch = replace(posed.reference, resolution=448)
    assert posed.proxy(posed.reference).resolution == posed.settings.proxy_resolution
    assert posed.proxy(arch).resolution == 2 * posed.settings.proxy_resolution


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategy": "tpe"}, "--strategy: is of a search of the base, got --base efficientnet_b0; give --base search"),
        ({"flops_window": 0.1}, "flops_window: is of a search of the base"),
        ({"only": "base"}, "--only: is of a search of the base"),
        ({"exponent": None}, "--w fit: needs networks of different FLOPs"),
        (
            {"base": "search", "evaluator": "imagenet_surrogate"},
            "nothing is trained, so|--base search: trains the networks",
        ),
        (
            {"base": "search", "exponent": None, "cost": "latency"},
            "--w fit: fits a line over FLOPs, got --cost latency",
        ),
        ({"progressive": True, "base": "a.b:make"}, "progressive: --base a.b:make makes networks for one side only"),
        ({"exponent": -0.1, "objective": "hard"}, "--w: is the exponent of the objectives soft and efficientnetv2"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make_settings(target_flops=400_000_000, **given)
