"""A base that is a user's own code: a run from its first check to its report, stopped and resumed."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from tool import TINY, rows, start, tool

from scalesearch.spec.files import load_arch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
from test_interrupted import SAME, rungs_stored, stop, wait_for_rungs

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "my_base.py"
BASE = "my_package.my_module:make"
COMMAND = [
    *("run", *TINY, "--target-flops", "125M", "--base", BASE, "--workers", "1", "--trials", "3"),
    *("--set", "epochs=3", "--set", "members=2", "--out", "run"),
]


def package(place: Path) -> Path:
    """The example in a package below the folder that the command is given in, not installed."""
    module = place / "my_package" / "my_module.py"
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return module


def table(folder: Path) -> list[tuple[str, ...]]:
    return [tuple(row[key] for key in SAME) for row in rows(folder / "candidates.csv")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    place = tmp_path_factory.mktemp("factory")
    package(place)
    done = tool(*COMMAND, cwd=place, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "my_package.my_module.make is taken as it is: 124,617,600 FLOPs are 99.7% of the budget" in done.stdout
    assert "stem, norms and dropout as the factory makes them" in done.stdout
    return place / "run"


def test_its_tables_and_family(finished: Path) -> None:
    family = rows(finished / "family.csv")
    assert [row["member"] for row in family] == ["B0", "B1", "B2"]
    assert family[0]["flops"] == "124617600"
    assert all(row["flops"] == row["flops_fvcore"] and row["blocks"] == "" for row in family)
    candidates = rows(finished / "candidates.csv")
    assert len(candidates) == 3
    assert all(abs(float(row["realised_ratio"]) - 2) <= 0.06 for row in candidates)
    assert {row["status"] for row in rows(finished / "trials.csv")} == {"done"}
    report = (finished / "report.html").read_text(encoding="utf-8")
    assert f"as the arguments with which {BASE} makes them" in report
    assert f"--base {BASE}" in report  # the command that continues it


def test_a_member_is_described_and_no_command_runs_it(finished: Path, cache: Path) -> None:
    path = finished / "family" / "b1.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    assert described["factory"] == BASE
    assert described["resolution"] == int(rows(finished / "family.csv")[1]["resolution"])
    done = tool("cost", path, cwd=finished.parent, cache=cache)
    assert done.returncode == 2
    assert "factory: a file cannot name Python code to run" in done.stderr
    with pytest.raises(Exception, match="a file cannot name Python code to run"):
        load_arch(path)


def test_a_report_runs_no_code(finished: Path, tmp_path: Path, cache: Path) -> None:
    """From a folder where the factory cannot be imported."""
    names = ("trials.csv", "candidates.csv", "family.csv", "pareto.csv", "rejected.csv")
    kept = {name: (finished / name).read_bytes() for name in names}
    for name in names:
        (finished / name).unlink()
    done = tool("report", finished, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert {name: (finished / name).read_bytes() for name in names} == kept


def test_stopped_and_resumed(finished: Path, tmp_path: Path, cache: Path) -> None:
    module, folder = package(tmp_path), tmp_path / "run"
    process = start(*COMMAND, cwd=tmp_path, cache=cache)
    try:
        wait_for_rungs(process, folder, 7)  # the base, a candidate, and a part of another
    finally:
        stop(process)

    def refused(*argv: str) -> str:
        done = tool(*argv, cwd=tmp_path, cache=cache)
        assert done.returncode == 2, done.stdout
        (line,) = done.stderr.splitlines()
        return line

    # Unfinished, its family is not counted; what a folder names is not run because it names it.
    assert f"would run the code of {BASE}; a command that may do so says --base {BASE}" in refused("report", "run")
    assert f"runs the code of {BASE}; if you want that, say so" in refused("run", "--resume", "--out", "run")
    assert f"the base of the run in run is {BASE}" in refused(
        "run", "--resume", "--out", "run", "--base", "efficientnet_b0"
    )
    other = tmp_path / "other.py"
    other.write_text(module.read_text(encoding="utf-8").replace("(24, 2, 2)", "(32, 2, 2)"), encoding="utf-8")
    assert "is not the factory that run began with" in refused("report", "run", "--base", "other:make")
    sound = module.read_text(encoding="utf-8")
    module.write_text(other.read_text(encoding="utf-8"), encoding="utf-8")
    assert f"{BASE} has changed since the run began" in refused("run", "--resume", "--out", "run", "--base", BASE)
    module.write_text(sound, encoding="utf-8")

    shown = tool("report", "run", "--base", BASE, cwd=tmp_path, cache=cache)
    assert shown.returncode == 0, shown.stderr
    stored = rungs_stored(folder)
    done = tool("run", "--resume", "--out", "run", "--base", BASE, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert table(folder) == table(finished)
    after = rungs_stored(folder)
    assert after[: len(stored)] == stored
    assert len(after) == len(set(after))  # nothing was trained twice


def test_another_factory_in_the_ledger_is_not_run(tmp_path: Path, finished: Path, cache: Path) -> None:
    """A folder from elsewhere, whose trials name other code than the command does."""
    folder = tmp_path / "run"
    package(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\ndef make(): ...\n", encoding="utf-8")
    folder.mkdir()
    (folder / "run.json").write_bytes((finished / "run.json").read_bytes())
    text = (finished / "journal.log").read_text(encoding="utf-8")
    changed = re.sub(rf'"factory":\s*"{BASE}"', '"factory":"evil:make"', text)
    assert changed != text
    (folder / "journal.log").write_text(changed, encoding="utf-8")
    done = tool("run", "--resume", "--out", "run", "--base", BASE, cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "would run the code of evil:make" in done.stderr
    assert tool("report", folder, cwd=tmp_path, cache=cache).returncode == 2
    assert not (tmp_path / "ran").exists()


def test_a_fault_is_told_before_anything_is_trained(tmp_path: Path, cache: Path) -> None:
    module = package(tmp_path)
    module.write_text(
        module.read_text(encoding="utf-8").replace("16 * width", "16").replace("wanted * width", "wanted")
    )
    done = tool(*COMMAND, cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{BASE}: ignores width: width 1 and 2 give the same network of 873,780 parameters" in line
    assert not (tmp_path / "run").exists()


def test_dry_run(tmp_path: Path, cache: Path) -> None:
    package(tmp_path)
    done = tool(*COMMAND, "--dry-run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "× 0.5" in done.stdout
    assert os.listdir(tmp_path) == ["my_package"]
