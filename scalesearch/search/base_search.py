"""The search of the base network: proposals, a final among the best, and the winner against a reference.

Rounds with seeds of their own, which no choice before them has seen: every proposal is trained once (seed 0, poor ones
stopped early); the best FINALISTS and the reference again with the seeds from 1, whose means choose the winner; then
the winner and the reference with fresh seeds, whose paired differences are the reported lead, and with the same seeds
the match: the reference's proxy scaled to the FLOPs of the winner's, because proxies of equal networks are not equal.
Where w is to be fitted, the reference at LINE times the budget is trained before all that. All that is queued is a
function of the ledger, so that a resumed search goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scalesearch.search.base_limits import budget_with_limits
from scalesearch.search.base_problem import LINE, BaseProblem
from scalesearch.search.base_strategies import Judged, propose
from scalesearch.search.confirmation import ROLE as CONFIRMATION
from scalesearch.search.confirmation import fresh_seeds
from scalesearch.search.costs import Bench, make_cost
from scalesearch.search.engine import Observer, Task, run_trials
from scalesearch.search.ledger import Ledger
from scalesearch.search.plan import Plan
from scalesearch.search.pruners import make_pruning
from scalesearch.search.queue import attributes_of
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import fitted_exponent, mean_by_digest, reward
from scalesearch.spec.arch import Arch
from scalesearch.spec.axes import AXES, Axis
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, RunError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.feasible import DRAWS, Budget
from scalesearch.spec.schema import read_stored
from scalesearch.spec.settings import REWARD_EXPONENT, Settings

FINALISTS = 3
# Roles of trainings, beside "candidate" (a proposal) and "confirmation".
LINE_ROLE, FINAL_ROLE, MATCH_ROLE = "line", "final", "match"
# Facts: w as fitted, how the proposals ended and which proxies (digests) are in the final, and what its end has chosen.
EXPONENT, ENTRANTS, CHOSEN = "exponent", "entrants", "chosen"


@dataclass(frozen=True, slots=True)
class Objective:
    """Maps a trained network and the accuracy of its proxy to its reward, by its cost on `axis`.

    FLOPs, parameters and activations are the network's own; what is measured is so of its proxy. The `target` is the
    budget in FLOPs, and on every other axis the reference's cost; `params` are the reference's. May raise TrainingError
    if a cost is measured.
    """

    form: str
    exponent: float
    axis: Axis
    target: float
    params: int
    measure: Callable[[AnyArch], float]

    def __call__(self, record: TrialRecord, accuracy: float) -> float:
        ratio = record.attributes["base_params"] / self.params
        return reward(accuracy, self.cost(record), self.target, self.form, ratio, self.exponent)

    def cost(self, record: TrialRecord) -> float:
        if self.axis.measured:
            return self.measure(record.arch)
        return float(record.attributes[f"base_{self.axis.name}"])


@dataclass(frozen=True, slots=True)
class BaseSession:
    """One invocation of a base search. `ends` is of time.monotonic."""

    ledger: Ledger
    problem: BaseProblem
    plan: Plan
    task: Task
    bench: Bench
    observer: Observer
    say: Callable[[str], None]
    ends: float


def later_trainings(settings: Settings) -> int:
    """How many trainings are planned beside the proposals."""
    line = len(LINE) if settings.exponent is None else 0
    return (line + FINALISTS + 1) * settings.seeds + 3 * settings.confirm


def search(session: BaseSession) -> str:
    """Do the trainings that are left; says how the search ended.

    Raises RunError if no network was trained to its end.
    """
    ledger, plan, problem, settings = session.ledger, session.plan, session.problem, session.problem.settings
    base_flops = cost(session.bench.base).flops
    total = plan.networks + later_trainings(settings)
    lines = len(LINE) * settings.seeds if settings.exponent is None else 0
    kept = plan.confirm_seconds * (1 - lines / later_trainings(settings))  # of the line, nothing is left to do then
    kept += plan.trial_seconds(2)
    last_start = session.ends - plan.trial_seconds(2)
    refused = late = False

    def round_of(
        queue: Callable[[], bool], score: Callable[[TrialRecord, float], float], deadline: float, **more: Any
    ) -> None:
        run_trials(
            ledger, session.bench.executor, session.task, queue, score, deadline, total, session.observer, **more
        )

    if settings.exponent is None and EXPONENT not in ledger.facts():
        round_of(lambda: queue_line(ledger, problem), lambda record, accuracy: accuracy, session.ends)
        settle_exponent(ledger, settings)
        session.say(exponent_line(ledger.facts()[EXPONENT]))
    objective = make_objective(ledger, session.bench, problem)

    def next_proposal() -> bool:
        nonlocal refused, late
        if refused or len(proposals(ledger)) >= plan.networks:
            return False
        late = time.monotonic() >= session.ends - kept * plan.pace(ledger.records(), base_flops)
        if late:
            return False
        budget = budget_with_limits(ledger, session.bench, problem)
        refused = not queue_proposal(ledger, problem, objective, budget)
        return not refused

    if ENTRANTS not in ledger.facts():
        pruning = make_pruning(settings.pruner, session.task.rung_stops, objective, ledger.records())
        search_end = session.ends - kept
        round_of(next_proposal, objective, search_end, pruning=pruning)
        settle_entrants(ledger, objective, _ending(ledger, plan, late or time.monotonic() >= search_end, problem))
    round_of(lambda: queue_final(ledger, problem), objective, last_start)
    settle_winner(ledger, problem, objective)
    round_of(
        lambda: queue_confirmation(ledger, problem),
        lambda record, accuracy: accuracy if record.role == MATCH_ROLE else objective(record, accuracy),
        session.ends + plan.confirm_seconds / 2,  # without it nothing is known; the next step keeps its share
    )
    return str(ledger.facts()[ENTRANTS]["ended"])


def make_objective(ledger: Ledger, bench: Bench, problem: BaseProblem) -> Objective:
    """The settings' objective, once its exponent is known."""
    settings, axis = problem.settings, AXES[problem.settings.cost]
    measure, whole = make_cost(ledger, bench, axis), problem.reference
    target = float(settings.target_flops)
    if axis.name != "flops":
        target = measure(problem.proxy(whole) if axis.measured else whole)
    exponent = settings.exponent
    if exponent is None:
        exponent = float(ledger.facts()[EXPONENT]["value"])
    return Objective(settings.objective, exponent, axis, target, cost(whole).params, measure)


