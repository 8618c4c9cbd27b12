"""benchmarks/zero_cost.py and docs/zero_cost.py: from a run and its scores to the table and the page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import Builder, candidates, realistic
from scipy.stats import kendalltau
from scripts import load_script

from scalesearch.fit.zero_cost import ZERO_COST
from scalesearch.search.landscape import read_landscape, record, write_landscape
from scalesearch.search.run import Run
from scalesearch.spec.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference" / "scalebench" / "zero_cost.json"


SCRIPT = load_script("benchmarks/zero_cost.py")
PAGE = load_script("docs/zero_cost.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return realistic(tmp_path_factory.mktemp("runs") / "run", number=8, members=())


def scored(run: Run, file: Path) -> dict[str, Any]:
    """A file of the script with made-up scores for every network of the run, so that none is left to compute."""
    about = {"data_fingerprint": run.facts["data_fingerprint"], "images": 128, "initialisations": 3}
    networks = [
        {"digest": found.candidate.digest, "scores": {name: [float(i), i + 0.5, i + 9.0] for name in ZERO_COST}}
        for i, found in enumerate(run.candidates)
    ]
    content = {"about": about, "networks": networks}
    file.write_text(json.dumps(content), encoding="utf-8")
    return content


def test_a_run_whose_scores_are_known(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    scored(run, file)
    content = SCRIPT.measured(SCRIPT.opened(run.folder), 128, 3, 1, file)
    SCRIPT.write(file, content)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(content))
    rows = {row["score"]: row for row in content["table"]["rows"]}
    assert set(rows) == {*ZERO_COST, "activations", "resolution"}
    means = [found.accuracy_mean for found in run.candidates]
    assert rows["zen"]["tau"]["value"] == pytest.approx(kendalltau(range(8), means).statistic, abs=1e-4)
    sides = [found.candidate.arch.resolution for found in run.candidates]
    assert rows["resolution"]["tau"]["value"] == pytest.approx(kendalltau(sides, means).statistic, abs=1e-4)
    shares = [found.candidate.shares[0] for found in run.candidates]
    assert rows["snip"]["shares"]["depth"] == pytest.approx(kendalltau(range(8), shares).statistic, abs=1e-4)
    assert (content["table"]["networks"], content["table"]["trainings"]) == (8, 16)
    assert SCRIPT.known_scores(file, {"images": 64}) == {}


def test_a_recording_takes_the_scores_in(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, recording = tmp_path / "scores.json", tmp_path / "run.json.gz"
    content = scored(run, file)
    write_landscape(record(run, "made up"), recording)
    SCRIPT.main([str(recording), "--json", str(file), "--initialisations", "3", "--add"])
    printed = capsys.readouterr().out
    assert re.search(r"^8 networks, 0 of them to be scored\nscore +τ_b +90 %.*\nsynflow +-?\d", printed)
    kept = {network.candidate.digest: network.zero_cost for network in read_landscape(recording).networks}
    for network in content["networks"]:
        assert {name: list(values) for name, values in kept[network["digest"]].items()} == network["scores"]
    # The run and its recording say the same.
    ours = SCRIPT.table(SCRIPT.measured(SCRIPT.opened(run.folder), 128, 3, 1, file)["networks"])
    theirs = json.loads(file.read_text(encoding="utf-8"))["table"]
    assert {row["score"]: row["tau"]["value"] for row in ours["rows"]} == {
        row["score"]: row["tau"]["value"] for row in theirs["rows"]
    }


def test_what_cannot_be_used_is_told(run: Run, tmp_path: Path) -> None:
    builder = Builder(tmp_path / "few")
    for candidate in candidates(2):
        builder.add_candidate(candidate, 0.8)
    with pytest.raises(RunError, match="few: ranks need three candidates with a finished training, found 2; let the"):
        SCRIPT.opened(builder.finish().folder)
    file = tmp_path / "scores.json"
    file.write_text('{"about": []}', encoding="utf-8")
    with pytest.raises(RunError, match=r"scores.json: was not written by this script \(TypeError.*; give --json"):
        SCRIPT.measured(SCRIPT.opened(run.folder), 128, 3, 1, file)
    with pytest.raises(SystemExit, match=r"run: is a run, which is only read; --add needs a recording \(record.py\)$"):
        SCRIPT.main([str(run.folder), "--add"])
    with pytest.raises(SystemExit, match=r"^--images must be at least 2, --initialisations and"):
        SCRIPT.main([str(run.folder), "--images", "1"])


def test_the_page_is_that_of_the_measurement() -> None:
    """docs/zero_cost.md: after a measurement, write it again with `python docs/zero_cost.py`."""
    assert (ROOT / "docs" / "zero_cost.md").read_text(encoding="utf-8") == PAGE.page()


def test_the_table_follows_from_the_networks() -> None:
    found = json.loads(REFERENCE.read_text(encoding="utf-8"))
    flat = _numbers(SCRIPT.table(found["networks"]))
    assert flat == pytest.approx(_numbers(found["table"]), abs=2e-4)
    for network in found["networks"]:
        assert set(network["scores"]) == set(ZERO_COST)
        assert sum(network["shares"]) == pytest.approx(1, abs=2e-6)  # six digits each
    flops = [network["scores"]["flops"][0] for network in found["networks"]]
    assert max(flops) / min(flops) < 1.03 / 0.97
    assert np.ptp(flops) > 0


def _numbers(value: Any, key: str = "") -> dict[str, float]:
    """Every number of a nested table, by its path."""
    if isinstance(value, Mapping):
        return {k: v for name, entry in value.items() for k, v in _numbers(entry, f"{key}.{name}").items()}
    if isinstance(value, list):
        return {k: v for index, entry in enumerate(value) for k, v in _numbers(entry, f"{key}.{index}").items()}
    return {key: float(value)} if isinstance(value, (int, float)) else {}


def row(score: str, value: float, reach: float = 0.1, upper: float = 0.5) -> dict[str, Any]:
    estimate = {"value": value, "low": value - reach, "high": value + reach}
    return {
        "score": score, "tau": estimate, "over": {"params": estimate, "flops": estimate}, "upper_half": upper
    }  # fmt: skip


def test_verdicts_follow_the_intervals() -> None:
    free = [
        row(name, value) for name, value in (("params", -0.5), ("flops", 0), ("activations", 0), ("resolution", 0.3))
    ]
    table = {"rows": [row("zen", 0.4, upper=0.95), row("snip", -0.45), row("naswot", 0.05), *free], "ceiling": None}
    said = " ".join(PAGE.findings(table))
    assert "Zen-score beats both baselines" in said
    assert "Zen-score ranks better than chance" in said
    assert "SNIP ranks the wrong way round" in said
    assert "Parameters have τ_b −0.50 [−0.60, −0.40]: at equal FLOPs, more parameters mean less accuracy." in said
    assert "Half of the networks could be left out by Zen-score with 90 %" in said
    assert "input side 0.30 [0.20, 0.40]; the best score: Zen-score 0.40" in said
    assert "the strongest score is SNIP with 0.45, beside parameters with 0.50 and the input side with 0.30" in said
    assert "the noise of a training is not known" in said
    table = {"rows": [row("zen", 0.05), *free[1:], row("params", 0.05)], "ceiling": 0.8, "noise": 0.004}
    said = " ".join(PAGE.findings(table))
    assert "No score beats both baselines" in said
    assert "No score's interval leaves out 0" in said
    assert "more parameters say little" in said
    assert "By no score could half of the networks be left out" in said
    assert "noise is 0.40 points, so that the true accuracies themselves would reach a τ_b of about 0.80" in said
