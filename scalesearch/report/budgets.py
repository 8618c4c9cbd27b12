"""What coefficients that follow the budget would gain, as a table of the page and for the terminal."""

from __future__ import annotations

import textwrap

from scalesearch.report.markup import Html, table
from scalesearch.report.member_cells import predicted_error
from scalesearch.search.budgets import Gain, gains
from scalesearch.search.run import Run
from scalesearch.search.stats import Difference

ABOUT_BUDGETS = (
    "The best of the splits asked about at each budget 2^k times the base's FLOPs, on a lattice of the "
    "simplex, inside the hull of the published networks. Gains are in points of top-1 error, with their interval; they "
    "make no allowance for having picked the best. The largest budgets leave only a corner of the simplex inside the "
    "hull, so that their best is the best of few."
)

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
