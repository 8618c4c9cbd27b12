"""Search spaces of base networks: published networks as points, counts by brute force, moves."""

from __future__ import annotations

import csv
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.files import load_arch, load_space, shipped_spaces
from scalesearch.spec.options import Grid, place_of
from scalesearch.spec.regnet import RegNet, regnet_stages

ROOT = Path(__file__).resolve().parents[2]
SEARCHED = [name for name in shipped_spaces() if load_space(name).search is not None]


def search(name: str) -> BaseSpace:
    found = load_space(name).search
    assert found is not None
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def point(space: BaseSpace, values: dict[str, Any]) -> Point:
    """The point with these values: a path each, and the base's of all others must be the only option."""
    places = [place_of(options, values[path]) for path, options in space.choices.items()]
    assert all(place is not None for place in places), dict(zip(space.choices, places, strict=True))
    return tuple(place for place in places if place is not None)


OPERATIONS = {
    ("SepConv", "1"): {"kind": "mbconv", "expand": 1},
    ("MBConv", "3"): {"kind": "mbconv", "expand": 3},
    ("MBConv", "6"): {"kind": "mbconv", "expand": 6},
}


@pytest.mark.parametrize("model", ["mnasnet-a1", "mnasnet-b1"])
def test_the_official_mnasnets_are_points(model: str) -> None:
    """From the official block strings (tests/golden/mnasnet_stages.csv), choice by choice."""
    values: dict[str, Any] = {}
    for row in rows(ROOT / "tests/golden/mnasnet_stages.csv"):
        if row["model"] == model:
            own = f"stages.{row['stage']}"
            values |= {
                own: OPERATIONS[row["operator"], row["expand_ratio"]],
                f"{own}.kernel": int(row["kernel_size"]),
                f"{own}.se": float(row["se_ratio"]),
                f"{own}.skip": "identity" if row["identity_skip"] == "1" else "none",
                f"{own}.channels": int(row["output_channels"]),
                f"{own}.repeats": int(row["layers"]),
            }
    space = search("mnasnet")
    arch = space.decode(point(space, values))
    assert arch.digest == load_arch(model.replace("-", "_")).digest
    assert arch.name == f"mnasnet-{arch.digest}"


def test_mnasnet_a1_from_its_point_has_the_published_cost() -> None:
    """Tan et al. 2019, Table 1: 3.9 million parameters, 312 million multiply-adds."""
    path = ROOT / "scalesearch/report/published/mnasnet.csv"
    (printed,) = [row for row in rows(path) if row["model"] == "MnasNet-A1"]
    space = search("mnasnet")
    found = space.encode(load_arch("mnasnet_a1"))
    assert found is not None
    counted = cost(space.decode(found))
    assert f"{counted.params / 1e6:.1f}" == printed["params_M"] == "3.9"
    assert f"{counted.flops / 1e6:.0f}" == printed["mult_adds_M"] == "312"


def test_b0_is_a_point_and_has_the_published_cost() -> None:
    """The stage table of the official code (tests/golden/efficientnet_scaled_stages.csv)."""
    (row,) = [r for r in rows(ROOT / "tests/golden/efficientnet_scaled_stages.csv") if r["model"] == "efficientnet-b0"]
    kernels, expansions = (3, 3, 5, 3, 5, 5, 3), (1, 6, 6, 6, 6, 6, 6)  # Tan & Le 2019, table 1
    values: dict[str, Any] = {}
    for number, (channels, repeats) in enumerate(
        zip(row["stage_channels"].split(), row["stage_layers"].split(), strict=True), start=1
    ):
        own = f"stages.{number}"
        values |= {f"{own}.kernel": kernels[number - 1], f"{own}.expand": expansions[number - 1], f"{own}.se": 0.25}
        values |= {f"{own}.channels": int(channels), f"{own}.repeats": int(repeats)}
    space = search("efficientnet")
    arch = space.decode(point(space, values))
    assert arch.digest == load_arch("efficientnet_b0").digest
    assert (cost(arch).flops, cost(arch).params) == (int(row["macs_conv_linear"]), int(row["params"]))


def test_v2_s_is_a_point() -> None:
    """The stage table of google/automl (tests/golden/efficientnetv2_stages.csv)."""
    values: dict[str, Any] = {}
    for row in rows(ROOT / "tests/golden/efficientnetv2_stages.csv"):
        if row["model"] == "efficientnetv2-s" and row["version"] == "official code" and "MBConv" in row["operator"]:
            own = f"stages.{row['stage']}"
            kind = "fused_mbconv" if row["operator"].startswith("Fused") else "mbconv"
            values |= {
                own: {"kind": kind, "se": float(row["se_ratio"])},
                f"{own}.kernel": int(row["kernel_size"]),
                f"{own}.expand": int(row["expand_ratio"]),
                f"{own}.repeats": int(row["layers"]),
            }
    space = search("efficientnetv2")
    arch = space.decode(point(space, values))
    assert arch.digest == load_arch("efficientnetv2_s").digest
    assert f"{cost(arch).params / 1e6:.2f}" == "21.46"  # google/automl: 21,458,488 without statistics


