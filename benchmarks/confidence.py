"""Does the stated confidence hold? Searches with fresh noise: coverage of the set, bias of the gain, what they miss.

    python benchmarks/confidence.py [RECORDING] [--quick] [--searches N] [--trainings 20] [--synthetic N] [--json FILE]

Each search has a world of its own: fresh noise over the recording's networks (search/resample.py), of which the truth
is known. `surface` and `random` (random order, the same statistics) train a fixed number; `stops` is `surface` under
its own stopping rule at the default precision, and must cover as well, though it chose when to look. `--synthetic` adds
as many searches on each of some made landscapes of 80 networks, which know nothing of the model. "Confirmed" is the
gain by fresh seeds of the chosen network and the paper's, as a run reports it (search/confirmation.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from parallel import on_all_cores
from search import CLOSE, CONFIDENCE, RECORDING, wilson
from strategies import make_field

import results
from scalesearch import ScaleSearchError
from scalesearch.search import surface
from scalesearch.search.confirmation import confirm
from scalesearch.search.gaussian import FloatArray
from scalesearch.search.landscape import read_landscape
from scalesearch.search.stats import Difference
from scalesearch.search.surface import MOST_SEEDS, Observation, Posterior
from scalesearch.spec.settings import Settings, make_settings

SIZE, FIRST, PAPER = 80, 5, 3
SEARCHES, QUICK = 1_000, 20
CONFIRM = make_settings("full", target_flops=1).confirm
STRATEGIES = ("stops", "surface", "random")


@dataclass(frozen=True, slots=True)
class World:
    """Networks with their true scores (n,), and scores (n, MOST_SEEDS + CONFIRM) of the trainings that they would get.

    The last CONFIRM are for the confirmation.
    """

    shares: FloatArray
    truth: FloatArray
    scores: FloatArray
    first: tuple[int, ...]  # the anchors, trained before anything is chosen
    paper: int


Make = Callable[[np.random.Generator], World]


def recorded(path: Path) -> Make:
    """Fresh trainings of a recording's networks. Raises DataError."""
    field = make_field(read_landscape(path))

    def make(rng: np.random.Generator) -> World:
        noise = field.noise.redrawn(rng)
        scores = noise.draw(rng, MOST_SEEDS + CONFIRM)[:, :, -1]
        return World(noise.shares, noise.truth[:, -1], scores, tuple(field.first), field.paper)

    return make


def synthetic(kind: str, rng: np.random.Generator) -> World:
    """Shares, true scores and noise; corners, a paper's point and dWr come first."""
    shares = rng.dirichlet([0.8, 0.8, 0.8], SIZE)
    shares[:FIRST] = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]
    peak = rng.dirichlet([1, 1, 1])
    squares = np.sum((shares - peak) ** 2, axis=1)
    own = rng.standard_normal(SIZE)
    deviation = np.full(SIZE, 0.004)
    if kind == "smooth":
        truth = 0.75 - 0.05 * squares
    elif kind == "rough":
        truth = 0.75 - 0.04 * squares + 0.006 * own
    elif kind == "flat":
        truth = 0.75 + 0.0001 * own
    elif kind == "corner":
        truth = 0.75 + 0.06 * shares[:, rng.integers(3)] + 0.002 * own
    elif kind == "ridge":
        truth = 0.75 - 0.05 * np.abs(shares[:, 0] - peak[0]) + 0.002 * own
    elif kind == "noisy":
        truth, deviation = 0.75 - 0.03 * squares + 0.003 * own, np.full(SIZE, 0.012)
    else:  # ceiling: errors of a few percent, noise in proportion to them
        errors = np.exp(-3.5 + np.sqrt(squares) + 0.3 * own)
        truth, deviation = 1 - errors, 0.25 * errors
    scores = truth[:, None] + deviation[:, None] * rng.standard_normal((SIZE, MOST_SEEDS + CONFIRM))
    return World(shares, truth, np.minimum(scores, 1.0), tuple(range(FIRST)), PAPER)


KINDS = ("smooth", "rough", "flat", "corner", "ridge", "noisy", "ceiling")


def search(world: World, strategy: str, trainings: int, rng: np.random.Generator) -> dict[str, float]:
    """One search, and what it says at its end; yes is 1, no is 0."""
    seen = [Observation(place, 0, float(world.scores[place, 0]), 1, True) for place in world.first]
    order = iter([place for place in map(int, rng.permutation(len(world.truth))) if place not in world.first])
    precision = Settings(1).precision / 100 if strategy == "stops" else None
    while len(seen) < trainings:
        if strategy == "random":
            following: tuple[int, int] | None = (next(order), 0)
        else:
            posterior = surface.fit(world.shares, seen)
            following = surface.next_training(posterior, seen, precision=precision, reference=world.paper)
        if following is None:
            break
        place, seed = following
        seen.append(Observation(place, seed, float(world.scores[place, seed]), 1, True))
    posterior = surface.fit(world.shares, seen)
    chosen, best = surface.recommend(posterior), int(world.truth.argmax())
    kept = surface.best_set(posterior, CONFIDENCE)
    gain = surface.difference(posterior, chosen, world.paper, CONFIDENCE)
    true_gain = float(world.truth[chosen] - world.truth[world.paper])
    confirmed = confirmed_gain(world, posterior, seen, chosen)
    return {
        "coverage": float(best in kept),
        "set_size": len(kept),
        "miss_points": 100 * float(world.truth[best] - world.truth[chosen]),
        "within": float(world.truth[best] - world.truth[chosen] <= CLOSE),
        "gain_error_points": 100 * (gain.mean - true_gain),
        "interval_coverage": float(gain.low <= true_gain <= gain.high),
        "confirmed_error_points": 100 * (confirmed.mean - true_gain),
        "confirmed_interval_coverage": float(confirmed.low <= true_gain <= confirmed.high),
        "trainings": len(seen),
    }


