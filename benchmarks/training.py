"""Images per second in training: the tool's loop against the same network in plainer hands, side by side in one run.

    python benchmarks/training.py [--json FILE]

Every variant trains the quick preset's proxy base and its candidate at the paper's coefficients on the same random
images. `workers` variants run one single-threaded process per core and add up; `threads` is one process with as many
threads as cores. Variants take turns, several rounds; the median of the ratios to the tool is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

from scalesearch import load_arch, make_settings
from scalesearch.fit.recipe import Recipe
from scalesearch.fit.speed import measure_steps
from scalesearch.fit.worker import start_worker
from scalesearch.nets.build import build
from scalesearch.search.plan import proxy_base, proxy_rounding
from scalesearch.spec.arch import Arch
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, scale

SECONDS = 3.0
ROUNDS = 3


def plain_steps(arch: Arch, batch: int, channels_last: bool, threads: int, seconds: float) -> float:
    """Images per second of a loop as it is usually written: default optimiser, no weight average."""
    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = build(arch).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    images = torch.randn(batch, arch.in_channels, arch.resolution, arch.resolution).to(memory_format=layout)
    labels = torch.randint(arch.classes, (batch,))
    count, started = -1, 0.0
    while count < 2 or time.perf_counter() - started < seconds:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        count += 1
        if count == 0:  # the first step chooses kernels
            started = time.perf_counter()
    return count * batch / (time.perf_counter() - started)


def tool_steps(arch: Arch, batch: int, seconds: float) -> float:
    return measure_steps(arch, Recipe(1, batch=batch), "cpu", seconds)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    settings = make_settings("quick", target_flops=400_000_000)
    base = proxy_base(load_arch("efficientnet_b0"), settings, classes=settings.glyph_classes, channels=1)
    archs = {"base": base, "candidate": scale(base, PAPER_COEFFICIENTS, 1.0, proxy_rounding(settings))}
    batch = settings.batch
    results: dict[str, dict[str, list[float]]] = {}
    context = get_context("spawn")
    ours = ProcessPoolExecutor(cores, context, start_worker, (os.getpid(),))
    plain = ProcessPoolExecutor(cores, context)
    single = ProcessPoolExecutor(1, context)
    with ours, plain, single:
        for name, arch in archs.items():
            rates: dict[str, list[float]] = {}
            for _ in range(ROUNDS):
                futures = [ours.submit(tool_steps, arch, batch, SECONDS) for _ in range(cores)]
                rates.setdefault(f"scalesearch, {cores} workers", []).append(sum(f.result() for f in futures))
                futures = [plain.submit(plain_steps, arch, batch, False, 1, SECONDS) for _ in range(cores)]
                rates.setdefault(f"plain loop, default layout, {cores} workers", []).append(
                    sum(f.result() for f in futures)
                )
                for last in (True, False):
                    rate = single.submit(plain_steps, arch, batch, last, cores, SECONDS).result()
                    layout = "channels_last" if last else "default layout"
                    rates.setdefault(f"plain loop, {layout}, {cores} threads", []).append(rate)
            results[name] = rates
            tool = rates[f"scalesearch, {cores} workers"]
            print(f"{name}: {arch.resolution} px, batch {batch}, images/s (and scalesearch's ratio to it)")
            for variant, values in rates.items():
                ratio = statistics.median(a / b for a, b in zip(tool, values, strict=True))
                print(f"  {variant:<45} {statistics.median(values):7.0f}   {ratio:5.2f}")
            print(f"  per core: {statistics.median(tool) / cores:.0f}")
    if arguments.json:
        machine = {"machine": platform.platform(), "cores": cores, "torch": torch.__version__}
        arguments.json.write_text(json.dumps({**machine, "images_per_second": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
