"""The search of the base network: proposals, a final among the best, and the winner against a reference.

Three rounds, each with seeds that the choice before it never saw: every proposal is trained once (seed 0, poor ones
stopped early); the best FINALISTS and the reference again with the next seeds, whose means choose the winner; then the
winner and the reference with fresh seeds, whose paired differences are the reported lead. All that is queued is a
function of the ledger, so that a resumed search goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from scalesearch.fit.data import Dataset
from scalesearch.search.base_strategies import Judged, propose
from scalesearch.search.confirmation import ROLE as CONFIRMATION
from scalesearch.search.confirmation import fresh_seeds
from scalesearch.search.engine import Task, run_trials
from scalesearch.search.executor import Executor
from scalesearch.search.family import base_for_budget
from scalesearch.search.ledger import Ledger
from scalesearch.search.plan import CALIBRATION_SECONDS, Plan, calibrate, make_plan, proxy_base, recipe_of
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.problem import load_images
from scalesearch.search.pruners import make_pruning
from scalesearch.search.queue import attributes_of
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import fitted_exponent, mean_by_digest, reward
from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError
from scalesearch.spec.feasible import Budget, Share, draw, feasible_share
from scalesearch.spec.files import load_arch, load_space
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS
from scalesearch.spec.settings import Settings
from scalesearch.spec.units import format_flops

FINAL = "final"  # the role of the second round's trainings
FINALISTS = 3
REFERENCE = "efficientnet_b0"  # scaled to the budget; what every search is compared with
WINNER = "winner"  # the fact that ends the second round: the winner's digest and the reference's
SAMPLED = 4  # networks that stand for the space in the calibration


@dataclass(frozen=True, slots=True)
class BaseProblem:
    """What is searched. `reference` is the network at the budget that the winner is compared with."""

    space: BaseSpace
    budget: Budget
    reference: Arch
    reference_note: str
    dataset: Dataset
    settings: Settings

    def proxy(self, arch: Arch) -> Arch:
        """The small network that is trained in its place."""
        return proxy_base(arch, self.settings, len(self.dataset.classes), self.dataset.channels)


def pose(settings: Settings, workers: int) -> BaseProblem:
    """Load space and data. Raises SpaceError, SettingsError, BudgetError or DataError."""
    space = load_space(settings.space)
    budget = Budget.around(settings.target_flops, settings.flops_window)
    draw(space, budget, _rng(settings))  # raises if nothing of the space is within the budget
    rounding = ROUNDINGS[settings.rounding]
    reference, note = base_for_budget(load_arch(REFERENCE), settings.target_flops, PAPER_COEFFICIENTS, rounding)
    return BaseProblem(space, budget, reference, note, load_images(settings, workers), settings)


def describe(problem: BaseProblem, share: Share | None = None) -> list[str]:
    """What is searched, on what, in sentences."""
    data, settings = problem.dataset, problem.settings
    proxy = problem.proxy(problem.reference)
    lines = [
        f"data: {data.name}, {len(data.classes)} classes, {data.train_count:,} + {data.val_count:,} images "
        f"of {data.size} px (fingerprint {data.fingerprint[:12]})",
        f"space: {problem.space.name}, {problem.space.size:.3g} points; networks of {problem.budget.spelled()}",
        f"strategy: {settings.strategy}; reward {_reward_text(settings)}",
        f"reference: {problem.reference_note}",
        f"proxy: depth × {settings.proxy_depth:g}, width × {settings.proxy_width:g}, to {proxy.resolution} px; the "
        f"reference's has {format_flops(cost(proxy).flops)} FLOPs",
    ]
    if share is not None:
        lines.insert(
            2,
            f"  {share.value:.2%} of random points are within the budget ({share.low:.2%}–{share.high:.2%} at 95%, of "
            f"{share.draws:,} drawn)",
        )
    return lines


def shares(problem: BaseProblem) -> Share:
    return feasible_share(problem.space, problem.budget, _rng(problem.settings))


@dataclass(frozen=True, slots=True)
class BaseSession:
    ledger: Ledger
    executor: Executor
    problem: BaseProblem
    device: str
    checkpoints: Task
    plan: Plan
    started: float


def plan_of(
    ledger: Ledger, executor: Executor, problem: BaseProblem, device: str, elapsed: float, time_budget: float | None
) -> Plan:
    """The stored plan, or a new one from a calibration on a few networks of the space."""
    settings = problem.settings
    stored = ledger.facts().get("plan")
    if stored is not None:
        plan = plan_from_dict(stored)
        if plan.device != device:
            raise RunError(f"the run began on {plan.device} and cannot go on, on {device}; give --device {plan.device}")
        return plan
    rng = _rng(settings)
    archs = [problem.proxy(draw(problem.space, problem.budget, rng).arch) for _ in range(SAMPLED)]
    seconds = CALIBRATION_SECONDS * (0.1 if time_budget is None else 1)
    recipe = recipe_of(settings, 1)
    speed = calibrate(executor, problem.proxy(problem.reference), archs, recipe, device, seconds)
    later = (FINALISTS + 1) * settings.seeds + 2 * settings.confirm
    plan = make_plan(
        replace(settings, seeds=1, confirm=-(-later // 2), time_budget=time_budget, inherit=False),
        speed,
        pool_size=10**6,
        train_count=problem.dataset.train_count,
        val_count=problem.dataset.val_count,
        workers=executor.workers,
        device=device,
        elapsed=elapsed,
    )
    plan = replace(plan, family_seconds=0.0)
    ledger.set_fact("plan", plan.to_dict())
    return plan


def make_reward(settings: Settings, exponent: float | None) -> Callable[[TrialRecord, float], float]:
    """The reward of a trained network: accuracy of its proxy, cost of the network itself."""

    def score(record: TrialRecord, accuracy: float) -> float:
        whole = record.attributes["base_flops"]
        ratio = record.attributes["base_params"] / record.attributes["reference_params"]
        return reward(accuracy, whole, settings.target_flops, settings.objective, ratio, exponent)

    return score


def judged(ledger: Ledger, score: Callable[[TrialRecord, float], float]) -> list[Judged]:
    """What the strategy sees, in the order of the proposals. A network that was stopped early has failed it."""
    found = []
    for record in _proposals(ledger):
        done = record.status == "done" and record.accuracy is not None
        found.append(
            Judged(
                tuple(record.attributes["point"]),
                record.digest,
                record.attributes["base_flops"],
                score(record, record.accuracy) if done and record.accuracy is not None else None,
                record.accuracy if done else None,
                record.status in ("waiting", "running"),
            )
        )
    return found


def search(session: BaseSession, observer: Callable[..., None], ends: float) -> str:
    """Do the trainings that are left; says how the search ended."""
    ledger, plan, problem, task = session.ledger, session.plan, session.problem, session.checkpoints
    settings, executor = problem.settings, session.executor
    score = make_reward(settings, exponent_of(ledger, settings))
    total = plan.networks + (FINALISTS + 1) * settings.seeds + 2 * settings.confirm
    search_end = ends - plan.confirm_seconds - plan.trial_seconds(2)
    used_up = False

    def next_proposal() -> bool:
        nonlocal used_up
        used_up = time.monotonic() >= search_end
        return not used_up and len(_proposals(ledger)) < plan.networks and queue_proposal(ledger, problem, score)

    pruning = make_pruning(settings.pruner, task.rung_stops, score, ledger.records())
    if not ledger.networks(FINAL):
        run_trials(
            ledger, executor, task, next_proposal, score, search_end, total, observer, pruning=pruning, seeds=1
        )
    run_trials(ledger, executor, task, lambda: queue_final(ledger, problem, score), score, ends, total, observer)
    settle(ledger, problem, score)
    run_trials(ledger, executor, task, lambda: queue_confirmation(ledger, problem), score, ends, total, observer)
    tried = len(_proposals(ledger))
    if tried < plan.networks:
        why = "the time was used up" if used_up else "the space has no more networks within the budget"
        return f"{tried} of {plan.networks} planned networks tried: {why}"
    return f"all {tried} planned networks tried"


def queue_proposal(ledger: Ledger, problem: BaseProblem, score: Callable[[TrialRecord, float], float]) -> bool:
    """Queue the strategy's next network; False where the space has no more. Networks of equal proxies count as one."""
    seen = judged(ledger, score)
    found = propose(
        problem.settings.strategy, problem.space, problem.budget, seen, problem.settings.seed,
        identify=lambda arch: problem.proxy(arch).digest,
    )  # fmt: skip
    if found is None:
        return False
    _queue(ledger, problem, "candidate", found.arch, 0, point=list(found.point))
    return True


