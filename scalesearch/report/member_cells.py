"""A family member's accuracy or predicted error, in the tables of the page, of the terminal and of family.csv."""

from __future__ import annotations

import math
from typing import Any

from scalesearch.report.words import words
from scalesearch.search.budgets import predicted_interval, refusal
from scalesearch.search.family import Member
from scalesearch.search.run import Run


def predicts(run: Run) -> bool:
    """Whether members have predicted errors rather than measured accuracies."""
    return any(record.replicates for record in run.trials)


def family_note(run: Run) -> str:
    """What the accuracies beside the family mean."""
    if not predicts(run):
        return (
            f"Proxy accuracy is on the proxy task ({run.settings.data}, base side {run.proxy_base.resolution} px, "
            f"{run.proxy_base.classes} classes), of the proxy scaled alike, B1 there being the recommended candidate, "
            "with its own standard error; it ranks networks and promises nothing else."
        )
    return (
        f"ImageNet errors are predicted from published points, in %, with {100 * run.settings.confidence:g}% intervals "
        "of the expected error (one training scatters by 0.09 points more); a member outside the hull of the published "
        "networks has none."
    )


def member_headings(run: Run) -> list[str]:
    return ["predicted ImageNet error", "of paper's αβγ"] if predicts(run) else ["proxy accuracy"]


def member_cells(run: Run, name: str, seeds: bool = False) -> list[str]:
    """Under `member_headings`; `seeds` adds how many trainings a mean is of."""
    measured = run.member_accuracy(name)
    if predicts(run):
        own = next(member.arch.digest for member in run.family if member.name == name)
        paper = next(member.arch.digest for member in run.paper_family if member.name == name)
        return [predicted_error(run, own), predicted_error(run, paper)]
    if measured is None:
        return [words(run).missing]
    known = not math.isnan(measured.error)
    if seeds:
        plural = "" if measured.seeds == 1 else "s"
        error = f" ± {100 * measured.error:.1f}" if known else ""
        return [f"{100 * measured.accuracy:.1f}%{error} ({measured.seeds} seed{plural})"]
    return [f"{100 * measured.accuracy:.2f}%" + (f" ± {100 * measured.error:.2f}" if known else "")]


def predicted_error(run: Run, digest: str) -> str:
    point = next((point for point in run.points if point.digest == digest), None)
    span = predicted_interval(run, digest)
    if point is None or span is None:
        return words(run).missing
    return f"{100 * (1 - point.accuracy):.2f} [{100 * (1 - span[1]):.2f}, {100 * (1 - span[0]):.2f}]"


def imagenet_columns(run: Run, member: Member, paper: Member) -> dict[str, Any]:
    """Of family.csv: predicted errors in %; blank where nothing is predicted."""
    errors = {point.digest: 100 * (1 - point.accuracy) for point in run.points} if predicts(run) else {}
    span = predicted_interval(run, member.arch.digest)
    return {
        "imagenet_error": errors.get(member.arch.digest),
        "imagenet_error_low": None if span is None else 100 * (1 - span[1]),
        "imagenet_error_high": None if span is None else 100 * (1 - span[0]),
        "paper_imagenet_error": errors.get(paper.arch.digest),
        "no_answer": refusal(run, member.arch.digest),
    }
