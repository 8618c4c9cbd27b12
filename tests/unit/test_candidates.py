"""The feasible networks: against brute force, an independent count, and what was measured on EfficientNet-B0."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from scalesearch.nets.build import build
from scalesearch.search.candidates import (
    Candidate,
    Feasible,
    Interval,
    depth_cells,
    nominal_grid,
    realised,
    width_cells,
)
from scalesearch.search.problem import pose
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, SettingsError
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import ROUNDINGS, Coefficients, Multipliers, Rounding, multiply
from scalesearch.spec.settings import Settings
from scalesearch.spec.spaces import CoefficientRanges, Range

OFFICIAL, PYCLS = ROUNDINGS["official"], ROUNDINGS["pycls"]
B0 = load_arch("efficientnet_b0")
PAPER_RANGES = CoefficientRanges(Range(1.0, 2.0), Range(1.0, 1.5), Range(1.0, 1.5), 0.05)
RANGES = CoefficientRanges(Range(1.0, 2.0), Range(1.0, 1.6), Range(1.0, 1.6), 0.05)
TINY = Arch(
    name="tiny",
    resolution=24,
    stem=Stage("conv", channels=8, stride=2),
    stages=(
        Stage("mbconv", channels=8, repeats=1, se=0.25),
        Stage("mbconv", channels=12, repeats=2, stride=2, expand=3),
        Stage("mbconv", channels=20, repeats=3, stride=2, expand=3),
    ),
    head=Stage("conv", channels=40, kernel=1),
    classes=10,
    in_channels=1,
)
FINE = Rounding("ceil", channels_step=2, channels_floor=0.9, resolution_step=1)
# TINY's side and channels lie off this grid.
COARSE = Rounding("nearest", channels_step=8, channels_floor=0.0, resolution_step=10, ties="even")
CASES = {"fine": (TINY, FINE, 0.04), "coarse": (replace(TINY, resolution=22), COARSE, 0.2)}


@cache
def feasible(case: str) -> Feasible:
    base, rounding, tolerance = CASES[case]
    return realised(base, RANGES, rounding, tolerance)


def repeats(arch: Arch) -> list[int]:
    return [stage.repeats for stage in arch.stages]


def channels(arch: Arch) -> list[int]:
    return [stage.channels for stage in (arch.stem, *arch.stages, arch.head) if stage is not None]


@cache
def recount(arch: Arch) -> int:
    """FLOPs of the module by PyTorch's own counter, which counts two for each multiply-add."""
    with torch.device("meta"):
        network = build(arch).eval()
        image = torch.empty(1, arch.in_channels, arch.resolution, arch.resolution)
    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops()) // 2


def test_b0_has_108_nominal_nodes_and_65_networks() -> None:
    """Measured independently: 21 · 11 · 11 nodes of NNI's FixedProductTuner example."""
    grid = [1 + index * 0.05 for index in range(21)]
    nodes = [
        (alpha, beta, gamma)
        for alpha, beta, gamma in itertools.product(grid, grid[:11], grid[:11])
        if abs(alpha * beta**2 * gamma**2 - 2) <= 0.1
    ]
    assert len(nodes) == 108
    found = nominal_grid(B0, PAPER_RANGES, OFFICIAL, 0.1)
    assert len(found.candidates) == 65
    assert len({candidate.digest for candidate in found.candidates}) == 65
    assert not found.rejected
    # Every node is inside the hull of its network.
    for alpha, beta, gamma in nodes:
        arch = multiply(B0, Multipliers(alpha, beta, gamma), OFFICIAL)
        [home] = [candidate for candidate in found.candidates if candidate.arch == arch]
        for side, value in ((home.alpha, alpha), (home.beta, beta), (home.gamma, gamma)):
            assert side.low - 1e-9 <= value <= side.high + 1e-9


def test_the_nominal_grid_costs_what_was_measured() -> None:
    """1.93 to 3.33 times the base on its 108 nodes; the paper's triple 2.57 times, at 258 px."""
    found = nominal_grid(B0, PAPER_RANGES, OFFICIAL, 0.1)
    ratios = [candidate.ratio for candidate in found.candidates]
    assert (round(min(ratios), 2), round(max(ratios), 2)) == (1.93, 3.33)
    arch = multiply(B0, Multipliers(1.2, 1.1, 1.15), OFFICIAL)
    [paper] = [candidate for candidate in found.candidates if candidate.arch == arch]
    assert paper.arch.resolution == 258
    # α = 1.2 and 1.25 are one network; 1.25 · 1.1² · 1.15² = 2.00028 is nearer to 2 than 1.92027.
    assert paper.coefficients == Coefficients(1.25, 1.1, 1.15)
    assert (paper.alpha.low, paper.alpha.high) == (1.2, 1.25)
    assert round(paper.ratio, 2) == 2.57


