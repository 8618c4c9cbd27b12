"""What holds of scaling, files and digests whatever the network."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scalesearch.spec.arch import FIXED, Arch, sections
from scalesearch.spec.blocks import BLOCK_KINDS, Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError
from scalesearch.spec.files import load_arch, to_json, to_toml
from scalesearch.spec.scaling import MAX_BLOCKS, ROUNDINGS, RULES, Coefficients, Rounding, scale
from scalesearch.spec.solving import solve_resolution, to_flops
from scalesearch.spec.units import format_flops, parse_flops

ROUNDING = st.sampled_from(list(ROUNDINGS.values()))
REQUEST = st.floats(0.1, 5_000)
COEFFICIENTS = st.builds(
    Coefficients, st.floats(1, 2), st.floats(1, 1.42), st.floats(1, 1.42), st.just(1.0) | st.floats(1, 1.42)
)


OWN_KEYS = {
    "expand": st.one_of(st.integers(1, 8), st.floats(0.1, 8)),
    "se": st.one_of(st.just(0), st.floats(0, 1)),
    "ratio": st.sampled_from((0.25, 0.5, 1.0)),
    "group_width": st.sampled_from((0, 1, 2, 3, 8, 24)),
}


def stages(channels: st.SearchStrategy[int], stem: bool = False) -> st.SearchStrategy[Stage]:
    """Stages of every block kind that may stand there, with the keys that it reads."""
    return st.one_of(
        st.builds(
            Stage,
            kind=st.just(name),
            channels=channels.map(lambda count: 96 * (1 + count % 999)) if "group_width" in kind.keys else channels,
            repeats=st.integers(1, 1 if name == "conv_pool" else 4),
            kernel=st.sampled_from((1, 3, 5, 7)),
            stride=st.integers(1, 3),
            **{key: OWN_KEYS[key] for key in kind.keys},
        )
        for name, kind in BLOCK_KINDS.items()
        if stem or name != "conv_pool"
    )


def archs(channels: st.SearchStrategy[int]) -> st.SearchStrategy[Arch]:
    return st.builds(
        Arch,
        name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True),
        resolution=st.integers(1, 400),
        stem=stages(channels, stem=True),
        stages=st.lists(stages(channels), min_size=1, max_size=4).map(tuple),
        head=st.none() | stages(channels),
        classes=st.integers(2, 2_000),
        in_channels=st.integers(1, 4),
        activation=st.sampled_from(("silu", "relu", "relu6")),
        dropout=st.floats(0, 0.95),
        drop_path=st.sampled_from((0, 0.0, 0.2)),
        norm_eps=st.floats(1e-12, 1),
        norm_momentum=st.floats(1e-6, 1),
        fixed=st.lists(st.sampled_from(FIXED), unique=True).map(tuple),
    )


ANY_ARCH = archs(st.integers(1, 2_000))
# Channels and sides on the grid of every rounding: only there do FLOPs rise through φ = 0 too, since a
# multiplier of 1 leaves sizes as they are and any other rounds them.
GRID_ARCH = archs(st.integers(1, 64).map(lambda steps: 8 * steps)).map(
    lambda arch: replace(arch, resolution=4 * (1 + arch.resolution // 4))
)

# RegNet's like: all that scaling changes is in groups, which jump.
GROUPED_ARCH = st.builds(
    Arch,
    name=st.just("grouped"),
    resolution=st.sampled_from((64, 224)),
    stem=st.just(Stage("conv", 32, stride=2)),
    stages=st.lists(
        st.builds(
            Stage,
            kind=st.just("bottleneck"),
            channels=st.integers(1, 20).map(lambda steps: 24 * steps),
            repeats=st.integers(1, 4),
            stride=st.integers(1, 2),
            group_width=st.sampled_from((3, 8, 24)),
        ),
        min_size=1,
        max_size=4,
    ).map(tuple),
)


@given(ROUNDING, REQUEST)
def test_channels_are_steps_and_keep_their_share(rounding: Rounding, requested: float) -> None:
    channels = rounding.channels(requested)
    assert channels % rounding.channels_step == 0
    assert channels >= rounding.channels_step
    assert channels >= rounding.channels_floor * requested - 1e-6
    assert channels <= requested + rounding.channels_step


@given(ROUNDING, REQUEST, REQUEST)
def test_rounding_is_monotone(rounding: Rounding, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert rounding.channels(low) <= rounding.channels(high)
    assert rounding.repeats(low) <= rounding.repeats(high)
    assert rounding.side(low) <= rounding.side(high)


@given(st.floats(1e-3, 500))
def test_ceil_gives_no_less_than_requested(requested: float) -> None:
    repeats = ROUNDINGS["official"].repeats(requested)
    assert max(1.0, requested) - 1e-6 <= repeats < max(1.0, requested) + 1


@given(ROUNDING, REQUEST)
def test_side_is_the_nearest_step(rounding: Rounding, requested: float) -> None:
    side = rounding.side(requested)
    assert side % rounding.resolution_step == 0
    assert abs(side - max(requested, rounding.resolution_step)) <= rounding.resolution_step / 2 + 1e-6


@given(GRID_ARCH, COEFFICIENTS, ROUNDING, st.floats(-3, 4), st.floats(-3, 4))
def test_flops_rise_with_phi(
    arch: Arch, coefficients: Coefficients, rounding: Rounding, one: float, other: float
) -> None:
    """But where a group width jumps or a shortcut's projection goes; `to_flops` knows these places, see below."""
    coefficients = replace(coefficients, group=1.0)
    ends = [scale(arch, coefficients, phi, rounding) for phi in sorted((one, other))]
    projections = [[bool(part.blocks[0].shortcut) for part in sections(end)] for end in ends]
    assume(projections[0] == projections[1])
    small, large = map(cost, ends)
    assert small.flops <= large.flops
    assert small.params <= large.params


