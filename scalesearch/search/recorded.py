"""What every recording holds: whole trainings with all their epochs, and how the faults of its file are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scalesearch.fit.recipe import Epoch
from scalesearch.search.plan import LENGTHS, Plan
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.records import TrialRecord
from scalesearch.spec.errors import DataError

COLUMNS = ("train_loss", "val_loss", "accuracy", "seconds", "images_per_second", "processor_seconds")
DIGITS = 6  # of a recorded number
_MEND = "restore the file, or pack the run again with benchmarks/record.py"
_MOST_FAULTS = 10  # in one message
_MOST_COUNT = 100_000_000  # of epochs or images, as in the settings
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Training:
    """One whole training: its seed, and its epochs in order."""

    seed: int
    epochs: tuple[Epoch, ...]

    @property
    def processor_seconds(self) -> float:
        return sum(epoch.processor_seconds for epoch in self.epochs)


def common_seeds(trainings: Iterable[Sequence[Training]]) -> tuple[int, ...]:
    """The seeds that every network was trained with."""
    return tuple(sorted(frozenset[int].intersection(*(frozenset(own.seed for own in some) for some in trainings))))


def trainings_of(records: Sequence[TrialRecord]) -> tuple[Training, ...]:
    trainings = []
    for own in records:
        rows = [{name: rounded(epoch[name]) for name in COLUMNS} for epoch in own.epochs]
        trainings.append(Training(own.seed, tuple(Epoch(number, **row) for number, row in enumerate(rows, 1))))
    return tuple(sorted(trainings, key=lambda training: training.seed))


def rounded(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def training_table(training: Training) -> dict[str, Any]:
    return {"seed": training.seed, **{name: [getattr(epoch, name) for epoch in training.epochs] for name in COLUMNS}}


def read_checked(path: Path, table: Mapping[str, Any], build: Callable[[Mapping[str, Any], list[str]], T | None]) -> T:
    """What `build` makes of a file's table; it adds every fault that it finds to its list, and may return None then.

    Raises DataError, with every fault (the first ten) and where it is.
    """
    faults: list[str] = []
    try:
        found = build(table, faults)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        faults.append(f"its tables do not fit this version: {what}")
        found = None
    if found is None or faults:
        shown = "; ".join(faults[:_MOST_FAULTS])
        more = f"; and {len(faults) - _MOST_FAULTS} more faults" if len(faults) > _MOST_FAULTS else ""
        raise DataError(f"{path}: {shown}{more}; {_MEND}")
    return found


def read_plan(table: Any, faults: list[str]) -> Plan | None:
    """The stored plan, of which a replay makes its own."""
    try:
        plan = plan_from_dict(table)
    except (KeyError, TypeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        faults.append(f"plan: must be a run's plan: {what}")
        return None
    for name in LENGTHS:
        value = getattr(plan, name)
        if type(value) is not int or not 1 <= value <= _MOST_COUNT:
            faults.append(f"plan.{name}: must be an integer from 1 to {_MOST_COUNT:,}, got {value!r}")
            return None
    return plan


def read_trainings(tables: Sequence[Mapping[str, Any]], where: str, faults: list[str]) -> tuple[Training, ...]:
    trainings = []
    for index, table in enumerate(tables):
        place = f"{where}[{index}]"
        columns = {name: [float(value) for value in table[name]] for name in COLUMNS}
        if len({len(column) for column in columns.values()}) > 1 or not columns["accuracy"]:
            faults.append(f"{place}: its columns must be of one length, at least 1")
            continue
        for name, column in columns.items():
            highest = 1.0 if name == "accuracy" else math.inf
            bad = [value for value in column if not (math.isfinite(value) and 0 <= value <= highest)]
            if bad:
                rule = "from 0 to 1" if name == "accuracy" else "finite and not negative"
                faults.append(f"{place}.{name}: must be {rule}, got {bad[0]}")
        rows = zip(*(columns[name] for name in COLUMNS), strict=True)
        epochs = tuple(Epoch(number, *row) for number, row in enumerate(rows, 1))
        trainings.append(Training(int(table["seed"]), epochs))
    seeds = [training.seed for training in trainings]
    if len(set(seeds)) < len(seeds):
        faults.append(f"{where}: seeds must be distinct, got {seeds}")
    return tuple(trainings)
