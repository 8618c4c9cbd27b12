"""`report.html`, the summary, the folder: honest words, nothing hostile let through, the same files twice."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_runs import Builder, candidates, realistic

from scalesearch.report.markup import escape, table, tag
from scalesearch.report.wording import anchor_name, answer, region_line, run_command
from scalesearch.report.write import summary, write_report
from scalesearch.search.run import Run
from scalesearch.spec.errors import RunError
from scalesearch.spec.files import load_arch
from scalesearch.spec.settings import RULES, Settings, make_settings
from scalesearch.spec.settings_text import read_assignment
from scalesearch.spec.units import FLOPS_DEFINITION

HOSTILE = "<script>alert('x')</script>"


class Tags(HTMLParser):
    """Collects tags and checks that they are balanced."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(path: Path) -> Tags:
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ten candidates with two seeds, one that failed, and data and notes with hostile names."""
    folder = tmp_path_factory.mktemp("page") / "run & more"
    realistic(folder, data=f"data/{HOSTILE}")
    builder = Builder(folder, data=f"data/{HOSTILE}")
    builder.ledger.set_fact("notes", [f"data: {HOSTILE}, classes {HOSTILE} and \udcff"])
    builder.add_candidate(candidates(11)[10], None, reason=f"=1+1 {HOSTILE}")
    return builder.finish()


@pytest.fixture(scope="module")
def page(run: Run) -> Path:
    return write_report(run)


def test_the_folder_holds_every_derived_file(run: Run, page: Path) -> None:
    names = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    figures = {
        f"figures/{name}.{kind}"
        for name in ("accuracy_flops", "simplex", "single_dimension", "curves")
        for kind in ("png", "svg")
    }
    tables = {"trials.csv", "candidates.csv", "pareto.csv", "family.csv", "report.html"}
    members = {f"family/b{k}.json" for k in range(8)}
    assert figures | tables | members <= names
    assert not [name for name in names if name.endswith(".tmp")]
    assert page == run.folder / "report.html"


def test_members_are_files_that_read_back(run: Run, page: Path) -> None:
    for member in run.family:
        assert load_arch(run.folder / "family" / f"{member.name.lower()}.json") == member.arch


def test_written_twice_the_files_are_the_same(run: Run, page: Path) -> None:
    kinds = {".csv", ".html", ".json", ".svg", ".png"}
    files = [path for path in run.folder.rglob("*") if path.suffix in kinds and path.name != "run.json"]
    before = {path: path.read_bytes() for path in files}
    write_report(Run.load(run.folder))
    assert {path: path.read_bytes() for path in files} == before


def test_nothing_hostile_reaches_the_page_as_markup(page: Path) -> None:
    tags = read(page)
    assert "script" not in tags.seen
    assert HOSTILE in "".join(tags.text)  # it is there, as text
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text


def test_the_page_asks_for_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.replace("arXiv:1905", ""))
    sources = re.findall(r'src="([^"]{0,30})', text)
    assert len(sources) == 4 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "default-src 'none'" in text and 'name="viewport"' in text


def test_the_page_says_what_a_reader_needs(page: Path, run: Run) -> None:
    assert run.plan is not None
    text = " ".join("".join(read(page).text).split())
    found = answer(run)
    for line in (found.coefficients, found.alternatives, found.paper, FLOPS_DEFINITION):
        assert line in text
    for words in (
        "not α^φ of one φ", "not measured", "Hypervolume", "on the proxy task", "1 of 25 trainings",
        "scalesearch report", "nearest to the paper's point", "9 degrees of freedom",
        f"power: {run.plan.networks} networks × 2 paired seeds show a difference of",
        "makes no allowance for having picked",
    ):  # fmt: skip
        assert words in text, words
    assert "smoke preset" not in text


def test_failed_trials_are_listed_and_their_reason_is_safe_in_csv(run: Run, page: Path) -> None:
    assert f"=1+1 {HOSTILE}" in "".join(read(page).text)
    assert f"'=1+1 {HOSTILE}" in (run.folder / "trials.csv").read_text(encoding="utf-8")


def test_the_comparison_with_the_paper_has_its_interval(run: Run) -> None:
    lead = run.lead_over("paper")
    assert lead is not None
    assert lead.low < 0 < lead.high  # noise of one point, a difference of less
    expected = f"cannot be told apart from the network nearest to the paper's point: {100 * lead.mean:+.1f} points"
    assert expected in answer(run).paper
    alike = sum(result.may_be_best for result in run.candidates)
    # The pool holds the one whose training failed too: it may be the best, as any untried network may.
    everywhere = sum(standing.may_be_best for _, standing in run.standings)
    assert answer(run).alternatives == (
        f"At 90% confidence, {everywhere} of the 11 networks of the pool may be the best, {alike} of them trained "
        "(10 were)."
    )
    region = region_line(run)
    assert region.startswith("Region that may hold the best, at 90% confidence: α 1.")
    assert f"expected to miss the best of the pool by {100 * run.verdict.regret:.2f} points of score." in region
    assert region in " ".join(summary(run).split())


def test_the_summary_fits_the_terminal(run: Run) -> None:
    lines = summary(run).splitlines()
    assert lines[-1] == f"report: {run.folder / 'report.html'}"
    assert max(len(line) for line in lines[:-1]) <= 110
    row = next(line.split() for line in lines if line.strip().startswith("B7"))
    assert row[-2:] == ["not", "measured"] and "37G" in row
    base = next(line for line in lines if line.strip().startswith("B0"))
    assert base.count("385.8M") == 3 and "(2 seeds)" in base  # ours, fvcore's, the paper family's


def test_one_seed_is_called_that(tmp_path: Path) -> None:
    run = realistic(tmp_path / "run", number=8, seeds=1, members=(), preset="smoke")
    text = summary(run)
    assert text.startswith("Smoke preset: this shows that the tool works; the numbers mean nothing.")
    assert "no noise estimate" in answer(run).alternatives
    assert "(1 seed)" in text and "±" not in text


def test_a_better_network_is_called_better(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run")
    for seed in range(2):
        for index, candidate in enumerate(candidates(4)):
            builder.add_candidate(candidate, (0.9 if index == 0 else 0.7) + 0.001 * (index + seed) % 0.003, seed)
    run = builder.finish()
    assert answer(run).alternatives == "It is better than the other 3 networks trained, at 90% confidence."
    lead = run.lead_over("paper")
    assert lead is not None and lead.low > 0
    assert re.match(r"Its score is (19|20)\.\d points above", answer(run).paper)  # 0.9 against 0.7, at like FLOPs
    assert "points above that of the network nearest to the paper's point; the difference is" in answer(run).paper


def test_one_candidate_and_unfinished_runs_are_called_that(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=1, preset="smoke")
    builder.add_candidate(candidates(4)[3], 0.5)
    run = Run.load(builder.folder)
    assert answer(run).alternatives == "It is the only network trained, so nothing was compared."
    assert "itself the network nearest to the paper's point" in answer(run).paper
    text = write_report(run).read_text(encoding="utf-8")
    assert "has not ended yet" in text and "the numbers mean nothing" in text
    assert "No member was counted with fvcore" in text


def test_without_a_finished_training_only_the_trials_are_written(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run")
    builder.add_candidate(candidates(1)[0], None, reason="out of memory")
    run = builder.finish()
    with pytest.raises(RunError, match="no candidate's training has finished"):
        write_report(run)
    with pytest.raises(RunError, match="no candidate's training has finished"):
        summary(run)
    assert "out of memory" in (run.folder / "trials.csv").read_text(encoding="utf-8")
    assert not (run.folder / "report.html").exists()


def test_a_corner_is_not_called_pure_unless_it_is() -> None:
    depth, width, _, _ = candidates(4)
    assert anchor_name("depth only", depth.shares) == "depth only"
    assert anchor_name("width only", width.shares) == "mostly width (69%)"
    assert anchor_name("depth only", width.shares) == "nearest to depth only (0%)"
    assert anchor_name("paper", depth.shares) == "nearest to the paper's point"


def test_the_command_on_the_page_gives_the_same_settings(run: Run, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "seeds": 3, "time_budget": 1234567.5, "trials": None, "workers": 2, "holdout_fonts": True,
        "proxy_stem_stride": None, "data": "my data/'x'", "learning_rate": 0.1,
    }  # fmt: skip
    for settings in (run.settings, make_settings("smoke", target_flops=123_456_789, **given)):
        builder = Builder(tmp_path / settings.preset)
        builder.ledger.set_fact("settings", settings.to_dict())
        command = run_command(Run.load(builder.folder))
        assert parse(command) == settings


def parse(command: str) -> Settings:
    words = shlex.split(command)
    assert words[:2] == ["scalesearch", "run"]
    read: dict[str, Any] = {}
    for option, value in zip(words[2::2], words[3::2], strict=True):
        if option == "--set":
            key, found = read_assignment(value)
            read[key] = found
        elif option != "--out":
            name = option.removeprefix("--").replace("-", "_")
            read[name] = RULES[name].read(value)
    return make_settings(read.pop("preset"), **read)


def test_markup_escapes_everything_but_markup() -> None:
    assert escape('<a href="x">&') == "&lt;a href=&quot;x&quot;&gt;&amp;"
    assert tag("p", "<", tag("b", "&"), class_='"') == '<p class="&quot;">&lt;<b>&amp;</b></p>'
    rows = table(("a", "b"), [("<", 1)], text=("a",), chosen=0)
    assert '<tr class="chosen"><td class="text">&lt;</td><td>1</td></tr>' in rows
