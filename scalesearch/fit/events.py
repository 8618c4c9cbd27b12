"""TensorBoard's event files, where tensorboard is installed. They are derived: each start writes them anew."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_FILES = "events.out.tfevents.*"


class Events:
    """Scalars by epoch in a folder; without tensorboard nothing is written."""

    def __init__(self, folder: Path) -> None:
        for path in folder.glob(_FILES) if folder.is_dir() else ():
            path.unlink()
        self._writer: Any = None
        if installed():
            from torch.utils.tensorboard import SummaryWriter  # here: it takes seconds, and may not be installed

            writer: Any = SummaryWriter
            self._writer = writer(str(folder))

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """`values` by tag, such as loss/train."""
        if self._writer is not None:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, epoch)
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def installed() -> bool:
    return find_spec("tensorboard") is not None