def queue_final(ledger: Ledger, problem: BaseProblem, score: Callable[[TrialRecord, float], float]) -> bool:
    """Queue the next training of the final, seed by seed; False once all are there."""
    taken, firsts = ledger.networks(FINAL), {record.digest: record for record in _proposals(ledger)}
    entrants = finalists(ledger, score)
    reference = problem.proxy(problem.reference).digest
    for seed in range(1, problem.settings.seeds + 1):
        for digest in (*entrants, reference):
            if seed in taken.get(digest, {}):
                continue
            if digest == reference:
                _queue(ledger, problem, FINAL, problem.reference, seed)
            else:
                _queue(ledger, problem, FINAL, base_of(firsts[digest]), seed, point=firsts[digest].attributes["point"])
            return True
    return False


def finalists(ledger: Ledger, score: Callable[[TrialRecord, float], float]) -> list[str]:
    """The proxies' digests of the best proposals, by their first training; those that have entered stay."""
    entered = [
        digest for digest, own in ledger.networks(FINAL).items() if "point" in next(iter(own.values())).attributes
    ]
    ranked = sorted((one for one in judged(ledger, score) if one.reward is not None), key=lambda one: -one.reward)  # type: ignore[operator]
    better = [one.digest for one in ranked if one.digest not in entered]
    return [*entered, *better][:FINALISTS]


