"""The ways to judge networks. An evaluator is one entry of EVALUATORS; its statistics are in `verdicts.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scalesearch.search import prediction, problem, replay
from scalesearch.search.executor import Executor, HereExecutor, LocalExecutor
from scalesearch.search.problem import Problem
from scalesearch.search.session import Session
from scalesearch.search.training import train
from scalesearch.spec.settings import Settings


@dataclass(frozen=True, slots=True)
class Evaluator:
    """`pose` finds the networks (settings, workers); `describe` says so; `judge` fills the ledger and says how
    it ended.

    Members of up to `fvcore_limit` FLOPs are counted a second time: fvcore runs a real forward, which past 200G takes
    minutes and gigabytes, and seconds for less.
    """

    pose: Callable[[Settings, int], Problem]
    describe: Callable[[Problem, Settings], list[str]]
    executor: Callable[[int], Executor]
    judge: Callable[[Session], str]
    fvcore_limit: int


EVALUATORS: Mapping[str, Evaluator] = {
    "train": Evaluator(problem.pose, problem.describe, LocalExecutor, train, 200_000_000_000),
    "imagenet_surrogate": Evaluator(
        prediction.pose, prediction.describe, lambda workers: HereExecutor(), prediction.predict, 5_000_000_000
    ),
    "replay": Evaluator(replay.pose, replay.describe, lambda workers: HereExecutor(), replay.replay, 5_000_000_000),
}
