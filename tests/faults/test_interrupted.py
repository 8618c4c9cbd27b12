"""Kills with real signals: no finished rung is lost, nothing is trained twice, the answer is the same."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tool import TINY, rows, tool
from tool import start as tool_start

# One worker, so that proposals and order do not depend on timing; three rungs per training.
COMMAND = [*TINY, "--sampler", "lattice", "--workers", "1", "--seeds", "2", "--trials", "4", "--set", "epochs=3"]
SAME = ("digest", "alpha", "beta", "gamma", "flops", "accuracy_mean", "accuracy_se", "seeds", "score", "may_be_best")


def start(place: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    return tool_start("run", *COMMAND, *more, "--out", "run", cwd=place, cache=cache)


def stop(process: subprocess.Popen[str]) -> None:
    """kill -9, and its pipes closed."""
    process.kill()
    process.communicate()


def rungs_stored(folder: Path) -> list[str]:
    """One entry per finished rung in the journal: trial and rung."""
    journal = folder / "journal.log"
    found = []
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found += [f"{entry['trial_id']} {key}" for key in entry.get("user_attr", {}) if key.startswith("rung")]
    return found


def wait_for_rungs(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(rungs_stored(folder)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.02)


def table(folder: Path) -> list[tuple[str, ...]]:
    return [tuple(row[key] for key in SAME) for row in rows(folder / "candidates.csv")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[list[tuple[str, ...]], int]:
    place = tmp_path_factory.mktemp("undisturbed")
    done = tool("run", *COMMAND, "--out", "run", cwd=place, cache=cache)
    assert done.returncode == 0, done.stderr
    return table(place / "run"), len(rungs_stored(place / "run"))


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) == process.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_sigkill_and_the_same_command_again(
    undisturbed: tuple[list[tuple[str, ...]], int], tmp_path: Path, cache: Path
) -> None:
    expected, rungs = undisturbed
    folder = tmp_path / "run"
    for count in (4, 13):  # in the middle of a training, and in the second seed's turn
        process = start(tmp_path, cache)
        wait_for_rungs(process, folder, count)
        workers = workers_of(process)
        assert workers
        stop(process)
        deadline = time.monotonic() + 10
        while any(map(alive, workers)):
            assert time.monotonic() < deadline, "a worker outlives its run"
            time.sleep(0.05)
    with (folder / "journal.log").open("ab") as journal:  # what a kill in the middle of a write leaves
        journal.write(b'{"op_code":8,"worker_id":"x","trial_i')
    done = tool("run", *COMMAND, "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "the last line was torn" in done.stdout
    assert table(folder) == expected
    stored = rungs_stored(folder)
    assert len(stored) == len(set(stored)) == rungs  # each rung trained to its end exactly once
    assert {row["status"] for row in rows(folder / "trials.csv")} == {"done"}


@pytest.mark.parametrize(
    "how",
    [
        "--trials 8 --pruner asha --sampler lattice".split(),
        "--trials 8 --pruner asha --sampler surface --seeds 2 --set inherit=true --set confirm=1".split(),
    ],
    ids=["lattice", "surface"],
)
def test_a_killed_run_prunes_as_an_undisturbed_one(tmp_path: Path, cache: Path, how: list[str]) -> None:
    command = [*TINY, "--workers", "1", "--set", "epochs=3", *how, "--out", "run"]

    def outcome(folder: Path) -> list[tuple[str, ...]]:
        columns = ("digest", "seed", "status", "reason", "rung", "accuracy", "score", "role")
        return [tuple(row[key] for key in columns) for row in rows(folder / "trials.csv")]

    (tmp_path / "whole").mkdir()
    done = tool("run", *command, cwd=tmp_path / "whole", cache=cache)
    assert done.returncode == 0, done.stderr
    expected = outcome(tmp_path / "whole" / "run")
    assert {row[2] for row in expected} == {"done", "pruned"}
    assert "of them stopped early by the asha pruner" in (tmp_path / "whole" / "run" / "report.html").read_text()
    process = tool_start("run", *command, cwd=tmp_path, cache=cache)
    wait_for_rungs(process, tmp_path / "run", 6)
    stop(process)
    done = tool("run", *command, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "run") == expected
    assert len(rungs_stored(tmp_path / "run")) == sum(int(row[4]) for row in expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_exit_130_and_resume(
    undisturbed: tuple[list[tuple[str, ...]], int], tmp_path: Path, cache: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = start(tmp_path, cache)
    wait_for_rungs(process, folder, 2)
    # Ctrl-C reaches the whole process group, workers too; SIGTERM goes to the parent alone.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "give the same command again" in printed
    assert "Traceback" not in printed
    done = tool("run", "--resume", "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert table(folder) == undisturbed[0]


def test_a_killed_worker_costs_one_rung(
    undisturbed: tuple[list[tuple[str, ...]], int], tmp_path: Path, cache: Path
) -> None:
    process = start(tmp_path, cache)
    wait_for_rungs(process, tmp_path / "run", 3)
    (worker,) = workers_of(process)
    os.kill(worker, signal.SIGKILL)
    _, printed = process.communicate(timeout=240)
    assert process.returncode == 0, printed
    assert table(tmp_path / "run") == undisturbed[0]


def test_a_damaged_checkpoint_starts_the_training_again(
    undisturbed: tuple[list[tuple[str, ...]], int], tmp_path: Path, cache: Path
) -> None:
    process = start(tmp_path, cache)
    wait_for_rungs(process, tmp_path / "run", 2)
    stop(process)
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:1000])
    done = tool("run", *COMMAND, "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "the checkpoint cannot be used" in done.stdout
    assert table(tmp_path / "run") == undisturbed[0]


def test_a_second_process_is_refused(tmp_path: Path, cache: Path) -> None:
    process = start(tmp_path, cache)
    wait_for_rungs(process, tmp_path / "run", 1)
    process.send_signal(signal.SIGSTOP)  # it must not end before the second one asks
    done = tool("run", *COMMAND, "--out", "run", cwd=tmp_path, cache=cache)
    stop(process)
    assert done.returncode == 2
    assert f"another process works on this run (pid {process.pid}" in done.stderr


def test_a_full_disk_keeps_what_is_finished(
    undisturbed: tuple[list[tuple[str, ...]], int], tmp_path: Path, cache: Path
) -> None:
    """In the middle of a run no file may grow past the journal's size: its next write fails as on a full disk."""
    process = start(tmp_path, cache)
    wait_for_rungs(process, tmp_path / "run", 4)
    size = (tmp_path / "run" / "journal.log").stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 40, size + 40))
    _, printed = process.communicate(timeout=240)
    assert process.returncode == 2, printed
    assert "File too large; finished work is kept" in printed
    assert len(printed.splitlines()) == 1
    assert len(rungs_stored(tmp_path / "run")) >= 4
    done = tool("run", *COMMAND, "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "run") == undisturbed[0]


def test_changed_images_are_refused(tmp_path: Path, cache: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "set.npz", x=images, y=labels)
    command = [*COMMAND, "--data", "set.npz", "--out", "run"]
    process = tool_start("run", *command, cwd=tmp_path, cache=cache)
    wait_for_rungs(process, tmp_path / "run", 1)
    stop(process)
    np.savez(tmp_path / "set.npz", x=255 - images, y=labels)
    done = tool("run", *command, cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "set.npz have changed since the run began" in done.stderr
