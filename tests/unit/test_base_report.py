"""What a base search leaves for people: tables, figures, page and sentences, from a real ledger."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
from base_runs import NETWORKS, Here, Killed, problem, run, trained

from scalesearch.fit.recipe import Rung, RungResult
from scalesearch.report.base_page import _choices, base_summary, write_base_report
from scalesearch.report.base_wording import base_answer, lead_sentence, match_lines, next_command
from scalesearch.search import base_pipeline
from scalesearch.search.base_pipeline import handed_on, load_run
from scalesearch.search.base_run import BaseRun
from scalesearch.search.run import Run
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, SettingsError


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> BaseRun:
    found = run(tmp_path_factory.mktemp("out") / "base", problem())
    write_base_report(found)
    return found


def test_candidates_have_every_network_with_its_point(written: BaseRun) -> None:
    table = rows(written.folder / "candidates.csv")
    assert len(table) == NETWORKS + 1  # and the reference
    assert [row["part"] for row in table[:4]] == ["winner", "finalist", "finalist", "reference"]
    assert all(row["final_seeds"] == "2" for row in table[:4])
    assert [row["fresh_seeds"] for row in table[:4]] == ["2", "0", "0", "2"]
    for row in table:
        assert ("stages.2" in row["point"]) == (row["part"] != "reference")
    front = [row for row in table if row["pareto"] == "True"]
    assert max(table, key=lambda row: float(row["accuracy"] or 0))["pareto"] == "True"
    assert front


def test_the_page_shows_the_found_network_stage_by_stage(written: BaseRun) -> None:
    whole = (written.folder / "report.html").read_text(encoding="utf-8")
    page = whole[whole.index("The found network") : whole.index("<h2>Networks")]
    for index, stage in enumerate(written.winner.arch.stages, 1):
        cells = (index, written.winner.choices[f"stages.{index}"]["kind"], stage.expand, stage.kernel)
        assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert page.count("<tr>") == 1 + len(written.winner.arch.stages)
    others = str(_choices({"resolution": 32, "regnet.depth": 9})[0])
    assert len(_choices({"resolution": 32})) == 1 and "resolution=32" in others and "regnet.depth=9" in others


def test_trials_have_every_training(written: BaseRun) -> None:
    table = rows(written.folder / "trials.csv")
    assert len(table) == len(written.trials)
    assert {row["role"] for row in table} == {"candidate", "final", "confirmation", "match"}
    assert all(int(row["flops"]) < int(row["base_flops"]) for row in table)


def test_the_best_so_far_never_falls(written: BaseRun) -> None:
    numbers, _, best = zip(*written.best_so_far, strict=True)
    assert numbers == tuple(range(1, NETWORKS + 1))
    assert list(best) == sorted(best)
    assert best[-1] == max(value for _, value, _ in written.best_so_far)


def test_the_page_names_winner_reference_and_how_sure(written: BaseRun) -> None:
    text = (written.folder / "report.html").read_text(encoding="utf-8")
    for words in (written.winner.arch.name, "efficientnet_b0", "of random points are within the budget", "fresh seed"):
        assert words in text
    for name in ("accuracy_flops", "best_so_far"):
        assert (written.folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert base_summary(written).endswith(str(written.folder / "report.html"))


def test_the_report_is_the_same_from_the_folder(written: BaseRun, tmp_path: Path) -> None:
    before = (written.folder / "candidates.csv").read_bytes()
    base, other = load_run(written.folder.parent)
    assert base is not None and other is None
    write_base_report(base)
    assert (written.folder / "candidates.csv").read_bytes() == before
    assert load_run(written.folder)[0] is not None


def test_each_kind_of_folder_is_told_from_the_other(written: BaseRun) -> None:
    with pytest.raises(RunError, match="holds the search of a base, not a run"):
        Run.load(written.folder)
    with pytest.raises(RunError, match="there is no such folder"):
        load_run(written.folder.parent / "nothing")


def test_what_is_handed_on_is_the_rest_of_the_time_and_the_bases_own_flops(tmp_path: Path) -> None:
    found = run(tmp_path / "base", problem(time_budget=100.0))
    for used, left in ((20.0, 80.0), (90.0, 50.0)):  # no less than its share
        found.ledger.set_fact("used_seconds", used)
        passed = handed_on(BaseRun(found.folder, found.ledger))
        assert passed.time_budget == left
        assert passed.target_flops == found.winner.flops
        assert passed.exponent == -0.07


def test_too_little_time_for_the_next_step_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plan of the coefficients raises is the plan's own (tests/unit/test_plan.py)."""
    found = run(tmp_path / "out" / "base", problem(time_budget=100.0))
    found.facts["used_seconds"] = 40.0

    def short(*arguments: object, **named: object) -> Run:
        raise SettingsError("--time-budget 1m00s: leaves 770 images per training")

    monkeypatch.setattr(base_pipeline, "_search", lambda *arguments: found)
    monkeypatch.setattr(base_pipeline.pipeline, "run", short)
    with pytest.raises(SettingsError) as caught:
        base_pipeline.run(found.settings, tmp_path / "out")
    assert str(caught.value) == (
        "--time-budget 1m00s: leaves 770 images per training; that is what the search of the base has left: go on from "
        f"it with a budget of its own, scalesearch run --target-flops {found.winner.flops} --base "
        f"{found.folder / 'base.toml'}"
    )


