"""Does the stated confidence hold? Searches with fresh noise: coverage of the set, bias of the gain, what they miss.

    python benchmarks/confidence.py [RECORDING] [--quick] [--searches N] [--trainings 20] [--synthetic N] [--json FILE]

Each search has a world of its own: fresh noise over the recording's networks (search/resample.py), of which the truth
is known. `surface` and `random` (random order, the same statistics) train a fixed number; `stops` is `surface` under
its own stopping rule at the default precision, and must cover as well, though it chose when to look. `--synthetic` adds
as many searches on each of some made landscapes of 80 networks, which know nothing of the model. "Confirmed" is the
gain by fresh seeds of the chosen network and the paper's, as a run reports it (search/confirmation.py), with as many
seeds as the preset `full` takes and with two. Searches that choose the paper's network have no gain, and are left out
of all that is said of gains.
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
from search import CLOSE, CONFIDENCE, RECORDING
from strategies import make_field

import results
from scalesearch import ScaleSearchError
from scalesearch.search import surface
from scalesearch.search.confirmation import confirm
from scalesearch.search.gaussian import FloatArray
from scalesearch.search.landscape import read_landscape
from scalesearch.search.stats import Difference
from scalesearch.search.surface import MOST_SEEDS, Observation, Posterior
from scalesearch.spec.proportion import wilson
from scalesearch.spec.settings import Settings, make_settings

SIZE, FIRST, PAPER = 80, 5, 3
SEARCHES, QUICK = 1_000, 20
CONFIRM = make_settings("full", target_flops=1).confirm
CONFIRMED = (CONFIRM, 2)
STRATEGIES = ("stops", "surface", "random")
FIGURES = ("coverage", "set_size", "miss_points", "within", "trainings")


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
            another = next(order, None)  # None: each was trained once
            following = None if another is None else (another, 0)
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
    found = {
        "coverage": float(best in kept),
        "set_size": len(kept),
        "miss_points": 100 * float(world.truth[best] - world.truth[chosen]),
        "within": float(world.truth[best] - world.truth[chosen] <= CLOSE),
        "trainings": len(seen),
    }
    if chosen == world.paper:
        return found
    gains = {"search": gain, **{f"confirm_{k}": confirmed_gain(world, posterior, seen, chosen, k) for k in CONFIRMED}}
    for name, one in gains.items():
        found[f"{name}_error_points"] = 100 * (one.mean - true_gain)
        found[f"{name}_holds"] = float(one.low <= true_gain <= one.high)
    return found


def confirmed_gain(
    world: World, posterior: Posterior, seen: Sequence[Observation], chosen: int, seeds: int
) -> Difference:
    """Of `chosen` over the paper's network, by `seeds` of the trainings that no search sees."""
    fresh = {str(p): dict(enumerate(world.scores[p, MOST_SEEDS : MOST_SEEDS + seeds])) for p in (chosen, world.paper)}
    search: dict[str, dict[int, float]] = {}
    for one in seen:
        search.setdefault(str(one.place), {})[one.seed] = one.value
    spread = {str(place): float(value) for place, value in enumerate(posterior.spread)}
    found = confirm(str(chosen), str(world.paper), fresh, search, spread, CONFIDENCE)
    assert found is not None
    return found.lead


def coverage_row(kind: str, strategy: str, found: Sequence[Mapping[str, float]], seconds: float) -> dict[str, Any]:
    """How often the set holds the best, over what was stated."""
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0] if name in FIGURES}
    low, high = wilson(means["coverage"], len(found), CONFIDENCE)
    return results.row(
        f"coverage of the {CONFIDENCE:.0%} set: {kind}, {strategy}",
        f"the stated {CONFIDENCE:.0%}",
        means["coverage"] / CONFIDENCE,
        low / CONFIDENCE,
        high / CONFIDENCE,
        "at least 1" if (kind, strategy) == ("recorded", "stops") else "",
        note=f"{len(found)} searches of {means['trainings']:.1f} trainings: the best in the set in "
        f"{means['coverage']:.1%}, {means['set_size']:.1f} networks in it; the answer is within 0.25 points in "
        f"{means['within']:.0%}",
        searches=len(found),
        seconds_per_search=seconds,
        **means,
    )


def gain_row(kind: str, strategy: str, found: Sequence[Mapping[str, float]], by: str) -> dict[str, Any] | None:
    """How often a reported gain's interval holds the true one, over what was stated, and the gain's bias."""
    gains = [one for one in found if f"{by}_holds" in one]
    if len(gains) < 2:
        return None
    errors = np.array([one[f"{by}_error_points"] for one in gains])
    holds = float(np.mean([one[f"{by}_holds"] for one in gains]))
    low, high = wilson(holds, len(errors), CONFIDENCE)
    error = float(errors.std(ddof=1) / np.sqrt(len(errors)))
    what = "the search alone" if by == "search" else f"{by.removeprefix('confirm_')} fresh seeds"
    return results.row(
        f"{CONFIDENCE:.0%} interval of the gain over the paper's point, by {what}: {kind}, {strategy}",
        f"the stated {CONFIDENCE:.0%}",
        holds / CONFIDENCE,
        low / CONFIDENCE,
        high / CONFIDENCE,
        note=f"it holds the true gain in {holds:.1%} of the {len(errors)} searches of {len(found)} that did not choose "
        f"the paper's network; the gain is off by {errors.mean():+.3f} ± {error:.3f} points",
        searches=len(errors),
        error_points=float(errors.mean()),
        error_se_points=error,
    )


def measure(kind: str, number: int, make: Make, strategy: str, searches: int, trainings: int) -> list[dict[str, Any]]:
    """`searches` of landscape `number`, each in a world of its own; the same worlds for all strategies."""

    def replay(index: int) -> dict[str, float]:
        rng = np.random.default_rng([index, number])
        return search(make(rng), strategy, trainings, rng)

    found, seconds = on_all_cores(replay, searches)
    gains = [gain_row(kind, strategy, found, by) for by in ("search", *(f"confirm_{seeds}" for seeds in CONFIRMED))]
    return [coverage_row(kind, strategy, found, seconds), *(one for one in gains if one is not None)]


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
    rows: list[dict[str, Any]] = []
    for number, (kind, make, count) in enumerate(landscapes):
        for strategy in arguments.strategies:
            for row in measure(kind, number, make, strategy, count, arguments.trainings):
                rows.append(row)
                print(f"{row['measure']}: {row['details']['note']}", flush=True)
    if arguments.json:
        results.write(arguments.json, "confidence", rows)


if __name__ == "__main__":
    main()
