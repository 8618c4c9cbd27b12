"""How fast a network's FLOPs are known: `cost()` against the counters that build and run the network.

    python benchmarks/cost.py [--arch efficientnet_b0] [--rounds 9] [--threads 1] [--quick] [--json FILE]

All contenders count the same network in turn, round after round, so that a busy machine slows all of them;
the table shows medians. Nothing is cached: every `cost()` expands the arch into its layers anew. For fvcore
the time without building is `FlopCountAnalysis(network, image).by_operator()`, its forward included; building
means the randomly initialised network of `scalesearch.build`. One thread by default: `cost()` has no more,
and threads that wait for each other on a busy machine make fvcore look several times slower than it is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import results
from scalesearch.nets.build import Network, build
from scalesearch.nets.count import fvcore_flops
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch

_COSTS_PER_ROUND = 200  # one is too short for the clock of some machines


def measure(arch: Arch, rounds: int) -> list[dict[str, Any]]:
    """One row per counter: name, FLOPs found and median seconds per network."""
    network = build(arch).eval()
    image = torch.zeros(1, arch.in_channels, arch.resolution, arch.resolution)
    with torch.device("meta"):
        meta_network = Network(arch).eval()
        meta_image = torch.empty(1, arch.in_channels, arch.resolution, arch.resolution)

    def model() -> int:
        for _ in range(_COSTS_PER_ROUND - 1):
            cost(arch)
        return cost(arch).flops

    def flop_counter_mode() -> int:
        with FlopCounterMode(display=False) as counter:
            meta_network(meta_image)
        return int(counter.get_total_flops()) // 2

    contenders: list[tuple[str, int, Callable[[], int]]] = [
        ("scalesearch cost()", _COSTS_PER_ROUND, model),
        ("fvcore", 1, lambda: fvcore_flops(network, image)),
        ("fvcore, with building", 1, lambda: fvcore_flops(build(arch).eval(), image)),
        ("torch FlopCounterMode, meta device", 1, flop_counter_mode),
    ]
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in contenders}
    flops: dict[str, int] = {}
    with torch.no_grad():
        for round_number in range(rounds + 1):
            for name, repeats, count in contenders:
                start = time.perf_counter()
                flops[name] = count()
                elapsed = (time.perf_counter() - start) / repeats
                if round_number > 0:  # the first warms caches, kernels and imports
                    seconds[name].append(elapsed)
    fastest = statistics.median(seconds["scalesearch cost()"])
    return [
        {
            "counter": name,
            "flops": flops[name],
            "median_s": statistics.median(times),
            "min_s": min(times),
            "max_s": max(times),
            "times_cost": statistics.median(times) / fastest,
        }
        for name, times in seconds.items()
    ]


def rows_of(arch: Arch, counters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times each counter takes cost()'s time; the interval is that of its own extremes."""
    ours, *others = counters
    return [
        results.row(
            f"seconds to count {arch.name} at {arch.resolution} px",
            other["counter"],
            other["times_cost"],
            other["min_s"] / ours["median_s"],
            other["max_s"] / ours["median_s"],
            seconds=other["median_s"],
            cost_seconds=ours["median_s"],
            flops=other["flops"],
            threads=torch.get_num_threads(),
            note="the interval is the fastest and the slowest round",
        )
        for other in others
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds per count: cost() against fvcore and PyTorch.")
    parser.add_argument("--arch", default="efficientnet_b0", help="name or file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's threads (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    options = parser.parse_args()
    torch.set_num_threads(max(1, options.threads))
    arch = load_arch(options.arch)
    rounds = 3 if options.quick else max(1, options.rounds)
    rows = measure(arch, rounds)
    print(f"{arch.name} at {arch.resolution} px; medians of {rounds} rounds, {torch.get_num_threads()} threads")
    print(f"{'counter':<36}{'FLOPs':>16}{'seconds':>12}{'times cost()':>14}")
    for row in rows:
        print(f"{row['counter']:<36}{row['flops']:>16,}{row['median_s']:>12.6f}{row['times_cost']:>14,.0f}")
    if options.json is not None:
        results.write(options.json, "cost", rows_of(arch, rows))


if __name__ == "__main__":
    main()
