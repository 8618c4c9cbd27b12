"""`python cli.py` of a clone that is not installed, from another folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tool import TINY, environment, rows

CLI = Path(__file__).resolve().parents[2] / "cli.py"


def test_it_trains(tmp_path: Path, cache: Path) -> None:
    """Training workers are fresh processes that import the launcher once more, and must not run it."""
    done = subprocess.run(
        [sys.executable, str(CLI), "run", *TINY],
        cwd=tmp_path,
        env=environment(cache),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    assert {row["status"] for row in rows(folder / "trials.csv")} == {"done"}