@pytest.mark.parametrize("row", rows(ROOT / "tests/golden/regnet.csv"), ids=lambda row: row["model"])
def test_the_published_regnets_are_points(row: dict[str, str]) -> None:
    values = {
        "regnet.depth": int(row["depth"]),
        "regnet.w0": int(row["w0"]),
        "regnet.wa": float(row["wa"]),
        "regnet.wm": float(row["wm"]),
        "regnet.group_width": int(row["group_w"]),
        "regnet.se": float(row["se_ratio"]),
    }
    space = search("regnet")
    arch = space.decode(point(space, values))
    assert " ".join(str(stage.channels) for stage in arch.stages) == row["stage_widths"]
    assert " ".join(str(stage.repeats) for stage in arch.stages) == row["stage_depths"]
    assert cost(arch).params == int(row["params"])
    family, _, size = row["model"].lower().partition("-")
    published = load_arch(f"{family}_{size.replace('.0', '').replace('.', '_')}")
    assert arch.digest == published.digest
    found = space.encode(published)  # other numbers, perhaps, but the same network
    assert found is not None
    assert space.decode(found).digest == published.digest


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("mnasnet", "mnasnet_small"),  # another stem
        ("mnasnet", "efficientnet_b0"),  # another activation
        ("efficientnet", "mnasnet_a1"),
        ("efficientnetv2", "efficientnetv2_m"),  # seven stages
        ("regnet", "regnety_128gf"),  # wider than the space
        ("regnet", "regnety_8gf_torchvision"),  # rounded as no numbers do
        ("regnet", "resnet50"),
        ("mobilenet_v1", "mobilenet_v2"),
    ],
)
def test_what_no_point_makes_has_none(name: str, network: str) -> None:
    assert search(name).encode(load_arch(network)) is None


def test_stages_that_are_no_sound_regnet_of_the_space_have_none() -> None:
    """Two stages follow from numbers, but the space has four."""
    few = replace(load_arch("regnety_400mf"), stages=load_arch("regnety_400mf").stages[:2])
    assert search("regnet").encode(few) is None


def test_another_side_is_another_network() -> None:
    assert search("efficientnet").encode(replace(load_arch("efficientnet_b0"), resolution=240)) is None


TINY = Arch("tiny", 32, Stage("conv", 8), (Stage("mbconv", 8, expand=2), Stage("mbconv", 16, stride=2)), classes=4)
SPACES = {
    "skips": BaseSpace(
        "skips",
        TINY,
        {
            "stages.1.skip": ("identity", "none", "pool"),
            "stages.1.channels": (8, 16),
            "stages.2.skip": ("identity", "none", "pool"),
            "stages.2.repeats": (1, 2),
            "stages.2.channels": (8, 16),
        },
    ),
    "kinds": BaseSpace(  # `separable` has no expansion
        "kinds",
        TINY,
        {"stages.1.kind": ("mbconv", "separable"), "stages.1.expand": (2, 3, 4), "resolution": (32, 48)},
    ),
    "operations": BaseSpace(
        "operations",
        TINY,
        {"stages.2": ({"kind": "conv"}, {"kind": "mbconv", "expand": 3}), "stages.2.kernel": (3, 5)},
    ),
    "groups": BaseSpace(  # 3 divides 9 channels alone, 4 divides 8; 9 make one group of either
        "groups",
        replace(TINY, stages=(Stage("bottleneck", 8), *TINY.stages)),
        {"stages.1.channels": (8, 9), "stages.1.group_width": (3, 4, 9)},
    ),
    "sides": BaseSpace("sides", TINY, {"resolution": Grid(16, 48, 8), "dropout": (0.0, 0.2)}),
}
DISTINCT = {"skips": None, "kinds": 8, "operations": 4, "groups": 4, "sides": 10}


@pytest.mark.parametrize("name", SPACES)
def test_the_count_of_networks_is_that_of_all_points(name: str) -> None:
    space = SPACES[name]
    made = [space.decode(each).digest for each in space.points()]
    assert space.networks() == len(set(made))
    assert DISTINCT[name] in (None, len(set(made)))
    assert space.size == math.prod(len(options) for options in space.choices.values()) >= len(made)
    assert (len(made) < space.size) == (name == "groups")


def test_a_skip_that_changes_nothing_is_no_other_network() -> None:
    space = SPACES["skips"]
    assert space.size == 72
    # Stage 1 of 8 channels: three skips. Of 16, with one block: none of them matters.
    made = {space.decode(each).digest for each in space.points()}
    assert space.networks() == len(made) < 72


