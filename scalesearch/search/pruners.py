"""Which trainings to stop before their end. A pruner is one entry of PRUNERS, made from a run's rungs.

Only a network's first training is judged: one that has been trained to its end has its other seeds trained whole too,
or its mean would rest on the seeds that happened to do well. The networks are compared in a study of their own, in
memory, because Optuna's pruners look at every trial of a study, and the run's holds the base and family members, which
are of other sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import Trial, TrialState, create_trial

from scalesearch.search.records import TrialRecord
from scalesearch.spec.errors import TrainingError

REDUCTION = 3  # one network of so many goes on (Li et al. 2018, Hyperband; 2020, ASHA: 3 or 4)
WHOLE = 5  # networks trained to their end before the median prunes: the corners, the paper's point and dWr's
KEPT = ("paper",)  # anchors that a run's answer is compared with: never pruned

# From the epochs after which rungs end; the resource is an epoch.
PRUNERS: Mapping[str, Callable[[Sequence[int]], BasePruner]] = {
    "none": lambda stops: optuna.pruners.NopPruner(),
    "asha": lambda stops: optuna.pruners.SuccessiveHalvingPruner(min_resource=stops[0], reduction_factor=REDUCTION),
    "hyperband": lambda stops: optuna.pruners.HyperbandPruner(
        min_resource=stops[0], max_resource=stops[-1], reduction_factor=REDUCTION
    ),
    "median": lambda stops: optuna.pruners.MedianPruner(n_startup_trials=WHOLE),
    "wilcoxon": lambda stops: _wilcoxon(),
}


def _wilcoxon() -> BasePruner:
    """Compares epoch by epoch with the best. Optuna calls the class experimental; its version is pinned here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner(p_threshold=0.1)


@dataclass(frozen=True, slots=True)
class Decision:
    """Of a pruner after a rung: `stop` is its reason, empty to go on. `marks` are what it noted on the trial.

    It is stored in one write with its rung, so that a kill leaves both or neither and no decision is taken twice.
    """

    stop: str
    marks: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Pruning:
    """The first training of each candidate, as the ledger has them, and a pruner that compares them.

    All it knows follows from the records that it is shown, in the order of their numbers, so after a kill it is made
    again as it was. `score` maps a training and an accuracy to what is compared: on equal FLOPs and other costs alike.
    """

    def __init__(
        self,
        pruner: str,
        stops: Sequence[int],
        score: Callable[[TrialRecord, float], float],
        records: Iterable[TrialRecord],
    ) -> None:
        self._name = pruner
        self._last = stops[-1]
        self._score = score
        # Hyperband sorts trials into brackets by the study's name and their number.
        self._study = optuna.create_study(
            study_name="first trainings", direction="maximize", pruner=PRUNERS[pruner](stops)
        )
        self._first: dict[str, int] = {}  # by digest
        self._open: dict[int, Trial] = {}  # by the ledger's number
        for record in records:
            self.see(record)

    def see(self, record: TrialRecord) -> None:
        """Take note of a training as it is now. The first time of each must be in the order of their numbers."""
        if record.role != "candidate":
            return
        if record.digest not in self._first:
            self._first[record.digest] = record.number
            self._study.add_trial(create_trial(state=TrialState.RUNNING))
            self._open[record.number] = Trial(self._study, self._study.get_trials(deepcopy=False)[-1]._trial_id)
        trial = self._open.get(record.number)
        if trial is None:  # a later seed, or one that has ended
            return
        with suppress(TrainingError):  # a network whose cost cannot be measured has failed for that
            self._report(trial, record, record.epochs)
        for rung in record.rungs:
            self._mark(trial, rung.get("pruner", {}).get("marks", {}))
        if record.status in ("done", "pruned", "failed"):
            state = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}.get(record.status, TrialState.COMPLETE)
            self._study.tell(trial, record.score, state)
            del self._open[record.number]

    def judge(self, record: TrialRecord, epochs: Sequence[Mapping[str, Any]]) -> Decision | None:
        """Whether a running training goes on after a rung of these epochs; None if it is not to be judged.

        Raises TrainingError if its cost has to be measured and cannot be.
        """
        self.see(record)
        trial = self._open.get(record.number)
        if trial is None:
            return None
        self._report(trial, record, epochs)
        before = self._frozen(trial).system_attrs
        stopped = trial.should_prune() and not set(KEPT) & set(record.attributes.get("anchors", ()))
        marks = {key: value for key, value in self._frozen(trial).system_attrs.items() if key not in before}
        return Decision(self._reason(trial) if stopped else "", marks)

    def _reason(self, trial: Trial) -> str:
        values = self._frozen(trial).intermediate_values
        epoch = max(values)
        there = [other.intermediate_values.get(epoch) for other in self._study.get_trials(deepcopy=False)]
        reached = [value for value in there if value is not None]
        rank = 1 + sum(value > values[epoch] for value in reached)
        return (
            f"pruned by {self._name} after epoch {epoch} of {self._last}: {values[epoch]:.4f} there, "
            f"number {rank} of the {len(reached)} networks that got so far"
        )

    def _report(self, trial: Trial, record: TrialRecord, epochs: Sequence[Mapping[str, Any]]) -> None:
        known = self._frozen(trial).intermediate_values
        for epoch in epochs:
            if epoch["epoch"] not in known:
                trial.report(self._score(record, float(epoch["accuracy"])), epoch["epoch"])

    def _mark(self, trial: Trial, marks: Mapping[str, Any]) -> None:
        for key, value in marks.items():
            self._study._storage.set_trial_system_attr(trial._trial_id, key, value)

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        return self._study._storage.get_trial(trial._trial_id)


def make_pruning(
    pruner: str,
    stops: Sequence[int],
    score: Callable[[TrialRecord, float], float],
    records: Iterable[TrialRecord],
) -> Pruning | None:
    """None where nothing can be stopped early: without a pruner, or with a single rung."""
    return None if pruner == "none" or len(stops) < 2 else Pruning(pruner, stops, score, records)


def describe(pruner: str, stops: Sequence[int]) -> str:
    """The plan's words on it, empty without one."""
    if pruner == "none":
        return ""
    asked = ", ".join(str(epoch) for epoch in stops[:-1])
    return f", {pruner} pruner " + (f"after epoch {asked}" if asked else "idle: one rung")
