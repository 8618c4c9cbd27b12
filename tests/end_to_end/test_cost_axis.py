"""A run whose cost is measured: killed in the middle, it goes on without measuring anything twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from tool import TINY, rows, start, tool

from scalesearch import Run

COMMAND = [*TINY, "--cost", "latency", "--workers", "1", "--set", "measure_seconds=0.1", "--out", "run"]


def measurements(folder: Path) -> Counter[str]:
    """How often each network's latency was written to the journal."""
    found: Counter[str] = Counter()
    journal = folder / "journal.log"
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line that is being written
        found.update(key for key in entry.get("user_attr", {}) if key.startswith("latency "))
    return found


def scores(folder: Path) -> dict[int, float]:
    return {record.number: record.score for record in Run.load(folder).trials if record.score is not None}


def test_latency_as_the_cost_and_resume(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "run"
    process = start("run", *COMMAND, cwd=tmp_path, cache=cache)
    deadline = time.monotonic() + 120
    while len(measurements(folder)) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline, "the run measures nothing"
        time.sleep(0.02)
    process.kill()
    process.communicate()
    before, known = measurements(folder), scores(folder)
    assert known  # scored before the kill
    done = tool("run", "--resume", "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    after = measurements(folder)
    assert set(after.values()) == {1}
    assert set(before) < set(after)
    run = Run.load(folder)
    assert known.items() <= scores(folder).items()
    base = run.measured(run.proxy_base.digest)["latency"].median
    for record in run.trials:
        budget = 2.0 if record.role == "candidate" else float(record.attributes["budget"])
        assert record.accuracy is not None
        expected = record.accuracy * (run.measured(record.digest)["latency"].median / (base * budget)) ** -0.07
        assert record.score == pytest.approx(expected, rel=1e-12)
    for row in rows(folder / "candidates.csv"):
        assert abs(float(row["realised_ratio"]) - 2) <= 0.06  # the budget is FLOPs, whatever the cost
        assert 0 < float(row["latency_p10_ms"]) <= float(row["latency_ms"]) <= float(row["latency_p90_ms"])
    assert (folder / "figures" / "accuracy_latency.png").read_bytes().startswith(b"\x89PNG")
    assert {row["front"] for row in rows(folder / "pareto.csv")} == {"flops", "params", "activations", "latency"}


def test_the_training_step_with_efficientnetv2s_objective(tmp_path: Path, cache: Path) -> None:
    done = tool(
        "run", *TINY, "--cost", "train_step", "--set", "objective=efficientnetv2", "--set", "measure_seconds=0.1",
        cwd=tmp_path, cache=cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.endswith("-train_step-s0")
    for row in rows(folder / "candidates.csv"):
        assert float(row["train_step_ms"]) > 0 and float(row["latency_ms"]) > 0
    assert "(training step/T)^−0.07·(parameters/T′)^−0.05" in done.stdout
