"""How early in a training the networks rank as at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from scalesearch.search.ranks import Agreement, common_seeds, kendall
from scalesearch.search.run import Run

FEWEST_RANKED = 5  # networks: of fewer, every τ is within the noise of every other


@dataclass(frozen=True, slots=True)
class EarlyRanks:
    """The networks' ranks by the accuracy of one training each after `epoch` of `epochs`, against those at the end.

    The end is the mean over the other seeds, and every one of the `seeds` takes its turn as the early one: τ and the
    ends of its interval are means over them. A training agrees with its own end for reasons that have nothing to do
    with its network. With one seed there is no other end: then each is compared with its own, and τ is too high.
    """

    epoch: int
    epochs: int
    agreement: Agreement
    seeds: int


def early_ranks(run: Run) -> tuple[EarlyRanks, ...]:
    """By epoch, over the networks that were trained to the end; empty for fewer than FEWEST_RANKED.

    With two seeds or more the last epoch is among them: what one whole training and the others agree in is all that
    the noise allows. Seeds that less than half of the networks have are left out, and networks without the rest of the
    seeds too. So is an epoch after which all networks are alike: it has no τ.
    """
    curves: dict[str, dict[int, list[float]]] = {}
    for record in run.trials:
        if record.role == "candidate" and record.status == "done" and record.epochs:
            curves.setdefault(record.digest, {})[record.seed] = [float(one["accuracy"]) for one in record.epochs]
    lengths = {len(curve) for seeds in curves.values() for curve in seeds.values()}
    common = common_seeds(curves)
    table = [[own[seed] for seed in common] for own in curves.values() if own.keys() >= set(common)]
    if len(table) < FEWEST_RANKED or not common or len(lengths) > 1:
        return ()
    epochs, found = lengths.pop(), []
    for index in range(epochs if len(common) > 1 else epochs - 1):
        agreements = []
        for turn in range(len(common)):
            others = [seed for seed in range(len(common)) if seed != turn] or [turn]
            early = [row[turn][index] for row in table]
            last = [fmean(row[other][-1] for other in others) for row in table]
            agreements.append(kendall(early, last, run.settings.confidence))
        known = [one for one in agreements if not math.isnan(one.tau)]
        if known:
            tau, low, high = (fmean(values) for values in zip(*((a.tau, a.low, a.high) for a in known), strict=True))
            found.append(EarlyRanks(index + 1, epochs, Agreement(tau, low, high, len(table)), len(common)))
    return tuple(found)
