"""A run of the evaluator imagenet_surrogate: an ordinary folder, in seconds, labelled as predicted."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from scalesearch.commands.main import main, make_parser
from scalesearch.commands.run import read_settings
from scalesearch.report.wording import run_command
from scalesearch.report.write import summary
from scalesearch.search import pipeline, prediction
from scalesearch.search.budgets import best_by_budget, gains
from scalesearch.search.folder import default_folder
from scalesearch.search.ledger import open_ledger
from scalesearch.search.queue import attributes_of
from scalesearch.search.run import Run
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, SurrogateError
from scalesearch.spec.files import load_arch
from scalesearch.spec.settings import make_settings

COMMAND = "run --target-flops 400M --evaluator imagenet_surrogate --coefficients per-budget --set members=6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "predicted"
    assert main([*shlex.split(COMMAND), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return Run.load(folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_is_an_ordinary_folder_with_one_ledger(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "run.json", "journal.log", "trials.csv", "candidates.csv", "pareto.csv", "family.csv", "rejected.csv",
        "family", "figures", "report.html",
    }  # fmt: skip
    assert "checkpoints" not in names
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"simplex", "single_dimension", "accuracy_flops"}
    assert len(list((folder / "family").glob("*.json"))) == 7


def test_everything_says_that_it_is_predicted(folder: Path, run: Run) -> None:
    assert json.loads((folder / "run.json").read_text())["settings"]["evaluator"] == "imagenet_surrogate"
    for name in ("trials", "candidates", "pareto", "family"):
        assert {row["evaluator"] for row in rows(folder / f"{name}.csv")} == {"imagenet_surrogate"}, name
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (page, " ".join(summary(run).split())):
        assert "Nothing was trained: every accuracy and error here is predicted for ImageNet" in text
        assert "fitted to published points" in text
        assert "proxy" not in text.lower().replace("proxy_", "")


def test_the_page_speaks_of_predictions_not_of_seeds(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "± is one standard error of the prediction, by bootstrap of the published points." in page
    assert "own seeds" not in page
    assert "the accuracies above are predicted for another recipe, so that only differences compare." in page
    assert "cannot be compared with" not in page
    assert "Colour is predicted ImageNet accuracy." in page
    assert "of all predicted networks, with the Pareto front" in page and "all measured networks" not in page


def test_depth_is_recommended_and_the_set_that_may_be_best_is_small(run: Run) -> None:
    best = run.recommended
    assert best.candidate.shares[0] > 0.95 and best.may_be_best
    assert 1 <= sum(result.may_be_best for result in run.candidates) <= 10
    lead = run.lead_over("paper")
    assert lead is not None and 0 < lead.low < lead.mean < lead.high < 0.003
    scores = [result.score for result in run.candidates]
    assert scores == sorted(scores, reverse=True)


def test_members_have_errors_with_intervals_or_a_reason(folder: Path, run: Run) -> None:
    table = {row["member"]: row for row in rows(folder / "family.csv")}
    for name in ("B0", "B1", "B2", "B3", "B4"):
        row = table[name]
        assert float(row["imagenet_error_low"]) < float(row["imagenet_error"]) < float(row["imagenet_error_high"])
        assert row["proxy_accuracy"] == row["no_answer"] == ""
    assert table["B6"]["imagenet_error"] == ""
    assert "answers only inside the hull" in table["B6"]["no_answer"]
    errors = [float(table[name]["imagenet_error"]) for name in ("B0", "B1", "B2", "B3", "B4")]
    assert errors == sorted(errors, reverse=True)
    assert "outside the hull" in summary(run)


def test_per_budget_members_are_the_best_of_their_budgets(run: Run) -> None:
    best = {found.member: found for found in best_by_budget(run)}
    assert {"B2", "B3", "B4"} <= set(best)
    for member in run.family:
        if member.name in best:
            assert member.arch.digest == best[member.name].record.digest
            assert abs(member.budget_ratio - 1) <= run.settings.tolerance
    # Past the last answer, that one's coefficients go on.
    last = max(best)
    assert run.family[6].arch.digest == run.family_of(best[last].coefficients)[6].arch.digest


def test_b1_is_the_recommended_network_and_budgets_with_few_answers_are_left_out(folder: Path, run: Run) -> None:
    assert run.family[1].arch.digest == run.recommended.candidate.digest
    assert [best.member for best in best_by_budget(run)] == ["B2", "B3", "B4"]
    asked = [record for record in run.trials if record.status == "done" and record.attributes.get("member") == "B5"]
    assert asked  # some splits of B5's budget have an answer, all in one corner of the hull
    labels = {row["label"] for row in rows(folder / "pareto.csv")} | {point.label for point in run.points}
    assert {"B0", "B1", "B2"} <= labels  # not called another split of their own budget


def test_a_large_base_ends_too(tmp_path: Path) -> None:
    """At 3G few budgets have answers, and the members are past what is counted a second time."""
    said: list[str] = []
    settings = make_settings(
        target_flops=3_000_000_000, evaluator="imagenet_surrogate", coefficients="per-budget", members=3
    )
    found = pipeline.run(settings, tmp_path / "large", say=said.append)
    assert found.finished
    assert best_by_budget(found) == []
    assert [member.arch for member in found.family] == [member.arch for member in found.fixed_family]
    assert any(line.startswith("not counted a second time, being past 5.000G FLOPs: B1 B2 B3") for line in said)


def test_below_b0_the_advice_is_a_larger_network() -> None:
    with pytest.raises(SurrogateError) as caught:
        prediction.pose(make_settings(target_flops=200_000_000, evaluator="imagenet_surrogate"), 1)
    assert "ask for a network no smaller than B0 (--target-flops 400M)" in str(caught.value)


def test_gains_are_paired_and_not_negative(run: Run) -> None:
    found = {gain.best.member: gain for gain in gains(run)}
    over_fixed, over_paper = found["B2"].over_fixed, found["B2"].over_paper
    assert over_fixed is not None and over_paper is not None
    assert 0.0003 < over_fixed.mean < 0.003 and over_fixed.low > 0
    assert 0 < over_paper.low < over_paper.mean < over_paper.high < 0.003
    assert found["B3"].over_fixed is None  # the fixed coefficients are nearly depth alone: outside from there on
    assert "unknown: outside" in summary(run)


def test_the_command_again_changes_nothing_and_reports_are_rebuilt(
    folder: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "journal.log").read_bytes()
    assert main([*shlex.split(COMMAND), "--out", str(folder)]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert (folder / "journal.log").read_bytes() == before
    table = (folder / "candidates.csv").read_text()
    (folder / "candidates.csv").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "candidates.csv").read_text() == table


def test_the_printed_command_means_the_same_run(run: Run) -> None:
    words = shlex.split(run_command(run))
    settings, out = read_settings(make_parser().parse_args(words[1:]))
    assert (settings, out) == (run.settings, run.folder)


def test_an_interrupted_run_asks_only_what_is_left(tmp_path: Path) -> None:
    settings = make_settings(target_flops=400_000_000, evaluator="imagenet_surrogate", members=1)
    whole = pipeline.run(settings, tmp_path / "whole")
    half = tmp_path / "half"
    half.mkdir()
    ledger = open_ledger(half, "half", None)
    base = load_arch("efficientnet_b0")
    ledger.queue(attributes_of("base", base, 0, budget=1.0), {})
    assert ledger.start() is not None  # as a kill leaves it: running, without an answer
    found = pipeline.run(settings, half)
    assert [record.digest for record in found.trials] == [record.digest for record in whole.trials]
    assert {record.status for record in found.trials} == {"done"}
    assert found.recommended.candidate == whole.recommended.candidate


def test_other_points_than_it_began_with_are_refused(folder: Path, tmp_path: Path) -> None:
    settings = make_settings(target_flops=400_000_000, evaluator="imagenet_surrogate", members=1)
    half = tmp_path / "half"
    half.mkdir()
    open_ledger(half, "half", None).set_fact("data_fingerprint", "0123")
    with pytest.raises(RunError, match=r"the published points have changed since the run began \(fingerprint 0123 b"):
        pipeline.run(settings, half)


def test_foreign_bases_and_budgets_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    for words, message in (
        ("--base mobilenet_v2", "imagenet_surrogate knows only networks that differ from efficientnet_b0 in repeats"),
        ("--target-flops 20G", "answers only inside the hull of its 34 published networks"),
    ):
        argv = f"run --target-flops 400M --evaluator imagenet_surrogate {words}"
        assert main([*shlex.split(argv), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
        assert not out.exists()


def test_a_scaled_b0_is_a_base_too() -> None:
    settings = make_settings(target_flops=1_000_000_000, evaluator="imagenet_surrogate")
    posed = prediction.pose(settings, 1)
    assert posed.base.digest == posed.proxy.digest != load_arch("efficientnet_b0").digest
    assert all(abs(c.flops / cost(posed.base).flops - 2) <= 0.061 for c in posed.pool.candidates)


def test_its_folder_is_named_for_it() -> None:
    settings = make_settings(target_flops=400_000_000, evaluator="imagenet_surrogate")
    assert default_folder(settings, Path("results")).name == "efficientnet_b0-400M-imagenet_surrogate-fixed-s0"
    other = replace(settings, coefficients="per-budget", seed=2)
    assert default_folder(other, Path("r")).name == "efficientnet_b0-400M-imagenet_surrogate-per-budget-s2"


def test_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--target-flops", "400M", "--evaluator", "imagenet_surrogate", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "a surface fitted to 34 published ImageNet errors" in shown and "depth only" in shown
    assert list(tmp_path.iterdir()) == []


def test_surrogate_errors_are_user_errors() -> None:
    with pytest.raises(SurrogateError):
        prediction.pose(make_settings(target_flops=400_000_000, evaluator="imagenet_surrogate", base="resnet50"), 1)