def test_the_grid_quotes_the_node_nearest_to_two() -> None:
    for candidate in nominal_grid(B0, PAPER_RANGES, OFFICIAL, 0.1).candidates:
        alphas = [
            value
            for k in range(21)
            if candidate.alpha.low <= (value := round(1 + k * 0.05, 10)) <= candidate.alpha.high
        ]
        betas = [
            value for k in range(11) if candidate.beta.low <= (value := round(1 + k * 0.05, 10)) <= candidate.beta.high
        ]
        nearest = min(abs(a * b**2 * candidate.gamma.value**2 - 2) for a in alphas for b in betas)
        assert abs(candidate.coefficients.nominal_ratio - 2) == pytest.approx(nearest, abs=1e-9)


@given(st.floats(1.0, 1.25, exclude_min=True))
def test_every_alpha_up_to_a_quarter_gives_the_same_depths(alpha: float) -> None:
    if alpha > 1 + 1e-8:  # closer to 1 it is 1, but for an ulp
        assert repeats(multiply(B0, Multipliers(alpha, 1.0, 1.0), OFFICIAL)) == [2, 3, 3, 4, 4, 5, 2]


def test_the_depth_cells_of_b0() -> None:
    """By hand: repeats 1, 2, 3, 4 round up at multiples of 1, 1/2, 1/3, 1/4."""
    edges = [1, 1, 5 / 4, 4 / 3, 3 / 2, 5 / 3, 7 / 4, 2]
    cells = depth_cells(B0, Range(1.0, 2.0), OFFICIAL)
    assert [cell.low for cell in cells] == pytest.approx(edges[:-1], abs=1e-12)
    assert [cell.high for cell in cells] == pytest.approx(edges[1:], abs=1e-12)
    assert [cell.value for cell in cells[:2]] == [1.0, 1.125]


def the_cells(base: Arch, rounding: Rounding, what: str) -> tuple[list[Interval], Range]:
    if what == "depth":
        return depth_cells(base, RANGES.alpha, rounding), RANGES.alpha
    return width_cells(base, RANGES.beta, rounding), RANGES.beta


BASES = [(B0, OFFICIAL), (B0, PYCLS), (TINY, FINE), (TINY, COARSE), (TINY, OFFICIAL)]


def decoded(base: Arch, rounding: Rounding, what: str, value: float) -> list[int]:
    if what == "depth":
        return repeats(multiply(base, Multipliers(value, 1.0, 1.0), rounding))
    return channels(multiply(base, Multipliers(1.0, value, 1.0), rounding))


@pytest.mark.parametrize("what", ["depth", "width"])
@pytest.mark.parametrize(("base", "rounding"), BASES)
def test_cells_partition_the_range_and_neighbours_differ(base: Arch, rounding: Rounding, what: str) -> None:
    cells, bounds = the_cells(base, rounding, what)
    assert (cells[0].low, cells[-1].high) == (bounds.low, bounds.high)
    assert all(left.high == right.low for left, right in itertools.pairwise(cells))
    networks = [decoded(base, rounding, what, cell.value) for cell in cells]
    assert all(left != right for left, right in itertools.pairwise(networks))


@pytest.mark.parametrize("what", ["depth", "width"])
@pytest.mark.parametrize(("base", "rounding"), BASES)
@given(share=st.floats(0, 1))
def test_a_point_decodes_to_the_network_of_its_cell(base: Arch, rounding: Rounding, what: str, share: float) -> None:
    cells, bounds = the_cells(base, rounding, what)
    value = bounds.low + share * (bounds.high - bounds.low)
    near = [cell for cell in cells if cell.low - 1e-7 <= value <= cell.high + 1e-7]
    assume(len(near) == 1)  # at an edge the rounding's slack of 1e-9 decides
    assert decoded(base, rounding, what, value) == decoded(base, rounding, what, near[0].value)


def test_the_base_itself_is_a_width_even_off_the_grid() -> None:
    """TINY's 12 and 20 channels are no multiples of 8; β = 1 keeps them, the smallest other β does not."""
    first, second = width_cells(TINY, Range(1.0, 1.5), OFFICIAL)[:2]
    assert (first.low, first.high) == (1.0, 1.0)
    assert channels(multiply(TINY, Multipliers(1.0, first.value, 1.0), OFFICIAL)) == [8, 8, 12, 20, 40]
    assert channels(multiply(TINY, Multipliers(1.0, second.value, 1.0), OFFICIAL)) == [8, 8, 16, 24, 40]


