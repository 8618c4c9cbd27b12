"""What a check of the proxy says: do its longer or larger trainings rank the networks as the run does?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scalesearch.search.fidelity import CHECKS, Check, open_check
from scalesearch.search.ledger import JOURNAL
from scalesearch.search.places import Place
from scalesearch.search.ranks import Agreement, kendall
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import CandidateResult, Run
from scalesearch.search.stats import Difference, Noise, Scores, mean_and_error, paired_difference
from scalesearch.search.verdicts import by_surface


@dataclass(frozen=True, slots=True)
class Checked:
    """One network of a check: the run's own result, and what the check's trainings gave (accuracy 0 to 1).

    `score` is the mean over the seeds that all networks have, `ratio` of FLOPs to the check's base.
    """

    result: CandidateResult
    digest: str
    flops: int
    ratio: float
    phi: float
    accuracies: Mapping[int, float]
    accuracy_mean: float
    accuracy_se: float
    score: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check says so far. `networks` best score first; `failed` are (the run's result, reason).

    `agreement` is between the run's expected scores and the check's mean ones. `lead` is the recommended network's over
    the paper's, from the check's own seeds alone and without a model, so that the choice does not flatter it; None
    where the two share no seed or are one. `best` are the digests (of the run) that may be the best of these.
    """

    check: Check
    networks: tuple[Checked, ...]
    failed: tuple[tuple[CandidateResult, str], ...]
    agreement: Agreement
    noise: Noise
    lead: Difference | None
    best: frozenset[str]

    @property
    def change(self) -> float:
        """Of accuracy, from the run's to the check's, averaged over the networks."""
        return fmean(one.accuracy_mean - one.result.accuracy_mean for one in self.networks)


def outcomes(run: Run) -> list[Outcome]:
    """Of the run's checks, those with a finished training, by the names of their folders."""
    folders = sorted(path.parent for path in (run.folder / CHECKS).glob(f"*/{JOURNAL}"))
    found = [outcome(run, folder) for folder in folders]
    return [one for one in found if one is not None]


def outcome(run: Run, folder: Path) -> Outcome | None:
    """Of the check in `folder`; None before its first training has finished."""
    ledger = open_check(folder)
    facts, records = ledger.facts(), ledger.records()
    if "networks" not in facts:
        return None
    results = {result.candidate.digest: result for result in run.candidates}
    done: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.status == "done":
            done.setdefault(record.digest, []).append(record)
    trained = {own: done[digest] for own, (digest, _) in facts["networks"].items() if own in results and digest in done}
    if not trained:
        return None
    scores: Scores = {own: {r.seed: float(r.score or 0.0) for r in rows} for own, rows in trained.items()}
    common = frozenset[int].intersection(*(frozenset(row) for row in scores.values()))
    networks = [
        Checked(
            result=results[own],
            digest=rows[0].digest,
            flops=rows[0].flops,
            ratio=float(rows[0].attributes["ratio"]),
            phi=float(facts["networks"][own][1]),
            accuracies={record.seed: float(record.accuracy or 0.0) for record in rows},
            accuracy_mean=mean[0],
            accuracy_se=mean[1],
            score=fmean(value for seed, value in scores[own].items() if seed in common or not common),
        )
        for own, rows in trained.items()
        for mean in [mean_and_error([float(record.accuracy or 0.0) for record in rows])]
    ]
    networks.sort(key=lambda one: (-one.score, one.result.candidate.digest))
    chosen, confidence = run.recommended.candidate.digest, run.settings.confidence
    digests = {one.result.candidate.digest: one.digest for one in networks}
    expected = [one.result.standing.expected for one in networks]
    verdict = by_surface(records, [_place(one) for one in networks], confidence)
    paper = next((own for own in scores if "paper" in results[own].anchors), chosen)
    reasons = {record.digest: record.reason for record in records if record.status == "failed"}
    return Outcome(
        check=Check(**facts["check"]),
        networks=tuple(networks),
        failed=tuple(
            (results[own], reasons[digest])
            for own, (digest, _) in facts["networks"].items()
            if own in results and own not in scores and digest in reasons
        ),
        agreement=kendall(expected, [one.score for one in networks], confidence),
        noise=verdict.noise,
        lead=paired_difference(scores, chosen, paper, confidence) if chosen in scores and paper != chosen else None,
        best=frozenset(own for own, digest in digests.items() if verdict.standings[digest].may_be_best),
    )


def _place(one: Checked) -> Place:
    candidate = one.result.candidate
    return Place(one.digest, candidate.shares, candidate.alpha, candidate.beta, candidate.gamma)
