"""Time to a stated validation accuracy: EfficientNetV2's progressive learning against training at the fixed side.

    python benchmarks/progressive.py [--quick] [--seeds 5] [--epochs 10] [--accuracy 0.8 0.9 0.95] [--regularised]
                                     [--out results/benchmarks/progressive] [--json FILE]

Both train the same network on the same glyphs with the same recipe and as many epochs, and are evaluated alike after
every epoch: the weight average at the full side, on training images held back. Progressive training has four stages;
of the published ends only the sides are taken, 128/300 of the full side at first. With --regularised a second pair is
trained too: RandAugment and dropout, rising stage by stage as published for EfficientNetV2-S, against the last stage's
all the time (needs kornia).

Time is processor time of training and evaluation, one thread each (wall-clock time on a GPU), from the start to the end
of the first epoch that reaches the accuracy. A ratio is fixed over progressive, paired by seed: the geometric mean, and
a 90 % interval of Student's t over the logarithms; there is none unless all seeds arrive both ways. Each training has a
checkpoint after every epoch in --out, and the same command goes on.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import t as student

import results
from scalesearch import load_arch, make_settings
from scalesearch.fit.data import DataRequest, load_dataset
from scalesearch.fit.full import FullTraining, Job, read_history
from scalesearch.fit.progressive import Ends, progressive_stages, published
from scalesearch.fit.recipe import Epoch, Recipe, TrainingStage
from scalesearch.search.executor import LocalExecutor, cores, run_all
from scalesearch.search.opening import choose_device
from scalesearch.search.plan import proxy_base, recipe_of
from scalesearch.search.problem import cache_dir
from scalesearch.spec.cost import cost

SIDE, IMAGES, STAGES, CONFIDENCE = 64, 8_000, 4, 0.9
SHIFT = 0.06  # of the side, as in a full training: a search's few passes need none, these see an image often
PAIRS = {"sides": "sides alone", "regularised": "sides, RandAugment and dropout"}


@dataclass(frozen=True)
class Training:
    """One of all trainings: `pair` is a key of PAIRS."""

    pair: str
    progressive: bool
    job: Job


def stages_of(pair: str, progressive: bool, epochs: int) -> tuple[TrainingStage, ...]:
    ends = published()["s"]
    if pair == "sides":
        ends = Ends(ends.side, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    stages = progressive_stages(ends, epochs, STAGES)
    return stages if progressive else (replace(stages[-1], stop=epochs),)


def trainings(options: argparse.Namespace, data: Path, recipe: Recipe, device: str) -> list[Training]:
    """Pair by pair and seed by seed, so that both of a pair meet the same state of the machine."""
    shrunk = {"proxy_width": 0.25, "proxy_resolution": SIDE, "proxy_stem_stride": None}
    settings = make_settings("quick", target_flops=400_000_000, **shrunk)
    arch = proxy_base(load_arch("efficientnet_b0"), settings, classes=10, channels=1)
    found = []
    for pair in list(PAIRS)[: 2 if options.regularised else 1]:
        for seed in range(options.seeds):
            for progressive in (False, True):
                name = f"{pair}-{'progressive' if progressive else 'fixed'}-e{options.epochs}-s{seed}.pt"
                how = replace(recipe, stages=stages_of(pair, progressive, options.epochs))
                found.append(Training(pair, progressive, Job(arch, data, how, seed, device, options.out / name)))
    return found


def train(job: Job) -> list[Epoch]:
    """All epochs that are left; those of the whole training."""
    training = FullTraining(job)
    while len(training.history) < job.recipe.epochs:
        training.next_epoch()
    return training.history


def seconds_to(history: Sequence[Epoch], accuracy: float) -> float | None:
    """Until the end of the first epoch that reaches `accuracy`; None if none does."""
    spent = 0.0
    for epoch in history:
        spent += epoch.processor_seconds
        if epoch.accuracy >= accuracy:
            return spent
    return None


def ratio(logarithms: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Geometric mean of paired ratios, and its interval; None of fewer than two."""
    middle = statistics.mean(logarithms)
    if len(logarithms) < 2:
        return math.exp(middle), None, None
    half = float(student.ppf(0.5 + CONFIDENCE / 2, len(logarithms) - 1)) * statistics.stdev(logarithms)
    half /= math.sqrt(len(logarithms))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def rows_of(pair: str, fixed: list[list[Epoch]], progressive: list[list[Epoch]], goals: list[float]) -> list[Any]:
    """A row per accuracy, and one for whole trainings; the histories are by seed."""
    words, rows = PAIRS[pair], []
    finals = {
        "fixed": [round(history[-1].accuracy, 4) for history in fixed],
        "progressive": [round(history[-1].accuracy, 4) for history in progressive],
    }
    whole = [
        math.log(sum(epoch.processor_seconds for epoch in one) / sum(epoch.processor_seconds for epoch in other))
        for one, other in zip(fixed, progressive, strict=True)
    ]
    low, high = ((statistics.mean(values) * 100) for values in finals.values())
    note = f"{len(whole)} seeds; final validation accuracy {low:.2f} % fixed, {high:.2f} % progressive"
    rows.append(results.row(f"time of a whole training, {words}", "the fixed side", *ratio(whole), note=note, **finals))
    for goal in goals:
        times = [
            (seconds_to(one, goal), seconds_to(other, goal)) for one, other in zip(fixed, progressive, strict=True)
        ]
        both = [math.log(one / other) for one, other in times if one is not None and other is not None]
        reached = [sum(time is not None for time in column) for column in zip(*times, strict=True)]
        note = f"reached by {reached[0]} of {len(times)} fixed, {reached[1]} progressive"
        if len(both) == len(times):  # of some seeds alone, a way that often fails would look fast
            measure = f"time to {100 * goal:g} % validation accuracy, {words}"
            rows.append(results.row(measure, "the fixed side", *ratio(both), note=note, seconds=times))
        else:
            print(f"{words}: not every seed reached {100 * goal:g} % both ways ({note}); no ratio")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, epochs and seeds: a look, not a result")
    parser.add_argument("--seeds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--accuracy", type=float, nargs="+", default=[0.8, 0.9, 0.95], help="(default: 0.8 0.9 0.95)")
    parser.add_argument("--regularised", action="store_true", help="train the second pair too")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/progressive"), metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    options = parser.parse_args()
    images = IMAGES
    if options.quick:
        options.seeds, options.epochs, options.out, images = 2, 4, options.out / "quick", 600
        options.accuracy = [0.1]
    device, workers = choose_device("auto"), cores()
    request = DataRequest("glyphs", SIDE, images, 100, classes=10, zoom=1.7)
    data = load_dataset(request, cache_dir(), workers)
    options.out.mkdir(parents=True, exist_ok=True)
    recipe = recipe_of(make_settings("quick", target_flops=400_000_000, shift=SHIFT), options.epochs)
    todo = trainings(options, data.folder, recipe, device)
    print(f"{todo[0].job.arch.name} at {SIDE} px, {cost(todo[0].job.arch).flops / 1e6:.2f}M FLOPs, {images:,} images")
    executor = LocalExecutor(1 if device == "cuda" else workers)
    try:
        run_all(executor, train, [(one.job,) for one in todo])
    finally:
        executor.close()
    rows = []
    for pair in dict.fromkeys(one.pair for one in todo):
        histories: dict[bool, list[list[Epoch]]] = {False: [], True: []}
        for one in todo:
            if one.pair == pair and one.job.checkpoint is not None:
                histories[one.progressive].append(list(read_history(one.job.checkpoint)))
        rows += rows_of(pair, histories[False], histories[True], options.accuracy)
    for row in rows:
        interval = "" if row["low"] is None else f" ({row['low']:.2f}–{row['high']:.2f})"
        print(f"{row['measure']}: {row['ratio']:.2f}{interval} times faster; {row['details']['note']}")
    if options.json is not None:
        results.write(options.json, "progressive", rows, device)


if __name__ == "__main__":
    main()
