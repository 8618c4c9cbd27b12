"""Images per second in training: the tool's loop against the loop a user writes and against one tuned by hand.

    python benchmarks/training.py [--quick] [--rounds 5] [--seconds 3] [--json FILE]

All train the same arch with the same batch, precision and optimiser, in turn, round after round; a ratio is the median
over the rounds, with the least and the greatest beside it. Measured are

* the tool: one single-threaded worker per core, each a whole rung through `train_rung`: building, reading,
  augmentation, weight average, a small evaluation and the checkpoint all count;
* the user's loop: a DataLoader over PNG files in class folders, decoded, resized, shifted and normalised one by one,
  with no worker and with two (the better of the two is compared), default layout, PyTorch on all cores. Its start
  does not count, and it has neither weight average nor evaluation;
* a bare loop by hand: the same modules in channels_last on normalised images in memory, one process per core with the
  tool's memory settings, fused optimiser; no augmentation, weight average, evaluation, reading or checkpoint;
* the bare loop with equal work in the loop: augmentation from bytes and weight average too.

Where CUDA is available the tool and the user's loop run there, under bf16 autocast both, and the tool's share of the
chip's measured bf16 matrix-product rate is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import results
from scalesearch import load_arch, make_settings
from scalesearch.fit.batches import augment
from scalesearch.fit.data import DataRequest, load_dataset, open_dataset, read_split
from scalesearch.fit.recipe import Recipe, Rung
from scalesearch.fit.train import train_rung
from scalesearch.nets.build import build
from scalesearch.search.executor import LocalExecutor, run_all
from scalesearch.search.plan import proxy_base, proxy_rounding, recipe_of
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, scale
from scalesearch.spec.settings_text import read_settings_file

IMAGES = 4_000
SCALEBENCH = Path(__file__).resolve().parent.parent / "experiments" / "scalebench.toml"


@dataclass(frozen=True)
class Job:
    """What every contender trains. `data` is the tool's cache, `files` holds the same images as PNG."""

    arch: Arch
    recipe: Recipe
    data: Path
    files: Path
    device: str


def the_tool(job: Job, images: int, name: str) -> float:
    """Seconds of one rung."""
    checkpoint = job.files.parent / f"{name}.pt"
    started = time.perf_counter()
    train_rung(Rung(job.arch, job.data, images, 10, job.recipe, 0, 0, 1, checkpoint, job.device))
    return time.perf_counter() - started


class Files(Dataset[tuple[Tensor, int]]):
    """Class folders of images, as PyTorch's tutorials read them."""

    def __init__(self, folder: Path, side: int, shift: float) -> None:
        self.classes = sorted(path.name for path in folder.iterdir())
        self.paths = [(path, label) for label, name in enumerate(self.classes) for path in (folder / name).iterdir()]
        self.side, self.reach = side, round(shift * side)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.paths[index]
        with Image.open(path) as opened:
            pixels = np.asarray(opened.resize((self.side, self.side), Image.Resampling.BILINEAR), dtype=np.float32)
        image = torch.from_numpy(pixels).sub_(127.5).div_(63.75)[None]
        down, right = (int(value) for value in torch.randint(-self.reach, self.reach + 1, (2,)))
        padded = nn.functional.pad(image[None], (self.reach,) * 4, mode="replicate")[0]
        top, left = self.reach + down, self.reach + right
        return padded[:, top : top + self.side, left : left + self.side], label


