"""Each block kind against its paper's figure, the faults of its keys, and training of every base."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from scalesearch.nets.build import build
from scalesearch.spec.arch import Arch, sections
from scalesearch.spec.blocks import BLOCK_KINDS, SKIPS, Stage, hidden_channels, settled
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.files import load_arch, load_space, published_multipliers, shipped_spaces, to_toml
from scalesearch.spec.layers import Activation, AvgPool, Block, Conv, MaxPool, Norm, SqueezeExcite
from scalesearch.spec.scaling import Multipliers, multiply

NET = Arch("net", 32, Stage("conv", 8, stride=2), (Stage("conv", 8),), classes=10, activation="relu")


def block(stage: Stage, number: int = 0) -> Block:
    return sections(replace(NET, stages=(stage,)))[1].blocks[number]


def normed(conv: Conv) -> tuple[object, ...]:
    return (conv, Norm(conv.out_channels), Activation("relu"))


def test_separable_activates_both_convolutions() -> None:
    """Howard et al. 2017, figure 3 right."""
    expected = (*normed(Conv(8, 8, 3, 2, groups=8)), *normed(Conv(8, 16, 1)))
    assert block(Stage("separable", 16, stride=2)) == Block(expected)
    assert block(Stage("separable", 8)).shortcut is None  # also where shapes would allow it


def test_fused_mbconv_expands_with_the_full_convolution() -> None:
    """Tan & Le 2021, figure 2."""
    found = block(Stage("fused_mbconv", 8, expand=4, se=0.25))
    expand, project = normed(Conv(8, 32, 3)), (Conv(32, 8, 1), Norm(8))
    assert found == Block((*expand, SqueezeExcite(32, 2, "relu"), *project), shortcut=())
    assert block(Stage("fused_mbconv", 8)) == Block(normed(Conv(8, 8, 3)), shortcut=())
    assert block(Stage("fused_mbconv", 16, stride=2)) == Block(normed(Conv(8, 16, 3, 2)))


def test_basic_projects_where_the_shape_changes() -> None:
    """He et al. 2016, figure 5 left, with projections (option B)."""
    stage = Stage("basic", 16, repeats=2, stride=2)
    layers = (*normed(Conv(8, 16, 3, 2)), Conv(16, 16, 3), Norm(16))
    assert block(stage) == Block(layers, (Conv(8, 16, 1, 2), Norm(16)), (Activation("relu"),))
    same = (*normed(Conv(16, 16, 3)), Conv(16, 16, 3), Norm(16))
    assert block(stage, 1) == Block(same, (), (Activation("relu"),))


def test_bottleneck_strides_in_the_middle_and_groups_there() -> None:
    found = block(Stage("bottleneck", 32, stride=2, ratio=0.5, group_width=4, se=0.25))
    layers = (*normed(Conv(8, 16, 1)), *normed(Conv(16, 16, 3, 2, groups=4)), SqueezeExcite(16, 2, "relu"))
    assert found.layers == (*layers, Conv(16, 32, 1), Norm(32))
    assert found.shortcut == (Conv(8, 32, 1, 2), Norm(32))
    # Groups wider than what there is to group are one group.
    assert block(Stage("bottleneck", 16, ratio=0.5, group_width=64)).layers[3] == Conv(8, 8, 3)


@pytest.mark.parametrize("kind", ["mbconv", "fused_mbconv"])
def test_what_becomes_of_a_blocks_input_can_be_chosen(kind: str) -> None:
    """Tan et al. 2019, section 4.1: identity residual, no skip, pooling."""
    same, strided, other = Stage(kind, 8, repeats=2), Stage(kind, 8, stride=2), Stage(kind, 16)
    assert [block(replace(same, skip=skip)).shortcut for skip in SKIPS] == [(), None, (AvgPool(3, 1),)]
    assert [block(replace(same, skip=skip), 1).shortcut for skip in SKIPS] == [(), None, (AvgPool(3, 1),)]
    # Through pooling the input fits a strided block, if it has as many channels.
    assert [block(replace(strided, skip=skip)).shortcut for skip in SKIPS] == [None, None, (AvgPool(3, 2),)]
    assert [block(replace(other, skip=skip)).shortcut for skip in SKIPS] == [None, None, None]
    assert block(replace(same, skip="none")).layers == block(same).layers


@pytest.mark.parametrize("in_channels", [8, 16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_settled_skip_is_one_that_changes_a_block(in_channels: int, stride: int, repeats: int) -> None:
    """Two skips of one stage are settled to the same exactly if they expand to the same layers."""
    net = replace(NET, stem=Stage("conv", in_channels))
    stages = [Stage("mbconv", 8, repeats, stride=stride, skip=skip) for skip in SKIPS]
    made = [sections(replace(net, stages=(stage,)))[1].blocks for stage in stages]
    found = [settled(stage, in_channels) for stage in stages]
    for one in range(len(SKIPS)):
        assert sections(replace(net, stages=(found[one],)))[1].blocks == made[one]
        for other in range(len(SKIPS)):
            assert (found[one] == found[other]) == (made[one] == made[other])


def test_average_pooling_is_of_what_lies_inside_the_map() -> None:
    arch = replace(NET, stages=(Stage("mbconv", 8, stride=2, skip="pool"),))
    shortcut = build(arch).sections["stage1"].shortcut
    assert isinstance(shortcut, torch.nn.Module)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert shortcut(image).flatten().tolist() == [2.5, 4.0, 8.5, 10.0]  # means of 2x2, 2x3, 3x2 and 3x3 pixels
    assert cost(arch).sections[1].out_side == 8


def test_resnets_stem_pools() -> None:
    arch = replace(NET, resolution=64, stem=Stage("conv_pool", 8, kernel=7, stride=2))
    assert sections(arch)[0].blocks == (Block((*normed(Conv(3, 8, 7, 2)), MaxPool(3, 2))),)
    assert cost(arch).sections[0].out_side == 16


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (
            'kind = "basic", channels = 8, se = 0.25',
            "stages.1.se: a stage of kind 'basic' has no 'se'; it has kind, channels, repeats, kernel, stride",
        ),
        (
            'kind = "mbconv", channels = 8, group_width = 4',
            "stages.1.group_width: a stage of kind 'mbconv' has no 'group_width'; "
            "it has kind, channels, repeats, kernel, stride, expand, se, skip",
        ),
        (
            'kind = "bottleneck", channels = 24, ratio = 0.5, group_width = 8',
            "stages.1.group_width: must divide the 12 hidden channels (channels × ratio), got 8",
        ),
        (
            'kind = "conv_pool", channels = 8',
            "stages.1.kind: 'conv_pool' must be the stem, of one block; elsewhere depth shrinks the maps",
        ),
        ('kind = "bottleneck", channels = 24, ratio = 2', "stages.1.ratio: must be a number from 0.01 to 1, got 2"),
    ],
)
def test_faults_of_a_kind(tmp_path: Path, table: str, fault: str) -> None:
    path = tmp_path / "net.toml"
    stem = 'stem = { kind = "conv", channels = 8 }'
    path.write_text(f'name = "n"\nresolution = 32\n{stem}\nstages = [{{ {table} }}]\n')
    with pytest.raises(SpaceError) as caught:
        load_arch(path)
    assert caught.value.faults == (fault,)


def regnet_file(folder: Path, entries: str) -> Path:
    path = folder / "net.toml"
    path.write_text(f'name = "n"\nresolution = 32\nstem = {{ kind = "conv", channels = 8 }}\n{entries}\n')
    return path


def test_a_file_can_hold_a_regnets_numbers_or_its_stages(tmp_path: Path) -> None:
    numbers = "regnet = { depth = 13, w0 = 24, wa = 36.44, wm = 2.49, group_width = 8 }"
    arch = load_arch(regnet_file(tmp_path, numbers))
    assert arch.stages == load_arch("regnetx_200mf").stages
    explicit = tmp_path / "explicit.toml"
    explicit.write_text(to_toml(arch))
    assert "regnet" not in explicit.read_text()
    assert load_arch(explicit) == arch


@pytest.mark.parametrize(
    ("entries", "faults"),
    [
        ("regnet = { depth = 0, w0 = 24, wa = 36.44, wm = 2.49, group_width = 8 }",
         ["regnet.depth: must be an integer from 1 to 1000, got 0"]),
        ("regnet = { depth = 3, w0 = 24, wm = 2.49, group_width = 8, w1 = 3 }",
         ["regnet.w1: a RegNet has no 'w1'; it has depth, group_width, se, stride, w0, wa, wm",
          "regnet.wa: is missing; a RegNet needs it"]),
        ("regnet = 3", ["regnet: must be a table, got 3"]),
        ("regnet = { depth = 900, w0 = 24, wa = 9000, wm = 2.49, group_width = 8 }",
         ["regnet: its widest stage must have an integer from 1 to 100000 channels, got 8,"]),
        ('regnet = { depth = 3, w0 = 24, wa = 36, wm = 2.49, group_width = 8 }\nstages = [{ kind = "conv" }]',
         ["regnet: stands for the stages; give one of the two"]),
        ("", ["stages: is missing; a network needs it"]),
        ('stages = [{ kind = "conv", channels = 8 }]\nfixed = ["tail"]',
         ["fixed: must be a list of 'stem', 'head', 'ends', got ['tail']"]),
    ],
)  # fmt: skip
def test_faults_of_a_regnet(tmp_path: Path, entries: str, faults: list[str]) -> None:
    with pytest.raises(SpaceError) as caught:
        load_arch(regnet_file(tmp_path, entries))
    assert len(caught.value.faults) == len(faults)
    for found, expected in zip(caught.value.faults, faults, strict=True):
        assert found.startswith(expected)


SPACE = """
[base]
name = "own"
resolution = 32
stem = { kind = "conv", channels = 8 }
stages = [{ kind = "basic", channels = 8 }]
"""


def test_networks_replace_keys_of_the_base_and_members_multiply_them(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        SPACE + '[networks.wide]\nactivation = "relu"\nstages = [{ kind = "basic", channels = 64 }]\n'
        '[members]\nhalf = { of = "wide", width = 0.5, depth = 3.0, resolution = 48 }\n'
        'plain = { width = 2.2, depth = 1.0, resolution = 32, rounding = "automl" }\n'
    )
    space = load_space(path)
    assert list(space.members) == ["own", "wide", "half", "plain"]
    wide, half = space.members["wide"], space.members["half"]
    assert (wide.name, wide.activation, wide.stem) == ("wide", "relu", space.base.stem)
    assert wide.stages == (Stage("basic", 64),)
    assert (half.activation, half.resolution, half.stages) == ("relu", 48, (Stage("basic", 32, repeats=3),))
    assert space.multipliers["half"] == Multipliers(3.0, 0.5, 1.5)
    assert space.members["plain"].stages[0].channels == 16  # 17.6, nearest multiple of 8, which is above 90 % of it


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ("networks.big = 3", "networks.big: must be a table, got 3"),
        ("networks.big.colour = 3", "networks.big.colour: a network has no 'colour'; it has activation"),
        ('networks."a b".classes = 3', "networks.a b: a name must be 1 to 100 letters"),
        ('members.m = { of = "owl", width = 1, depth = 1, resolution = 32 }',
         "members.m.of: must be the base or one of [networks], got 'owl'; did you mean 'own'?"),
        ('aliases.x = "owm"', "aliases.x: must name one of the networks, got 'owm'; did you mean 'own'?"),
        ("aliases.x = [1]", "aliases.x: must name one of the networks, got [1]; known are own"),
        ('members.m = { width = 1, depth = 1, resolution = 32, rounding = "up" }',
         "members.m.rounding: must be one of 'official', 'pycls', 'automl', got 'up'"),
    ],
)  # fmt: skip
def test_faults_of_networks_and_members(tmp_path: Path, entries: str, fault: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(entries + "\n" + SPACE)
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    assert caught.value.faults[0].startswith(fault)


def test_published_multipliers_are_those_of_the_file() -> None:
    assert published_multipliers("efficientnet_b3") == Multipliers(1.4, 1.2, 300 / 224)
    with pytest.raises(SpaceError) as caught:
        published_multipliers("resnet5O")
    assert str(caught.value).startswith("resnet5O: no network is published as such multiples of a base; ")


def test_names_of_other_libraries() -> None:
    assert load_arch("tf_efficientnet_b3") == load_arch("efficientnet_b3")
    assert load_arch("regnet_x_800mf") == load_arch("regnetx_008") == load_arch("regnetx_800mf")
    assert load_arch("regnet_x_400mf") == load_arch("regnetx_400mf_torchvision") != load_arch("regnetx_004")
    names = [name for space in shipped_spaces() for name in load_space(space).members]
    aliases = [alias for space in shipped_spaces() for alias in load_space(space).aliases]
    assert len({*names, *aliases}) == len(names) + len(aliases)


def test_lite_leaves_its_stem_head_and_ends_alone() -> None:
    """tensorflow/tpu efficientnet_lite_builder.py: fix_head_stem."""
    lite = load_arch("efficientnet_lite0")
    scaled = multiply(lite, Multipliers(2.0, 2.0, 1.0))
    assert (scaled.stem, scaled.head) == (lite.stem, lite.head)
    assert [stage.repeats for stage in scaled.stages] == [1, 4, 4, 6, 6, 8, 1]
    assert [stage.channels for stage in scaled.stages] == [2 * stage.channels for stage in lite.stages]


@pytest.mark.parametrize("width", [0.3, 0.77, 1.3, 2.6])
@pytest.mark.parametrize("group", [0.5, 1.0, 1.9])
@pytest.mark.parametrize("name", ["regnetx_200mf", "regnety_8gf", "resnext101_64x4d"])
def test_scaled_group_widths_divide_their_channels(name: str, width: float, group: float) -> None:
    scaled = multiply(load_arch(name), Multipliers(1.0, width, 1.0, group))
    for stage in scaled.stages:
        assert hidden_channels(stage.channels, stage.ratio) % stage.group_width == 0
    with torch.device("meta"):
        network = build(scaled)
    assert sum(parameter.numel() for parameter in network.parameters()) == cost(scaled).params


BASES = (
    "mobilenet_v1 mobilenet_v2 mnasnet_a1 mnasnet_b1 mnasnet_small efficientnet_b0 efficientnet_lite0 "
    "efficientnetv2_b0 efficientnetv2_s resnet18 resnet34 resnet50 wide_resnet50_2 resnext50_32x4d regnetx_200mf "
    "regnety_400mf"
).split()


@pytest.mark.parametrize("name", BASES)
def test_every_base_trains_at_two_sides_and_keeps_its_state(name: str) -> None:
    arch = load_arch(name)
    torch.manual_seed(0)
    network = build(arch).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for side in (64, 96):
        images = torch.randn(4, 3, side, side).contiguous(memory_format=torch.channels_last)
        labels = torch.arange(4)
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss)
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
        optimizer.step()
    moved = [key for key, value in network.named_parameters() if not torch.equal(value, before[key])]
    assert len(moved) > 0.9 * len(list(network.parameters()))
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    again = build(arch).to(memory_format=torch.channels_last)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    image = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(again.eval()(image), network.eval()(image))


def test_the_bases_reach_every_block_kind() -> None:
    archs = [load_arch(name) for name in BASES]
    kinds = {stage.kind for arch in archs for stage in (arch.stem, *arch.stages)}
    assert kinds == set(BLOCK_KINDS)