def judged(ledger: Ledger, objective: Objective) -> list[Judged]:
    """What the strategy sees, in the order of the proposals."""
    return [_judged(record, objective) for record in proposals(ledger)]


def _judged(record: TrialRecord, objective: Objective) -> Judged:
    done, known, stopped = record.status == "done", record.accuracy, None
    if record.status == "pruned" and known is not None:
        stopped = (len(record.epochs), objective(record, known))
    return Judged(
        point=tuple(record.attributes["point"]),
        digest=record.digest,
        cost=objective.cost(record) if done else 0.0,
        reward=record.score,
        accuracy=known if done else None,
        stopped=stopped,
        running=record.status in ("waiting", "running"),
    )


def proposals(ledger: Ledger) -> list[TrialRecord]:
    """In their order."""
    return [record for own in ledger.networks("candidate").values() for record in own.values()]


def queue_proposal(ledger: Ledger, problem: BaseProblem, objective: Objective, budget: Budget) -> bool:
    """Queue the strategy's next network; False where the space has no more. Networks of equal proxies count as one.

    Raises BudgetError if there is none at all.
    """
    settings = problem.settings
    seen = judged(ledger, objective)
    try:
        found = propose(
            settings.strategy, problem.space, budget, seen, settings.seed, lambda arch: problem.proxy(arch).digest
        )
    except BudgetError:
        if not seen:
            raise
        found = None
    if found is None:
        return False
    choices = problem.space.values(found.point)
    _queue(ledger, problem, "candidate", found.arch, 0, point=list(found.point), choices=choices)
    return True


def queue_line(ledger: Ledger, problem: BaseProblem) -> bool:
    """Queue the next training of the line that w is fitted to; False once all are there."""
    taken = ledger.networks(LINE_ROLE)
    for seed in range(problem.settings.seeds):
        for arch in problem.line():
            if seed not in taken.get(problem.proxy(arch).digest, {}):
                _queue(ledger, problem, LINE_ROLE, arch, seed)
                return True
    return False


def settle_exponent(ledger: Ledger, settings: Settings) -> None:
    """Store w, its interval, and what it was fitted to: the whole networks' FLOPs, and accuracies of their proxies."""
    records = [record for own in ledger.networks(LINE_ROLE).values() for record in own.values()]
    points = [(float(r.attributes["base_flops"]), r.accuracy) for r in records if r.status == "done" and r.accuracy]
    found = fitted_exponent(points, settings.confidence)
    fitted = {"value": REWARD_EXPONENT} if found is None else asdict(found)
    ledger.set_fact(EXPONENT, {**fitted, "points": points})


def exponent_line(fact: Mapping[str, Any]) -> str:
    """What w was fitted to, in a sentence."""
    if "low" not in fact:
        return f"w: {fact['value']:g}, the papers'; the reference's trainings at several budgets gave no line to fit"
    flat = "; accuracy does not rise with cost here" if fact["value"] == 0 else ""
    costs = len({cost for cost, _ in fact["points"]})
    return (
        f"w: {fact['value']:.3f} [{fact['low']:.3f}, {fact['high']:.3f}], fitted to the reference at {costs} budgets, "
        f"{len(fact['points'])} trainings{flat}"
    )


def settle_entrants(ledger: Ledger, objective: Objective, ended: str) -> None:
    """Store how the proposals ended, and who is in the final: the best by their first training.

    Raises RunError if none was finished.
    """
    finished = [one for one in judged(ledger, objective) if one.reward is not None]
    if not finished:
        failed = [record.reason for record in proposals(ledger) if record.reason]
        why = f"; the last one ended so: {failed[-1]}" if failed else ""
        raise RunError(f"no network was trained to its end, so there is nothing to choose from; give more time{why}")
    ranked = sorted(finished, key=lambda one: (-(one.reward or 0.0), one.digest))
    ledger.set_fact(ENTRANTS, {"ended": ended, "digests": [one.digest for one in ranked[:FINALISTS]]})


