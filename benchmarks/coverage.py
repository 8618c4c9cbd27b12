"""Does the stated confidence hold? Simulated searches with fresh noise: coverage of the set, bias of the gain, cost.

    python benchmarks/coverage.py [--searches 125] [--trainings 20] [--out FILE.json] [--run RUN]

Each search has a landscape of its own over 80 networks, of one of the kinds below, and none of the model's knowledge;
with `--run` also searches over a finished run's networks: true scores are its means over seeds, noise its residuals
drawn anew. Strategies: `surface`, and random order with the same statistics. `confirmed` is the gain by fresh seeds of
the recommended network and the paper's. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scalesearch import Run
from scalesearch.search import surface
from scalesearch.search.confirmation import confirm
from scalesearch.search.gaussian import FloatArray
from scalesearch.search.surface import Observation

SIZE, FIRST, PAPER = 80, 5, 3
FRESH = (700, 701)  # seeds of a confirmation
CLOSE = 0.0025  # of the best, in score

Noise = Callable[[np.random.Generator, int], float]  # (rng, place) -> one training's deviation
Landscape = tuple[FloatArray, FloatArray, Noise]


def synthetic(kind: str, rng: np.random.Generator) -> Landscape:
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
    return shares, truth, lambda rng, place: float(deviation[place] * rng.standard_normal())


KINDS = ("smooth", "rough", "flat", "corner", "ridge", "noisy", "ceiling")


def recorded(folder: Path) -> Landscape:
    """A run's networks. Residuals from each network's mean, widened for the seeds it was taken over."""
    run = Run.load(folder)
    anchors = {name: digest for digest, names in _anchors(run).items() for name in names}
    digests = list(dict.fromkeys([*anchors.values(), *run.scores]))
    order = [anchors[name] for name in ("depth only", "width only", "resolution only", "paper", "dWr")]
    digests = [*order, *(digest for digest in digests if digest not in order)]
    shares = {result.candidate.digest: result.candidate.shares for result in run.candidates}
    rows = [np.array(list(run.scores[digest].values())) for digest in digests]
    if min(map(len, rows)) < 2:
        raise SystemExit(f"--run {folder}: every network must have two seeds, got one; finish the run first")
    residuals = [(row - row.mean()) * np.sqrt(len(row) / (len(row) - 1)) for row in rows]
    return (
        np.array([shares[digest] for digest in digests]),
        np.array([row.mean() for row in rows]),
        lambda rng, place: float(rng.choice(residuals[place])),
    )


def _anchors(run: Run) -> dict[str, tuple[str, ...]]:
    return {result.candidate.digest: result.anchors for result in run.candidates}


def search(landscape: Landscape, strategy: str, trainings: int, rng: np.random.Generator) -> dict[str, Any]:
    """One search; what it says after the last training, and when its choice came within CLOSE of the best for good."""
    shares, truth, noise = landscape
    seen: list[Observation] = []

    def train(place: int, seed: int) -> None:
        seen.append(Observation(place, seed, min(float(truth[place]) + noise(rng, place), 1.0), 1, True))

    for place in range(FIRST):
        train(place, 0)
    order = iter(FIRST + rng.permutation(len(shares) - FIRST))
    reached = None
    while True:
        posterior = surface.fit(shares, seen, count=250)
        chosen = surface.recommend(posterior)
        miss = float(truth.max() - truth[chosen])
        reached = (reached or len(seen)) if miss <= CLOSE else None
        if len(seen) >= trainings:
            break
        following = (int(next(order)), 0)
        if strategy == "surface":
            following = surface.next_training(posterior, seen, reference=PAPER) or following
        train(*following)
    posterior = surface.fit(shares, seen)
    chosen, best = surface.recommend(posterior), int(truth.argmax())
    kept = surface.best_set(posterior, 0.9)
    gain = surface.difference(posterior, chosen, PAPER, 0.9)
    true_gain = float(truth[chosen] - truth[PAPER])
    scores: dict[str, dict[int, float]] = {}
    for one in seen:
        scores.setdefault(str(one.place), {})[one.seed] = one.value
    fresh = {str(p): {s: min(float(truth[p]) + noise(rng, p), 1.0) for s in FRESH} for p in (chosen, PAPER)}
    spread = {str(place): float(value) for place, value in enumerate(posterior.spread)}
    confirmed = confirm(str(chosen), str(PAPER), fresh, scores, spread, 0.9) if chosen != PAPER else None
    return {
        "covered": best in kept,
        "size": len(kept),
        "miss": 100 * float(truth[best] - truth[chosen]),
        "error": 100 * (gain.mean - true_gain),
        "interval_covers": gain.low <= true_gain <= gain.high,
        # Where the paper's own network is recommended there is nothing to confirm.
        "confirmed_error": math.nan if confirmed is None else 100 * (confirmed.lead.mean - true_gain),
        "confirmed_covers": math.nan if confirmed is None else confirmed.lead.low <= true_gain <= confirmed.lead.high,
        "reached": reached or trainings + 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=150, help="per kind of landscape and strategy")
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    fixed = {"recorded": recorded(arguments.run)} if arguments.run else {}
    rows = []
    print(
        f"{'landscape':10} {'strategy':8} covered  size  miss  within  gain's error     interval  confirmed's      "
        "interval  90% reached at"
    )
    for kind in (*fixed, *KINDS):
        for strategy in ("surface", "random"):
            began = time.perf_counter()
            found = []
            for number in range(arguments.searches):
                rng = np.random.default_rng([number, len(kind)])
                landscape = fixed[kind] if kind in fixed else synthetic(kind, rng)
                found.append(search(landscape, strategy, arguments.trainings, rng))
            column = {name: np.array([one[name] for one in found], dtype=float) for name in found[0]}
            row = {
                "landscape": kind,
                "strategy": strategy,
                "searches": len(found),
                "coverage": column["covered"].mean(),
                "size": column["size"].mean(),
                "miss_points": column["miss"].mean(),
                "within": float((column["miss"] <= 100 * CLOSE).mean()),
                "gain_error_points": column["error"].mean(),
                "gain_error_se": column["error"].std(ddof=1) / np.sqrt(len(found)),
                "interval_coverage": column["interval_covers"].mean(),
                "confirmed_searches": int(np.isfinite(column["confirmed_error"]).sum()),
                "confirmed_error_points": float(np.nanmean(column["confirmed_error"])),
                "confirmed_error_se": float(
                    np.nanstd(column["confirmed_error"], ddof=1) / np.sqrt(np.isfinite(column["confirmed_error"]).sum())
                ),
                "confirmed_interval_coverage": float(np.nanmean(column["confirmed_covers"])),
                "reached_in_90_percent": float(np.quantile(column["reached"], 0.9, method="higher")),
                "seconds": time.perf_counter() - began,
            }
            rows.append(row)
            reached = f"{row['reached_in_90_percent']:.0f}"
            late = row["reached_in_90_percent"] > arguments.trainings
            print(
                f"{kind:10} {strategy:8} {row['coverage']:6.1%} {row['size']:6.1f} {row['miss_points']:5.2f} "
                f"{row['within']:6.0%}  {row['gain_error_points']:+.3f} ± {row['gain_error_se']:.3f}  "
                f"{row['interval_coverage']:7.0%}  {row['confirmed_error_points']:+.3f} ± "
                f"{row['confirmed_error_se']:.3f}  {row['confirmed_interval_coverage']:7.0%}  "
                f"{'never' if late else reached}",
                flush=True,
            )
    if arguments.out:
        table = {"machine": platform.platform(), "trainings": arguments.trainings, "rows": rows}
        arguments.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