def test_the_command_that_goes_on_is_the_same_without_only(tmp_path: Path) -> None:
    found = run(tmp_path / "out" / "base", problem(only="base", space="efficientnet", seeds=1))
    words = next_command(found).split()
    assert words[:6] == ["scalesearch", "run", "--target-flops", "400000000", "--out", str(tmp_path / "out")]
    assert "--only" not in words and words[words.index("--space") + 1] == "efficientnet"
    assert words[words.index("--base") + 1] == "search"
    alone = run(tmp_path / "alone", problem(only="base"))
    assert f"--base {tmp_path / 'alone' / 'base.toml'}" in next_command(alone)


def worth(of_winner: float, scatter: float) -> object:
    """A winner that is so much better than all else; seeds scatter alternately."""

    def train(rung: Rung) -> RungResult:
        plain = trained(rung)
        best = 0.6 + (of_winner if rung.arch.in_channels and "efficientnet" not in rung.arch.name else 0.0)
        noise = scatter * (1 if rung.seed % 2 else -1) * (1 if "efficientnet" in rung.arch.name else -1)
        return replace(plain, epochs=tuple(replace(epoch, accuracy=best + noise) for epoch in plain.epochs))

    return train


@pytest.mark.parametrize(
    ("lead", "scatter", "words"),
    [
        (0.1, 0.001, "It is better than the reference; At equal FLOPs of the proxies it is better"),
        (-0.1, 0.001, "It is worse than the reference; At equal FLOPs of the proxies it is worse"),
        (0.0, 0.1, "It cannot be told apart from the reference; At equal FLOPs of the proxies the two cannot be told"),
    ],
)
def test_the_leads_in_words(tmp_path: Path, lead: float, scatter: float, words: str) -> None:
    found = run(tmp_path / "base", problem(strategy="random"), train=worth(lead, scatter))  # type: ignore[arg-type]
    said = [lead_sentence(found), *match_lines(found)]
    assert all(sentence.startswith(start) for sentence, start in zip(said, words.split("; "), strict=True))
    assert all("at 90% confidence by 2 fresh seeds" in sentence for sentence in said)
    ratio = cost(found.match).flops / found.winner.proxy_flops
    assert f"against efficientnet_b0's scaled to {ratio:.0%} of its FLOPs" in said[1] and said[1] in base_answer(found)
    if words.startswith("It is"):
        assert found.match_confirmation is not None
        assert found.match_confirmation.lead.mean == pytest.approx(lead, abs=0.003)


def test_without_fresh_seeds_the_lead_is_said_to_flatter(tmp_path: Path) -> None:
    found = run(tmp_path / "base", problem(strategy="random", confirm=0))
    assert found.confirmation is None
    assert "By the trainings that chose it, this is too high on average." in lead_sentence(found)


def test_one_seed_gives_no_noise(tmp_path: Path) -> None:
    found = run(tmp_path / "base", problem(strategy="random", seeds=1, confirm=0))
    assert found.lead is not None and math.isinf(found.lead.high)
    assert "nothing says how much is noise" in lead_sentence(found)
    assert "There is no noise estimate" in base_summary(found)


def test_before_there_is_a_winner_the_tables_are_written_and_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "base", problem(), Here(kill_at=9))
    unfinished = BaseRun.load(tmp_path / "base")
    with pytest.raises(RunError, match="the final of the search has not ended, so there is no base yet"):
        write_base_report(unfinished)
    assert len(rows(tmp_path / "base" / "trials.csv")) == 4  # the last of them running
