"""A family's accuracies or predicted errors, and what coefficients that follow the budget would gain."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from scalesearch.report.markup import Html, table
from scalesearch.report.words import words
from scalesearch.search.budgets import Gain, gains, predicted_interval, refusal
from scalesearch.search.family import Member
from scalesearch.search.run import Run
from scalesearch.search.stats import Difference

ABOUT_BUDGETS = (
    "The best of the splits asked about at each budget 2^k times the base's FLOPs, on a lattice of the "
    "simplex, inside the hull of the published networks. Gains are in points of top-1 error, with their interval; they "
    "make no allowance for having picked the best. The largest budgets leave only a corner of the simplex inside the "
    "hull, so that their best is the best of few."
)


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


_COLUMNS = (
    "member", "α", "β", "γ", "splits asked", "may be best", "predicted error", "gain over fixed", "over paper's",
)  # fmt: skip


def _rows(run: Run) -> list[tuple[str, ...]]:
    return [
        (
            gain.best.member,
            *(f"{value:.3f}" for value in _triple(gain)),
            str(gain.best.asked),
            str(len(gain.best.alike)),
            predicted_error(run, gain.best.record.digest),
            _gained(gain.over_fixed),
            _gained(gain.over_paper),
        )
        for gain in gains(run)
    ]


def _triple(gain: Gain) -> tuple[float, float, float]:
    found = gain.best.coefficients
    return found.alpha, found.beta, found.gamma


def _gained(difference: Difference | None) -> str:
    if difference is None:
        return "unknown: outside"
    low, middle, high = (f"{100 * value:+.2f}".replace("-", "−") for value in
                         (difference.low, difference.mean, difference.high))  # fmt: skip
    return f"{middle} [{low}, {high}]"


def budgets(run: Run) -> Html:
    """Best coefficients by budget, as a table of the page."""
    return table(_COLUMNS, _rows(run))


def budget_lines(run: Run, columns: int) -> list[str]:
    """The same for the terminal; nothing where larger budgets were not asked about."""
    rows = [_COLUMNS, *_rows(run)]
    if len(rows) == 1:
        return []
    follows = run.settings.coefficients == "per-budget"
    taken = "the family above takes them" if follows else "--coefficients per-budget takes them"
    head = f"The best coefficients at each budget ({taken}), and what they gain, in points of top-1:"
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return ["", *textwrap.wrap(head, columns), *lines]
