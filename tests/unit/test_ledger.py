"""The ledger on real storages: reopened, torn at every byte, damaged, locked by the dead."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scalesearch.search.ledger import JOURNAL, Ledger, mask, open_ledger, repair_journal
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.errors import RunError

ARCH = Arch("one", 16, Stage("conv", channels=4), (Stage("mbconv", channels=4, se=0.25),), classes=10)


def attributes(number: int = 0, role: str = "candidate") -> dict[str, Any]:
    plain = {"role": role, "arch": ARCH.to_dict(), "digest": ARCH.digest, "seed": number}
    return {**plain, "flops": 1000 + number, "params": 200, "activations": 300, "anchors": ["paper"]}


def rung(*accuracies: float, first: int = 1) -> Mapping[str, Any]:
    epochs = [{"epoch": first + index, "accuracy": value} for index, value in enumerate(accuracies)]
    return {"epochs": epochs, "seconds": 1.5, "notes": ["said"]}


def run_one(ledger: Ledger, number: int, score: float) -> None:
    ledger.queue(attributes(number), {"u": 0.25, "v": 0.5})
    trial = ledger.start()
    assert trial is not None
    ledger.rung_done(trial, 0, rung(0.3, 0.4))
    ledger.rung_done(trial, 1, rung(0.6, first=3))
    ledger.finish(trial, score)


def test_a_trial_survives_reopening_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    ledger.set_fact("plan", {"epochs": 3, "ä": [1.5]})
    run_one(ledger, 0, 0.62)
    again = open_ledger(tmp_path, "run", None)
    assert again.notes == ()
    assert again.facts() == {"plan": {"epochs": 3, "ä": [1.5]}}
    [record] = again.records()
    assert record == ledger.records()[0]
    assert (record.number, record.status, record.role, record.seed) == (0, "done", "candidate", 0)
    assert (record.arch, record.digest) == (ARCH, ARCH.digest)
    assert (record.flops, record.params, record.activations, record.score) == (1000, 200, 300, 0.62)
    assert [epoch["accuracy"] for epoch in record.epochs] == [0.3, 0.4, 0.6]
    assert (record.accuracy, record.seconds, record.reason) == (0.6, 3.0, "")
    assert record.attributes["anchors"] == ["paper"]


def test_parameters_are_the_queued_point_and_epochs_are_reported(tmp_path: Path) -> None:
    """So that Optuna's own tools show the run."""
    run_one(open_ledger(tmp_path, "run", None), 0, 0.5)
    text = (tmp_path / JOURNAL).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    named = {line["param_name"]: line["param_value_internal"] for line in lines if "param_name" in line}
    assert named == {"u": 0.25, "v": 0.5}
    steps = {line["step"]: line["intermediate_value"] for line in lines if "step" in line}
    assert steps == {1: 0.3, 2: 0.4, 3: 0.6}


def test_a_waiting_trial_is_started_after_reopening(tmp_path: Path) -> None:
    open_ledger(tmp_path, "run", None).queue(attributes(3), {"u": 0.1, "v": 0.9})
    again = open_ledger(tmp_path, "run", None)
    assert [record.status for record in again.records()] == ["waiting"]
    assert again.running() == []
    trial = again.start()
    assert trial is not None
    assert again.record(trial).seed == 3
    assert again.record(trial).status == "running"
    assert again.start() is None


