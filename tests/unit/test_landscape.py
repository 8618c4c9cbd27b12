"""Recordings: a run's trainings in one file, the same bytes each time, and every fault of a file named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edits import set_in
from landscapes import EPOCHS, landscape, write_recording
from report_runs import Builder, candidates

from scalesearch.search.landscape import read_landscape, record, with_zero_cost, write_landscape
from scalesearch.search.run import Run
from scalesearch.spec import recording
from scalesearch.spec.errors import DataError, RunError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_recording(tmp_path, 4, 2)


def table_of(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return table


def edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    table = table_of(path)
    edit(table)
    path.write_bytes(gzip.compress(json.dumps(table).encode()))
    return path


def test_what_is_written_is_read_back(file: Path) -> None:
    scores = {network.candidate.digest: {"synflow": [0.1 + 0.2, 3]} for network in landscape(4, 2).networks}
    scored = with_zero_cost(landscape(4, 2), scores)
    write_landscape(scored, file)
    assert read_landscape(file) == scored
    assert {network.zero_cost["synflow"] for network in scored.networks} == {(0.3, 3.0)}
    assert file.stat().st_size < 10_000


def test_equal_content_gives_equal_bytes(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json.gz"
    write_landscape(read_landscape(file), again)
    assert again.read_bytes() == file.read_bytes()
    assert file.read_bytes()[4:8] == b"\0\0\0\0"  # gzip's field for the time


def test_a_run_is_recorded_as_its_ledger_has_it(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=2)
    for seed in (0, 1):
        builder.add_base(0.7 + seed / 100, seed)
        for index, candidate in enumerate(candidates(5)):
            builder.add_candidate(candidate, 0.8 + index / 100 + seed / 1000, seed)
    builder.add_candidate(candidates(6)[5], None)  # failed: no part of a recording
    run = builder.finish()
    found = record(run, "what it was")
    assert (found.measured, found.epochs, found.seeds) == ("what it was", EPOCHS, (0, 1))
    assert {network.candidate for network in found.networks} == set(candidates(5))
    recorded = {
        (network.candidate.digest, own.seed): own.epochs[-1].accuracy
        for network in found.networks
        for own in network.trainings
    }
    ledger = {(r.digest, r.seed): r.accuracy for r in run.trials if r.role == "candidate" and r.status == "done"}
    assert recorded == pytest.approx(ledger)
    assert [own.epochs[-1].accuracy for own in found.base_trainings] == pytest.approx([0.7, 0.71])
    assert found.settings == run.settings.to_dict() and found.data_fingerprint == run.facts["data_fingerprint"]
    anchored = {name for network in found.networks for name in network.anchors}
    assert anchored == {"depth only", "width only", "resolution only", "paper", "dWr"}
    write_landscape(found, tmp_path / "run.json.gz")
    assert read_landscape(tmp_path / "run.json.gz") == found


def test_an_unfinished_run_is_recorded_only_if_that_is_said(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=1)
    run = Run(builder.folder, builder.ledger)
    with pytest.raises(RunError, match="the run has not finished; continue it, or pack what there is with --partial"):
        record(run, "")
    with pytest.raises(RunError, match="no candidate was trained to the end; a recording needs whole trainings"):
        record(run, "", partial=True)
    builder.add_candidate(candidates(1)[0], 0.8)
    assert len(record(Run(builder.folder, builder.ledger), "", partial=True).networks) == 1


def test_scores_of_other_networks_are_refused() -> None:
    with pytest.raises(DataError, match="zero-cost scores of 00: the recording holds no such network; score its own"):
        with_zero_cost(landscape(4, 2), {"00": {"synflow": [1.0]}})


def test_what_is_no_recording_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json.gz"

    def refused(content: bytes | None, words: str) -> None:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_landscape(path)
        assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value)

    refused(None, "cannot be read: No such file or directory; give the file of a recording")
    refused(b"{}", "is no sound gzip file: Not a gzipped file")
    refused(gzip.compress(b"{}" * 1000)[:-12], "is no sound gzip file: ")
    refused(gzip.compress(b"{"), "must hold JSON: ")
    refused(gzip.compress(b"[" * 100_000), "must hold JSON: ")
    refused(gzip.compress(b"[1]"), "is no recording: its format must be 'scalesearch recording'; pack one with")
    header = {"format": recording.FORMAT, "version": 99}
    refused(gzip.compress(json.dumps(header).encode()), "is of version 99, this scalesearch reads 1; pack the run")
    header["version"] = recording.VERSION
    refused(gzip.compress(json.dumps(header).encode()), "settings: must be a table; restore the file")
    monkeypatch.setattr(recording, "MOST_BYTES", 1_000)
    refused(gzip.compress(b" " * 1_001), "must unpack to at most 1,000 bytes, and holds more")


NETWORK = ("networks", 2)
TRAINING = (*NETWORK, "trainings", 1)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (set_in(*NETWORK, "digest", value="00"), "networks[2].digest: must be its network's, '"),
        (set_in(*NETWORK, "flops", value=7), "networks[2].flops: must be its network's, "),
        (set_in(*NETWORK, "params", value=7), "networks[2].params: must be its network's, "),
        (set_in(*NETWORK, "arch", "stages", value=[]), "networks[2].arch.stages: "),
        (set_in(*NETWORK, "arch", value={"factory": "os:system"}), "a file cannot name Python code to run"),
        (set_in(*NETWORK, "shares", value=[0.5, 0.4, 0.2]), "networks[2].shares: must be three shares of 1, got [0.5"),
        (set_in(*NETWORK, "trainings", value=[]), "networks[2].trainings: must hold at least one, got none"),
        (set_in("networks", value=[]), "networks: must hold at least one, got none"),
        (set_in(*TRAINING, "seed", value=0), "networks[2].trainings: seeds must be distinct, got [0, 0]"),
        (set_in(*TRAINING, "accuracy", 3, value=1.2), "[2].trainings[1].accuracy: must be from 0 to 1, got 1.2"),
        (set_in(*TRAINING, "val_loss", 0, value=-1), "val_loss: must be finite and not negative, got -1.0"),
        (set_in(*TRAINING, "seconds", 0, value=float("nan")), "seconds: must be finite and not negative, got nan"),
        (set_in(*TRAINING, "accuracy", value=[0.5]), "networks[2].trainings[1]: its columns must be of one length"),
        (set_in("proxy_base", "resolution", value=0), "proxy_base.resolution: "),
        (set_in("settings", value={"bananas": 1}), "settings: the stored settings do not fit this version"),
        (set_in("settings", "seeds", value=-1), "settings: seeds: must be an integer from 1"),
        (set_in("base", value=None), "base: "),
        (set_in("networks", value=3), "its tables do not fit this version: "),
        (set_in("plan", value={}), "plan: must be a run's plan: speed is missing"),
        (set_in("plan", value=[]), "plan: must be a run's plan: "),
        (set_in("plan", "epochs", value=9), "plan.epochs: must be what the trainings have, 4, got 9"),
        (set_in("plan", "val_images", value=0), "plan.val_images: must be an integer from 1 to 100,000,000, got 0"),
        (set_in("environment", value=[]), "environment: must be a table, got []"),
        (set_in(*TRAINING, "seconds", 0, value=10**400), "its tables do not fit this version: int too large"),
        (lambda table: table.pop("plan"), "its tables do not fit this version: 'plan' is missing"),
        (lambda table: table["networks"].append(table["networks"][0]), "networks must be distinct, and two are the"),
        (
            lambda table: [column.pop() for column in table["base_trainings"][0].values() if isinstance(column, list)],
            "trainings must all have the same number of epochs, got [3, 4]",
        ),
        (
            lambda table: [set_in("digest", value="00")(entry) for entry in table["networks"] * 1]
            + [set_in("flops", value=1)(entry) for entry in table["networks"]]
            + [set_in("params", value=1)(entry) for entry in table["networks"]],
            "and 2 more faults",
        ),
    ],
)  # fmt: skip
def test_every_fault_of_a_recording_is_named(file: Path, edit: Callable[[dict[str, Any]], object], words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_landscape(edited(file, edit))
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"{file}: ")
    assert message.endswith("; restore the file, or pack the run again with benchmarks/record.py")


def test_seeds_are_those_that_all_networks_share() -> None:
    first, *others = landscape(4, 3).networks
    short = replace(first, trainings=first.trainings[:2])
    assert replace(landscape(4, 3), networks=(short, *others)).seeds == (0, 1)
