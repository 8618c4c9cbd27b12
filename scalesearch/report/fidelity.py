"""How far a run's proxy can be trusted, by the checks in its folder: sentences, the table, the CSV's rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from scalesearch.report.markup import Html, join, table, tag
from scalesearch.report.ranks import rank_agreement
from scalesearch.report.tables import as_frame, network_names
from scalesearch.report.wording import above_or_below, at_confidence, count, points
from scalesearch.search.agreement import Checked, Outcome
from scalesearch.search.fidelity import Check
from scalesearch.search.run import Run

_COLUMNS = (
    "check epochs width resolution digest anchors proxy_accuracy proxy_score proxy_seeds proxy_expected proxy_rank "
    "trained_digest flops ratio phi accuracy accuracy_se seeds score rank may_be_best reason"
)
HEADINGS = ("network", "proxy accuracy", "rank", "checked accuracy", "rank", "seeds", "× base", "may be best")
FEW = 8  # networks; with fewer the interval of τ is about as wide as half its range


def changed(run: Run, check: Check) -> str:
    """What a check does otherwise than the run's trainings."""
    assert run.plan is not None  # nothing could be checked without one
    epochs = run.plan.epochs
    parts = [f"{count(check.epochs, 'epoch')} instead of {epochs}"] if check.epochs != epochs else []
    parts += [f"the proxy's width × {check.width:g}"] if check.width != 1 else []
    parts += [f"its side × {check.resolution:g}"] if check.resolution != 1 else []
    parts += ["weights from scratch instead of inherited ones"] if run.settings.inherit else []
    return ", ".join(parts) or f"the same {count(epochs, 'epoch')} once more"


def sentences(run: Run, found: Outcome) -> list[str]:
    """What a check says: ranks, the recommended network against the paper's, whether it stays recommended."""
    seeds = max(len(one.accuracies) for one in found.networks)
    lines = [
        f"Check with {changed(run, found.check)}: {count(len(found.networks), 'network')}, "
        f"{count(seeds, 'seed')} each that the run had not used; accuracy changed by {points(found.change, 1)} points "
        "on average.",
        _ranks(run, found),
        _verdict(run, found),
        _lead(run, found),
    ]
    if found.failed:
        names = network_names(run)
        reasons = "; ".join(f"{names[result.candidate.digest]}: {reason}" for result, reason in found.failed)
        lines.append(f"Not compared, because the training failed: {reasons}.")
    return [line for line in lines if line]


def _ranks(run: Run, found: Outcome) -> str:
    number = len(found.networks)
    if math.isnan(found.agreement.tau):
        return f"{count(number, 'network')} with a finished training cannot be ranked against the proxy."
    text = (
        f"The run's expected scores rank them as this check does with Kendall's τ = {rank_agreement(found.agreement)}"
    )
    text += f" {at_confidence(run)}"
    if number < FEW:
        text += f"; of {number} networks nothing narrower can be said, more --networks would"
    return text + "."


def _verdict(run: Run, found: Outcome) -> str:
    chosen = run.recommended.candidate.digest
    place = next((i for i, one in enumerate(found.networks, 1) if one.result.candidate.digest == chosen), 0)
    number, sure = len(found.networks), at_confidence(run)
    if place == 0:
        return "The recommended network has no finished training here, so nothing is said of the recommendation."
    stands = "the best here too" if place == 1 else f"number {place} of {number} here"
    if found.noise.freedom == 0:
        return f"The recommended network is {stands}; nothing says how much of that is noise."
    if chosen not in found.best:
        first, own = found.networks[0], found.networks[place - 1]
        return (
            f"The recommendation does not survive: the recommended network is {stands}, its score "
            f"{above_or_below(own.score - first.score, 1)} that of the best "
            f"({network_names(run)[first.result.candidate.digest]}), and {sure} not the best."
        )
    alike = len(found.best) - 1
    if place > 1:
        return (
            f"The recommended network is {stands}, but {sure} cannot be told apart from the best: this check neither "
            "confirms the recommendation nor refutes it."
        )
    if alike:
        return (
            f"The recommendation survives: its network is {stands}, but {sure} {alike} of the other {number - 1} "
            "cannot be told apart from it."
        )
    return f"The recommendation survives: its network is {stands}, {sure} better than the other {number - 1}."


