"""Coefficients that follow the budget: the best split found at each, and what it gains over fixed ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scalesearch.search.family import Member
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import Difference, interval
from scalesearch.search.verdicts import bootstrap_best, bootstrap_difference, scores_of
from scalesearch.spec.cost import cost
from scalesearch.spec.scaling import Coefficients

if TYPE_CHECKING:
    from scalesearch.search.run import Run


# Of the 153 splits asked about. Where fewer have an answer, only a corner of the simplex lies among the published
# networks, and its best says little about the budget's.
FEWEST_ANSWERED = 30


@dataclass(frozen=True, slots=True)
class BudgetBest:
    """The best split asked about at one budget. `alike` of `asked` cannot be told apart from the best."""

    member: str
    coefficients: Coefficients
    phi: float
    record: TrialRecord
    asked: int
    alike: tuple[Coefficients, ...]


@dataclass(frozen=True, slots=True)
class Gain:
    """Accuracy (0 to 1), at exactly the budget, of the best minus that of another's member; None where that has none.

    Fixed coefficients and the paper's are among what was asked, so no gain is below 0 but by rounding; the intervals
    make no allowance for having picked the best.
    """

    best: BudgetBest
    over_fixed: Difference | None
    over_paper: Difference | None


def best_by_budget(run: Run) -> list[BudgetBest]:
    """By rising budget, from B2 to the largest that has an answer; B1's are the recommended coefficients."""
    by_member: dict[str, dict[str, TrialRecord]] = {}
    for record in run.trials:
        if record.status == "done" and "coefficients" in record.attributes and record.attributes["member"] != "B1":
            by_member.setdefault(record.attributes["member"], {}).setdefault(record.digest, record)
    found = []
    for name, entries in sorted(by_member.items(), key=lambda item: int(item[0][1:])):
        records = list(entries.values())
        records = [record for record in records if _near(run, record)]
        if len(records) < FEWEST_ANSWERED:
            continue
        best = max(records, key=lambda record: (record.score or 0.0, record.digest))
        alike = bootstrap_best({record.digest: scores_of(record) for record in records}, run.settings.confidence)
        within = tuple(_coefficients(record) for record in records if record.digest in alike)
        phi = float(best.attributes["phi"])
        found.append(BudgetBest(name, _coefficients(best), phi, best, len(records), within))
    return found


def follow_budget(run: Run, fixed: list[Member]) -> list[Member]:
    """The family with each member's own best coefficients; past the last answered budget, that one's."""
    by_name = {best.member: best for best in best_by_budget(run)}
    members, last = [], None
    for member in fixed:
        best = by_name.get(member.name)
        if best is not None:
            last = best.coefficients
            arch = replace(best.record.arch, name=member.arch.name)
            asked = best.coefficients.at(best.phi)
            member = Member(member.name, best.phi, asked, arch, member.budget, cost(arch))
        elif last is not None:
            member = run.family_of(last)[int(member.name[1:])]
        members.append(member)
    return members


def gains(run: Run) -> list[Gain]:
    """What the best split of each budget gains over the fixed coefficients, and over the paper's."""
    table: dict[str, dict[int, float]] = {}
    for record in run.trials:
        if record.status == "done" and record.replicates:
            table[record.digest] = scores_of(record)
    families = {member.name: member.arch.digest for member in run.fixed_family}
    papers = {member.name: member.arch.digest for member in run.paper_family}

    def over(best: BudgetBest, other: str) -> Difference | None:
        if other not in table:
            return None
        return bootstrap_difference(table, best.record.digest, other, run.settings.confidence)

    return [
        Gain(best, over(best, families[best.member]), over(best, papers[best.member])) for best in best_by_budget(run)
    ]


def predicted_interval(run: Run, digest: str) -> tuple[float, float] | None:
    """Of a predicted accuracy (0 to 1); None for what was trained, or has no prediction."""
    record = next((r for r in run.trials if r.digest == digest and r.replicates), None)
    return None if record is None else interval(record.replicates, run.settings.confidence)


def refusal(run: Run, digest: str) -> str | None:
    """Why a network has no answer."""
    return next((r.reason for r in run.trials if r.digest == digest and r.status == "failed"), None)


def _near(run: Run, record: TrialRecord) -> bool:
    """Within the settings' tolerance of its budget: a family's member can be the nearest there is, and far."""
    budget = float(record.attributes["budget"]) * cost(run.base).flops
    return abs(record.flops / budget - 1) <= run.settings.tolerance


def _coefficients(record: TrialRecord) -> Coefficients:
    return Coefficients(*record.attributes["coefficients"])
