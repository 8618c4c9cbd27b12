"""`Run`: a run folder read back, and the answers derived from its ledger. Trains nothing and writes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scalesearch.nets.timing import Spread
from scalesearch.search.budgets import follow_budget
from scalesearch.search.candidates import Candidate, Interval
from scalesearch.search.confirmation import ROLE, Confirmation, read_confirmation
from scalesearch.search.costs import measured
from scalesearch.search.family import Member, family
from scalesearch.search.fronts import Front, Point, front_of
from scalesearch.search.labels import LABELLED, label_of
from scalesearch.search.ledger import Ledger, open_ledger
from scalesearch.search.opening import read_run_file
from scalesearch.search.places import Place, read_pool
from scalesearch.search.plan import proxy_rounding
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import Difference, Noise, Scores
from scalesearch.search.stored import Stored
from scalesearch.search.verdicts import VERDICTS, Standing, Verdict, mean_of, scores_by_digest
from scalesearch.spec.axes import AXES, MEASURED, Axis
from scalesearch.spec.cost import cost, remember
from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS, Coefficients, scale
from scalesearch.spec.schema import read_stored
from scalesearch.spec.settings import Settings
from scalesearch.spec.settings import from_dict as settings_from_dict


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """A candidate with what its trainings gave. `anchors` names the corners or the paper's point it stands for."""

    candidate: Candidate
    anchors: tuple[str, ...]
    accuracies: Mapping[int, float]  # by seed; empty for a prediction
    scores: Mapping[int, float]  # by seed, or by bootstrap replicate
    accuracy_mean: float
    accuracy_se: float
    score: float  # mean over its trainings
    standing: Standing  # what all trainings of the run say of its true score
    full: AnyArch  # the full-size base scaled by the same coefficients, φ = 1
    full_ratio: float

    @property
    def may_be_best(self) -> bool:
        return self.standing.may_be_best


