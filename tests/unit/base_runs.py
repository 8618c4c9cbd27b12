"""Base searches on the real loop and ledger; a formula stands for the trainings."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from scalesearch.fit.data import Dataset
from scalesearch.fit.recipe import Epoch, Rung, RungResult
from scalesearch.search.base_problem import BaseProblem, budget_of, describe, space_of
from scalesearch.search.base_run import BaseRun
from scalesearch.search.base_search import BaseSession, search
from scalesearch.search.costs import Bench
from scalesearch.search.engine import Task
from scalesearch.search.executor import HereExecutor
from scalesearch.search.ledger import open_ledger
from scalesearch.search.opening import RUN_FILE
from scalesearch.search.plan import Plan, Speed, recipe_of
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.settings import make_settings

DATA = Dataset(Path("nowhere"), "made up", ("a", "b", "c"), 1, 64, 2_000, 500, False, "0" * 32, (), ())
NETWORKS = 9


class Killed(BaseException):
    """Ends the process, as far as a test can."""


def noise(rung: Rung) -> float:
    """Of a training, from −1 to 1, the same each time."""
    found = hashlib.blake2b(f"{rung.arch.digest} {rung.seed}".encode(), digest_size=4).digest()
    return 2 * int.from_bytes(found, "big") / 2**32 - 1


def trained(rung: Rung) -> RungResult:
    """More parameters learn better; epochs rise to that."""
    worth = 0.5 + 0.1 * math.log10(cost(rung.arch).params) - 0.2 + 0.02 * noise(rung)
    epochs = tuple(
        Epoch(epoch, 1.0, 1.0, worth * (0.5 + 0.5 * epoch / 3), 1.0, 100.0, 1.0)
        for epoch in range(rung.start_epoch + 1, rung.stop_epoch + 1)
    )
    return RungResult(epochs, seconds=float(len(epochs)), peak_memory=0)


def problem(**given: Any) -> BaseProblem:
    settings = make_settings(
        **{
            "preset": "smoke", "target_flops": 400_000_000, "base": "search", "space": "mnasnet", "seeds": 2,
            "strategy": "random",
            "trials": None, "confirm": 2, "proxy_depth": 1.0, "proxy_width": 0.25, **given,
        }
    )  # fmt: skip
    reference = load_arch("efficientnet_b0")
    return BaseProblem(space_of(settings), budget_of(settings), reference, "as it is", DATA, settings)


class Here(HereExecutor):
    """Remembers (role of seeds) what it was given, and is killed at one of them."""

    def __init__(self, workers: int = 1, kill_at: int | None = None) -> None:
        self.workers, self.kill_at = workers, kill_at
        self.rungs: list[Rung] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if len(self.rungs) == self.kill_at:
            raise Killed
        self.rungs.append(arguments[0])
        return super().submit(function, *arguments)


def run(
    folder: Path,
    posed: BaseProblem,
    executor: Here | None = None,
    train: Callable[[Rung], RungResult] = trained,
    ends: float = math.inf,
    say: Callable[[str], None] = lambda line: None,
    networks: int = NETWORKS,
    confirm_seconds: float = 0.0,
) -> BaseRun:
    """What `base_pipeline` does between opening the folder and its end, without measuring a speed."""
    folder.mkdir(parents=True, exist_ok=True)
    executor, settings = executor or Here(), posed.settings
    ledger = open_ledger(folder, "base", None)
    plan = Plan(networks, 1, 3, 100, 100, 1, "cpu", Speed(100, 100, 100, 100), 1.0, 0.0, confirm_seconds)
    if "settings" not in ledger.facts():
        ledger.set_fact("reference", posed.reference.to_dict())
        ledger.set_fact("notes", describe(posed))
        ledger.set_fact("space", posed.fingerprint)
        ledger.set_fact("data_fingerprint", posed.dataset.fingerprint)
        ledger.set_fact("environment", {"commit": "abc", "machine": "none"})
        ledger.set_fact("plan", plan.to_dict())
        ledger.set_fact("settings", settings.to_dict())
        table = {"step": "base", "study": "base", "storage": None, "settings": settings.to_dict()}
        (folder / RUN_FILE).write_text(json.dumps(table), encoding="utf-8")
    recipe = recipe_of(settings, 3)
    stops = plan.rung_stops(3)
    task = Task(folder, folder / "checkpoints", recipe, stops, 100, 100, "cpu", settings.seed, train=train)
    bench = Bench(executor, posed.proxy(posed.reference), recipe, "cpu", 0.1)
    ended = search(BaseSession(ledger, posed, plan, task, bench, lambda progress: None, say, ends))
    ledger.set_fact("finished", ended)
    return BaseRun(folder, ledger, fresh=True)