def test_queued_trials_start_in_their_order(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    for number in range(3):
        ledger.queue(attributes(number), {"u": 0.1, "v": 0.9})
    started = [ledger.start() for _ in range(3)]
    assert [ledger.record(trial).seed for trial in started if trial is not None] == [0, 1, 2]


def test_a_trial_left_running_is_found_and_can_go_on(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    ledger.queue(attributes(), {"u": 0.1, "v": 0.9})
    trial = ledger.start()
    assert trial is not None
    ledger.rung_done(trial, 0, rung(0.3))
    again = open_ledger(tmp_path, "run", None)
    [found] = again.running()
    assert len(again.record(found).rungs) == 1
    again.rung_done(found, 1, rung(0.7, first=2))
    again.finish(found, 0.7)
    [record] = open_ledger(tmp_path, "run", None).records()
    assert (record.status, record.score, record.accuracy) == ("done", 0.7, 0.7)
    assert again.running() == []


def test_a_trial_that_starts_again_replaces_its_rungs_without_a_warning(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    ledger.queue(attributes(), {"u": 0.1, "v": 0.9})
    trial = ledger.start()
    assert trial is not None
    for accuracy in (0.3, 0.4):
        ledger.rung_done(trial, 0, rung(accuracy))
    assert ledger.record(trial).accuracy == 0.4


def test_a_failure_keeps_its_reason_and_has_no_score(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    ledger.queue(attributes(), {"u": 0.1, "v": 0.9})
    trial = ledger.start()
    assert trial is not None
    ledger.fail(trial, "the loss became nan in epoch 1")
    [record] = open_ledger(tmp_path, "run", None).records()
    assert (record.status, record.reason) == ("failed", "the loss became nan in epoch 1")
    assert record.score is None
    assert record.accuracy is None


def small_journal(folder: Path) -> bytes:
    """Two finished trials and, as the last line, a rung of a third."""
    ledger = open_ledger(folder, "run", None)
    run_one(ledger, 0, 0.5)
    run_one(ledger, 1, 0.6)
    ledger.queue(attributes(2), {"u": 0.1, "v": 0.9})
    trial = ledger.start()
    assert trial is not None
    ledger.fail(trial, "the last line is long enough to be torn in many places")
    return (folder / JOURNAL).read_bytes()


def test_a_last_line_torn_at_any_byte_is_cut_off_and_work_goes_on(tmp_path: Path) -> None:
    whole = small_journal(tmp_path)
    path = tmp_path / JOURNAL
    start = whole[:-1].rfind(b"\n") + 1
    assert len(whole) - start > 50
    for cut in range(start + 1, len(whole)):
        path.write_bytes(whole[:cut])
        ledger = open_ledger(tmp_path, "run", None)
        assert ledger.notes == (
            f"journal.log: the last line was torn ({cut - start} bytes); it was cut off, nothing finished is lost",
        )
        assert [(record.status, record.score) for record in ledger.records()][:2] == [("done", 0.5), ("done", 0.6)]
        [running] = ledger.running()
        ledger.fail(running, "again")
        if cut % 10 == 0:  # and what was appended can be read
            assert [r.reason for r in open_ledger(tmp_path, "run", None).records()] == ["", "", "again"]
    path.write_bytes(whole)
    assert open_ledger(tmp_path, "run", None).notes == ()


def test_a_last_line_of_zeros_or_rubbish_is_cut_off(tmp_path: Path) -> None:
    """What some file systems leave after a power failure."""
    whole = small_journal(tmp_path)
    for tail in (b"\0" * 100, b"\0\0\n", b'{"op_code": 4\n', b"\xff\xfe\n"):
        (tmp_path / JOURNAL).write_bytes(whole + tail)
        assert repair_journal(tmp_path / JOURNAL) == (
            f"journal.log: the last line was torn ({len(tail)} bytes); it was cut off, nothing finished is lost",
        )
        assert (tmp_path / JOURNAL).read_bytes() == whole


@pytest.mark.parametrize("owned", [True, False])
def test_a_damaged_earlier_line_is_refused_with_its_number_and_left_alone(tmp_path: Path, owned: bool) -> None:
    lines = small_journal(tmp_path).splitlines(keepends=True)
    lines[6] = lines[6][:10] + b"\n"
    damaged = b"".join(lines)
    (tmp_path / JOURNAL).write_bytes(damaged)
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path, "run", None, owned=owned)
    assert str(caught.value) == (
        f"{tmp_path / JOURNAL}: line 7 of {len(lines)} is damaged, and later lines depend on it; restore the file "
        "from a backup, or keep its first 6 lines (head -n 6) to go on from there"
    )
    assert (tmp_path / JOURNAL).read_bytes() == damaged


def test_the_advice_for_a_damaged_line_works(tmp_path: Path) -> None:
    lines = small_journal(tmp_path).splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:6]))
    run_one(open_ledger(tmp_path, "run", None), 5, 0.5)
    assert "done" in [record.status for record in open_ledger(tmp_path, "run", None).records()]


def test_who_only_reads_changes_nothing(tmp_path: Path) -> None:
    """A report drawn during a run meets half-written lines and the writer's lock; both are the writer's."""
    whole = small_journal(tmp_path)
    (tmp_path / JOURNAL).write_bytes(whole + b'{"op_code": 4, "wor')
    lock = tmp_path / f"{JOURNAL}.lock"
    lock.touch()
    reader = open_ledger(tmp_path, "run", None, owned=False)
    assert [record.status for record in reader.records()] == ["done", "done", "failed"]
    assert reader.notes == ()
    assert (tmp_path / JOURNAL).read_bytes() == whole + b'{"op_code": 4, "wor'
    assert lock.exists()


def test_reading_beside_a_writer_disturbs_neither(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    run_one(ledger, 0, 0.5)
    failures: list[Exception] = []
    counts: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                counts.append(len(open_ledger(tmp_path, "run", None, owned=False).records()))
            except Exception as error:  # shown below
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 12):
            run_one(ledger, number, 0.5)
    finally:
        done.set()
        reader.join()
    assert not failures
    assert counts == sorted(counts)
    assert len(open_ledger(tmp_path, "run", None).records()) == 12


def test_a_reader_without_a_journal_or_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path, "run", None, owned=False)
    assert str(caught.value) == f"{tmp_path / JOURNAL}: is missing; restore it from a backup, or start the run anew"
    assert list(tmp_path.iterdir()) == []
    open_ledger(tmp_path, "another", None)
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path, "run", None, owned=False)
    assert str(caught.value) == f"{tmp_path / JOURNAL}: holds no run named 'run'"
    url = f"sqlite:///{tmp_path}/runs.db"
    open_ledger(tmp_path, "another", url)
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path, "run", url, owned=False)
    assert str(caught.value) == f"--storage {url}: holds no run named 'run'"