class Run(Stored):
    """A run's folder. Everything is computed from the ledger when asked for."""

    def __init__(self, folder: Path, ledger: Ledger, fresh: bool = False) -> None:
        super().__init__(folder, ledger, fresh, "run")
        for fingerprint, counts in self.facts.get("factory_counts", {}).items():
            remember(fingerprint, counts)

    @classmethod
    def load(cls, folder: Path | str, storage: str | None = None) -> Run:
        """Open a run's folder. Raises RunError if it is none, or its storage cannot be opened."""
        folder = Path(folder)
        table = read_run_file(folder)
        if "step" in table:
            raise RunError(f"{folder}: holds the search of a base, not a run; give the folder that it lies in")
        return cls(folder, open_ledger(folder, table["study"], storage or table["storage"], owned=False))

    @property
    def settings(self) -> Settings:
        """As they were given; an exponent that was to be fitted is the one that the search of the base has fitted."""
        given = settings_from_dict(self.facts["settings"])
        return given if given.exponent is not None else replace(given, exponent=self.facts.get("exponent"))

    @cached_property
    def base(self) -> AnyArch:
        """The full-size base, at its budget."""
        return _arch(self.facts["base"])

    @cached_property
    def proxy_base(self) -> AnyArch:
        return _arch(self.facts["proxy_base"])

    @cached_property
    def scores(self) -> Scores:
        """Finished candidates: digest -> seed -> score."""
        return scores_by_digest(self.trials)

    @cached_property
    def candidates(self) -> list[CandidateResult]:
        """Distinct candidates with at least one finished training, the highest expected score first.

        Not the highest mean: of unequal numbers of seeds, the mean of fewer is the luckier.
        """
        rounding = ROUNDINGS[self.settings.rounding]
        base_flops = cost(self.base).flops
        results = []
        for digest, scores in self.scores.items():
            own = [r for r in self.trials if r.role == "candidate" and r.digest == digest and r.status == "done"]
            accuracies = {record.seed: float(record.accuracy or 0.0) for record in own if not record.replicates}
            mean, error = mean_of(own)
            candidate = read_candidate(own[0])
            full = scale(self.base, candidate.coefficients, 1.0, rounding)
            results.append(
                CandidateResult(
                    candidate=candidate,
                    anchors=tuple(own[0].attributes["anchors"]),
                    accuracies=accuracies,
                    scores=scores,
                    accuracy_mean=mean,
                    accuracy_se=error,
                    score=sum(record.score or 0.0 for record in own) / len(own),
                    standing=self.verdict.standings[digest],
                    full=full,
                    full_ratio=cost(full).flops / base_flops,
                )
            )
        return sorted(results, key=lambda result: (-result.standing.expected, result.candidate.digest))

    @cached_property
    def pool(self) -> tuple[Place, ...]:
        """Every network that the run could try; those it tried, where an older version stored no more."""
        return read_pool(self.facts, [read_candidate(r) for r in self.trials if r.role == "candidate"])

    @cached_property
    def verdict(self) -> Verdict:
        """What the scores allow to be said, of networks never tried too. Raises RunError if there are none."""
        if not self.scores:
            failed = [record.reason for record in self.trials if record.role == "candidate" and record.reason]
            why = f"; the last one failed: {failed[-1]}" if failed else ""
            raise RunError(
                f"{self.folder}: no candidate's training has finished, so there is nothing to recommend yet{why}"
            )
        return VERDICTS[self.settings.evaluator](self.trials, self.pool, self.settings.confidence)

    @property
    def standings(self) -> list[tuple[Place, Standing]]:
        """Every network of the pool with what is known of it: the region of the simplex that may hold the best."""
        known = self.verdict.standings
        return [(place, known[place.digest]) for place in self.pool if place.digest in known]

    @property
    def noise(self) -> Noise:
        """Deviation of one training's score between seeds (of a prediction: its standard error)."""
        return self.verdict.noise if self.scores else Noise(math.inf, 0)

    @cached_property
    def recommended(self) -> CandidateResult:
        """The tried network of the highest expected score. Raises RunError if there is none."""
        digest = self.verdict.recommended
        return next(result for result in self.candidates if result.candidate.digest == digest)

    @property
    def coefficients(self) -> Coefficients:
        return self.recommended.candidate.coefficients

    def trained(self, anchor: str) -> CandidateResult | None:
        """The trained network that stands for an anchor."""
        return next((result for result in self.candidates if anchor in result.anchors), None)

    @property
    def to_confirm(self) -> tuple[str, str] | None:
        """Digests of the recommended network and the paper's: what fresh seeds compare. None where that is one, or
        either was not trained."""
        paper = self.trained("paper") if self.scores else None
        if paper is None or paper.candidate.digest == self.verdict.recommended:
            return None
        return self.verdict.recommended, paper.candidate.digest

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """What fresh seeds say of the recommended network's lead over the paper's; None where there are none."""
        spread, confidence = self.verdict.spread, self.settings.confidence
        found = read_confirmation(self.facts, self.trials, self.scores, spread, confidence)
        return found if found is not None and found.chosen == self.verdict.recommended else None

    def lead_over(self, anchor: str) -> Difference | None:
        """True score of the recommended candidate minus an anchor's; None if the anchor was not trained.

        By the confirmation, where that compares the two; else by the trainings that chose, which flatter the choice.
        """
        other = self.trained(anchor)
        if other is None or other.candidate.digest == self.recommended.candidate.digest:
            return None
        if self.confirmation is not None and self.confirmation.against == other.candidate.digest:
            return self.confirmation.lead
        return self.verdict.difference(self.recommended.candidate.digest, other.candidate.digest)

    @cached_property
    def points(self) -> list[Point]:
        """Every measured proxy network, by rising FLOPs; without what only confirms."""
        table: dict[str, list[TrialRecord]] = {}
        for record in self.trials:
            if record.status == "done" and record.role != ROLE:
                table.setdefault(record.digest, []).append(record)
        points = []
        for digest, records in table.items():
            mean, error = mean_of(records)
            first = min(records, key=lambda record: LABELLED.index(record.role))
            points.append(
                Point(
                    label=label_of(first),
                    digest=digest,
                    flops=first.flops,
                    params=first.params,
                    activations=first.activations,
                    accuracy=mean,
                    error=error,
                    seeds=sum(not record.replicates for record in records),
                    measured=self.measured(digest),
                )
            )
        return sorted(points, key=lambda point: (point.flops, point.digest))

    def measured(self, digest: str) -> dict[str, Spread]:
        """What was measured of a proxy network, by axis."""
        found = {axis.name: measured(self.facts, axis.name, digest) for axis in MEASURED}
        return {name: spread for name, spread in found.items() if spread is not None}

    @property
    def axis(self) -> Axis:
        """The cost that the run's scores weigh accuracy against."""
        return AXES[self.settings.cost]

    def front(self, axis: str | None = None) -> Front:
        """The Pareto front against one of AXES (None: the run's own), over the points whose cost is known."""
        return front_of(self.points, axis or self.axis.name, chance=1 / self.proxy_base.classes)

    @property
    def pareto(self) -> tuple[Point, ...]:
        """The points no other beats in accuracy and cost, on the run's axis."""
        return self.front().points

    def family_of(self, coefficients: Coefficients) -> list[Member]:
        """B0 … from any coefficients, full size, by the run's rounding."""
        return family(self.base, coefficients, ROUNDINGS[self.settings.rounding], self.settings.members)

    @cached_property
    def fixed_family(self) -> list[Member]:
        """B0 … from the recommended coefficients. Where there is no proxy, B1 is the recommended network itself."""
        members = self.family_of(self.coefficients)
        if len(members) > 1 and self.proxy_base.digest == self.base.digest:
            found = self.recommended.candidate
            arch = replace(found.arch, name=members[1].arch.name)
            members[1] = replace(members[1], phi=1.0, requested=self.coefficients.at(1), arch=arch, cost=cost(arch))
        return members

    @cached_property
    def family(self) -> list[Member]:
        """B0 … as the settings ask: by the recommended coefficients, or by each budget's best."""
        fixed = self.fixed_family
        return follow_budget(self, fixed) if self.settings.coefficients == "per-budget" else fixed

    @cached_property
    def proxy_family(self) -> list[Member]:
        """The same on the proxy: what is trained to measure members, if the time allows."""
        settings = self.settings
        return family(self.proxy_base, self.coefficients, proxy_rounding(settings), settings.members)

    @cached_property
    def paper_family(self) -> list[Member]:
        """The same from the paper's coefficients."""
        return self.family_of(PAPER_COEFFICIENTS)

    def member_accuracy(self, name: str) -> Point | None:
        """Accuracy of a family member (of its proxy, where there is one), or None where it has none."""
        if self.proxy_base.digest == self.base.digest:  # no proxy: the members themselves were judged
            digest = next((m.arch.digest for m in self.family if m.name == name), "")
        elif name == "B1":
            digest = self.recommended.candidate.digest
        else:
            digest = next((m.arch.digest for m in self.proxy_family if m.name == name), "")
        return next((point for point in self.points if point.digest == digest), None)


def candidate_attributes(candidate: Candidate, anchors: tuple[str, ...]) -> dict[str, Any]:
    """What a candidate's trials carry, beside the arch and its cost."""
    sides = {"alpha": candidate.alpha, "beta": candidate.beta, "gamma": candidate.gamma}
    return {
        "anchors": list(anchors),
        "shares": list(candidate.shares),
        "ratio": candidate.ratio,
        **{name: [side.value, side.low, side.high] for name, side in sides.items()},
    }


def read_candidate(record: TrialRecord) -> Candidate:
    stored = record.attributes
    depth, width, resolution = stored["shares"]
    return Candidate(
        arch=record.arch,
        alpha=Interval(*stored["alpha"]),
        beta=Interval(*stored["beta"]),
        gamma=Interval(*stored["gamma"]),
        shares=(depth, width, resolution),
        flops=record.flops,
        params=record.params,
        activations=record.activations,
        ratio=stored["ratio"],
    )


def _arch(table: Any) -> AnyArch:
    arch = read_stored(table)
    if arch is None:
        raise RunError("the stored network does not fit this version of scalesearch")
    return arch
