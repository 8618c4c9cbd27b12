"""Which strategy of the base search finds a good network soonest: each against random search, by replay.

    python benchmarks/base_search.py [RECORDING] [--quick] [--replays N] [--noiseless] [--json FILE]

Every strategy searches the same recorded space (search/base_landscape.py) again and again, one network after the other.
Where every network was trained with two seeds or more, each replay has a truth of its own that the recording leaves
open, and fresh trainings under it; else what was recorded. What a strategy has found after k trainings is the best true
reward among the k networks: which of them that is, the search's final decides, and that is the same for all strategies.
It has arrived at the number of trainings after which, in at least 90 % of the replays, it has tried a network within a
point of the best. All replays end after 1.25 times as many trainings as chance needs by its closed form; what has not
arrived counts with all of them. The others are compared with the default strategy in the same way. With --noiseless
every training tells what its network is expected to give: what the strategies could do if noise were none.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from base_replay import CLOSE, SHARE, Field, World, chance_arrival, chance_best, make_field, search
from parallel import on_all_cores

import results
from scalesearch import ScaleSearchError
from scalesearch.search.base_landscape import BaseLandscape, read_base_landscape
from scalesearch.search.base_strategies import STRATEGIES
from scalesearch.search.resample import Floats, fresh_accuracies
from scalesearch.spec.settings import DEFAULT_STRATEGY

RECORDING = Path(__file__).resolve().parent.parent / "results" / "reference" / "base_space" / "base_space.json.gz"
CONFIDENCE = 0.9  # of the intervals
BOOTSTRAP = 1_000
BEYOND = 1.25  # replays end after so many times the trainings that chance needs
REPLAYS, QUICK = 100, 20  # multiples of 10: the share asked for is then a whole number of replays
CHANCE = "random"
MEASURE = "trainings until a network within a point of the best has been tried in 90 % of replays"
SHOWN = (1, 10, 20, 30, 50, 75, 100, 150, 200, 300)  # trainings, as printed


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one strategy: the best true reward after each training (replays, trainings), the number of trainings until
    it was close (infinite if it never was), and the seconds that one replay took."""

    name: str
    best: Floats
    hits: Floats
    seconds: float

    @property
    def arrival(self) -> float:
        return arrival(self.hits)

    @property
    def curve(self) -> list[tuple[float, float, float]]:
        """Per number of trainings: the mean over the replays, and what lies between holds CONFIDENCE of them."""
        low, high = np.quantile(self.best, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2], axis=0)
        return [tuple(map(float, row)) for row in zip(self.best.mean(axis=0), low, high, strict=True)]


def measure(field: Field, strategy: str, worlds: Sequence[World], trainings: int) -> Outcome:
    """A search in every world; these are the same for all strategies."""
    found, seconds = on_all_cores(
        lambda number: search(field, worlds[number], strategy, number, trainings), len(worlds)
    )
    best = np.empty((len(worlds), trainings))
    hits = np.full(len(worlds), math.inf)
    for number, tried in enumerate(found):
        rising = np.maximum.accumulate(tried)
        best[number] = np.pad(rising, (0, trainings - len(rising)), mode="edge")
        near = np.flatnonzero(rising >= worlds[number].truth.max() - CLOSE)
        if len(near):
            hits[number] = near[0] + 1
    return Outcome(strategy, best, hits, seconds)


def arrival(hits: Floats) -> float:
    """The number of trainings after which SHARE of the replays are close; infinite if fewer ever are."""
    return float(np.sort(hits)[math.ceil(SHARE * len(hits) - 1e-9) - 1])


