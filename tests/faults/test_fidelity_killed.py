"""A check of a real, tiny run: killed in its middle and continued by the same command."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from test_interrupted import alive, rungs_stored, stop, wait_for_rungs, workers_of
from tool import TINY, rows, start, tool

CHECK = ["fidelity", "run", "--networks", "3", "--epochs", "3", "--workers", "1"]


def test_a_killed_check_goes_on(tmp_path: Path, cache: Path) -> None:
    done = tool("run", *TINY, "--trials", "3", "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "fidelity" / "epochs3"
    process = start(*CHECK, cwd=tmp_path, cache=cache)
    wait_for_rungs(process, folder, 1)
    process.send_signal(signal.SIGSTOP)  # it must not end before the second has tried
    second = tool(*CHECK, cwd=tmp_path, cache=cache)
    workers = workers_of(process)
    stop(process)
    assert second.returncode == 2 and "another process works on this run" in second.stderr
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker outlives its check"
        time.sleep(0.05)
    done = tool(*CHECK, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    stored = rungs_stored(folder)
    assert len(stored) == len(set(stored)) == 9  # three networks of three rungs, each trained once
    table = rows(tmp_path / "run" / "fidelity.csv")
    assert [row["rank"] for row in table] == ["1", "2", "3"] and {row["epochs"] for row in table} == {"3"}
    assert "The recommended network is" in done.stdout and "Kendall's τ = " in done.stdout.replace("\n ", "")
    assert "How far the proxy can be trusted" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    again = tool(*CHECK, cwd=tmp_path, cache=cache)
    assert again.returncode == 0 and rungs_stored(folder) == stored  # nothing is trained twice
    assert "0 trainings left" in again.stdout
