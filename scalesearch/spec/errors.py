"""Errors a user can cause. Each message says where, which rule, what was found, what to do.

`commands.main` is the one place that turns them into exit code 2; anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence


class ScaleSearchError(Exception):
    """Base of every error with a cause outside this code base."""


class SettingsError(ScaleSearchError):
    """An option or setting breaks its rule."""


class SpaceError(ScaleSearchError):
    """A network or search space file is faulty; `faults` lists every fault found in it."""

    def __init__(self, where: str, faults: Sequence[str]) -> None:
        self.where = where
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{where}: {fault}" for fault in self.faults))


class BudgetError(ScaleSearchError):
    """No network meets a budget; the message names the nearest that can be reached."""


class DataError(ScaleSearchError):
    """A data set is missing, unreadable or unusable for classification."""


class RunError(ScaleSearchError):
    """A run folder cannot be used as asked."""


class CountError(ScaleSearchError):
    """Two independent counts of one network disagree."""


class TrainingError(ScaleSearchError):
    """A training cannot go on; the message becomes the trial's reason."""


class SurrogateError(ScaleSearchError):
    """A fitted surface is asked about a network that its points say nothing of."""