def the_users_loop(job: Job, loaders: int, seconds: float) -> float:
    """Images per second of the loop that a user writes."""
    torch.set_num_threads(os.cpu_count() or 1)
    place = torch.device(job.device)
    files = Files(job.files, job.arch.resolution, job.recipe.shift)
    loader = DataLoader(
        files, job.recipe.batch, shuffle=True, num_workers=loaders, drop_last=True, persistent_workers=loaders > 0,
        pin_memory=place.type == "cuda",
    )  # fmt: skip
    network = build(job.arch).to(place)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=job.recipe.weight_decay)
    loss_of = nn.CrossEntropyLoss(label_smoothing=job.recipe.label_smoothing)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        images, labels = (part.to(place) for part in batch)
        optimizer.zero_grad()
        with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
            loss = loss_of(network(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return rate(step, endless(loader), job.recipe.batch, seconds)


def the_bare_loop(job: Job, equal_work: bool, seconds: float) -> float:
    """Images per second of one thread, tuned by hand."""
    torch.set_num_threads(1)
    batch, recipe = job.recipe.batch, job.recipe
    pixels, targets = read_split(open_dataset(job.data), "train", job.arch.resolution)
    stored, labels = torch.from_numpy(np.array(pixels)), torch.from_numpy(targets)
    ready = normalised(stored)
    network = build(job.arch).to(memory_format=torch.channels_last)
    average = build(job.arch).to(memory_format=torch.channels_last)
    old = [tensor for tensor in average.state_dict().values() if tensor.is_floating_point()]
    new = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=recipe.weight_decay, fused=True)
    rng = np.random.default_rng(0)

    def step(chosen: Tensor) -> None:
        images = normalised(augment(stored[chosen], rng, recipe.shift, False)) if equal_work else ready[chosen]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels[chosen], label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        loss.item()
        if equal_work:
            with torch.no_grad():
                torch._foreach_lerp_(old, new, 0.02)

    def choices() -> Iterator[Tensor]:
        while True:
            yield from torch.from_numpy(rng.permutation(len(labels))).split(batch)[:-1]

    return rate(step, choices(), batch, seconds)


def normalised(images: Tensor) -> Tensor:
    """(N, H, W, C) bytes to (N, C, H, W) floats in channels_last."""
    return images.permute(0, 3, 1, 2).to(torch.float32).sub_(127.5).div_(63.75)


def endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[Any]:
    while True:
        yield from loader


def rate(step: Callable[[Any], None], batches: Iterator[Any], batch: int, seconds: float) -> float:
    """Images per second of `step`, fetching included; two steps that choose kernels and fill queues are not counted."""
    for _ in range(2):
        step(next(batches))
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step(next(batches))
        count += 1
    return count * batch / (time.perf_counter() - started)


def write_files(data: Path, folder: Path) -> None:
    """The training images as PNG in class folders."""
    dataset = open_dataset(data)
    images, labels = read_split(dataset, "train", dataset.size)
    for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"{label:02d}" / f"{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)


def compare(job: Job, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Images per second of each contender and round, all cores together."""
    cores = 1 if job.device == "cuda" else os.cpu_count() or 1
    context, found = get_context("spawn"), dict[str, list[float]]()
    with ExitStack() as stack:
        # The user's processes are not prepared as the tool's workers are; the bare loop's are the tool's.
        plain = [stack.enter_context(ProcessPoolExecutor(1, context)) for _ in (0, 2)]
        tuned = LocalExecutor(cores)
        stack.callback(tuned.close)

        def tool(images: int) -> float:
            seconds = run_all(tuned, the_tool, [(job, images, f"tool{index}") for index in range(cores)])
            return cores * images / max(seconds)

        def bare(equal_work: bool) -> float:
            return float(sum(run_all(tuned, the_bare_loop, [(job, equal_work, seconds)] * cores)))

        images = 0
        for round_number in range(rounds):
            if round_number == 0:  # kernels, caches, and how many images the time allows
                few = 4 * job.recipe.batch
                tool(few)
                images = min(IMAGES, max(few, int(tool(few) / cores * seconds)))
            rates = {"tool": tool(images)}
            for loaders, pool in zip((0, 2), plain, strict=True):
                rates[f"user, {loaders} loaders"] = pool.submit(the_users_loop, job, loaders, seconds).result()
            if job.device != "cuda":
                rates["bare"] = bare(equal_work=False)
                rates["bare, equal work"] = bare(equal_work=True)
            for name, value in rates.items():
                found.setdefault(name, []).append(value)
            shown = ", ".join(f"{name} {value:.0f}" for name, value in rates.items())
            print(f"round {round_number + 1} of {rounds}: {shown}", file=sys.stderr, flush=True)
    return found


def bf16_ceiling() -> float:
    """Multiply-adds per second of a large bf16 matrix product on the GPU."""
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        matrix @ matrix
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        matrix @ matrix
    torch.cuda.synchronize()
    return 20 * 8192**3 / (time.perf_counter() - started)


def rows_of(label: str, job: Job, found: dict[str, list[float]]) -> list[dict[str, Any]]:
    measure = f"images per second, training {label}, " + (
        "one GPU" if job.device == "cuda" else f"{os.cpu_count()} cores"
    )
    users = max((name for name in found if name.startswith("user")), key=lambda name: statistics.median(found[name]))
    target = "at least 3" if job.device == "cuda" else "at least 2.5"
    against = {users: (f"DataLoader over image files ({users})", target)}
    if "bare" in found:
        against["bare"] = ("our modules in a bare loop, tuned by hand", "at least 1.0")
        against["bare, equal work"] = ("the same with augmentation and weight average", "")
    rows = []
    for name, (words, wanted) in against.items():
        ratios = [ours / theirs for ours, theirs in zip(found["tool"], found[name], strict=True)]
        medians = {key: round(statistics.median(values), 1) for key, values in found.items()}
        rows.append(
            results.row(
                measure, words, statistics.median(ratios), min(ratios), max(ratios), wanted,
                note=f"{len(ratios)} rounds; the interval is their spread", images_per_second=medians,
                resolution=job.arch.resolution, flops=cost(job.arch).flops, batch=job.recipe.batch,
            )
        )  # fmt: skip
    if job.device == "cuda":
        # Forward, and twice as much backward.
        share = statistics.median(found["tool"]) * 3 * cost(job.arch).flops / bf16_ceiling()
        rows.append(results.row(measure, "the chip's measured bf16 matrix products (fraction)", share))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one arch, two short rounds: a look, not a result")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="per contender and round (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    options = parser.parse_args()
    rounds, seconds = (2, 1.5) if options.quick else (max(1, options.rounds), options.seconds)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    quick = make_settings("quick", target_flops=400_000_000, shift=0.06)  # the preset itself shifts nothing
    b0 = load_arch("efficientnet_b0")
    proxy = proxy_base(b0, quick, classes=10, channels=1)
    bench = make_settings(**read_settings_file(SCALEBENCH), shift=0.06)
    jobs = {
        "the quick preset's candidate": (quick, scale(proxy, PAPER_COEFFICIENTS, 1.0, proxy_rounding(quick))),
        "ScaleBench's base": (bench, proxy_base(b0, bench, classes=10, channels=1)),
    }
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, (label, (settings, arch)) in enumerate(list(jobs.items())[: 1 if options.quick else None]):
            place = Path(temporary) / str(number)
            request = DataRequest(
                "glyphs",
                settings.image_size,
                1_000 if options.quick else IMAGES,
                100,
                classes=settings.glyph_classes,
                zoom=settings.glyph_zoom,
                bright=settings.glyph_bright,
            )
            data = load_dataset(request, place / "cache").folder
            write_files(data, place / "files")
            job = Job(arch, recipe_of(settings, 1), data, place / "files", device)
            found = compare(job, rounds, seconds)
            print(f"{label}: {arch.resolution} px, batch {job.recipe.batch}, {device}; images/s, median of {rounds}")
            for name, values in found.items():
                print(f"  {name:<45} {statistics.median(values):8.0f}")
            for row in rows_of(label, job, found):
                low_high = "" if row["low"] is None else f" ({row['low']:.2f}–{row['high']:.2f})"
                print(f"  {row['ratio']:.2f}{low_high} times {row['against']}; {row['target']}".rstrip("; "))
                rows.append(row)
    if options.json is not None:
        results.write(options.json, "training", rows, device)


if __name__ == "__main__":
    main()
