"""What the engine itself costs: per rung, with many trials stored, and what a second worker brings.

    python benchmarks/engine.py [--quick] [--json FILE]

1. Overhead per rung: the real engine, journal, queue, pruner and a worker process, with a rung that only waits; what
   is left of the wall-clock time after the waits, over 10 s.
2. One step (propose, store, start, a rung, its decision, finish) with 10,000 trials stored, over one with 100:
   processor time, the disk's own waits left out, and the memory of the opened ledger. The sampler `surface` has a
   pool of 595 networks here, as B0 has at full size: 99 of them with one training each among 100, all with 16 or 17
   among 10,000. What it then fits grows from 99 networks to 595, not only from 100 trainings.
3. Images per second of two workers over one's, training the same candidates for real.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from numpy.random import default_rng
from optuna.storages import JournalStorage
from optuna.trial import TrialState, create_trial

from results import row, write
from scalesearch import load_arch, make_settings
from scalesearch.fit.data import Dataset
from scalesearch.fit.data.load import DataRequest, load_dataset
from scalesearch.fit.memory import resident_bytes
from scalesearch.fit.recipe import Epoch, Recipe, Rung, RungResult
from scalesearch.fit.speed import measure_steps
from scalesearch.search.candidates import Candidate, Feasible, Interval
from scalesearch.search.engine import Task, run_trials
from scalesearch.search.executor import Executor, LocalExecutor, one_blas_thread, run_all
from scalesearch.search.ledger import JOURNAL, Journal, Ledger, open_ledger
from scalesearch.search.plan import Plan, Speed, proxy_base, proxy_rounding, recipe_of
from scalesearch.search.problem import Problem
from scalesearch.search.pruners import Pruning
from scalesearch.search.queue import attributes_of, queue_next
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import candidate_attributes
from scalesearch.search.samplers import DISTRIBUTIONS, lattice_nodes, make_pool, simplex_to_square
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, scale
from scalesearch.spec.settings import Settings

RUNG_SECONDS = 10.0  # that the overhead is a share of
EPOCHS, RUNGS = 6, 3
STORED = (100, 10_000)
POOL = 10_296  # networks, where every trial is another one
REPEATED = 595  # networks, where each has 16 seeds or more
NOISE = 0.01  # deviation of one training's accuracy: a search that sees no noise would end


@cache
def base() -> Arch:
    settings = make_settings("quick", target_flops=400_000_000)
    return proxy_base(load_arch("efficientnet_b0"), settings, classes=settings.glyph_classes, channels=1)


def made_up_problem(fineness: int) -> Problem:
    """A network of its own at each node of a simplex lattice: enumerated pools of that many do not come up."""

    def candidate(number: int, shares: tuple[float, float, float]) -> Candidate:
        arch = replace(base(), classes=10 + number)
        values = (2 ** shares[0], 2 ** (shares[1] / 2), 2 ** (shares[2] / 2))
        found = cost(arch)
        sides = [Interval(value, value, value) for value in values]
        return Candidate(arch, sides[0], sides[1], sides[2], shares, found.flops, found.params, found.activations, 2.0)

    networks = tuple(candidate(number, node) for number, node in enumerate(lattice_nodes(fineness)))
    data = Dataset(Path("none"), "none", ("0", "1"), 1, 64, 1_000, 1_000, False, "0", (), ())
    return Problem(base(), "", base(), data, "no images", "0", Feasible(networks, ()), make_pool(networks))


def plan_of(networks: int, seeds: int) -> Plan:
    return Plan(networks, seeds, EPOCHS, 64, 64, 1, "cpu", Speed(1, 1, 1, 1), 0.0, 0.0)


def curve(arch: Arch, seed: int, start: int, stop: int, seconds: float) -> RungResult:
    """Epochs of a rung that nobody trained; networks differ, so that pruners have something to do, and so do seeds."""
    height = 0.5 + (arch.classes * 37 % 1_000) / 4_000 + NOISE * float(default_rng([arch.classes, seed]).normal())
    epochs = tuple(Epoch(e, 1.0, 1.0, height * e / EPOCHS, seconds, 1.0, seconds) for e in range(start + 1, stop + 1))
    return RungResult(epochs, seconds, 1)


def waiting_rung(rung: Rung, seconds: float) -> RungResult:
    started = time.perf_counter()
    time.sleep(seconds)
    assert isinstance(rung.arch, Arch)
    return curve(rung.arch, rung.seed, rung.start_epoch, rung.stop_epoch, time.perf_counter() - started)


class Waiting:
    """A real executor that is given waits in place of trainings."""

    def __init__(self, inner: Executor, seconds: float) -> None:
        self.workers, self._inner, self._seconds = inner.workers, inner, seconds

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._inner.submit(waiting_rung, *arguments, self._seconds)

    def close(self) -> None:
        self._inner.close()


def accuracy_itself(record: TrialRecord, accuracy: float) -> float:
    return accuracy


def task_of(folder: Path, epochs: int = EPOCHS, rungs: int = RUNGS) -> Task:
    (folder / "checkpoints").mkdir(exist_ok=True)
    stops = plan_of(1, 1).rung_stops(rungs)
    return Task(folder, folder / "checkpoints", Recipe(epochs), stops, 64, 64, "cpu")


def overhead(sampler: str, pruner: str, networks: int, seconds: float) -> tuple[float, float, int]:
    """Seconds per rung that were not the rung's own, this process's processor seconds per rung, and the rungs."""
    problem, settings = made_up_problem(20), Settings(400_000_000, sampler=sampler, pruner=pruner)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ledger, task, plan = open_ledger(folder, "run", None), task_of(folder), plan_of(networks, 1)
        executor = Waiting(LocalExecutor(1), seconds)
        try:
            pruning = Pruning(pruner, task.rung_stops, accuracy_itself, ())

            def more() -> bool:
                return queue_next(ledger, problem, plan, settings)

            started, processor = time.perf_counter(), time.process_time()
            run_trials(
                ledger, executor, task, more, accuracy_itself, float("inf"), networks, lambda progress: None, pruning
            )
            spent, processor = time.perf_counter() - started, time.process_time() - processor
        finally:
            executor.close()
        rungs = [rung for record in ledger.records() for rung in record.rungs]
    return (spent - sum(rung["seconds"] for rung in rungs)) / len(rungs), processor / len(rungs), len(rungs)


def fill(folder: Path, problem: Problem, stored: int, networks: int) -> None:
    """A journal of finished trainings of so many networks, seed by seed, the base's first of each."""
    study = optuna.create_study(
        storage=JournalStorage(Journal(folder / JOURNAL)), study_name="run", direction="maximize"
    )
    distributions: dict[str, Any] = dict(DISTRIBUTIONS)
    digests = list(dict.fromkeys((*problem.pool.anchors_of, *problem.pool.lattice)))[:networks]
    trainings = [(digest, seed) for seed in range(-(-stored // (networks + 1))) for digest in ("", *digests)]
    stops = plan_of(1, 1).rung_stops(RUNGS)
    for digest, seed in trainings[:stored]:
        params: dict[str, float] = {}
        if digest:
            candidate = problem.pool.by_digest[digest]
            arch, params = candidate.arch, simplex_to_square(candidate.shares)
            attributes = attributes_of("candidate", arch, seed, **candidate_attributes(candidate, ()))
        else:
            arch = problem.proxy
            attributes = attributes_of("base", arch, seed, budget=1.0)
        assert isinstance(arch, Arch)
        for index, stop in enumerate(stops):
            attributes[f"rung{index}"] = asdict(curve(arch, seed, stops[index - 1] if index else 0, stop, 10.0))
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=attributes[f"rung{len(stops) - 1}"]["epochs"][-1]["accuracy"],
                params=params,
                distributions=distributions if params else {},
                user_attrs=attributes,
            )
        )


@one_blas_thread()  # as in the loop
def step_seconds(stored: int, networks: int, sampler: str, pruner: str, steps: int) -> dict[str, float]:
    """Median processor time of one step on a journal of so many trials, the time to open it, and its memory."""
    problem = made_up_problem({POOL: 142, REPEATED: 33, 100: 13}[networks])
    settings = Settings(400_000_000, sampler=sampler, pruner=pruner, precision=0.0)
    plan = plan_of(networks, 1_000)
    stops = plan.rung_stops(RUNGS)
    _ = problem.pool.lattice  # made once per run
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        fill(folder, problem, stored, networks)
        before, began = resident_bytes(), time.process_time()
        ledger = open_ledger(folder, "run", None)
        pruning = Pruning(pruner, stops, accuracy_itself, ledger.records())
        opened, memory = time.process_time() - began, resident_bytes() - before
        times = []
        for _ in range(steps):
            began = time.process_time()
            one_step(ledger, problem, plan, settings, pruning, stops)
            times.append(time.process_time() - began)
        journal = (folder / JOURNAL).stat().st_size
    return {"seconds": statistics.median(times), "opened": opened, "memory": memory, "journal": journal}


def one_step(
    ledger: Ledger, problem: Problem, plan: Plan, settings: Settings, pruning: Pruning, stops: list[int]
) -> None:
    """What the engine does for a training of one rung."""
    assert queue_next(ledger, problem, plan, settings)
    trial = ledger.start()
    assert trial is not None
    record = ledger.record(trial)
    assert isinstance(record.arch, Arch)
    # The surface asks for the base only where it has no candidate to ask for.
    assert record.role == "candidate" or settings.sampler != "surface"
    pruning.see(record)
    result = asdict(curve(record.arch, record.seed, 0, stops[0], 10.0))
    verdict = pruning.judge(record, result["epochs"])
    ledger.rung_done(trial, 0, result | ({} if verdict is None else {"pruner": verdict.to_dict()}))
    ledger.finish(trial, result["epochs"][-1]["accuracy"])
    pruning.see(ledger.record(trial))
    for status in ("done", "failed", "pruned"):
        ledger.count(status)


def images_per_second(workers: int, trainings: int, images: int, data: Path) -> tuple[float, float]:
    """Of the engine with real trainings of one candidate, from the first rung's start to the last one's end; and of
    as many processes that do the same steps and nothing else, just before: what this machine gives."""
    settings = make_settings("quick", target_flops=400_000_000)
    arch = scale(base(), PAPER_COEFFICIENTS, 1.0, proxy_rounding(settings))
    recipe, executor = recipe_of(settings, 2), LocalExecutor(workers)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "checkpoints").mkdir()
        ledger = open_ledger(folder, "run", None)
        for seed in range(trainings):
            ledger.queue(attributes_of("base", arch, seed, budget=2.0), {})
        task = Task(data, folder / "checkpoints", recipe, [1, 2], images, 64, "cpu")
        try:
            # A run has calibrated so before its first rung: the workers are warm.
            bare = sum(rate for rate, _ in run_all(executor, measure_steps, [(arch, recipe, "cpu", 2.0)] * workers))
            started = time.perf_counter()
            run_trials(
                ledger, executor, task, lambda: False, accuracy_itself, float("inf"), trainings, lambda progress: None
            )
            spent = time.perf_counter() - started
        finally:
            executor.close()
        assert ledger.count("done") == trainings
    return trainings * 2 * images / spent, bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under 30 s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    quick = arguments.quick
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = []

    print(f"overhead per rung, ms (share of a 10-s rung), of it processor time; load {os.getloadavg()[0]:.1f}")
    pruners = ("none", "median") if quick else ("none", "asha", "hyperband", "median", "wilcoxon")
    for sampler, pruner in [("surface", "none"), *(("lattice", pruner) for pruner in pruners)]:
        each, processor, count = overhead(sampler, pruner, 7 if quick else 20, 0.05)
        print(
            f"  {sampler}, pruner {pruner:<10} {1e3 * each:7.1f}   {each / RUNG_SECONDS:.3%}   "
            f"{1e3 * processor:5.1f}   ({count} rungs)"
        )
        measure = f"engine overhead per rung, sampler {sampler}, pruner {pruner}"
        rows.append(
            row(
                measure,
                "a rung of 10 s",
                each / RUNG_SECONDS,
                target="under 0.01",
                rungs=count,
                seconds=each,
                processor_seconds=processor,
            )
        )

    print("one step with 10,000 trials stored against 100: processor ms, ratio, MB of the opened ledger")
    cases = [("lattice", "none", 100), ("lattice", "none", POOL), ("random", "none", POOL), ("lattice", "median", POOL)]
    cases.append(("surface", "none", REPEATED))
    for sampler, pruner, networks in cases[:1] if quick else cases:
        steps = 15 if quick or sampler == "surface" else 50
        few, many = (step_seconds(stored, networks, sampler, pruner, steps) for stored in STORED)
        ratio = many["seconds"] / few["seconds"]
        what = f"{sampler}, pruner {pruner}, {'each another network' if networks == POOL else f'{networks:,} networks'}"
        print(
            f"  {what:<50} {1e3 * few['seconds']:6.2f} → {1e3 * many['seconds']:6.2f}   {ratio:.2f}   "
            f"{many['memory'] / 1e6:.0f} MB, journal {many['journal'] / 1e6:.0f} MB, opened in {many['opened']:.1f} s"
        )
        rows.append(
            row(f"a step at 10,000 stored trials ({what})", "at 100", ratio, target="under 3", few=few, many=many)
        )

    print("two workers against one, images/s")
    data = load_dataset(DataRequest("digits", size=64), Path(tempfile.gettempdir()) / "scalesearch-benchmark").folder
    rounds, trainings, images = (1, 2, 128) if quick else (5, 4, 512)
    pairs = [[images_per_second(workers, trainings, images, data) for workers in (1, 2)] for _ in range(rounds)]
    ratios, bare = (sorted(two[part] / one[part] for one, two in pairs) for part in (0, 1))
    middle, most = statistics.median(ratios), statistics.median(bare)
    loads = os.getloadavg()
    print(f"  {', '.join(f'{one[0]:.0f} → {two[0]:.0f}' for one, two in pairs)}: {middle:.2f} (load {loads[0]:.1f})")
    print(f"  two processes with the same steps and nothing else, over one: {most:.2f}")
    rows.append(
        row("two workers", "one worker, same trainings", middle, ratios[0], ratios[-1], "at least 1.9", load=loads[0],
            note=f"range over rounds; two processes with the same steps and nothing else do {most:.2f} times as many "
            f"as one ({bare[0]:.2f}–{bare[-1]:.2f})", rounds=pairs)
    )  # fmt: skip
    if arguments.json:
        write(arguments.json, "engine", rows)


if __name__ == "__main__":
    main()
