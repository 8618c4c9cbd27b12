"""How far the proxy can be trusted: some of a run's networks trained longer, or larger, and ranked again.

A check lies in a folder of the run's own, with its own journal, and is continued by the same command. It trains with
seeds that the run has not used: the recommended network was chosen for its scores, and those seeds flatter it. It
trains from scratch, also where the run's networks started from the base's weights: no base was trained with its seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch.search.costs import Bench, make_score
from scalesearch.search.engine import MOST_SEEDS, Observer, Task, run_trials
from scalesearch.search.executor import LocalExecutor
from scalesearch.search.folder import environment, kept, locked, make_folder
from scalesearch.search.ledger import JOURNAL, Ledger, open_ledger
from scalesearch.search.opening import check_unchanged, choose_workers
from scalesearch.search.plan import Plan, proxy_base, proxy_rounding, recipe_of
from scalesearch.search.problem import load_images
from scalesearch.search.queue import DONE, attributes_of
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import CandidateResult, Run, candidate_attributes
from scalesearch.search.samplers import simplex_to_square
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, SettingsError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.settings import Settings
from scalesearch.spec.solving import to_flops
from scalesearch.spec.units import format_duration

CHECKS = "fidelity"  # the folder within a run's, and the study's name in each journal
LONGER = 3  # times the run's epochs, where nothing else is asked
FEWEST = 3  # networks; two have one pair to rank
FIRST_SEED = MOST_SEEDS // 2  # of a check; a run that has used it is refused
ENDED = ("done", "failed", "pruned")


@dataclass(frozen=True, slots=True)
class Check:
    """What is changed: the epochs of one training, and the proxy's width and side, multiplied."""

    epochs: int
    width: float = 1.0
    resolution: float = 1.0

    @property
    def name(self) -> str:
        parts = [f"epochs{self.epochs}"]
        parts += [f"{key}{value:g}" for key, value in self._larger.items()]
        return "-".join(parts)

    @property
    def larger(self) -> bool:
        return bool(self._larger)

    @property
    def _larger(self) -> dict[str, float]:
        values = {"width": self.width, "resolution": self.resolution}
        return {key: value for key, value in values.items() if value != 1}


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a check: the run's own result, and what is trained for it; `phi` is 1 unless that is larger.

    `ratio` is of realised FLOPs to the check's base; `seconds` are expected of one training on one worker.
    """

    result: CandidateResult
    arch: AnyArch
    phi: float
    ratio: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """All of a check before its first training. `base` is the proxy base, enlarged as asked."""

    check: Check
    folder: Path
    settings: Settings  # the run's, with the enlarged proxy
    plan: Plan  # the run's, with the check's epochs
    base: AnyArch
    networks: tuple[Network, ...]
    seeds: tuple[int, ...]
    workers: int
    device: str

    @property
    def seconds(self) -> float:
        """Of the trainings that are left, on all workers together."""
        times = [one.seconds for one, _ in self.left(read_records(self.folder))]
        return max(sum(times) / self.workers, max(times, default=0.0))

    def left(self, records: Sequence[TrialRecord], status: Sequence[str] = ENDED) -> list[tuple[Network, int]]:
        """The trainings without a record of such a status, the first seed of all networks first."""
        done = {(record.digest, record.seed) for record in records if record.status in status}
        return [(one, seed) for seed in self.seeds for one in self.networks if (one.arch.digest, seed) not in done]


def plan_check(
    run: Run,
    epochs: float | None = None,
    width: float = 1.0,
    resolution: float = 1.0,
    networks: int = 5,
    seeds: int | None = None,
    workers: int | None = None,
) -> CheckPlan:
    """What a check would train. `epochs`, `width` and `resolution` multiply the run's.

    Without `epochs`: LONGER times, or as many where the proxy is enlarged, so that one thing changes. Networks of a
    check that has begun stay in it. Raises RunError for a run that has too little to check, SettingsError for
    multipliers that its images or settings cannot follow.
    """
    if run.settings.evaluator != "train":
        raise RunError(
            f"{run.folder}: its networks were judged by --evaluator {run.settings.evaluator}, not trained, so there is "
            "no training to do longer; check a run of --evaluator train"
        )
    if run.settings.seeds > FIRST_SEED:
        raise RunError(
            f"{run.folder}: a check must use seeds that its run has not, which start at {FIRST_SEED}; the run has "
            f"{run.settings.seeds} seeds; check one of at most {FIRST_SEED}"
        )
    plan = run.plan
    if plan is None or len(run.candidates) < FEWEST:
        raise RunError(
            f"{run.folder}: ranks need at least {FEWEST} networks trained to the end, it has {_trained(run)}; give "
            "its `scalesearch run` command again first"
        )
    if epochs is None:
        epochs = 1 if (width, resolution) != (1, 1) else LONGER
    check = Check(max(1, round(epochs * plan.epochs)), width, resolution)
    settings = _enlarged(run.settings, check)
    base = run.proxy_base
    if check.larger:
        base = proxy_base(run.base, settings, base.classes, base.in_channels)
    folder = run.folder / CHECKS / check.name
    chosen = choose(run, networks, tuple(read_facts(folder).get("networks", ())))
    workers, device = choose_workers(replace(run.settings, workers=workers or run.settings.workers))
    found = tuple(_network(run, result, check, settings, base) for result in chosen)
    largest = max(one.arch.resolution for one in found)
    if check.larger and largest > settings.image_size:
        raise SettingsError(
            f"--resolution {resolution:g}: networks of up to {largest} px need images as large, the run's have "
            f"{settings.image_size} px (image_size); give a smaller one"
        )
    return CheckPlan(
        check=check,
        folder=folder,
        settings=settings,
        plan=replace(plan, epochs=check.epochs),
        base=base,
        networks=found,
        seeds=tuple(range(FIRST_SEED, FIRST_SEED + (seeds or run.settings.seeds))),
        workers=workers,
        device=device,
    )


def choose(run: Run, count: int, begun: Sequence[str] = ()) -> list[CandidateResult]:
    """`count` of the run's networks, or more: the recommended one, the paper's, and all with a digest in `begun`;
    then always the one farthest from those before, in budget shares and in its rank by expected score (0 to 1)."""
    results = run.candidates
    ranks = {result.candidate.digest: index / (len(results) - 1) for index, result in enumerate(results)}

    def distance(a: CandidateResult, b: CandidateResult) -> float:
        rank = ranks[a.candidate.digest] - ranks[b.candidate.digest]
        return math.hypot(math.dist(a.candidate.shares, b.candidate.shares), rank)

    named = [run.recommended, *(result for result in results if "paper" in result.anchors)]
    named += [result for result in results if result.candidate.digest in begun]
    chosen = list({result.candidate.digest: result for result in named}.values())
    left = [result for result in results if result not in chosen]
    while left and len(chosen) < count:
        farthest = max(left, key=lambda one: (min(distance(one, other) for other in chosen), one.candidate.digest))
        chosen.append(farthest)
        left.remove(farthest)
    return chosen


def check_run(
    run: Run,
    planned: CheckPlan,
    time_budget: float | None = None,
    observer: Observer = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Do the trainings that are left, for at most about `time_budget` seconds of this call; says how it ended.

    Raises the errors of a run's steps; what has been finished stays in the check's journal.
    """
    started = time.monotonic()
    left = planned.left(read_records(planned.folder))
    if left and time_budget is not None and left[0][0].seconds > time_budget:
        raise SettingsError(
            f"--time-budget {format_duration(time_budget)}: the next training takes about "
            f"{format_duration(math.ceil(left[0][0].seconds))}; give more time, or a smaller --epochs"
        )
    make_folder(planned.folder)
    with kept(planned.folder), locked(planned.folder):
        return _check(run, planned, math.inf if time_budget is None else started + time_budget, observer, say)


