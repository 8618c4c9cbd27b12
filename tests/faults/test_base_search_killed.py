"""`--base search` killed in either step: the same command ends as if it had not been."""

from __future__ import annotations

from pathlib import Path

from test_interrupted import rungs_stored, stop, wait_for_rungs
from tool import TINY, rows, tool
from tool import start as tool_start

COMMAND = [
    *TINY, "--base", "search", "--strategy", "random", "--workers", "1", "--trials", "3", "--set", "epochs=3",
    "--set", "confirm=1", "--pruner", "asha", "--out", "run",
]  # fmt: skip


def outcome(folder: Path) -> list[tuple[str, ...]]:
    columns = ("digest", "seed", "status", "reason", "rung", "accuracy", "role")
    return [tuple(row[key] for key in columns) for row in rows(folder / "trials.csv")]


def test_killed_in_the_base_and_in_the_coefficients(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "whole").mkdir()
    done = tool("run", *COMMAND, cwd=tmp_path / "whole", cache=cache)
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole" / "run"
    for where, count in (("base", 4), ("base", 14), (".", 5)):
        process = tool_start("run", *COMMAND, cwd=tmp_path, cache=cache)
        wait_for_rungs(process, tmp_path / "run" / where, count)
        stop(process)
    done = tool("run", "--resume", "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    for step in ("base", "."):
        assert outcome(tmp_path / "run" / step) == outcome(whole / step)
        stored = rungs_stored(tmp_path / "run" / step)
        assert len(stored) == len(set(stored)) == len(rungs_stored(whole / step))
    found = (tmp_path / "run" / "base" / "base.toml").read_bytes()
    assert found == (whole / "base" / "base.toml").read_bytes()
