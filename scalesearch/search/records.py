"""Trials as records, and an index of them that takes up one changed trial at a time.

A finished trial never changes, and the trials of one network share its arch: reading 10,000 of them again for every
decision would cost more than the decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.schema import read_stored

STATUS = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One training, or one prediction, as stored. `rungs` are the finished ones, in order, as `RungResult` fields."""

    number: int
    status: str
    role: str  # base, candidate, confirmation, family; with the surrogate reference (the paper's family), budget
    digest: str
    seed: int
    arch: AnyArch
    flops: int
    params: int
    activations: int
    score: float | None
    reason: str
    rungs: tuple[Mapping[str, Any], ...]
    attributes: Mapping[str, Any]

    @property
    def epochs_done(self) -> int:
        """How many epochs have finished; without making a list of them, for ten thousand records at a time."""
        return sum(len(rung.get("epochs", ())) for rung in self.rungs)

    @property
    def epochs(self) -> list[Mapping[str, Any]]:
        return [epoch for rung in self.rungs for epoch in rung.get("epochs", ())]

    @property
    def accuracy(self) -> float | None:
        """Top-1 (0 to 1): on the validation images after the last finished rung, or as predicted."""
        if self.epochs:
            return float(self.epochs[-1]["accuracy"])
        return float(self.rungs[-1]["accuracy"]) if self.rungs else None

    @property
    def replicates(self) -> Sequence[float]:
        """Of a prediction: the same accuracy by each bootstrap replicate."""
        return self.rungs[-1].get("replicates", ()) if self.rungs else ()

    @property
    def seconds(self) -> float:
        return float(sum(rung["seconds"] for rung in self.rungs))

    @property
    def stop(self) -> str:
        """Why the pruner ended it after its last finished rung; empty if it may go on."""
        return str(self.rungs[-1].get("pruner", {}).get("stop", "")) if self.rungs else ""


class Index:
    """Records by number, by status and by network."""

    def __init__(self) -> None:
        self.records: list[TrialRecord] = []
        self._statuses: dict[str, dict[int, TrialRecord]] = {name: {} for name in STATUS.values()}
        self._roles: dict[str, dict[str, dict[int, TrialRecord]]] = {}

    def put(self, frozen: FrozenTrial) -> None:
        """Take up a trial, new or changed; new ones in the order of their numbers.

        Raises RunError if its network does not fit this version.
        """
        number = frozen.number
        before = self.records[number] if number < len(self.records) else None
        record = _record(frozen, self._known(frozen, before))
        if before is None:
            self.records.append(record)
        else:
            self.records[number] = record
            del self._statuses[before.status][number]
        self._statuses[record.status][number] = record
        self._roles.setdefault(record.role, {}).setdefault(record.digest, {})[record.seed] = record

    def of_status(self, status: str) -> Mapping[int, TrialRecord]:
        """By number; those waiting in their order."""
        return self._statuses[status]

    def networks(self, role: str) -> Mapping[str, Mapping[int, TrialRecord]]:
        """A role's trainings by digest and seed, both in the order in which they were queued."""
        return self._roles.get(role, {})

    def _known(self, frozen: FrozenTrial, before: TrialRecord | None) -> AnyArch | None:
        if before is not None:
            return before.arch
        attributes = frozen.user_attrs
        first = next(iter(self.networks(attributes["role"]).get(attributes["digest"], {}).values()), None)
        if first is None or first.attributes["arch"] != attributes["arch"]:
            return None
        attributes["arch"] = first.attributes["arch"]  # one table for all seeds, not one each
        return first.arch


def _record(frozen: FrozenTrial, arch: AnyArch | None) -> TrialRecord:
    attributes = frozen.user_attrs
    arch = arch or read_stored(attributes["arch"])
    if arch is None:
        raise RunError(f"trial {frozen.number}: its stored arch does not fit this version of scalesearch")
    rungs: list[Mapping[str, Any]] = []
    while f"rung{len(rungs)}" in attributes:
        rungs.append(attributes[f"rung{len(rungs)}"])
    return TrialRecord(
        number=frozen.number,
        status=STATUS[frozen.state],
        role=attributes["role"],
        digest=attributes["digest"],
        seed=attributes["seed"],
        arch=arch,
        flops=attributes["flops"],
        params=attributes["params"],
        activations=attributes["activations"],
        score=frozen.value if frozen.state == TrialState.COMPLETE else None,
        reason=attributes.get("reason", ""),
        rungs=tuple(rungs),
        attributes=attributes,
    )
