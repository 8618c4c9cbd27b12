"""Everything that is fixed before training: base, data, proxy, and the networks that may be tried."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scalesearch.fit.data import DataRequest, Dataset, load_dataset
from scalesearch.nets.inherit import obstacles
from scalesearch.nets.probe import open_factory, uncounted
from scalesearch.search import surface
from scalesearch.search.candidates import Feasible, nominal_grid, realised
from scalesearch.search.family import base_for_budget
from scalesearch.search.plan import BASE_EPOCHS, proxy_base, proxy_rounding
from scalesearch.search.samplers import Pool, make_pool
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch, is_factory
from scalesearch.spec.files import load_arch, ranges_of
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS
from scalesearch.spec.settings import Settings
from scalesearch.spec.spaces import CoefficientRanges
from scalesearch.spec.units import format_flops

if TYPE_CHECKING:
    from scalesearch.search.landscape import Landscape

POINTS = 100  # of accuracy and score, in 1
# Before a run its noise is unknown: ScaleBench's of one training, in log odds (experiments/README.md), at an accuracy.
RECORDED_NOISE, ASSUMED = 0.27, 0.9


@dataclass(frozen=True, slots=True)
class Problem:
    """The question of a run, answerable or not, before anything is trained."""

    base: AnyArch
    base_note: str
    proxy: AnyArch
    dataset: Dataset | None  # None where nothing is trained
    source: str  # what the answers come from, and its fingerprint
    fingerprint: str
    feasible: Feasible
    pool: Pool
    recording: Landscape | None = None  # of a replay


def cache_dir() -> Path:
    """Decoded images are shared by all runs of a user."""
    root = os.environ.get("SCALESEARCH_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scalesearch"


def load_images(settings: Settings, workers: int) -> Dataset:
    """The images that a run trains on, decoded once. Raises DataError."""
    request = DataRequest(
        source=settings.data,
        size=settings.image_size,
        classes=settings.glyph_classes,
        zoom=settings.glyph_zoom,
        bright=settings.glyph_bright,
        holdout_fonts=settings.holdout_fonts,
        max_bad_share=settings.max_bad_share,
        seed=settings.seed,
        **_image_counts(settings),
    )
    return load_dataset(request, cache_dir(), workers)


def pose(settings: Settings, workers: int) -> Problem:
    """Load base and data, and find the networks. Raises SpaceError, SettingsError, BudgetError or DataError."""
    rounding = ROUNDINGS[settings.rounding]
    named = open_factory(settings.base) if is_factory(settings.base) else load_arch(settings.base)
    base, note = base_for_budget(named, settings.target_flops, PAPER_COEFFICIENTS, rounding)
    if isinstance(base, FactoryArch):
        note = "; ".join(filter(None, (note, uncounted(base))))
    dataset = load_images(settings, workers)
    proxy = proxy_base(base, settings, len(dataset.classes), dataset.channels)
    feasible = checked_candidates(proxy, settings)
    largest = max(candidate.arch.resolution for candidate in feasible.candidates)
    if largest > dataset.size:
        raise SettingsError(
            f"image_size: images of {dataset.size} px are too small for candidates of up to {largest} px; "
            f"give --set image_size={largest}, or a smaller proxy_resolution"
        )
    source = f"the images of {settings.data}"
    return Problem(base, note, proxy, dataset, source, dataset.fingerprint, feasible, make_pool(feasible.candidates))


def checked_candidates(proxy: AnyArch, settings: Settings) -> Feasible:
    """The networks that may be tried. Raises BudgetError if there is none."""
    feasible = find_candidates(proxy, settings, ranges_of(settings.base))
    if not feasible.candidates:
        raise BudgetError(
            f"no network within {settings.tolerance * 100:g}% of twice the proxy's {cost(proxy).flops:,} FLOPs: "
            f"{len(feasible.rejected)} were tried, the nearest cost {_nearest_ratio(feasible):.3f} times; widen "
            "--set tolerance, or change --set proxy_resolution or proxy_width"
        )
    if settings.inherit:
        for candidate in feasible.candidates:
            if found := obstacles(proxy, candidate.arch):
                raise SettingsError(
                    f"inherit: every candidate must be one that can be grown from the proxy's base, got one of depth "
                    f"× {candidate.alpha.value:.4g}, width × {candidate.beta.value:.4g}, side × "
                    f"{candidate.gamma.value:.4g} that cannot: {found[0]}; or give --set inherit=false"
                )
    return feasible


def find_candidates(proxy: AnyArch, settings: Settings, ranges: CoefficientRanges) -> Feasible:
    """The nominal grid for the `grid` sampler, the realised surface for all others."""
    rounding = proxy_rounding(settings)
    if settings.sampler == "grid":
        return nominal_grid(proxy, ranges, rounding, settings.grid_tolerance)
    return realised(proxy, ranges, rounding, settings.tolerance)


def describe(problem: Problem, settings: Settings) -> list[str]:
    """The plan's first half, in sentences: what is searched, on what, and what was shrunk."""
    data, proxy, base = problem.dataset, problem.proxy, problem.base
    assert data is not None  # `pose` loaded it
    lines = [
        f"data: {data.name}, {len(data.classes)} classes, {data.train_count:,} + {data.val_count:,} images "
        f"of {data.size} px (fingerprint {data.fingerprint[:12]})",
        f"base: {problem.base_note}",
        f"proxy: depth × {settings.proxy_depth:g}, width × {settings.proxy_width:g}, {base.resolution} → "
        f"{proxy.resolution} px, {_stem(base, proxy)}: "
        f"{format_flops(cost(proxy).flops)} FLOPs, {cost(proxy).params:,} parameters",
    ]
    if proxy.resolution < base.resolution:
        lines.append(
            f"  its resolution is shrunk too: γ is answered for images of {proxy.resolution} px, not {base.resolution}"
        )
    if settings.inherit:
        lines.append(f"weights: all start from the base's, which trains {BASE_EPOCHS} times as long; paired by seed")
    lines += [f"  {note}" for note in data.notes]
    if data.skipped:
        lines.append(f"  {len(data.skipped)} files could not be read, first {data.skipped[0][0]}: {data.skipped[0][1]}")
    feasible = problem.feasible
    kept = len(feasible.candidates)
    if settings.sampler == "grid":
        lines.append(
            f"candidates: {kept} distinct networks on the nominal grid |αβ²γ² − 2| <= {settings.grid_tolerance:g}"
        )
    else:
        lines.append(
            f"candidates: {kept} distinct networks within {settings.tolerance * 100:g}% of twice the proxy's FLOPs; "
            f"{len(feasible.rejected)} other depth-and-width pairs cannot get there at any side"
        )
    return lines