def ratio(rival: Outcome, own: Outcome, trainings: int) -> tuple[float, float, float]:
    """Trainings of the rival over the strategy's, and its bootstrap interval over the replays.

    Replay k of both had the same noise, so that they are drawn together. What has not arrived counts with `trainings`.
    """
    count = len(own.hits)
    draws = np.random.default_rng(0).integers(count, size=(BOOTSTRAP, count))

    def value(drawn: Any) -> float:
        theirs, ours = (min(arrival(one.hits[drawn]), trainings) for one in (rival, own))
        return theirs / ours

    return value(slice(None)), *_middle([value(drawn) for drawn in draws])


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """What lies between holds CONFIDENCE of them."""
    low, high = np.quantile(values, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


def verdict(low: float, high: float) -> str:
    if low > 1:
        return "needs fewer trainings than random search"
    return "needs more trainings than random search" if high < 1 else "does not beat random search"


def about(field: Field, worlds: Sequence[World], trainings: int) -> dict[str, Any]:
    """What was searched, for the page; of rewards the mean over the worlds."""
    landscape, truths = field.landscape, np.stack([world.truth for world in worlds])
    proxies = [network.proxy_flops for network in landscape.networks]
    found = {
        "space": landscape.space.name,
        "networks": len(landscape.networks),
        "seeds": len(landscape.seeds),
        "trainings": sum(len(network.trainings) for network in landscape.networks),
        "epochs": len(landscape.networks[0].trainings[0].epochs),
        "target_flops": landscape.settings.target_flops,
        "flops_window": landscape.settings.flops_window,
        "proxy_flops": [min(proxies), max(proxies)],
        "rewards": [float(value) for value in np.quantile(truths, [0, 0.5, 1], axis=1).mean(axis=1)],
        "close": float(np.mean([world.close for world in worlds])),
        "distance": CLOSE,
        "noise": None,
        "told": "the recorded rewards" if field.parts is None else "fresh noise",
        "replays": len(worlds),
        "limit": trainings,
        "data": landscape.settings.data,
        "commits": sorted({str(source.environment.get("commit") or "unknown")[:9] for source in landscape.sources}),
        "ended": [source.ended for source in landscape.sources],
    }
    if field.parts is not None:
        fresh = fresh_accuracies(field.parts, landscape.images, np.random.default_rng(0), 200)[:, :, 0]
        found["noise"] = float(fresh.std(axis=1, ddof=1).mean())
    return found


def rows(field: Field, worlds: Sequence[World], outcomes: dict[str, Outcome], trainings: int) -> list[dict[str, Any]]:
    """The rows of the JSON file: random search against its closed form, then each strategy against random search.

    With each strategy that is not the default goes how many trainings the default needs over its own.
    """
    chance = outcomes[CHANCE]
    truths = np.stack([world.truth for world in worlds])
    exact = chance_arrival(truths.shape[1], [world.close for world in worlds])
    draws = np.random.default_rng(0).integers(len(worlds), size=(BOOTSTRAP, len(worlds)))
    low, high = _middle([min(arrival(chance.hits[drawn]), trainings) / exact for drawn in draws])
    note = f"random search arrives after {_spelled(chance.arrival, trainings)}, by its closed form after {exact}"
    found = [
        results.row(
            MEASURE.replace("trainings", "trainings of random search", 1),
            "its closed form",
            min(chance.arrival, trainings) / exact,
            low,
            high,
            note=f"{note}; 1 means that the replays are right",
            about=about(field, worlds, trainings),
            **_details(chance),
            closed_form=[round(float(value), 6) for value in chance_best(truths, trainings)],
        )
    ]
    for name, own in outcomes.items():
        if name == CHANCE:
            continue
        value, lowest, highest = ratio(chance, own, trainings)
        note = f"{name} arrives after {_spelled(own.arrival, trainings)}: it {verdict(lowest, highest)}"
        more = {"bound": math.isinf(chance.arrival) and math.isfinite(own.arrival), **_details(own)}
        if name != DEFAULT_STRATEGY and DEFAULT_STRATEGY in outcomes:
            value_of_default = ratio(outcomes[DEFAULT_STRATEGY], own, trainings)
            more["default_over_this"] = dict(zip(("ratio", "low", "high"), value_of_default, strict=True))
        found.append(results.row(MEASURE, f"random search, by {name}", value, lowest, highest, note=note, **more))
    return found


def _details(own: Outcome) -> dict[str, Any]:
    return {
        "strategy": own.name,
        "arrival": own.arrival if math.isfinite(own.arrival) else None,
        "arrived": float(np.isfinite(own.hits).mean()),
        "curve": [[round(value, 6) for value in row] for row in own.curve],
    }


def _spelled(arrival: float, trainings: int) -> str:
    return f"{arrival:.0f} trainings" if math.isfinite(arrival) else f"more than the {trainings} trainings of a replay"


def printed(worlds: Sequence[World], outcomes: dict[str, Outcome], trainings: int) -> list[str]:
    """The table for the terminal: mean and 90 % interval of the best true reward found, in points."""
    shown = [number for number in SHOWN if number < trainings] + [trainings]
    lines = [f"{'trainings':<12}" + "".join(f"{number:>20}" for number in shown)]
    curves = {name: one.curve for name, one in outcomes.items()}
    exact = chance_best(np.stack([world.truth for world in worlds]), trainings)
    lines.append(f"{'by chance':<12}" + "".join(f"{100 * exact[number - 1]:>20.2f}" for number in shown))
    for name, curve in curves.items():
        cells = [tuple(100 * value for value in curve[number - 1]) for number in shown]
        shown_cells = "".join(f"{f'{mean:.2f} ({low:.2f}–{high:.2f})':>20}" for mean, low, high in cells)
        lines.append(f"{name:<12}{shown_cells}")
    for name, one in outcomes.items():
        lines.append(f"{name}: close after {_spelled(one.arrival, trainings)}; {one.seconds:.2f} s a replay")
    return lines


def run(
    landscape: BaseLandscape, replays: int, names: Sequence[str], noiseless: bool = False
) -> tuple[Field, list[World], dict[str, Outcome], int]:
    """The field, a world for each replay, what came of it, and how many trainings each had.

    Raises DataError for a recording too small to search.
    """
    field = make_field(landscape)
    worlds = [field.world(number) for number in range(replays)]
    if noiseless:
        worlds = [replace(world, accuracies=world.worth) for world in worlds]
    networks = len(landscape.networks)
    needed = chance_arrival(networks, [world.close for world in worlds])
    trainings = min(networks, math.ceil(BEYOND * needed))
    outcomes = {}
    for name in names:
        outcomes[name] = measure(field, name, worlds, trainings)
        print(f"{name}: {outcomes[name].seconds:.2f} s a replay", file=sys.stderr, flush=True)
    return field, worlds, outcomes, trainings


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", type=Path, default=RECORDING, metavar="RECORDING")
    parser.add_argument("--quick", action="store_true", help="fewer replays, wider intervals")
    parser.add_argument("--replays", type=int, help=f"of each strategy (default {REPLAYS}, or {QUICK} with --quick)")
    parser.add_argument("--strategies", nargs="+", choices=tuple(STRATEGIES), default=tuple(STRATEGIES), metavar="NAME")
    parser.add_argument("--noiseless", action="store_true", help="trainings tell what networks are expected to give")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(given)
    replays = arguments.replays or (QUICK if arguments.quick else REPLAYS)
    if replays < 10 or replays % 10:
        parser.error(f"--replays {replays}: must be a multiple of 10, so that 90 % of them are a whole number")
    if arguments.recording == RECORDING and not RECORDING.exists():
        print(f"nothing has been recorded yet: {RECORDING} is made as experiments/base_space.toml says")
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # a replay has one core
    names = [name for name in STRATEGIES if name == CHANCE or name in arguments.strategies]
    try:
        landscape = read_base_landscape(arguments.recording)
        field, worlds, outcomes, trainings = run(landscape, replays, names, arguments.noiseless)
    except ScaleSearchError as error:
        sys.exit(str(error))
    found = rows(field, worlds, outcomes, trainings)
    if arguments.noiseless:
        found[0]["details"]["about"]["told"] = "what networks are expected to give"
    known = found[0]["details"]["about"]
    print(
        f"{known['networks']} networks, the best worth {100 * known['rewards'][-1]:.2f} points, {known['close']:.3g} "
        f"within {100 * CLOSE:g} of it; {known['told']} in each of "
        f"{replays} replays of {trainings} trainings"
    )
    print("\n".join(printed(worlds, outcomes, trainings)))
    for row in found:
        print(f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f}): {row['details']['note']}")
    if arguments.json:
        results.write(arguments.json, "base_search", found)


if __name__ == "__main__":
    main()
