"""`scalesearch train` as a user runs it: interrupted by a signal, gone on with, and as good as undisturbed."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from tool import rows, start, tool

NET = """
name = "net"
resolution = 24
dropout = 0.1
stem = { kind = "conv", channels = 8, stride = 2 }
stages = [{ kind = "mbconv", channels = 8, se = 0.25 }, { kind = "mbconv", channels = 16, stride = 2, expand = 3 }]
"""
COMMAND = "--data digits --epochs 6 --set threads=1 --set progressive=m --set randaugment=0".split()
SAME = ("epoch", "stage", "side", "learning_rate", "train_loss", "val_loss", "accuracy")


def test_sigterm_ends_with_130_and_the_same_command_goes_on(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "net.toml").write_text(NET)
    argv = ("train", "net.toml", *COMMAND, "--out")
    process = start(*argv, "stopped", cwd=tmp_path, cache=cache)
    deadline = time.monotonic() + 200
    while not (tmp_path / "stopped" / "checkpoint.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the training makes no progress"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "give the same command again" in printed and "Traceback" not in printed
    assert "plan: 6 epochs of " in said and "[6/6]" not in said
    assert not (tmp_path / "stopped" / "test.json").exists()
    for folder in ("stopped", "whole"):
        done = tool(*argv, folder, cwd=tmp_path, cache=cache)
        assert done.returncode == 0, done.stderr
        if folder == "stopped":
            assert "going on after epoch " in done.stdout
    logs = [[[row[key] for key in SAME] for row in rows(tmp_path / name / "log.csv")] for name in ("stopped", "whole")]
    assert logs[0] == logs[1] and len(logs[0]) == 6
    tests = [json.loads((tmp_path / name / "test.json").read_text()) for name in ("stopped", "whole")]
    assert tests[0] == tests[1]
