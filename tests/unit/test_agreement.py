"""A check of the proxy: real ledgers with made-up accuracies, nothing trained."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from report_runs import FINALS, Builder, candidates, epochs_to, realistic, trained

from scalesearch.commands.main import main
from scalesearch.report.fidelity import rows, sentences
from scalesearch.report.wording import answer, region_line
from scalesearch.report.write import write_report
from scalesearch.search.agreement import outcomes
from scalesearch.search.fidelity import CHECKS, Check, CheckPlan, check_run, choose, plan_check
from scalesearch.search.ledger import open_ledger
from scalesearch.search.queue import attributes_of
from scalesearch.search.ranks import kendall
from scalesearch.search.run import CandidateResult, Run, candidate_attributes
from scalesearch.search.samplers import simplex_to_square
from scalesearch.search.stats import reward
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, SettingsError


def check(run: Run, finals: dict[int, tuple[float | None, ...]], epochs: int = 12) -> None:
    """A check's journal as `check_run` writes it: by the candidate's number, an accuracy per seed; None: failed."""
    folder = run.folder / CHECKS / f"epochs{epochs}"
    folder.mkdir(parents=True)
    ledger = open_ledger(folder, CHECKS, None)
    ledger.set_fact("check", asdict(Check(epochs)))
    chosen = {number: candidates(max(finals) + 1)[number] for number in finals}
    ledger.set_fact("networks", {candidate.digest: [candidate.digest, 1.0] for candidate in chosen.values()})
    for number, row in finals.items():
        candidate = chosen[number]
        for seed, accuracy in enumerate(row, start=2):
            attributes = candidate_attributes(candidate, ()) | attributes_of("candidate", candidate.arch, seed)
            ledger.queue(attributes, simplex_to_square(candidate.shares))
            trial = ledger.start()
            assert trial is not None
            if accuracy is None:
                ledger.fail(trial, "out of memory")
                continue
            ledger.rung_done(trial, 0, {"epochs": epochs_to(accuracy, epochs), "seconds": 9.0, "notes": []})
            ledger.finish(trial, reward(accuracy, candidate.flops, 2 * cost(run.proxy_base).flops))


def test_the_networks_of_a_check_are_spread_and_named_ones_come_first(tmp_path: Path) -> None:
    run = realistic(tmp_path / "run", number=10)
    five = choose(run, 5)
    assert five[0] is run.recommended and "paper" in five[1].anchors
    assert len({one.candidate.digest for one in five}) == 5
    # The third is farthest from both, in shares and in rank by score together.
    rank = {one.candidate.digest: index / 9 for index, one in enumerate(run.candidates)}

    def apart(one: CandidateResult) -> float:
        return min(
            math.hypot(math.dist(one.candidate.shares, other.candidate.shares),
                       rank[one.candidate.digest] - rank[other.candidate.digest])
            for other in five[:2]
        )  # fmt: skip

    assert apart(five[2]) == pytest.approx(max(map(apart, run.candidates)))
    assert choose(run, 7)[:5] == five  # more networks keep those that a check of fewer has
    begun = [one.candidate.digest for one in run.candidates if one not in five][:2]
    assert {one.candidate.digest for one in choose(run, 3, begun)} == {
        *(one.candidate.digest for one in five[:2]), *begun,
    }  # fmt: skip


def planned(run: Run, **given: float | int | None) -> CheckPlan:
    return plan_check(run, **given)  # type: ignore[arg-type]


def test_a_longer_check(tmp_path: Path) -> None:
    run = realistic(tmp_path / "run", number=6)
    found = planned(run, workers=2)
    assert (found.check, found.plan.epochs, found.seeds) == (Check(12), 12, (500, 501))  # the run: 4 epochs
    assert found.base.digest == run.proxy_base.digest
    assert all(one.arch.digest == one.result.candidate.digest and one.phi == 1 for one in found.networks)
    # A training of the run took 2.5 s per epoch; ten are left, on two workers.
    assert [one.seconds for one in found.networks] == pytest.approx([30.0] * 5)
    assert found.seconds == pytest.approx(150)
    assert planned(run, epochs=1, seeds=1).check == Check(4)


def test_a_larger_check_scales_a_larger_base_by_the_same_coefficients(tmp_path: Path) -> None:
    run = realistic(tmp_path / "run", number=6, image_size=160)
    found = planned(run, width=1.5, resolution=1.25)
    assert found.check == Check(4, 1.5, 1.25) and found.check.name == "epochs4-width1.5-resolution1.25"
    assert found.base.resolution == 80  # 1.25 × 64
    assert found.base.digest != run.proxy_base.digest
    for one in found.networks:
        assert one.arch.digest != one.result.candidate.digest
        assert one.ratio == pytest.approx(cost(one.arch).flops / cost(found.base).flops)
        assert one.ratio == pytest.approx(2, abs=0.35)  # as near as the depth's steps allow
        larger = cost(one.arch).flops / one.result.candidate.flops
        assert one.seconds == pytest.approx(10 * larger)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"resolution": 2}, "--resolution 2: networks of up to 1"),
        ({"resolution": 2}, "px need images as large, the run's have 64 px (image_size); give a smaller one"),
        ({"width": 0.1}, "--width 0.1 --resolution 1: the enlarged proxy breaks a rule of the settings: proxy_width"),
    ],
)
def test_multipliers_that_cannot_be_followed(tmp_path: Path, given: dict[str, float], words: str) -> None:
    run = realistic(tmp_path / "run", number=6)
    with pytest.raises(SettingsError) as error:
        planned(run, **given)
    assert words in str(error.value)


def test_too_little_to_check(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS[:2])
    with pytest.raises(RunError, match="need at least 3 networks trained to the end, it has 2; give its `scalesearch"):
        planned(run)


def test_a_check_shares_no_seed_with_its_run(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    run.facts["settings"]["seeds"] = 501
    with pytest.raises(RunError, match="seeds that its run has not, which start at 500; the run has 501 seeds; check"):
        planned(run)


def test_a_check_of_inherited_weights_says_that_it_trains_from_scratch(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, CONFIRMS, epochs=4)
    run.facts["settings"]["inherit"] = True
    assert said(run).startswith("Check with weights from scratch instead of inherited ones: 5 networks")


def test_a_surrogate_has_nothing_to_train_longer(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    run.facts["settings"]["evaluator"] = "imagenet_surrogate"
    with pytest.raises(RunError, match="judged by --evaluator imagenet_surrogate, not trained"):
        planned(run)


def test_a_time_budget_must_hold_one_training(tmp_path: Path) -> None:
    run = realistic(tmp_path / "run", number=6)
    with pytest.raises(SettingsError, match="--time-budget 20s: the next training takes about 30s; give more time"):
        check_run(run, planned(run), time_budget=20)
    assert not (run.folder / CHECKS).exists()


def test_other_images_are_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALESEARCH_CACHE", str(cache))
    run = realistic(tmp_path / "run", number=6, data="digits", train_images=64, val_images=64)
    with pytest.raises(RunError, match="the images of digits have changed since the run began"):
        check_run(run, planned(run))


# The candidates' accuracies in the run; number 4 is recommended, number 3 is nearest to the paper's point.
CONFIRMS = {4: (0.901, 0.919), 3: (0.88, 0.90), 0: (0.82, 0.841), 1: (0.84, 0.86), 2: (0.86, 0.88)}


def said(run: Run) -> str:
    (found,) = outcomes(run)
    return " ".join(sentences(run, found))


def test_a_check_that_confirms(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, CONFIRMS)
    (found,) = outcomes(run)
    assert found.agreement.tau == pytest.approx(1) and found.agreement.networks == 5
    assert found.change == pytest.approx(0.02, abs=1e-3)
    # Of 0.02 in both seeds, corrected to equal FLOPs by less than a thousandth.
    assert found.lead is not None and found.lead.mean == pytest.approx(0.02, abs=2e-3)
    text = said(run)
    assert text.startswith("Check with 12 epochs instead of 4: 5 networks, 2 seeds each that the run had not used; ")
    assert (
        "accuracy changed by +2.0 points on average. The run's expected scores rank them as this check does with "
        in text
    )
    assert "Kendall's τ = 1.00 [0.42, 1.00] at 90% confidence; of 5 networks nothing narrower can be said" in text
    assert "The recommendation survives: its network is the best here too, at 90% confidence better than the" in text
    assert "lead over the one nearest to the paper's point is +1.9 points of score" in text and "(in the run +" in text


def test_the_lead_is_the_plain_mean_over_the_check_s_own_seeds(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, {**CONFIRMS, 4: (0.93, 0.95, 0.99), 3: (0.92, 0.91)})  # the third seed has no partner
    (found,) = outcomes(run)
    target = 2 * cost(run.proxy_base).flops
    factor = {number: reward(1, candidates(5)[number].flops, target) for number in (3, 4)}
    assert found.lead is not None
    assert found.lead.mean == pytest.approx(0.94 * factor[4] - 0.915 * factor[3])
    assert found.lead.low < found.lead.mean < found.lead.high


def test_the_run_s_side_is_ranked_by_expected_scores(tmp_path: Path) -> None:
    """One lucky training does not lift a network above two that are as good: the mean of fewer seeds counts less."""
    builder = Builder(tmp_path / "run")
    for number, row in enumerate([*FINALS, (0.905,)]):
        for seed, accuracy in enumerate(row):
            builder.add_candidate(candidates(6)[number], accuracy, seed)
    run = builder.finish()
    assert [one.standing.expected for one in run.candidates] == sorted(
        (one.standing.expected for one in run.candidates), reverse=True
    )
    assert run.candidates[0] is run.recommended
    check(run, {0: (0.70, 0.71), 1: (0.72, 0.73), 4: (0.90, 0.91), 5: (0.80, 0.81)})
    (found,) = outcomes(run)
    by_digest = {one.candidate.digest: one for one in run.candidates}
    expected = [by_digest[one.result.candidate.digest].standing.expected for one in found.networks]
    assert found.agreement.tau == pytest.approx(kendall(expected, [one.score for one in found.networks]).tau)
    assert rows(run, found)[0][2] == str(sorted(expected, reverse=True).index(expected[0]) + 1)


def test_a_check_that_refutes(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, {**CONFIRMS, 4: (0.80, 0.82)})
    text = said(run)
    assert "The recommendation does not survive: the recommended network is number 5 of 5 here, its score " in text
    assert re_points(text) == pytest.approx(8, abs=0.3)
    assert f"points below that of the best ({'nearest to the paper'}" in text


def re_points(text: str) -> float:
    return float(text.split("its score ")[1].split(" points below")[0])


def test_a_check_that_cannot_tell(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, {4: (0.90, 0.84), 3: (0.86, 0.91), 0: (0.85, 0.84)})
    text = said(run)
    assert "is number 2 of 3 here, but at 90% confidence cannot be told apart from the best: this check neither" in text
    assert "the two cannot be told apart." in text


def test_the_best_here_with_rivals(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, {4: (0.90, 0.90), 3: (0.86, 0.91), 0: (0.60, 0.62)})
    assert "best here too, but at 90% confidence 1 of the other 2 cannot be told apart from it" in said(run)


def test_one_seed_says_that_nothing_tells_the_noise(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, {4: (0.90,), 3: (0.92,), 0: (0.80,)})
    text = said(run)
    assert "The recommended network is number 2 of 3 here; nothing says how much of that is noise." in text
    assert "points of score (in the run +" in text and text.endswith("; nothing says how much of that is noise.")


def test_one_seed_of_a_run_says_so_too(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", [(value,) for value, _ in FINALS])
    lead = answer(run).paper
    assert lead.startswith("Its score is ") and (
        "paper's point; nothing says how much of that is noise. By the trainings that chose it, this is too high on "
        "average. That" in lead
    )
    assert region_line(run) == ""


def test_failed_and_missing_trainings_are_named(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    check(run, {4: (None, None), 3: (0.92, 0.93), 0: (0.80, 0.81)})
    text = said(run)
    assert "Not compared, because the training failed: recommended" in text and "out of memory" in text
    assert "The recommended network has no finished training here" in text
    assert "2 networks with a finished training cannot be ranked against the proxy." in text


def test_the_report_gains_a_section_and_a_table(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS)
    write_report(run)
    page = run.folder / "report.html"
    assert "How far the proxy can be trusted" not in page.read_text(encoding="utf-8")
    assert not (run.folder / "fidelity.csv").exists()
    check(run, {**CONFIRMS, 2: (None, None)})
    write_report(Run.load(run.folder))
    assert "How far the proxy can be trusted" in page.read_text(encoding="utf-8")
    lines = (run.folder / "fidelity.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("check,epochs,width,resolution,digest,anchors,proxy_accuracy,proxy_score,proxy_seeds,")
    assert len(lines) == 6 and lines[-1].endswith(",out of memory") and lines[1].startswith("epochs12,12,1,1,")


def test_dry_run_says_what_and_how_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = realistic(tmp_path / "run", number=6)
    assert main(["fidelity", str(run.folder), "--dry-run", "--workers", "2"]) == 0
    shown = capsys.readouterr().out
    assert "fidelity: 12 epochs instead of 4; 5 networks × 2 seeds of 12 epochs, 3,000 images; 10 trainings " in shown
    assert "left, by the run's speed about 2m30s on 2 workers, until " in shown
    assert "recommended" in shown and "30s" in shown
    assert not (run.folder / CHECKS).exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--epochs", "x"], "argument --epochs: must be a number from 0.1 to 1000, got 'x'"),
        (["--width", "0"], "argument --width: must be a number from 0.5 to 20, got '0'"),
        (["--networks", "2"], "argument --networks: must be an integer from 3 to 10,000, got '2'"),
        (["--seeds", "0"], "argument --seeds: must be an integer from 1 to 200, got '0'"),
        (["--time-budget", "soon"], "a duration must be a number with a unit"),
    ],
)
def test_options_break_their_rules(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fidelity", "somewhere", *argv])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_no_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fidelity", str(tmp_path)]) == 2
    assert "is not a run's folder: it has no run.json" in capsys.readouterr().err


def test_a_factory_is_not_run_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = realistic(tmp_path / "run", number=6)
    run.ledger.set_fact("settings", replace(run.settings, base="some.module:make").to_dict())
    assert main(["fidelity", str(run.folder)]) == 2
    assert "a check runs the code of some.module:make; if you want that, say so with --base" in capsys.readouterr().err