def test_a_lock_left_by_a_dead_process_delays_nothing(tmp_path: Path) -> None:
    """Optuna would wait 30 s for it."""
    run_one(open_ledger(tmp_path, "run", None), 0, 0.5)
    (tmp_path / f"{JOURNAL}.lock").touch()
    started = time.monotonic()
    run_one(open_ledger(tmp_path, "run", None), 1, 0.5)
    assert time.monotonic() - started < 10


def test_a_journal_that_cannot_be_read_or_opened(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path, "run", None)
    assert str(caught.value) == f"{tmp_path / JOURNAL}: the journal cannot be read: Is a directory"
    missing = tmp_path / "missing"
    with pytest.raises(RunError) as caught:
        open_ledger(missing, "run", None)
    assert str(caught.value) == f"{missing / JOURNAL}: the journal cannot be opened: No such file or directory"


def test_any_storage_url_will_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    run_one(open_ledger(tmp_path, "run", url), 0, 0.5)
    run_one(open_ledger(tmp_path, "run", url), 1, 0.6)
    open_ledger(tmp_path, "run", url).queue(attributes(2), {"u": 0.1, "v": 0.9})
    reader = open_ledger(tmp_path, "run", url, owned=False)
    assert [(record.status, record.score) for record in reader.records()] == [
        ("done", 0.5),
        ("done", 0.6),
        ("waiting", None),
    ]
    assert not (tmp_path / JOURNAL).exists()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nosuchdb://ada:secret@host/db", "nosuchdb://ada@host/db"),
        ("sqlite:////nowhere/at/all.db", "sqlite:////nowhere/at/all.db"),
        ("not a url", "not a url"),
        ("postgresql//ada:secret@host/db", "postgresql//ada@host/db"),
        ("postgresql://ada:secret@host:port/db", "postgresql://ada@host:port/db"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(tmp_path: Path, url: str, shown: str) -> None:
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path, "run", url)
    text = str(caught.value)
    assert text.startswith(f"--storage {shown}: the storage cannot be opened: ")
    assert "secret" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://ada:secret@host:5432/db", "postgresql://ada@host:5432/db"),
        ("mysql+pymysql://ada:s@e:c@host/db", "mysql+pymysql://ada@host/db"),
        ("postgresql://ada@host/db", "postgresql://ada@host/db"),
        ("sqlite:///runs.db", "sqlite:///runs.db"),
        ("ada:secret@host/db", "ada@host/db"),
        ("redis://:secret@host:6379/0", "redis://@host:6379/0"),
        ("postgresql://host/db?user=ada&password=secret", "postgresql://host/db?user=ada&password=…"),
    ],
)
def test_passwords_are_masked(url: str, masked: str) -> None:
    assert mask(url) == masked


def test_an_arch_of_another_version_is_refused(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    ledger.queue({**attributes(), "arch": {**ARCH.to_dict(), "colour": "red"}}, {"u": 0.1, "v": 0.9})
    with pytest.raises(RunError, match=r"^trial 0: its stored arch does not fit this version of scalesearch$"):
        ledger.records()


def test_finished_trials_are_read_once_and_networks_share_their_arch(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    run_one(ledger, 0, 0.5)
    run_one(ledger, 1, 0.6)
    first, second = ledger.records()
    assert first.arch is second.arch
    ledger.queue(attributes(2), {"u": 0.1, "v": 0.9})
    again = ledger.records()
    assert again[0] is first and again[1] is second
    assert [ledger.count(status) for status in ("done", "waiting", "running", "pruned")] == [2, 1, 0, 0]
    assert list(ledger.networks("candidate")[ARCH.digest]) == [0, 1, 2]
    reader = open_ledger(tmp_path, "run", None, owned=False)
    assert reader.records() == again
    trial = ledger.start()
    assert trial is not None
    ledger.rung_done(trial, 0, rung(0.3))
    ledger.prune(trial, "pruned by median after epoch 1 of 3")
    for one in (ledger, reader, open_ledger(tmp_path, "run", None)):  # a reader looks again
        record = one.records()[2]
        assert (record.status, record.reason, record.score) == ("pruned", "pruned by median after epoch 1 of 3", None)
        assert record.accuracy == 0.3


def test_the_journal_is_synced_after_each_result_and_not_for_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(tmp_path, "run", None)
    sizes: list[int] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: sizes.append((tmp_path / JOURNAL).stat().st_size))
    run_one(ledger, 0, 0.5)
    lines = (tmp_path / JOURNAL).read_bytes().count(b"\n")
    assert sizes[-1] == (tmp_path / JOURNAL).stat().st_size  # the end of a trial is certain
    assert len(sizes) < lines / 2