def settle(ledger: Ledger, problem: BaseProblem, score: Callable[[TrialRecord, float], float]) -> None:
    """Store the winner of the final, once: the entrant of the highest mean reward over the seeds that all have.

    Raises RunError if no entrant was trained to its end.
    """
    if WINNER in ledger.facts():
        return
    reference = problem.proxy(problem.reference).digest
    means = mean_by_digest(rewards(ledger, FINAL, score))
    entrants = {digest: mean for digest, mean in means.items() if digest != reference}
    if not entrants:
        raise RunError("no network of the final was trained to its end; give more time")
    winner = max(entrants, key=lambda digest: (entrants[digest], digest))
    ledger.set_fact(WINNER, {"winner": winner, "reference": reference})


def queue_confirmation(ledger: Ledger, problem: BaseProblem) -> bool:
    """Queue the next training of the winner and the reference with seeds that chose nothing; False once all are there."""
    begun, taken = ledger.facts()[WINNER], ledger.networks(CONFIRMATION)
    if begun["winner"] == begun["reference"]:
        return False
    for seed in fresh_seeds(problem.settings.confirm):
        for digest in (begun["winner"], begun["reference"]):
            if seed not in taken.get(digest, {}):
                arch = base_of(next(iter(ledger.networks(FINAL)[digest].values())))
                _queue(ledger, problem, CONFIRMATION, arch, seed)
                return True
    return False


def rewards(
    ledger: Ledger, role: str, score: Callable[[TrialRecord, float], float]
) -> Mapping[str, Mapping[int, float]]:
    """By proxy's digest and seed."""
    found: dict[str, dict[int, float]] = {}
    for digest, own in ledger.networks(role).items():
        for seed, record in own.items():
            if record.status == "done" and record.accuracy is not None:
                found.setdefault(digest, {})[seed] = score(record, record.accuracy)
    return found


def exponent_of(ledger: Ledger, settings: Settings) -> float | None:
    """w of the reward: as given, or fitted to the proposals that are trained; None until that can be done."""
    if settings.exponent is not None:
        return settings.exponent
    points = [
        (record.attributes["base_flops"], record.accuracy)
        for record in _proposals(ledger)
        if record.status == "done" and record.accuracy
    ]
    return fitted_exponent(points)


def base_of(record: TrialRecord) -> Arch:
    """The whole network that a training's proxy stands for."""
    return Arch.from_dict(record.attributes["base"])


def _proposals(ledger: Ledger) -> list[TrialRecord]:
    found = [record for own in ledger.networks("candidate").values() for record in own.values()]
    return sorted(found, key=lambda record: record.number)


def _queue(ledger: Ledger, problem: BaseProblem, role: str, arch: Arch, seed: int, **more: object) -> None:
    whole, proxy = cost(arch), problem.proxy(arch)
    ledger.queue(
        attributes_of(
            role,
            proxy,
            seed,
            base=arch.to_dict(),
            base_flops=whole.flops,
            base_params=whole.params,
            reference_params=cost(problem.reference).params,
            **more,
        ),
        {},
    )


def _rng(settings: Settings) -> object:
    import random

    return random.Random(f"{settings.seed} space")


def _reward_text(settings: Settings) -> str:
    if settings.objective == "accuracy":
        return "accuracy, within the budget"
    exponent = "w fitted to the run's own networks" if settings.exponent is None else f"w = {settings.exponent:g}"
    return f"{settings.objective}, {exponent}"
