"""Checkpoints: plain dictionaries of tensors and numbers, written atomically, read without running what they hold."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from scalesearch.fit.step import first_line
from scalesearch.spec.errors import RunError, TrainingError


class CheckpointError(TrainingError):
    """A checkpoint is missing or damaged; the trial can start again from its first epoch."""


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """The file is complete or as it was. Raises RunError if it cannot be written."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        buffer = io.BytesIO()  # torch's own writer hides why the disk refused
        torch.save(dict(state), buffer)
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # Not this training's failure: the run stops, and goes on from here once there is room.
        raise RunError(f"{path}: the checkpoint cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Raises as many kinds of errors as a file can be damaged in ways; `unusable` makes them one."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def unusable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: the checkpoint cannot be used: {first_line(error)}")