def test_the_shipped_spaces_are_counted() -> None:
    """By hand: operations, kernels, ratios, skips, channels and repeats of each stage (search_spaces/mnasnet.toml)."""
    mnasnet = search("mnasnet")
    assert mnasnet.per_stage() == (288, 432, 432, 432, 576, 576, 288)
    assert mnasnet.size == 288**2 * 432**3 * 576**2
    assert 432 == 4 * 2 * 2 * 3 * 3 * 3  # the paper's count, section 4.1
    assert search("efficientnetv2").networks() == search("efficientnetv2").size == 36 * 48**5
    assert search("regnet").networks() is None
    assert search("regnet").size == 17 * 40 * 24_801 * 101 * 29 * 2


def test_the_distinct_mnasnets_are_those_whose_skips_matter() -> None:
    """Counted by another rule: in a stage of several blocks all three skips differ, since its later blocks keep shape.

    In a stage of one block they differ if it keeps its channels: all three at stride 1, pooling from the others at 2.
    """
    space = search("mnasnet")
    ways = {32: 1}
    for number, stage in enumerate(space.skeleton.stages, start=1):
        further: dict[int, int] = {}
        for before, count in ways.items():
            for after in space.choices[f"stages.{number}.channels"]:
                single = (3 if stage.stride == 1 else 2) if after == before else 1
                skips = sum(single if repeats == 1 else 3 for repeats in space.choices[f"stages.{number}.repeats"])
                further[after] = further.get(after, 0) + count * skips * (4 * 2 * 2)  # operations, kernels, ratios
        ways = further
    assert space.networks() == sum(ways.values())
    assert 0.3 * space.size < sum(ways.values()) < 0.4 * space.size


def test_the_share_of_repeats_agrees_with_the_count() -> None:
    """Of random points of stage 1 of `mnasnet`, as many are settled as the count of distinct stages says."""
    space = search("mnasnet")
    alone = BaseSpace("alone", space.skeleton, {k: v for k, v in space.choices.items() if k.startswith("stages.1")})
    made = {alone.decode(each).digest for each in alone.points()}
    assert alone.size == 288
    assert alone.networks() == len(made)


def test_points_that_are_none_are_refused() -> None:
    space = SPACES["operations"]
    for wrong in ((0,), (0, 2), (0, -1), (0, 0, 0)):
        with pytest.raises(SpaceError) as caught:
            space.decode(wrong)
        assert str(caught.value) == f"operations: a point must be 2 indices below 2, 2, got {wrong}; sample one"


def test_options_that_do_not_go_together_say_so() -> None:
    with pytest.raises(SpaceError) as caught:
        SPACES["groups"].decode((0, 0))
    assert str(caught.value) == (
        "groups: stages.1.group_width: must divide the 8 hidden channels (channels × ratio), got 3"
    )
    regnet = search("regnet")
    few = point(
        regnet,
        {"regnet.depth": 12, "regnet.w0": 256, "regnet.wa": 8, "regnet.wm": 2, "regnet.group_width": 8, "regnet.se": 0},
    )
    with pytest.raises(SpaceError) as caught:
        regnet.decode(few)
    assert str(caught.value).startswith("regnet: regnet: must have 4 stages, got 1 from {'depth': 12, 'w0': 256, ")
    wide = replace(regnet, choices={"regnet.wa": (9_000,), "regnet.depth": (900,)}, stages=(1, 1_000))
    with pytest.raises(SpaceError) as caught:
        wide.decode((0, 0))
    assert "regnet: channels must be an integer from 1 to 100000, got more from {" in str(caught.value)


def test_a_space_of_one_network_cannot_be_mutated_nor_an_empty_one_sampled() -> None:
    inert = BaseSpace("inert", replace(TINY, stages=TINY.stages[1:]), {"stages.1.skip": ("identity", "none")})
    for space in (inert, BaseSpace("fixed", TINY, {"resolution": (32,)})):
        with pytest.raises(SpaceError) as caught:
            space.mutate((0,), random.Random(0))
        assert str(caught.value) == (
            f"{space.name}: choices: no change of one of them makes another network of (0,); add options"
        )
    regnet = replace(search("regnet"), stages=(900, 900))
    with pytest.raises(SpaceError) as caught:
        regnet.sample(random.Random(0))
    assert str(caught.value) == "regnet: choices: none of 1,000 random points makes a sound network; widen them"


def test_a_regnets_numbers_stand_for_its_stages() -> None:
    space = search("regnet")
    values = space.values(space.sample(random.Random(2)))
    numbers = {path.removeprefix("regnet."): value for path, value in values.items()}
    arch = space.decode(point(space, values))
    assert arch.stages == regnet_stages(RegNet(**numbers))
    assert len(arch.stages) == 4
