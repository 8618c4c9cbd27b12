"""`--base search`: base, coefficients and family by one command, its folder, its refusals."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tool import TINY, rows, tool

from scalesearch import Run, cost, load_arch
from scalesearch.nets.count import checked_flops

COMMAND = [*TINY, "--base", "search", "--space", "mnasnet", "--workers", "1", "--trials", "3", "--set", "confirm=1"]


@pytest.fixture(scope="module")
def only(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str]:
    """The first step alone."""
    place = tmp_path_factory.mktemp("searched")
    done = tool("run", *COMMAND, "--only", "base", "--out", "run", cwd=place, cache=cache)
    assert done.returncode == 0, done.stderr
    return place / "run", done.stdout


@pytest.fixture(scope="module")
def whole(only: tuple[Path, str], cache: Path) -> tuple[Path, str]:
    """The same command without --only goes on from there."""
    folder, _ = only
    done = tool("run", *COMMAND, "--out", "run", cwd=folder.parent, cache=cache)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_only_base_ends_with_a_base_file(only: tuple[Path, str], whole: tuple[Path, str]) -> None:
    folder, printed = only
    found = load_arch(folder / "base" / "base.toml")
    assert found.name.startswith("mnasnet-")
    assert 380_000_000 <= cost(found).flops <= 420_000_000
    assert checked_flops(found) == cost(found).flops  # fvcore's count
    for words in ("strategy: evolution", "of random points are within the budget", "Found: ", "report: run/base/"):
        assert words in printed
    assert "Recommended" not in printed
    for name in ("trials.csv", "candidates.csv", "report.html", "run.json", "figures/accuracy_flops.png"):
        assert (folder / "base" / name).exists()


def test_the_next_step_takes_that_base_and_says_where_it_is_from(
    only: tuple[Path, str], whole: tuple[Path, str]
) -> None:
    folder, printed = whole
    assert "this search is finished (all 3 planned networks tried); nothing was changed" in printed
    assert "was found by this run's own search of mnasnet" in printed
    found = load_arch(folder / "base" / "base.toml")
    assert Run.load(folder).base.digest == found.digest
    family = rows(folder / "family.csv")
    assert family[0]["flops"] == family[0]["flops_fvcore"] == str(cost(found).flops)
    assert found.name in (folder / "report.html").read_text(encoding="utf-8")


def test_again_nothing_changes_and_both_reports_are_rebuilt(whole: tuple[Path, str], cache: Path) -> None:
    folder, _ = whole
    names = ("base/candidates.csv", "base/trials.csv", "candidates.csv", "trials.csv", "family.csv")
    before = {name: (folder / name).read_bytes() for name in names}
    again = tool("run", "--resume", "--out", "run", cwd=folder.parent, cache=cache)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("is finished") == 2
    for name in names:
        (folder / name).unlink()
    done = tool("report", "run", cwd=folder.parent, cache=cache)
    assert done.returncode == 0, done.stderr
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_the_found_base_is_one_like_any_other(only: tuple[Path, str], cache: Path) -> None:
    folder, _ = only
    done = tool("cost", folder / "base" / "base.toml", cwd=folder, cache=cache)
    assert done.returncode == 0, done.stderr


def test_a_dry_run_shows_space_share_and_plan(tmp_path: Path, cache: Path) -> None:
    done = tool("run", *COMMAND, "--dry-run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert re.search(r"space: mnasnet, .* points; networks of 380(\.0)?M FLOPs to 420(\.0)?M FLOPs", done.stdout)
    assert re.search(r"[\d.]+% of random points are within the budget \[[\d.]+%–[\d.]+% at 95%\]", done.stdout)
    assert "plan: 3 networks trained once, then 7 trainings of the best and the reference" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--target-flops", "1M"], "mnasnet: no network of this space has"),
        (["--space", "nowhere"], "nowhere: no such search space"),
        (["--strategy", "tpe", "--base", "efficientnet_b0"], "--strategy: is of a search of the base"),
        (["--w", "1"], "must be fit, or a number from -1 to 0"),
        (["--set", "exponent=fit"], "has an option of its own, --w"),
        (["--resume", "--out", "new"], "--resume new: there is no run to resume"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, cache: Path, argv: list[str], words: str) -> None:
    done = tool("run", *COMMAND, *argv, "--out", "new", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_other_settings_are_refused(whole: tuple[Path, str], cache: Path) -> None:
    folder, _ = whole
    done = tool("run", *COMMAND, "--strategy", "tpe", "--out", "run", cwd=folder.parent, cache=cache)
    assert done.returncode == 2
    assert "strategy: 'evolution' before, 'tpe' now" in done.stderr
