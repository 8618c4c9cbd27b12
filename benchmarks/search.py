"""What it costs to find the coefficients: our search against the paper's procedure, Optuna as it comes, and chance.

    python benchmarks/search.py [RECORDING] [--inherited RECORDING] [--quick] [--replays N] [--json FILE]

Every strategy searches the same recorded landscape again and again, each time with fresh noise (search/resample.py),
and pays the processor seconds that the trainings took when they were recorded. It has arrived at the cost from which
on, in at least 90 % of the replays, its answer is within 0.25 points of the truly best network's expected score. A
strategy that has not arrived by the end counts with all that it spent: its ratio is a lower bound.

Of each rival's variants the one that arrives first counts; `strategies.py` describes them. `surface_inherit` looks at
trainings that start from the base's weights, of a recording of their own, and pays for the base's; its answers are
judged by the networks' scores from scratch, as all are.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from parallel import on_all_cores
from strategies import INHERIT, ONE_SEED, STRATEGIES, Field, make_field, make_world
from strategies import Path as Track

import results
from scalesearch import ScaleSearchError
from scalesearch.search.landscape import read_landscape
from scalesearch.search.resample import Floats, unequal
from scalesearch.spec.proportion import wilson

FOLDER = Path(__file__).resolve().parent.parent / "results" / "reference" / "scalebench"
RECORDING, INHERITED = FOLDER / "scalebench.json.gz", FOLDER / "inherited.json.gz"
CLOSE = 0.0025  # of score: 0.25 points
SHARE = 0.9  # of the replays
CONFIDENCE = 0.9  # of the intervals
BOOTSTRAP = 1_000
COSTS = 600  # at which curves are evaluated, evenly in the logarithm: 1.2 % apart
# The same count for all strategies, and a multiple of 10: the share asked for is then a whole number of replays, and
# the bar of a few replays no higher than that of many.
REPLAYS = 40
QUICK = 20
# Mean trainings to spend; else as much as the paper's grid. Optuna's own loop takes seconds per replay, most of them
# for asking, and the surface is asked after every training.
LIMITS = {name: 60.0 if name.startswith("tpe") else 40.0 for name in STRATEGIES if name.startswith(("tpe", "surface"))}
SLOW = ("tpe_from_0", "surface_asha", "surface_median")  # variants that --quick leaves out


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one strategy: regret (replays, costs) in score, nan before the first answer; and what each replay had spent
    when it ended."""

    name: str
    costs: Floats
    regret: Floats
    ends: Floats
    seconds: float  # that one replay took here
    blind: float  # regret of a network drawn at random

    @property
    def spent(self) -> float:
        """When it ended, on average."""
        return float(np.mean(self.ends))

    @property
    def close(self) -> Floats:
        """Whether the answer is within CLOSE (replays, costs)."""
        found: Floats = (self.regret <= CLOSE).astype(float)  # nan is not
        return found

    @property
    def mean_regret(self) -> float:
        """In the end, in points; a search without an answer counts as one that takes any network."""
        return 100 * float(np.where(np.isnan(self.regret[:, -1]), self.blind, self.regret[:, -1]).mean())

    def arrival(self, weights: Floats | None = None) -> float:
        """The cost from which on the share of close answers stays at SHARE; infinite if it does not."""
        share = self.close.mean(axis=0) if weights is None else weights @ self.close
        return arrival(self.costs, share)


def arrival(costs: Floats, share: Floats) -> float:
    below = np.flatnonzero(share < SHARE - 1e-9)
    if len(below) == 0:
        return float(costs[0])
    return math.inf if below[-1] == len(costs) - 1 else float(costs[below[-1] + 1])


def measure(field: Field, name: str, replays: int, stop: float, costs: Floats) -> Outcome:
    """`replays` searches of worlds 0, 1, …: the same for all strategies."""
    truth = field.noise.truth[:, -1]
    regret = np.full((replays, len(costs)), np.nan)

    def replay(number: int) -> Track:
        return STRATEGIES[name](make_world(field, number, name in ONE_SEED), stop)

    paths, seconds = on_all_cores(replay, replays)
    for number, path in enumerate(paths):
        last = np.searchsorted(path.costs, costs + 1e-6, side="right") - 1
        known = last >= 0
        regret[number, known] = truth.max() - truth[np.array(path.answers, dtype=int)[last[known]]]
    ends = np.array([path.spent for path in paths])
    return Outcome(name, costs, regret, ends, seconds, float(truth.max() - truth.mean()))