def _check(run: Run, planned: CheckPlan, ends: float, observer: Observer, say: Callable[[str], None]) -> str:
    settings, plan, check = planned.settings, planned.plan, planned.check
    ledger = open_ledger(planned.folder, CHECKS, None)
    for note in ledger.notes:
        say(note)
    images = load_images(run.settings, planned.workers)
    check_unchanged(run.folder, f"the images of {settings.data}", run.facts["data_fingerprint"], images.fingerprint)
    if "check" not in ledger.facts():
        ledger.set_fact("environment", environment(planned.device))
        ledger.set_fact("check", asdict(check))
    ledger.set_fact("networks", {one.result.candidate.digest: [one.arch.digest, one.phi] for one in planned.networks})
    (planned.folder / "checkpoints").mkdir(exist_ok=True)
    executor = LocalExecutor(planned.workers)
    recipe = recipe_of(settings, plan.epochs)
    task = Task(
        data=images.folder,
        checkpoints=planned.folder / "checkpoints",
        recipe=recipe,
        rung_stops=plan.rung_stops(settings.rungs),
        train_images=plan.train_images,
        val_images=plan.val_images,
        device=planned.device,
        seed=settings.seed,
    )

    def queue_next() -> bool:
        waiting = planned.left(ledger.records(), (*ENDED, "waiting", "running"))
        if not waiting or waiting[0][0].seconds > ends - time.monotonic():
            return False
        _queue(ledger, *waiting[0])
        return True

    total = len(planned.networks) * len(planned.seeds)
    try:
        bench = Bench(executor, planned.base, recipe, planned.device, settings.measure_seconds)
        run_trials(ledger, executor, task, queue_next, make_score(ledger, bench, settings), ends, total, observer)
    finally:
        executor.close()
    left = len(planned.left(ledger.records()))
    return f"time budget used up, {left} of {total} trainings are left" if left else DONE


