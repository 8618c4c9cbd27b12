"""The evaluator `replay`: the real engine, ledger and report over recorded trainings, in recorded time."""

from __future__ import annotations

import csv
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from landscapes import EPOCHS, landscape, write_recording
from optuna.storages import InMemoryStorage

from scalesearch.commands.main import main, make_parser
from scalesearch.commands.run import read_settings
from scalesearch.fit.recipe import Recipe, Rung
from scalesearch.report.wording import run_command
from scalesearch.search import pipeline
from scalesearch.search.executor import HereExecutor
from scalesearch.search.folder import default_folder
from scalesearch.search.ledger import Ledger
from scalesearch.search.plan import Plan
from scalesearch.search.problem import Problem
from scalesearch.search.queue import attributes_of, ending
from scalesearch.search.replay import make_plan, player, pose, replay
from scalesearch.search.resample import resampled
from scalesearch.search.run import Run, candidate_attributes
from scalesearch.search.session import Session
from scalesearch.search.surface import MOST_SEEDS
from scalesearch.spec.errors import DataError, SettingsError, TrainingError
from scalesearch.spec.settings import Settings, make_settings

EACH = 48.0  # recorded processor seconds of one training


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recording(tmp_path_factory.mktemp("recordings"), 6, 3)


def settings(file: Path, **given: Any) -> Settings:
    return make_settings(
        **{"evaluator": "replay", "data": str(file), "members": 0, "confirm": 0, "sampler": "lattice", **given}
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_replay_is_an_ordinary_run_with_the_recorded_numbers(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = (
        f"run --evaluator replay --data {file} --set members=0 --set rungs=4 --seeds 3 --sampler lattice --out {out}"
    )
    assert main(shlex.split(command)) == 0
    shown = capsys.readouterr().out
    assert "replay of tiny.json.gz, the recorded trainings themselves" in shown
    assert "Nothing was trained now: every training here is read from a recording" in shown
    recorded = {
        (network.candidate.digest, own.seed): own.epochs[-1].accuracy
        for network in landscape(6, 3).networks
        for own in network.trainings
    }
    trials = [row for row in rows(out / "trials.csv") if row["role"] == "candidate"]
    assert {(row["digest"], int(row["seed"])): float(row["accuracy"]) for row in trials} == pytest.approx(recorded)
    assert {(row["status"], row["rung"], float(row["seconds"])) for row in trials} == {("done", "4", EACH)}
    run = Run.load(out)
    assert run.finished == "all planned trainings done"
    means = {r.candidate.digest: r.score for r in run.candidates}
    assert run.recommended.candidate.digest == max(means, key=means.__getitem__)
    assert len(run.candidates) == 6 and run.noise.freedom == 5 * 2
    assert not (out / "checkpoints").exists() and (out / "figures" / "curves.png").exists()
    again = read_settings(make_parser().parse_args(shlex.split(run_command(run))[1:]))
    assert again == (run.settings, out)


def test_another_seed_draws_fresh_noise(file: Path, tmp_path: Path) -> None:
    run = pipeline.run(settings(file, seed=1, seeds=1), tmp_path / "run")
    drawn = resampled(landscape(6, 3), 1, 1)
    expected = {network.candidate.digest: network.trainings[0].epochs[-1].accuracy for network in drawn.networks}
    assert {r.digest: r.accuracy for r in run.trials if r.role == "candidate"} == expected
    recorded = {own.epochs[-1].accuracy for network in landscape(6, 3).networks for own in network.trainings}
    assert not recorded & {round(value, 6) for value in expected.values()}


LEFT_NONE = "no network is left that may get another"


def test_the_surface_asks_for_no_training_that_there_is_not(file: Path, tmp_path: Path) -> None:
    """More than the planned two of a close contender, but none that was not recorded."""
    ended, trained = trained_at_most(file, tmp_path, seed=0)
    assert ended == f"stopped after 18 of 198 candidate trainings: {LEFT_NONE}" and trained == [3] * 6


def test_fresh_noise_has_as_many_seeds_as_a_contest_needs(file: Path, tmp_path: Path) -> None:
    ended, trained = trained_at_most(file, tmp_path, seed=2)
    assert 3 < max(trained) <= MOST_SEEDS and min(trained) < max(trained)
    why = "the choice is expected to miss at most 0 points of score"
    assert ended == f"stopped after {sum(trained)} of 198 candidate trainings: {why}"


def trained_at_most(file: Path, folder: Path, seed: int) -> tuple[str, list[int]]:
    """How a search for certainty ends, and how many trainings each network had; 2 × 99 were planned."""
    asked = settings(file, sampler="surface", seed=seed, seeds=2, precision=0.0)
    ledger, problem = memory(), pose(asked, 1)
    ended = play(ledger, problem, replace(make_plan(landscape(6, 3), asked), networks=99), asked, folder)
    assert ledger.count("failed") == 0
    return ended, [len(seeds) for seeds in ledger.networks("candidate").values()]


def test_networks_that_failed_or_were_stopped_may_get_no_other_training(file: Path) -> None:
    asked = settings(file, sampler="surface", seeds=2)
    ledger, problem = memory(), pose(asked, 1)
    plan, pool = make_plan(landscape(6, 3), asked), problem.pool
    for number, one in enumerate(pool.candidates):
        ledger.queue(attributes_of("candidate", one.arch, 0, **candidate_attributes(one, ())), {})
        trial = ledger.start()
        assert trial is not None
        if number == 0:
            ledger.finish(trial, 0.7)
        else:
            ledger.fail(trial, "diverged")
    for seeds, why in ((1, LEFT_NONE), (2, "the choice is expected to miss at most 0.2 points of score")):
        found = ending(ledger, pool, plan, asked, out_of_time=False, recorded=seeds)
        assert found == f"stopped after 6 of 12 candidate trainings: {why}"


@pytest.mark.parametrize("sampler", ["lattice", "surface"])
def test_a_replay_has_its_pruner(file: Path, tmp_path: Path, sampler: str) -> None:
    """What is pruned pays for its first rung alone."""
    asked = settings(file, sampler=sampler, pruner="asha", seeds=2, precision=0.0, rungs=2)
    ledger, problem = memory(), pose(asked, 1)
    ended = play(ledger, problem, make_plan(landscape(6, 3), asked), asked, tmp_path)
    pruned = [record for record in ledger.records() if record.status == "pruned"]
    assert pruned and {record.seconds for record in pruned} == {EACH / 2}
    assert ended.endswith(f", {len(pruned)} of them stopped early by the asha pruner")
    trained = [record for record in ledger.records() if record.role == "candidate"]
    assert len(trained) == (12 if sampler == "surface" else 12 - len(pruned))


def memory() -> Ledger:
    return Ledger(InMemoryStorage(), "replay")


def play(ledger: Ledger, problem: Problem, plan: Plan, asked: Settings, folder: Path) -> str:
    """The trainings of a replay, without the report."""
    ledger.set_fact("plan", plan.to_dict())
    return replay(Session(ledger, HereExecutor(), asked, problem, "cpu", folder, lambda _: None, lambda _: None, 0.0))


def test_a_time_budget_counts_recorded_seconds(file: Path, tmp_path: Path) -> None:
    """The base and four candidates fill five trainings' time; the plan's fifth network never starts."""
    run = pipeline.run(settings(file, seeds=1, trials=5, time_budget=5 * EACH), tmp_path / "run")
    assert [record.seconds for record in run.trials] == [EACH] * 5
    assert run.finished == "time budget used up after 4 of 5 candidate trainings"


def test_an_interrupted_replay_goes_on_where_it_stopped(file: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.done == 4:
            raise Stop

    asked = settings(file, seeds=1, seed=3)
    with pytest.raises(Stop):
        pipeline.run(asked, tmp_path / "broken", observer=stop)
    assert 4 <= len(Run.load(tmp_path / "broken").trials) < 7
    resumed, whole = pipeline.run(asked, tmp_path / "broken"), pipeline.run(asked, tmp_path / "whole")
    assert [(r.digest, r.accuracy) for r in resumed.trials] == [(r.digest, r.accuracy) for r in whole.trials]


def test_settings_come_from_the_recording(file: Path) -> None:
    found = settings(file)
    recorded = landscape(6, 3).settings
    assert (found.target_flops, found.proxy_width, found.pixel_step) == (400_000_000, recorded["proxy_width"], 2)
    assert (found.time_budget, found.trials, found.seeds) == (None, None, 2)
    assert make_settings(evaluator="replay", data=str(file)).sampler == Settings(1).sampler
    assert settings(file, target_flops=400_000_000) == found  # given as recorded


def test_what_a_replay_cannot_use_is_refused(file: Path) -> None:
    for given, words in (
        ({"proxy_width": 0.3}, f"--evaluator replay: {file} was recorded with proxy_width 0.1, got 0.3; leave it out"),
        ({"cost": "latency"}, "nothing is trained or measured, so cost would have no effect; leave it out, or use"),
        ({"preset": "full", "workers": 2}, "so workers, preset would have no effect; leave them out, or use"),
        ({"sampler": "grid"}, "--sampler grid: tries networks of any FLOPs, and a recording has those of twice"),
        ({"coefficients": "per-budget"}, "so coefficients would have no effect"),
        ({"inherit": True}, "so inherit would have no effect"),
    ):
        with pytest.raises(SettingsError) as caught:
            settings(file, **given)
        assert words in str(caught.value)
    with pytest.raises(SettingsError, match="--evaluator replay: needs the recording to replay; give --data FILE"):
        make_settings(evaluator="replay")


def test_a_missing_recording_is_a_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--evaluator", "replay", "--data", str(tmp_path / "none.json.gz")]) == 2
    assert "none.json.gz: cannot be read: No such file or directory" in capsys.readouterr().err


def test_the_plan_follows_what_was_recorded(file: Path) -> None:
    found = landscape(6, 3)
    plan = make_plan(found, settings(file))
    assert (plan.networks, plan.seeds, plan.epochs, plan.train_images) == (6, 2, EPOCHS, 3000)
    assert plan.seconds == pytest.approx((6 + 1) * 2 * EACH)  # the base too
    assert make_plan(found, settings(file, time_budget=9 * EACH)).networks == 3
    assert make_plan(found, settings(file, trials=6)).networks == 3
    assert make_plan(found, settings(file, seeds=5, seed=1)).seeds == 5
    with pytest.raises(SettingsError, match="--seeds 4: every network was recorded with 3; give fewer, or --seed 1"):
        make_plan(found, settings(file, seeds=4))
    with pytest.raises(SettingsError, match="epochs: the recording has 4, got 2; leave it out"):
        make_plan(found, replace(settings(file), epochs=2))
    with pytest.raises(DataError, match="holds no whole training of the base, which a search begins with; pack the"):
        make_plan(replace(found, base_trainings=()), settings(file))


def test_a_recording_too_small_for_fresh_noise_binds_no_folder(tmp_path: Path) -> None:
    small, out = write_recording(tmp_path, 6, 1), tmp_path / "out" / "run"
    with pytest.raises(DataError, match="fresh noise: needs at least two networks and two seeds that all of them"):
        pipeline.run(settings(small, seed=1, seeds=1), out)
    assert not out.exists()
    pipeline.run(settings(small, seeds=1), out)
    assert (out / "run.json").exists()


def test_a_rung_gets_its_own_epochs_and_no_others() -> None:
    found = landscape(6, 3)
    own = found.networks[0]

    def rung(seed: int, start: int, stop: int) -> Rung:
        return Rung(own.candidate.arch, Path(), None, None, Recipe(EPOCHS), seed, start, stop, Path())

    play = player(found)
    result = play(rung(2, 1, 3))
    assert result.epochs == own.trainings[2].epochs[1:3]
    assert result.seconds == EACH / 2
    with pytest.raises(TrainingError, match="the recording has no training of this network with seed 9"):
        play(rung(9, 0, 1))


def test_its_folder_is_named_for_the_recording(file: Path) -> None:
    name = default_folder(settings(file, sampler="random", seed=4), Path("r")).name
    assert name == "efficientnet_b0-400M-replay-tiny-random-s4"


def test_dry_run_lists_the_recorded_networks(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--evaluator", "replay", "--data", str(file), "--dry-run", "--seed", "5"]) == 0
    shown = capsys.readouterr().out
    assert "fresh noise of the recorded size, drawn from seed 5" in shown and "the 6 recorded networks" in shown
    assert list(tmp_path.iterdir()) == []