def ratio(rival: Outcome, ours: Outcome, rng: np.random.Generator) -> tuple[float, float, float | None, bool]:
    """Rival's cost over ours, its bootstrap interval over the replays, and whether it is a lower bound.

    Replay k of both searched the same world, so that they are drawn together.

    A rival that has not arrived counts with what it spent. An interval without an upper end has None.
    """
    found = min(rival.arrival(), rival.spent) / ours.arrival()
    values = []
    for _ in range(BOOTSTRAP):
        drawn = _redrawn(len(ours.close), rng)
        other, own = rival.arrival(drawn), ours.arrival(drawn)
        values.append(min(other, rival.spent) / own if math.isfinite(own) else 0.0)
    low, high = np.quantile(values, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    bound = not math.isfinite(rival.arrival())
    return found, float(low), None if bound else float(high), bound


def _redrawn(count: int, rng: np.random.Generator) -> Floats:
    """Weights of the replays in one bootstrap draw."""
    found: Floats = rng.multinomial(count, np.full(count, 1 / count)) / count
    return found


def stopping_row(rival: Outcome, against: str, stops: Outcome, each: float) -> dict[str, Any]:
    """What our search costs when its own rule ends it, and how often its answer is close then."""
    rng, count = np.random.default_rng(0), len(stops.close)
    spent = [float(_redrawn(count, rng) @ stops.ends) for _ in range(BOOTSTRAP)]
    cost = min(rival.arrival(), rival.spent)
    low, high = cost / np.quantile(spent, [0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2])
    share = float(stops.close[:, -1].mean())
    bar = [round(100 * end) for end in wilson(share, count, CONFIDENCE)]
    return results.row(
        "training cost when our search ends by its own stopping rule",
        against,
        cost / stops.spent,
        float(low),
        float(high),
        note=f"it ends after {stops.spent / each:.1f} trainings of the mean cost; its answer is then within 0.25 "
        f"points in {100 * share:.0f} % ({bar[0]}–{bar[1]} %) of replays",
        bound=not math.isfinite(rival.arrival()),
        ours=stops.name,
        rival=rival.name,
        replays=count,
        cost_seconds=[stops.spent, cost],
        close_in_the_end=share,
        mean_regret_points=stops.mean_regret,
    )


def first_to_arrive(outcomes: Sequence[Outcome]) -> Outcome:
    """Of one rival's variants: the one that arrives first, or else is close most often in the end."""
    return min(outcomes, key=lambda one: (one.arrival(), -float(one.close[:, -1].mean())))


# Measure of the table -> its rival's variants, and the target.
RIVALS = (
    ("the paper's procedure: every feasible node of the 0.05 grid trained to the end", ("paper",), 10.0),
    ("Optuna's TPE on α, β, γ with constraint by rejection, HyperbandPruner", ("tpe", "tpe_from_0"), 3.0),
    (
        "random search on the distinct networks with the same pruner",
        ("random", "random_from_0", "random_best_trial"),
        1.5,
    ),
)
MEASURE = "training cost until the answer is within 0.25 points of the best in 90 % of replays"


def run(
    recording: Path, inherited: Path | None, replays: int, names: Sequence[str], quick: bool
) -> tuple[Field, dict[str, Outcome]]:
    field = make_field(read_landscape(recording), None if inherited is None else read_landscape(inherited))
    stop = float(sum(field.whole[network] for network in field.nodes))
    costs = np.geomspace(float(field.noise.seconds[:, 0].min()), 1.05 * stop, COSTS)
    outcomes = {}
    for name in names:
        most = LIMITS.get(name, math.inf) / (2 if quick else 1)
        outcomes[name] = measure(field, name, replays, min(stop, most * float(field.whole.mean())), costs)
    return field, outcomes


def table(field: Field, outcomes: dict[str, Outcome]) -> list[str]:
    """One line per strategy, as printed."""
    each = float(field.whole.mean())
    lines = [
        f"{'strategy':<20}{'replays':>8}{'arrives at':>14}{'= trainings':>13}{'spent':>9}"
        f"{'close in the end':>26}{'mean regret':>13}{'s/replay':>10}"
    ]
    for one in outcomes.values():
        count, end = len(one.regret), float(one.close[:, -1].mean())
        low, high = wilson(end, count, CONFIDENCE)
        cost = one.arrival()
        shown = f"{cost:>12,.0f} s{cost / each:>13.1f}" if math.isfinite(cost) else f"{'never':>14}{'-':>13}"
        lines.append(
            f"{one.name:<20}{count:>8}{shown}{one.spent / each:>9.1f}"
            f"{100 * end:>12.0f}% ({100 * low:.0f}–{100 * high:.0f}%)".ljust(91)
            + f"{one.mean_regret:>10.2f}{one.seconds:>10.2f}"
        )
    return lines


def rows(field: Field, outcomes: dict[str, Outcome], ours: str) -> list[dict[str, Any]]:
    """The rows of the JSON file: one per rival, and one of our own stopping rule."""
    rng, each, own = np.random.default_rng(0), float(field.whole.mean()), outcomes[ours]
    found = []
    for against, variants, target in RIVALS:
        rivals = [outcomes[name] for name in variants if name in outcomes]
        if not rivals:
            continue
        rival = first_to_arrive(rivals)
        value, low, high, bound = ratio(rival, own, rng)
        arrives = rival.arrival()
        note = f"{ours} arrives after {own.arrival() / each:.1f} trainings of the mean cost, the rival "
        note += (
            f"after {arrives / each:.1f}"
            if math.isfinite(arrives)
            else (
                f"never: in {100 * float(rival.close[:, -1].mean()):.0f} % of replays, after {rival.spent / each:.0f}"
            )
        )
        found.append(
            results.row(
                MEASURE,
                against,
                value,
                low,
                high,
                f"at least {target:g}",
                note=note,
                bound=bound,
                ours=ours,
                rival=rival.name,
                replays=len(own.regret),
                cost_seconds=[own.arrival(), min(arrives, rival.spent)],
                close_in_the_end=[float(one.close[:, -1].mean()) for one in (own, rival)],
                mean_regret_points=[one.mean_regret for one in (own, rival)],
            )
        )
    if "surface_stops" in outcomes and "paper" in outcomes:
        found.append(stopping_row(outcomes["paper"], RIVALS[0][0], outcomes["surface_stops"], each))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", type=Path, default=RECORDING, metavar="RECORDING")
    parser.add_argument("--inherited", type=Path, metavar="RECORDING", help="of networks that inherit weights")
    parser.add_argument("--quick", action="store_true", help="fewer replays, wider intervals")
    parser.add_argument("--replays", type=int, help=f"of each strategy (default {REPLAYS}, or {QUICK} with --quick)")
    parser.add_argument("--strategies", nargs="+", choices=tuple(STRATEGIES), default=tuple(STRATEGIES), metavar="NAME")
    parser.add_argument(
        "--ours", choices=tuple(STRATEGIES), default="surface", help="what the rivals are compared with"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    replays = arguments.replays or (QUICK if arguments.quick else REPLAYS)
    if replays < 10 or replays % 10:
        parser.error(f"--replays {replays}: must be a multiple of 10, so that 90 % of them are a whole number")
    asked = {*arguments.strategies} - {*(SLOW if arguments.quick else ())} | {arguments.ours}
    inherited = arguments.inherited
    if inherited is None and arguments.recording.resolve() == RECORDING and INHERITED.exists():
        inherited = INHERITED
    if inherited is None:
        if arguments.ours in INHERIT:
            parser.error(f"--ours {arguments.ours}: needs a recording of trainings that inherit; give --inherited FILE")
        asked -= set(INHERIT)
    names = [name for name in STRATEGIES if name in asked]
    try:
        field, outcomes = run(arguments.recording, inherited, replays, names, arguments.quick)
    except ScaleSearchError as error:
        sys.exit(str(error))
    truth = field.noise.truth[:, -1]
    print(
        f"{len(truth)} networks, the best expected score {100 * truth.max():.2f} points; "
        f"{int((truth >= truth.max() - CLOSE).sum())} are within 0.25 of it; "
        f"one training costs {field.whole.mean():.0f} processor seconds on average"
    )
    print(
        f"the paper's grid: {len(field.nodes)} feasible nodes are {field.distinct} distinct networks, which stand for "
        f"{len(set(field.nodes))} recorded ones"
    )
    raw, odds = unequal(field.landscape)
    print(
        f"noise of a training in the worst third of the networks over that in the best: {raw:.1f} in accuracy, "
        f"{odds:.1f} in log odds, which is drawn from, among networks of like accuracy"
    )
    print("\n".join(table(field, outcomes)))
    found = rows(field, outcomes, arguments.ours)
    for row in found:
        bound = "at least " if row["details"]["bound"] else ""
        high = "…" if row["high"] is None else f"{row['high']:.1f}"
        print(f"{bound}{row['ratio']:.1f} ({row['low']:.1f}–{high}) times cheaper than {row['against']}")
    if arguments.json:
        results.write(arguments.json, "search", found)


if __name__ == "__main__":
    main()