def read_records(folder: Path) -> list[TrialRecord]:
    """The trainings of a check's folder; none if it has not begun."""
    return open_check(folder).records() if (folder / JOURNAL).exists() else []


def read_facts(folder: Path) -> dict[str, Any]:
    """`check`: the fields of Check; `networks`: by the run's digest, the digest and φ of what is trained for it."""
    return open_check(folder).facts() if (folder / JOURNAL).exists() else {}


def open_check(folder: Path) -> Ledger:
    """To read it: another process may be writing."""
    return open_ledger(folder, CHECKS, None, owned=False)


def _queue(ledger: Ledger, one: Network, seed: int) -> None:
    candidate = one.result.candidate
    attributes = candidate_attributes(candidate, one.result.anchors)
    attributes |= attributes_of("candidate", one.arch, seed) | {"ratio": one.ratio}
    ledger.queue(attributes, simplex_to_square(candidate.shares))


def _network(run: Run, result: CandidateResult, check: Check, settings: Settings, base: AnyArch) -> Network:
    """Of an enlarged proxy: the member at twice its FLOPs by the same coefficients, as in every family."""
    arch: AnyArch = result.candidate.arch
    phi, start = 1.0, cost(base).flops
    if check.larger:
        found = to_flops(base, 2 * start, result.candidate.coefficients, proxy_rounding(settings), tolerance=1.0)
        arch, phi = replace(found.arch, name=arch.name), found.phi
    flops = cost(arch).flops
    epochs = [record for record in run.trials if record.digest == result.candidate.digest and record.status == "done"]
    seconds = sum(record.seconds for record in epochs) / sum(record.epochs_done for record in epochs)
    return Network(result, arch, phi, flops / start, seconds * check.epochs * flops / result.candidate.flops)


def _enlarged(settings: Settings, check: Check) -> Settings:
    try:
        return replace(
            settings,
            proxy_width=settings.proxy_width * check.width,
            proxy_resolution=round(settings.proxy_resolution * check.resolution),
        )
    except SettingsError as error:
        raise SettingsError(
            f"--width {check.width:g} --resolution {check.resolution:g}: the enlarged proxy breaks a rule of the "
            f"settings: {error}; give others"
        ) from None


def _trained(run: Run) -> int:
    return len({record.digest for record in run.trials if record.role == "candidate" and record.status == "done"})