@given(ANY_ARCH, st.integers(1, 600))
def test_flops_rise_with_resolution(arch: Arch, side: int) -> None:
    other = replace(arch, resolution=side)
    small, large = sorted((arch, other), key=lambda found: found.resolution)
    assert cost(small).flops <= cost(large).flops
    assert cost(small).params == cost(large).params


@given(ANY_ARCH, COEFFICIENTS, ROUNDING)
def test_phi_zero_is_the_base(arch: Arch, coefficients: Coefficients, rounding: Rounding) -> None:
    scaled = scale(arch, coefficients, 0, rounding)
    assert replace(scaled, name=arch.name) == arch
    assert scaled.digest == arch.digest


def lasts(arch: Arch, coefficients: Coefficients, rounding: Rounding, phi: float) -> bool:
    """Whether the network holds around φ: one between two jumps that are nearer to each other may be passed over."""
    return len({scale(arch, coefficients, phi + nudge, rounding).digest for nudge in (-2e-6, 0, 2e-6)}) == 1


@settings(max_examples=60)
@given(GRID_ARCH | GROUPED_ARCH, COEFFICIENTS, ROUNDING, st.floats(0.2, 6), st.floats(0, 1))
def test_to_flops_meets_the_budget_or_names_both_sides(
    arch: Arch, coefficients: Coefficients, rounding: Rounding, ratio: float, share: float
) -> None:
    assume(coefficients.nominal_ratio > 1.2)
    target = max(1, round(ratio * cost(arch).flops))
    try:
        found = to_flops(arch, target, coefficients, rounding, tolerance=0.02)
    except BudgetError as error:
        sides = re.findall(r"([0-9.]+[KMGT]?) at φ = (-?[0-9.e-]+)", str(error))
        reached = [cost(scale(arch, coefficients, float(phi), rounding)).flops for _, phi in sides]
        assert all(abs(flops - target) > 0.02 * target for flops in reached)
        if len(sides) == 2:
            below, above = (parse_flops(text) for text, _ in sides)
            assert below <= target * 1.001
            assert above >= target * 0.999
            ends = [float(phi) for _, phi in sides]
            between = ends[0] + share * (ends[1] - ends[0])
            if lasts(arch, coefficients, rounding, between):
                assert not reached[0] < cost(scale(arch, coefficients, between, rounding)).flops < reached[1]
        else:  # beyond an end of the range
            end = float(sides[0][1])
            blocks = sum(stage.repeats for stage in arch.stages) * coefficients.alpha**end
            # Past an end of φ's range: the stated one, or where the blocks become too many.
            assert end in (-10, 20) or 0.99 * MAX_BLOCKS < blocks <= MAX_BLOCKS
    else:
        assert abs(found.flops - target) <= 0.02 * target
        assert found.arch == scale(arch, coefficients, found.phi, rounding)
        assert found.flops == cost(found.arch).flops


