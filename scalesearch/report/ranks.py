"""Rank agreement in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from scalesearch.report.wording import count
from scalesearch.search.early_ranks import EarlyRanks, early_ranks
from scalesearch.search.ranks import Agreement
from scalesearch.search.run import Run


def rank_agreement(found: Agreement) -> str:
    """τ with its interval, with a true minus."""
    low, high = (f"{value:.2f}".replace("-", "−") for value in (found.low, found.high))
    return f"{found.tau:.2f}".replace("-", "−") + f" [{low}, {high}]"


def ranks_line(run: Run) -> str:
    """How early the networks rank as at the end; empty where too few were trained to it."""
    found = early_ranks(run)
    if not found:
        return ""
    first = found[0]
    ceiling = found[-1] if found[-1].epoch == first.epochs else None
    taus = [f"{rank_agreement(one.agreement)} after epoch {one.epoch}" for one in _few(found, first.epochs)]
    networks, end = first.agreement.networks, f"at the end (epoch {first.epochs})"
    with_intervals = f"with {100 * run.settings.confidence:g}% intervals"
    if first.seeds == 1:
        text = (
            f"Ranks of {networks} networks by accuracy, against those {end}: Kendall's τ = {', '.join(taus)}, "
            f"{with_intervals}; with one seed each training is compared with its own end, so that τ is too high."
        )
    else:
        taus += [f"{rank_agreement(ceiling.agreement)} {end}, which is all that noise allows"] if ceiling else []
        text = (
            f"Ranks of {networks} networks by the accuracy of one training, against the other seeds' {end}: Kendall's "
            f"τ = {', '.join(taus)}; {with_intervals}, means over {first.seeds} seeds."
        )
    stopped = len({record.digest for record in run.trials if record.role == "candidate" and record.status == "pruned"})
    if stopped:
        text += f" Not among them: {count(stopped, 'network')} that the pruner stopped early, so τ is of those that it "
        text += "spared."
    return text


def _few(found: Sequence[EarlyRanks], epochs: int) -> list[EarlyRanks]:
    """At most four epochs before the end, evenly."""
    before = [one for one in found if one.epoch < epochs]
    step = max(1, -(-len(before) // 4))
    return before[step - 1 :: step]
