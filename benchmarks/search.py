"""What it costs to find the coefficients: our search against the paper's procedure, Optuna as it comes, and chance.

    python benchmarks/search.py [RECORDING] [--inherited RECORDING] [--quick] [--replays N] [--json FILE]

Every strategy searches the same recorded landscape again and again, each time with fresh noise and with true scores
that the recording leaves open (search/resample.py), and pays the processor seconds that the trainings took when they
were recorded; the tool's own searches pay for the base too. It has arrived at the cost from which on, in at least 90 %
of the replays, its answer is within 0.25 points of the truly best network's expected score. All may spend what the
paper's procedure spends to its end (with --quick, all others half of it). A rival that has not arrived by then counts
with all that it spent: its ratio is a lower bound; it is 0 where our search has not arrived. A second row compares the
cost at which ours is, from then on, as often close as the rival is in the end with what the rival spends until then;
there is none for a rival that is close in fewer than 10 % of replays. Worlds are numbered from FIRST_WORLD on: those
before were looked at while the search was made.

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
from strategies import INHERIT, ONE_SEED, STRATEGIES, Field, make_field, make_world, noise_in
from strategies import Path as Track

import results
from scalesearch import ScaleSearchError
from scalesearch.search.landscape import read_landscape
from scalesearch.search.resample import Floats, unequal
from scalesearch.search.stats import interval
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
REPLAYS = 100
QUICK = 20
FIRST_WORLD = 1_000
LEAST = 0.1  # of the replays, that a rival must be close in for its reliability to be equalled
SLOW = ("tpe_from_0", "surface_asha", "surface_median", "surface_inherit")  # variants that --quick leaves out
OPEN = 0.05  # of the bootstrap: with more draws in which the rival does not arrive, an interval has no upper end


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
        return self.regret_at(math.inf)

    def regret_at(self, cost: float) -> float:
        """The same once `cost` has been spent."""
        at = self.regret[:, min(int(np.searchsorted(self.costs, cost)), len(self.costs) - 1)]
        return 100 * float(np.where(np.isnan(at), self.blind, at).mean())

    def arrival(self, weights: Floats | None = None, least: float = SHARE) -> float:
        """The cost from which on the share of close answers stays at `least`; infinite if it does not."""
        share = self.close.mean(axis=0) if weights is None else weights @ self.close
        return arrival(self.costs, share, least)

    def paid(self, weights: Floats | None = None, least: float = SHARE) -> float:
        """The same; all that it spent, where it does not."""
        return min(self.arrival(weights, least), self.spent)

    def close_in_the_end(self, weights: Floats | None = None) -> float:
        return float(self.close[:, -1].mean() if weights is None else weights @ self.close[:, -1])


def arrival(costs: Floats, share: Floats, least: float = SHARE) -> float:
    below = np.flatnonzero(share < least - 1e-9)
    if len(below) == 0:
        return float(costs[0])
    return math.inf if below[-1] == len(costs) - 1 else float(costs[below[-1] + 1])


def measure(field: Field, name: str, replays: int, stop: float, costs: Floats) -> Outcome:
    """`replays` searches of worlds FIRST_WORLD, …: the same for all strategies."""
    regret = np.full((replays, len(costs)), np.nan)

    def replay(number: int) -> tuple[Track, Floats]:
        world = make_world(field, FIRST_WORLD + number, name in ONE_SEED)
        return STRATEGIES[name](world, stop), world.truth

    found, seconds = on_all_cores(replay, replays)
    for number, (path, truth) in enumerate(found):
        last = np.searchsorted(path.costs, costs + 1e-6, side="right") - 1
        known = last >= 0
        regret[number, known] = truth.max() - truth[np.array(path.answers, dtype=int)[last[known]]]
    ends = np.array([path.spent for path, _ in found])
    return Outcome(name, costs, regret, ends, seconds, float(np.mean([t.max() - t.mean() for _, t in found])))


def ratio(rival: Outcome, ours: Outcome, rng: np.random.Generator) -> tuple[float, float, float | None, bool]:
    """Rival's cost over ours, its bootstrap interval over the replays, and whether it is a lower bound.

    Replay k of both searched the same world, so that they are drawn together.

    A rival that has not arrived counts with what it spent; where ours has not, the ratio is 0. An interval without an
    upper end has None.
    """
    found = rival.paid() / ours.arrival()
    values, never = [], 0
    for _ in range(BOOTSTRAP):
        drawn = _redrawn(len(ours.close), rng)
        other, own = rival.arrival(drawn), ours.arrival(drawn)
        never += math.isinf(other)
        values.append(min(other, rival.spent) / own)
    low, high = interval(values, CONFIDENCE)
    bound = math.isinf(rival.arrival()) and math.isfinite(ours.arrival())
    return found, low, None if never > OPEN * BOOTSTRAP else high, bound


def equal_row(rival: Outcome, against: str, ours: Outcome, each: float) -> dict[str, Any]:
    """What each costs until it is, from then on, as often close as the rival is in the end."""
    rng, values = np.random.default_rng(0), []
    for _ in range(BOOTSTRAP):
        drawn = _redrawn(len(ours.close), rng)
        least = rival.close_in_the_end(drawn)
        values.append(rival.paid(drawn, least) / ours.arrival(drawn, least))
    least = rival.close_in_the_end()
    cost = [ours.arrival(least=least), rival.paid(least=least)]
    return results.row(
        "training cost until the answer is as often close as the rival's in the end",
        against,
        cost[1] / cost[0],
        *interval(values, CONFIDENCE),
        note=f"{100 * least:.0f} % of replays: {ours.name} {_after(cost[0], each)}, the rival "
        f"{_after(cost[1], each)}; mean regret there and then {ours.regret_at(cost[0]):.2f} and "
        f"{rival.regret_at(cost[1]):.2f} points",
        ours=ours.name,
        rival=rival.name,
        replays=len(ours.close),
        cost_seconds=cost if math.isfinite(cost[0]) else None,
        share=least,
        bound=False,
    )


def _redrawn(count: int, rng: np.random.Generator) -> Floats:
    """Weights of the replays in one bootstrap draw."""
    found: Floats = rng.multinomial(count, np.full(count, 1 / count)) / count
    return found


def stopping_row(rival: Outcome, against: str, stops: Outcome, each: float) -> dict[str, Any]:
    """What our search costs when its own rule ends it, and how often its answer is close then."""
    rng, count = np.random.default_rng(0), len(stops.close)
    spent = [float(_redrawn(count, rng) @ stops.ends) for _ in range(BOOTSTRAP)]
    cost = rival.paid()
    low, high = cost / np.quantile(spent, [0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2])
    share = stops.close_in_the_end()
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
    return min(outcomes, key=lambda one: (one.arrival(), -one.close_in_the_end()))


# Measure of the table -> its rival's variants, and the target.
RIVALS = (
    ("the paper's procedure: every feasible node of the 0.05 grid trained to the end", ("paper",), 10.0),
    ("the same, each distinct network trained once", ("paper_distinct",), None),
    ("Optuna's TPE on α, β, γ with constraint by rejection, HyperbandPruner", ("tpe", "tpe_from_0"), 3.0),
    (
        "random search on the distinct networks with the same pruner",
        ("random", "random_from_0", "random_best_trial"),
        1.5,
    ),
    ("the same, with the tool's first five networks ahead", ("random_anchors",), None),
)
MEASURE = "training cost until the answer is within 0.25 points of the best in 90 % of replays"


def run(
    recording: Path, inherited: Path | None, replays: int, names: Sequence[str], quick: bool
) -> tuple[Field, dict[str, Outcome]]:
    field = make_field(read_landscape(recording), None if inherited is None else read_landscape(inherited))
    stop = float(sum(field.whole[network] for network in field.nodes))
    costs = np.geomspace(float(field.noise.seconds[:, 0].min()), 1.05 * stop, COSTS)
    most = stop / 2 if quick else stop
    return field, {name: measure(field, name, replays, most, costs) for name in names}


def table(field: Field, outcomes: dict[str, Outcome]) -> list[str]:
    """One line per strategy, as printed."""
    each = float(field.whole.mean())
    lines = [
        f"{'strategy':<20}{'replays':>8}{'arrives at':>14}{'= trainings':>13}{'spent':>9}"
        f"{'close in the end':>26}{'mean regret':>13}{'s/replay':>10}"
    ]
    for one in outcomes.values():
        count, end = len(one.regret), one.close_in_the_end()
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
    measured = [
        (against, first_to_arrive(variants), target)
        for against, names, target in RIVALS
        if (variants := [outcomes[name] for name in names if name in outcomes])
    ]
    for against, rival, target in measured:
        value, low, high, bound = ratio(rival, own, rng)
        note = f"{ours} arrives {_arrives(own, each)}; the rival {_arrives(rival, each)}"
        found.append(
            results.row(
                MEASURE,
                against,
                value,
                low,
                high,
                "" if target is None else f"at least {target:g}",
                note=note,
                bound=bound,
                ours=ours,
                rival=rival.name,
                replays=len(own.regret),
                cost_seconds=[one.paid() for one in (own, rival)],
                arrived=[math.isfinite(one.arrival()) for one in (own, rival)],
                close_in_the_end=[one.close_in_the_end() for one in (own, rival)],
                mean_regret_points=[one.mean_regret for one in (own, rival)],
            )
        )
    found += [
        equal_row(rival, against, own, each) for against, rival, _ in measured if rival.close_in_the_end() >= LEAST
    ]
    if "surface_stops" in outcomes and "paper" in outcomes:
        found.append(stopping_row(outcomes["paper"], RIVALS[0][0], outcomes["surface_stops"], each))
    return found


def _arrives(one: Outcome, each: float) -> str:
    if math.isfinite(one.arrival()):
        return _after(one.arrival(), each)
    return f"never: close in {100 * one.close_in_the_end():.0f} % of replays after {one.spent / each:.0f}"


def _after(cost: float, each: float) -> str:
    return f"after {cost / each:.1f} trainings of the mean cost" if math.isfinite(cost) else "never"


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
    truths = np.array([noise_in(field, FIRST_WORLD + number).truth[:, -1] for number in range(replays)])
    missed = truths.max(axis=1)[:, None] - truths
    print(
        f"{len(field.digests)} networks, the best expected score {100 * truths.max(axis=1).mean():.2f} points; "
        f"{(missed <= CLOSE).sum(axis=1).mean():.1f} are within 0.25 of it; "
        f"one training costs {field.whole.mean():.0f} processor seconds on average"
    )
    reached, first = sorted(set(field.nodes)), field.first
    print(
        f"the paper's grid: {len(field.nodes)} feasible nodes are {len(field.distinct)} distinct networks, which stand "
        f"for {len(reached)} recorded ones; one of these is close to the best in "
        f"{(missed[:, reached].min(axis=1) <= CLOSE).mean():.0%} of replays, one of the tool's first {len(first)} in "
        f"{(missed[:, first].min(axis=1) <= CLOSE).mean():.0%}"
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
        print(
            f"{bound}{row['ratio']:.1f} ({row['low']:.1f}–{high}) times cheaper than {row['against']}: {row['measure']}"
        )
        print(f"  {row['details']['note']}")
    if arguments.json:
        results.write(arguments.json, "search", found)


if __name__ == "__main__":
    main()