@settings(max_examples=80)
@given(GRID_ARCH | GROUPED_ARCH, COEFFICIENTS | st.just(RULES["dWGr"]), ROUNDING, st.floats(-3, 4))
def test_to_flops_meets_what_some_phi_meets(
    arch: Arch, coefficients: Coefficients, rounding: Rounding, phi: float
) -> None:
    """Where a group width jumps too, and FLOPs may fall as φ rises."""
    assume(coefficients.nominal_ratio > 1.2)
    assume(lasts(arch, coefficients, rounding, phi))
    target = cost(scale(arch, coefficients, phi, rounding)).flops
    found = to_flops(arch, target, coefficients, rounding, tolerance=0.0)
    assert found.flops == cost(scale(arch, coefficients, found.phi, rounding)).flops == target


@given(ANY_ARCH, st.integers(1, 10**10), st.integers(1, 60), st.integers(1, 40), st.integers(1, 7))
def test_solve_resolution_is_no_worse_than_any_side(arch: Arch, target: int, low: int, width: int, step: int) -> None:
    found = solve_resolution(arch, target, low, low + width, step)
    sides = range(low, low + width + 1, step)
    assert found.resolution in sides
    gaps = [abs(cost(replace(arch, resolution=side)).flops - target) for side in sides]
    assert abs(cost(found).flops - target) == min(gaps)


@given(ANY_ARCH)
def test_files_hold_every_network(arch: Arch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix, text in (("toml", to_toml(arch)), ("json", to_json(arch))):
            path = Path(folder, f"net.{suffix}")
            path.write_text(text, encoding="utf-8")
            again = load_arch(path)
            assert again == arch
            assert again.digest == arch.digest
            assert (to_toml(again), to_json(again)) == (to_toml(arch), to_json(arch))


# Few values, so that equal networks come up as often as different ones.
FEW_ARCHS = st.builds(
    Arch,
    name=st.sampled_from(("a", "b")),
    resolution=st.sampled_from((32, 33)),
    stem=st.just(Stage("conv", 8)),
    stages=st.just((Stage("mbconv", 8, expand=6),)) | st.just((Stage("mbconv", 8, expand=6.0),)),
    head=st.sampled_from((None, Stage("conv", 8))),
    dropout=st.sampled_from((0, 0.0, 0.5)),
)


@given(FEW_ARCHS | ANY_ARCH, FEW_ARCHS)
def test_digests_are_equal_iff_the_tables_are(one: Arch, other: Arch) -> None:
    tables = [{key: value for key, value in arch.to_dict().items() if key != "name"} for arch in (one, other)]
    assert (one.digest == other.digest) == (tables[0] == tables[1])
    assert (one.digest == other.digest) == (one == replace(other, name=one.name))
    assert re.fullmatch(r"[0-9a-f]{16}", one.digest)


@given(st.integers(1, 10**18))
def test_formatted_flops_keep_four_digits(flops: int) -> None:
    assert abs(parse_flops(format_flops(flops)) - flops) <= 0.0005 * flops + 0.5