def _lead(run: Run, found: Outcome) -> str:
    lead = found.lead
    if lead is None or math.isnan(lead.mean):
        return ""
    before = run.lead_over("paper")
    text = "The recommended network's lead over the one nearest to the paper's point is "
    text += f"{points(lead.mean, 1)} points of score"
    if before is not None and not math.isnan(before.mean):
        text += f" (in the run {points(before.mean, 1)})"
    if math.isinf(lead.low):
        return f"{text}; nothing says how much of that is noise."
    text += f", {points(lead.low, 1)} to {points(lead.high, 1)} {at_confidence(run)}"
    return f"{text}: the two cannot be told apart." if lead.low <= 0 <= lead.high else f"{text}."


def rows(run: Run, found: Outcome) -> list[tuple[str, ...]]:
    """Under HEADINGS, the best of the check first."""
    names, before = network_names(run), _ranked(found)
    return [
        (
            names[one.result.candidate.digest],
            _accuracy(one.result.accuracy_mean, one.result.accuracy_se),
            str(before.index(one) + 1),
            _accuracy(one.accuracy_mean, one.accuracy_se),
            str(rank),
            str(len(one.accuracies)),
            f"{one.ratio:.3f}",
            "yes" if one.result.candidate.digest in found.best else "no",
        )
        for rank, one in enumerate(found.networks, start=1)
    ]


def section_of(run: Run, found: Sequence[Outcome]) -> list[Html]:
    """What the page says of the run's checks."""
    parts = [
        tag(
            "p",
            "Some of the networks were trained again, longer or larger, with other seeds. × base is the realised ratio "
            "of FLOPs to the base of the check; ranks are among these networks, in the run by expected "
            "score, in the check by mean score.",
            class_="note",
        )
    ]
    for one in found:
        chosen = [network.result.candidate.digest for network in one.networks]
        digest = run.recommended.candidate.digest
        marked = chosen.index(digest) if digest in chosen else None
        parts.append(join(tag("p", line) for line in sentences(run, one)))
        parts.append(table(HEADINGS, rows(run, one), text=("network",), chosen=marked))
    return parts


def fidelity_table(run: Run, found: Sequence[Outcome]) -> pd.DataFrame:
    """One row per network and check; `proxy_…` are of the run. Of a network without a finished training, its reason."""
    cells: list[dict[str, Any]] = []
    for outcome in found:
        check, before = outcome.check, _ranked(outcome)
        same = {"check": check.name, "epochs": check.epochs, "width": check.width, "resolution": check.resolution}
        for rank, one in enumerate(outcome.networks, start=1):
            result = one.result
            cells.append(
                {
                    **same,
                    "digest": result.candidate.digest,
                    "anchors": ", ".join(result.anchors),
                    "proxy_accuracy": result.accuracy_mean,
                    "proxy_score": result.score,
                    "proxy_seeds": len(result.accuracies),
                    "proxy_expected": result.standing.expected,
                    "proxy_rank": before.index(one) + 1,
                    "trained_digest": one.digest,
                    "flops": one.flops,
                    "ratio": one.ratio,
                    "phi": one.phi,
                    "accuracy": one.accuracy_mean,
                    "accuracy_se": one.accuracy_se,
                    "seeds": len(one.accuracies),
                    "score": one.score,
                    "rank": rank,
                    "may_be_best": result.candidate.digest in outcome.best,
                }
            )
        cells += [
            {**same, "digest": result.candidate.digest, "anchors": ", ".join(result.anchors), "reason": reason}
            for result, reason in outcome.failed
        ]
    return as_frame(_COLUMNS, cells)


def _ranked(found: Outcome) -> list[Checked]:
    """By what the run expects of their scores, best first."""
    return sorted(found.networks, key=lambda one: (-one.result.standing.expected, one.result.candidate.digest))


def _accuracy(mean: float, error: float) -> str:
    return f"{100 * mean:.1f}%" + ("" if math.isnan(error) else f" ± {100 * error:.1f}")