def confirmed_gain(world: World, posterior: Posterior, seen: Sequence[Observation], chosen: int) -> Difference:
    """Of `chosen` over the paper's network, by the trainings that no search sees; exactly 0 where both are one."""
    if chosen == world.paper:
        return Difference(0.0, 0.0, 0.0)
    fresh = {str(place): dict(enumerate(world.scores[place, MOST_SEEDS:])) for place in (chosen, world.paper)}
    search: dict[str, dict[int, float]] = {}
    for one in seen:
        search.setdefault(str(one.place), {})[one.seed] = one.value
    spread = {str(place): float(value) for place, value in enumerate(posterior.spread)}
    found = confirm(str(chosen), str(world.paper), fresh, search, spread, CONFIDENCE)
    assert found is not None
    return found.lead


def row(kind: str, strategy: str, found: Mapping[str, FloatArray], seconds: float) -> dict[str, Any]:
    """The row of the JSON file: the coverage, with its interval, over what was stated."""
    count = len(found["coverage"])
    means = {name: float(values.mean()) for name, values in found.items()}
    low, high = wilson(means["coverage"], count)
    error, checked = (
        float(found[name].std(ddof=1) / np.sqrt(count)) for name in ("gain_error_points", "confirmed_error_points")
    )
    return results.row(
        f"coverage of the {CONFIDENCE:.0%} set: {kind}, {strategy}",
        f"the stated {CONFIDENCE:.0%}",
        means["coverage"] / CONFIDENCE,
        low / CONFIDENCE,
        high / CONFIDENCE,
        "at least 1" if (kind, strategy) == ("recorded", "stops") else "",
        note=f"{count} searches of {means['trainings']:.1f} trainings: the best in the set in {means['coverage']:.1%}, "
        f"{means['set_size']:.1f} networks in it; gain over the paper's point off by "
        f"{means['gain_error_points']:+.3f} ± {error:.3f} points, its interval holds in "
        f"{means['interval_coverage']:.0%}; confirmed by {CONFIRM} fresh seeds off by "
        f"{means['confirmed_error_points']:+.3f} ± {checked:.3f}, its interval holds in "
        f"{means['confirmed_interval_coverage']:.0%}; answer within 0.25 points in {means['within']:.0%}",
        searches=count,
        gain_error_se_points=error,
        confirmed_error_se_points=checked,
        seconds_per_search=seconds,
        **means,
    )


def measure(kind: str, number: int, make: Make, strategy: str, searches: int, trainings: int) -> dict[str, Any]:
    """`searches` of landscape `number`, each in a world of its own; the same worlds for all strategies."""

    def replay(index: int) -> dict[str, float]:
        rng = np.random.default_rng([index, number])
        return search(make(rng), strategy, trainings, rng)

    found, seconds = on_all_cores(replay, searches)
    columns = {name: np.array([one[name] for one in found], dtype=float) for name in found[0]}
    return row(kind, strategy, columns, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", type=Path, default=RECORDING, metavar="RECORDING")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} searches, wider intervals")
    parser.add_argument("--searches", type=int, help=f"on the recording, per strategy (default {SEARCHES})")
    parser.add_argument("--trainings", type=int, default=20, help="of each search, at most")
    parser.add_argument("--synthetic", type=int, default=0, help="searches on each made landscape, per strategy")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES[:1], metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    searches = arguments.searches or (QUICK if arguments.quick else SEARCHES)
    if searches < 2:
        parser.error(f"--searches {searches}: must be at least 2")
    try:
        landscapes = [("recorded", recorded(arguments.recording), searches)]
    except ScaleSearchError as error:
        sys.exit(str(error))
    if arguments.synthetic:
        landscapes += [(kind, partial(synthetic, kind), arguments.synthetic) for kind in KINDS]
    rows = []
    for number, (kind, make, count) in enumerate(landscapes):
        for strategy in arguments.strategies:
            rows.append(measure(kind, number, make, strategy, count, arguments.trainings))
            print(f"{rows[-1]['measure']}: {rows[-1]['details']['note']}", flush=True)
    if arguments.json:
        results.write(arguments.json, "confidence", rows)


if __name__ == "__main__":
    main()
