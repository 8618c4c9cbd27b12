"""`scalesearch report RUN --against RUN`: the error distributions of two searched spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from base_runs import DATA, problem, run, trained
from report_runs import Builder, candidates

from scalesearch.commands.main import main
from scalesearch.fit.recipe import Rung, RungResult
from scalesearch.report.base_edf import errors_of, write_edf
from scalesearch.report.figures.edf import edf_info
from scalesearch.search.base_run import BaseRun
from scalesearch.search.edf import edf
from scalesearch.spec.errors import RunError, TrainingError


def searched(folder: Path, **given: Any) -> BaseRun:
    """Ends up in FOLDER/base, as `--only base` leaves it."""
    posed = problem(**{"strategy": "random", "seeds": 1, "confirm": 0, **given})
    return run(folder / "base", posed)


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> tuple[BaseRun, BaseRun]:
    place = tmp_path_factory.mktemp("spaces")
    return searched(place / "mnasnet"), searched(place / "efficientnet", space="efficientnet")


def test_steps_start_at_no_network_and_end_at_all() -> None:
    info = edf_info({"one": edf([0.2, 0.4]), "other": edf([0.3, 0.3, 0.1])}, 0.9)
    assert info.steps["one"] == ((0.1, 0.0), (0.2, 0.5), (0.4, 1.0), (0.4, 1.0))
    assert info.steps["other"] == ((0.1, 0.0), (0.1, 1 / 3), (0.3, 1.0), (0.4, 1.0))
    assert info.bands["one"] == edf([0.2, 0.4]).band(0.9)


def test_the_command_draws_both_spaces(spaces: tuple[BaseRun, BaseRun], capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (space.folder.parent for space in spaces)
    assert main(["report", str(one), "--against", str(other)]) == 0
    printed = capsys.readouterr().out
    assert "error distributions of mnasnet and efficientnet, 9 and 9 networks: they differ most below " in printed
    svg = one / "base" / "figures" / "edf.svg"
    assert f"figure: {svg}" in printed and svg.exists() and svg.with_suffix(".png").exists()
    assert not (one / "base" / "report.html").exists()  # the option draws this figure alone
    errors = sorted(1 - (r.accuracy or 0) for r in spaces[0].trials if r.role == "candidate")
    assert errors_of(spaces[0]).errors == pytest.approx(errors)


def test_a_training_that_failed_is_wrong_everywhere(tmp_path: Path) -> None:
    def failing(rung: Rung) -> RungResult:
        if rung.arch.stages[0].kernel == 3 and rung.seed == 0:
            raise TrainingError("the loss is no number")
        return trained(rung)

    found = run(tmp_path / "base", problem(strategy="random", seeds=1, confirm=0), train=failing)
    failed = sum(one.status == "failed" for one in found.networks)
    assert 0 < failed < 9
    assert errors_of(found).errors[-failed:] == (1.0,) * failed and len(errors_of(found).errors) == 9


def test_two_searches_of_one_space_are_named_by_their_folders(spaces: tuple[BaseRun, BaseRun], tmp_path: Path) -> None:
    other = searched(tmp_path / "again")
    _, said = write_edf(spaces[0], other)
    assert f"of {spaces[0].folder} and {other.folder}, 9 and 9 networks" in said
    assert said.endswith("with a chance of 1")  # the same seed, the same networks
    with pytest.raises(RunError, match="again/base: cannot be compared with itself; give --against another search"):
        write_edf(other, BaseRun.load(other.folder))


def test_what_is_no_fair_comparison_is_refused(
    spaces: tuple[BaseRun, BaseRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=r"base: an error distribution is of networks drawn at random .* got --strategy"):
        errors_of(searched(tmp_path / "chosen", strategy="evolution"))
    rare = searched(tmp_path / "rare")
    rare.facts["settings"]["target_flops"] = 46_000_000
    with pytest.raises(RunError, match="none of 2,000 random networks of mnasnet is within the budget, so that those"):
        errors_of(rare)
    other = searched(tmp_path / "other", batch=64, shift=0.06)
    other.facts["data_fingerprint"] = "1" * 32
    assert DATA.fingerprint != other.facts["data_fingerprint"]
    with pytest.raises(RunError, match=r"is not comparable with .*, batch, shift, the images differ; give both"):
        write_edf(spaces[0], other)
    del other.facts["plan"]
    with pytest.raises(RunError, match="nothing was trained in it; let the search go on"):
        write_edf(spaces[0], other)
    figures = spaces[1].folder / "figures"
    figures.write_text("in the way", encoding="utf-8")
    with pytest.raises(RunError, match=r"the figure cannot be written: .*; mend this and give the command again"):
        write_edf(spaces[1], spaces[0])
    figures.unlink()
    assert main(["report", str(spaces[0].folder), "--against", str(tmp_path)]) == 2
    assert "run.json" in capsys.readouterr().err
    builder = Builder(tmp_path / "plain", seeds=1)
    builder.add_candidate(candidates(1)[0], 0.8)
    builder.finish()
    assert main(["report", str(spaces[0].folder), "--against", str(builder.folder)]) == 2
    words = f"--against: compares searches of a base, and {builder.folder} holds none; give runs of --base search"
    assert words in capsys.readouterr().err