def the_same(arch: Arch) -> tuple[object, ...]:
    """Without the side: 31 and 32 px cost the same where the first stride is 2."""
    return tuple(repeats(arch)), tuple(channels(arch)), cost(arch).flops


@pytest.mark.parametrize("case", CASES)
def test_candidates_equal_those_of_a_brute_force_search(case: str) -> None:
    """All (repeats, channels) pairs of a dense grid of α and β, and for each the best of all reachable sides."""
    base, rounding, tolerance = CASES[case]
    target = 2 * cost(base).flops
    depths = {tuple(decoded(base, rounding, "depth", 1 + k / 5_000)): 1 + k / 5_000 for k in range(5_001)}
    widths = {tuple(decoded(base, rounding, "width", 1 + k / 5_000)): 1 + k / 5_000 for k in range(3_001)}
    sides = {multiply(base, Multipliers(1.0, 1.0, 1 + k / 2_000), rounding).resolution for k in range(1_201)}
    sides = {side for side in sides if base.resolution <= side <= base.resolution * 1.6}
    wanted, refused = set(), set()
    for alpha, beta in itertools.product(depths.values(), widths.values()):
        pair = multiply(base, Multipliers(alpha, beta, 1.0), rounding)
        found = [replace(pair, resolution=side) for side in sides]
        best = min(found, key=lambda arch: abs(cost(arch).flops - target))
        inside = abs(cost(best).flops - target) <= tolerance * target
        (wanted if inside else refused).add(the_same(best))
    assert {the_same(candidate.arch) for candidate in feasible(case).candidates} == wanted
    assert {the_same(arch) for arch, _ in feasible(case).rejected} == refused
    assert len(wanted) > 3 and refused