def describe_power(networks: int, settings: Settings) -> str:
    """What difference between two networks a run of `networks` can show, as far as that is known before it.

    The sampler `surface` repeats what it chooses to; for it an even design of as many trainings stands.
    """
    seeds = settings.seeds
    if settings.sampler == "surface" and seeds == 1:
        networks, seeds = networks // 2, 2
    if seeds == 1:
        return "power: one seed each has no repeat to estimate noise from, and no difference can be shown; give --seeds"
    noise = RECORDED_NOISE * ASSUMED * (1 - ASSUMED)
    detected = POINTS * surface.power(noise, networks, seeds, settings.confidence)
    if detected >= POINTS:
        return (
            f"power: {networks} × {seeds} trainings have too few repeats to show any difference; "
            "give more --trials or --seeds"
        )
    return (
        f"power: {networks} networks × {seeds} paired seeds show a difference of {detected:.1f} points between two "
        f"4 times of 5 at {settings.confidence:.0%} confidence,\n  if the seed noise of one training is "
        f"{POINTS * noise:.1f} points (ScaleBench's, at {ASSUMED:.0%} accuracy; the run measures its own)"
    )


def _stem(base: AnyArch, proxy: AnyArch) -> str:
    if isinstance(base, FactoryArch) or isinstance(proxy, FactoryArch):
        return "stem, norms and dropout as the factory makes them"
    return f"stem stride {base.stem.stride} → {proxy.stem.stride}"


def _image_counts(settings: Settings) -> dict[str, int]:
    """How many images to hold: as many as a training can use, no more."""
    counts = {}
    if settings.data_images is not None:
        counts = {"train_images": settings.data_images, "val_images": max(1, settings.data_images // 5)}
    if settings.train_images is not None:
        counts["train_images"] = settings.train_images
    if settings.val_images is not None:
        counts["val_images"] = settings.val_images
    return counts


def _nearest_ratio(feasible: Feasible) -> float:
    return min((ratio for _, ratio in feasible.rejected), key=lambda ratio: abs(ratio - 2), default=float("nan"))