def queue_final(ledger: Ledger, problem: BaseProblem) -> bool:
    """Queue the next training of the final, seed by seed; False once all are there."""
    taken, tried = ledger.networks(FINAL_ROLE), ledger.networks("candidate")
    archs = {digest: base_of(tried[digest][0]) for digest in ledger.facts()[ENTRANTS]["digests"]}
    archs.setdefault(problem.proxy(problem.reference).digest, problem.reference)
    for seed in range(1, problem.settings.seeds + 1):
        for digest, arch in archs.items():
            if seed not in taken.get(digest, {}):
                _queue(ledger, problem, FINAL_ROLE, arch, seed)
                return True
    return False


def settle_winner(ledger: Ledger, problem: BaseProblem, objective: Objective) -> None:
    """Store what the final has chosen, once: of the entrants, the highest mean over the seeds that all of them have.

    Where the time did not suffice for one seed of each, the first trainings choose; whose training failed in the final
    is out. The winner's match is stored too.
    """
    if CHOSEN in ledger.facts():
        return
    final = ledger.networks(FINAL_ROLE)
    failed = {digest for digest, own in final.items() if any(record.status == "failed" for record in own.values())}
    entrants = ledger.facts()[ENTRANTS]["digests"]
    entrants = [digest for digest in entrants if digest not in failed] or entrants
    scores = scores_of_role(ledger, FINAL_ROLE)
    means = mean_by_digest({digest: scores.get(digest, {}) for digest in entrants})
    by_final = bool(means)
    if not by_final:
        means = {one.digest: one.reward for one in judged(ledger, objective) if one.digest in entrants and one.reward}
    winner = max(means, key=lambda digest: (means[digest], digest)) if means else entrants[0]
    reference = problem.proxy(problem.reference).digest
    match = problem.proxy_at(ledger.networks("candidate")[winner][0].flops)
    chosen = {"winner": winner, "reference": reference, "by_final": by_final, "match": match.to_dict()}
    ledger.set_fact(CHOSEN, chosen)


def queue_confirmation(ledger: Ledger, problem: BaseProblem) -> bool:
    """Queue the next training of winner, reference or match with seeds that chose nothing; False once all are there."""
    chosen = ledger.facts()[CHOSEN]
    if chosen["winner"] == chosen["reference"] or "match" not in chosen:  # as older versions left it
        return False
    winner, match = base_of(ledger.networks("candidate")[chosen["winner"]][0]), read_base(chosen["match"])
    own: list[tuple[str, Arch, Arch]] = [
        (CONFIRMATION, winner, problem.proxy(winner)),
        (CONFIRMATION, problem.reference, problem.proxy(problem.reference)),
    ]
    if match.digest not in (chosen["winner"], chosen["reference"]):
        own.append((MATCH_ROLE, problem.reference, match))
    taken = {role: ledger.networks(role) for role in (CONFIRMATION, MATCH_ROLE)}
    for seed in fresh_seeds(problem.settings.confirm):
        for role, arch, proxy in own:
            if seed not in taken[role].get(proxy.digest, {}):
                _queue(ledger, problem, role, arch, seed, proxy)
                return True
    return False


def scores_of_role(ledger: Ledger, role: str, value: str = "score") -> dict[str, dict[int, float]]:
    """Of a role's finished trainings, by proxy's digest and seed: the score, or the `accuracy`."""
    found: dict[str, dict[int, float]] = {}
    for digest, own in ledger.networks(role).items():
        for seed, record in own.items():
            if record.score is not None:
                found.setdefault(digest, {})[seed] = getattr(record, value)
    return found


def base_of(record: TrialRecord) -> Arch:
    """The whole network that a training's proxy stands for."""
    return read_base(record.attributes["base"])


def read_base(table: Any) -> Arch:
    """A stored network. Raises RunError if it does not fit this version."""
    found = read_stored(table)
    if not isinstance(found, Arch):
        raise RunError("the stored network does not fit this version of scalesearch")
    return found


def _ending(ledger: Ledger, plan: Plan, used_up: bool, problem: BaseProblem) -> str:
    tried, pruned = len(proposals(ledger)), ledger.count("pruned")
    ended = f"all {tried} planned networks tried"
    if tried < plan.networks:
        none = "the space has no more within the budget"
        if problem.space.size > DRAWS:  # not all of it was looked at
            none = "no other network within the budget was found"
        why = "the time was used up" if used_up else none
        ended = f"{tried} of {plan.networks} planned networks tried: {why}"
    return ended + (f", {pruned} of them stopped early" if pruned else "")


def _queue(
    ledger: Ledger, problem: BaseProblem, role: str, arch: Arch, seed: int, proxy: Arch | None = None, **more: object
) -> None:
    whole = cost(arch)
    counts = {f"base_{axis}": getattr(whole, axis) for axis in ("flops", "params", "activations")}
    ledger.queue(attributes_of(role, proxy or problem.proxy(arch), seed, base=arch.to_dict(), **counts, **more), {})
