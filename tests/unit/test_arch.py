"""The record of a network: what it expands to, and what identifies it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from scalesearch.spec.arch import Arch, Stage, sections
from scalesearch.spec.blocks import BLOCK_KINDS
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.layers import (
    Activation,
    Block,
    Conv,
    Dropout,
    GlobalPool,
    Linear,
    Norm,
    SqueezeExcite,
)

TINY = Arch(
    name="tiny",
    resolution=32,
    stem=Stage("conv", 8, stride=2),
    stages=(Stage("mbconv", 12, repeats=3, kernel=5, stride=2, expand=4, se=0.25),),
    classes=10,
)


def test_expansion_spells_out_every_layer() -> None:
    stem, stage, classifier = sections(TINY)
    assert stem.blocks == (Block((Conv(3, 8, 3, 2), Norm(8), Activation("silu"))),)
    first = Block(
        (
            Conv(8, 32, 1),
            Norm(32),
            Activation("silu"),
            Conv(32, 32, 5, 2, groups=32),
            Norm(32),
            Activation("silu"),
            SqueezeExcite(32, 2, "silu"),  # a quarter of the 8 input channels, not of the 32 expanded ones
            Conv(32, 12, 1),
            Norm(12),
        )
    )
    assert stage.blocks[0] == first
    assert stage.blocks[0].shortcut is None
    assert stage.blocks[1].shortcut == ()  # the input itself
    assert stage.blocks[1].layers[3] == Conv(48, 48, 5, 1, groups=48)
    assert stage.blocks[1].layers[6] == SqueezeExcite(48, 3, "silu")
    assert classifier.blocks == (Block((GlobalPool(), Dropout(0.0), Linear(12, 10))),)


def test_repeated_blocks_are_one_object() -> None:
    _, stage, _ = sections(TINY)
    assert len(stage.blocks) == 3
    assert stage.blocks[1] is stage.blocks[2]
    assert stage.blocks[0] is not stage.blocks[1]


def test_sections_are_named_in_order() -> None:
    names = [section.name for section in sections(load_arch("efficientnet_b0"))]
    assert names == ["stem", *(f"stage{number}" for number in range(1, 8)), "head", "classifier"]
    assert [section.name for section in sections(TINY)] == ["stem", "stage1", "classifier"]


def test_without_expansion_there_is_no_expansion_layer() -> None:
    (block,) = sections(replace(TINY, stages=(Stage("mbconv", 8),)))[1].blocks
    assert block == Block((Conv(8, 8, 3, groups=8), Norm(8), Activation("silu"), Conv(8, 8, 1), Norm(8)), shortcut=())


@pytest.mark.parametrize(
    ("expand", "hidden"),
    [(1.5, 12), (0.5, 4), (1.3, 10), (0.1, 1)],  # of 8 channels: 12, 4, 10.4, 0.8
)
def test_expanded_channels_are_rounded_and_never_none(expand: float, hidden: int) -> None:
    arch = replace(TINY, stages=(Stage("mbconv", 8, expand=expand),))
    assert sections(arch)[1].blocks[0].layers[0] == Conv(8, hidden, 1)


def test_one_channel_can_be_shrunk_no_further() -> None:
    arch = replace(TINY, stem=Stage("conv", 1), stages=(Stage("mbconv", 8, expand=0.1, se=0.25),))
    layers = sections(arch)[1].blocks[0].layers
    assert layers[0] == Conv(1, 1, 1)
    assert SqueezeExcite(1, 1, "silu") in layers


@pytest.mark.parametrize("stage", [Stage("mbconv", 8, stride=2), Stage("mbconv", 16), Stage("conv", 8)])
def test_no_shortcut_with_a_stride_a_change_of_channels_or_a_plain_convolution(stage: Stage) -> None:
    assert sections(replace(TINY, stages=(stage,)))[1].blocks[0].shortcut is None


def test_every_block_kind_ends_on_its_channels() -> None:
    for kind in BLOCK_KINDS:
        section = sections(replace(TINY, stages=(Stage(kind, 24, repeats=2),)))[1]
        convs = [layer for layer in section.blocks[-1].layers if isinstance(layer, Conv)]
        assert convs[-1].out_channels == section.out_channels == 24


def test_cost_by_hand() -> None:
    """The tiny network, layer by layer, on paper."""
    counted = cost(TINY)
    stem = 9 * 3 * 8 * 16**2
    first = 8 * 32 * 16**2 + 25 * 32 * 8**2 + 2 * 32 * 2 + 32 * 12 * 8**2
    other = 12 * 48 * 8**2 + 25 * 48 * 8**2 + 2 * 48 * 3 + 48 * 12 * 8**2
    assert counted.flops == stem + first + 2 * other + 12 * 10
    stem = 9 * 3 * 8 + 2 * 8
    first = 8 * 32 + 2 * 32 + 25 * 32 + 2 * 32 + (2 * 32 * 2 + 32 + 2) + 32 * 12 + 2 * 12
    other = 12 * 48 + 2 * 48 + 25 * 48 + 2 * 48 + (2 * 48 * 3 + 48 + 3) + 48 * 12 + 2 * 12
    assert counted.params == stem + first + 2 * other + 12 * 10 + 10
    first = 32 * 16**2 + 32 * 8**2 + 32 + 2 + 12 * 8**2
    other = 48 * 8**2 + 48 * 8**2 + 48 + 3 + 12 * 8**2
    assert counted.activations == 8 * 16**2 + first + 2 * other + 10
    assert [(part.name, part.in_side, part.out_side) for part in counted.sections] == [
        ("stem", 32, 16),
        ("stage1", 16, 8),
        ("classifier", 8, 1),
    ]
    assert [(part.blocks, part.channels) for part in counted.sections] == [(1, 8), (3, 12), (1, 10)]


def test_cost_is_the_sum_of_its_sections() -> None:
    counted = cost(load_arch("efficientnet_b4"))
    assert counted.flops == sum(part.flops for part in counted.sections)
    assert counted.params == sum(part.params for part in counted.sections)
    assert counted.activations == sum(part.activations for part in counted.sections)


def test_digest_is_a_promise() -> None:
    # Written down on 2026-11-21. Storages and run folders name networks by it: a change here makes every run
    # made before unreadable, so change the code, not this number.
    assert load_arch("efficientnet_b0").digest == "4d668d4333c8635c"


def test_the_name_does_not_enter_the_digest() -> None:
    assert replace(TINY, name="other").digest == TINY.digest
    assert replace(TINY, fixed=("stem",)).digest == TINY.digest  # it tells how to scale, not what the network is


def test_every_other_field_enters_the_digest() -> None:
    changed = {
        "resolution": 33,
        "stem": Stage("conv", 9, stride=2),
        "stages": (*TINY.stages, Stage("conv", 8)),
        "head": Stage("conv", 8),
        "classes": 11,
        "in_channels": 1,
        "activation": "relu",
        "dropout": 0.1,
        "drop_path": 0.1,
        "norm_eps": 1e-5,
        "norm_momentum": 0.1,
    }
    assert set(changed) == {field.name for field in fields(Arch)} - {"name", "fixed"}
    assert len({replace(TINY, **{key: value}).digest for key, value in changed.items()} | {TINY.digest}) == 12


def test_fields_at_their_default_do_not_enter_the_digest() -> None:
    explicit = replace(TINY, activation="silu", head=None, dropout=0.0, stem=replace(TINY.stem, kernel=3, se=0))
    assert explicit.digest == TINY.digest
    assert set(TINY.to_dict()) == {"name", "resolution", "stem", "stages", "classes"}


def test_six_and_six_point_zero_are_one_network() -> None:
    integer = replace(TINY, stages=(Stage("mbconv", 8, expand=6, se=1),), dropout=0)
    real = replace(TINY, stages=(Stage("mbconv", 8, expand=6.0, se=1.0),), dropout=0.0)
    assert integer.digest == real.digest
    assert integer == real
    assert replace(TINY, stages=(Stage("mbconv", 8, expand=6.5, se=1),)).digest != integer.digest


def test_records_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TINY.resolution = 64  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Conv(1, 2, 3).kernel = 5  # type: ignore[misc]