@pytest.mark.parametrize("case", CASES)
def test_candidates_are_distinct_and_cost_twice_the_base_by_another_count(case: str) -> None:
    base, _, tolerance = CASES[case]
    start = recount(base)
    candidates = feasible(case).candidates
    for candidate in candidates[:: max(1, len(candidates) // 5)]:
        flops = recount(candidate.arch)
        assert flops == candidate.flops
        assert abs(flops / start - 2) <= 2 * tolerance
        assert candidate.ratio == pytest.approx(flops / start, rel=1e-12)
    assert len({candidate.digest for candidate in candidates}) == len(candidates)
    assert min(candidate.arch.resolution for candidate in candidates) >= base.resolution
    assert max(candidate.arch.resolution for candidate in candidates) <= base.resolution * 1.6


@pytest.mark.parametrize("case", CASES)
def test_rejected_pairs_are_told_with_their_ratio(case: str) -> None:
    base, _, tolerance = CASES[case]
    for arch, ratio in feasible(case).rejected:
        assert ratio == pytest.approx(cost(arch).flops / cost(base).flops, rel=1e-12)
        assert abs(ratio - 2) > 2 * tolerance


@pytest.mark.parametrize("case", CASES)
def test_the_intervals_realise_the_network(case: str) -> None:
    base, rounding, _ = CASES[case]
    rng = random.Random(0)
    for candidate in feasible(case).candidates:
        points = [(candidate.alpha.value, candidate.beta.value, candidate.gamma.value)]
        points += [
            tuple(
                side.low + (0.0005 + 0.999 * rng.random()) * (side.high - side.low)
                for side in (candidate.alpha, candidate.beta, candidate.gamma)
            )
            for _ in range(8)
        ]
        for alpha, beta, gamma in points:
            arch = multiply(base, Multipliers(alpha, beta, gamma), rounding)
            assert arch == candidate.arch, (alpha, beta, gamma)


@pytest.mark.parametrize("case", CASES)
def test_beyond_the_intervals_lies_another_network(case: str) -> None:
    """The intervals are as wide as they can be, but for the range's own ends."""
    base, rounding, _ = CASES[case]
    for candidate in feasible(case).candidates:
        at = [candidate.alpha.value, candidate.beta.value, candidate.gamma.value]
        for index, side in enumerate((candidate.alpha, candidate.beta, candidate.gamma)):
            for edge, step in ((side.low, -1e-6), (side.high, 1e-6)):
                if (edge == 1.0 and step < 0) or edge == (2.0, 1.6, 1.6)[index]:
                    continue
                moved = [*at[:index], edge + step, *at[index + 1 :]]
                assert multiply(base, Multipliers(*moved), rounding) != candidate.arch


def the_shares(base: Arch, candidate: Candidate) -> list[float]:
    """By their definition: log2 of the FLOPs that each dimension alone multiplies the base's with."""
    arch = candidate.arch
    wide = multiply(base, Multipliers(1.0, candidate.beta.value, 1.0), CASES["fine"][1])
    deep = multiply(base, Multipliers(candidate.alpha.value, 1.0, 1.0), CASES["fine"][1])
    logs = [
        math.log2(recount(single) / recount(base)) for single in (deep, wide, replace(base, resolution=arch.resolution))
    ]
    return [value / sum(logs) for value in logs]


def test_shares_sum_to_one_and_say_what_each_dimension_does() -> None:
    candidates = feasible("fine").candidates
    for candidate in candidates:
        depth, width, resolution = candidate.shares
        assert depth + width + resolution == pytest.approx(1, abs=1e-12)
        assert min(candidate.shares) >= 0
        assert (depth == 0) == (repeats(candidate.arch) == repeats(TINY))
        assert (width == 0) == (channels(candidate.arch) == channels(TINY))
        assert (resolution == 0) == (candidate.arch.resolution == TINY.resolution)
    for candidate in candidates[::9]:
        assert candidate.shares == pytest.approx(the_shares(TINY, candidate), abs=1e-9)


def test_the_corners_are_networks_of_one_dimension() -> None:
    """With a wide tolerance, TINY made deeper (wider, larger) and nothing else is among the candidates."""
    wide = realised(TINY, RANGES, FINE, 0.2).candidates
    for index, corner in enumerate([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]):
        found = [candidate for candidate in wide if candidate.shares == corner]
        assert found, corner
        for candidate in found:
            unchanged = [
                repeats(candidate.arch) == repeats(TINY),
                channels(candidate.arch) == channels(TINY),
                candidate.arch.resolution == TINY.resolution,
            ]
            assert unchanged == [position != index for position in range(3)]


@pytest.mark.parametrize("case", CASES)
def test_the_quoted_point_is_the_one_of_the_box_nearest_to_a_product_of_two(case: str) -> None:
    for candidate in feasible(case).candidates:
        sides = (candidate.alpha, candidate.beta, candidate.gamma)
        axes = [[side.low + k / 14 * (side.high - side.low) for k in range(15)] for side in sides]
        nearest = min(abs(a * b**2 * c**2 - 2) for a, b, c in itertools.product(*axes))
        # It keeps off the open ends by 1 % of the box.
        slack = sum(power * 0.01 * (side.high / side.low - 1) for power, side in zip((1, 2, 2), sides, strict=True)) * 3
        assert abs(candidate.coefficients.nominal_ratio - 2) <= nearest + slack + 1e-9
        assert all(side.low <= side.value <= side.high for side in sides)


def on_digits(folder: Path, arch: Arch, **given: object) -> Settings:
    path = folder / "tiny.json"
    path.write_text(json.dumps(arch.to_dict()), encoding="utf-8")
    plain = {
        "target_flops": cost(arch).flops,
        "base": str(path),
        "data": "digits",
        "image_size": 16,
        "proxy_width": 1.0,
    }
    return Settings(**{**plain, "proxy_resolution": 16, "proxy_stem_stride": None, **given})


def test_a_base_without_candidates_is_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALESEARCH_CACHE", str(cache))
    single = replace(TINY, resolution=16, stages=(Stage("mbconv", channels=8, stride=8),), head=None)
    with pytest.raises(BudgetError) as caught:
        pose(on_digits(tmp_path, single, tolerance=0.001, pixel_step=16), workers=1)
    text = str(caught.value)
    proxy = cost(replace(single, classes=10)).flops
    assert text.startswith(f"no network within 0.1% of twice the proxy's {proxy:,} FLOPs: ")
    assert " were tried, the nearest cost " in text
    assert text.endswith(" times; widen --set tolerance, or change --set proxy_resolution or proxy_width")


def test_images_smaller_than_the_candidates_are_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates that grow in resolution need more than the base's 16 px."""
    monkeypatch.setenv("SCALESEARCH_CACHE", str(cache))
    with pytest.raises(SettingsError) as caught:
        pose(on_digits(tmp_path, TINY, tolerance=0.2), workers=1)
    problem = pose(on_digits(tmp_path, TINY, tolerance=0.2, image_size=32), workers=1)
    largest = max(candidate.arch.resolution for candidate in problem.feasible.candidates)
    assert 16 < largest <= 26
    assert str(caught.value) == (
        f"image_size: images of 16 px are too small for candidates of up to {largest} px; "
        f"give --set image_size={largest}, or a smaller proxy_resolution"
    )
