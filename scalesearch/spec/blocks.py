"""Stages and block kinds: each kind is described once, as the layers that it expands to.

A new kind is one function and one line of BLOCK_KINDS; cost, modules and file format follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from scalesearch.spec.layers import Activation, AvgPool, Block, Conv, Layer, MaxPool, Norm, SqueezeExcite

SKIPS = ("identity", "none", "pool")


@dataclass(frozen=True, slots=True)
class Stage:
    """`repeats` blocks of one kind; the first carries the stride and the change of channels.

    `channels` are output channels. `expand` multiplies the block's input channels to its hidden ones (inverted
    bottlenecks), `ratio` the output channels (`bottleneck`). `se` is the squeeze-and-excitation ratio, of the block's
    input channels (0: none). `group_width` is the channels per group of the middle convolution (0: one group). `skip`,
    one of SKIPS, is what becomes of a block's input (inverted bottlenecks): it is added where its shape allows that,
    never, or, with as many channels, through a 3x3 average pooling of the block's stride.
    """

    kind: str
    channels: int
    repeats: int = 1
    kernel: int = 3
    stride: int = 1
    expand: float = 1
    se: float = 0.0
    ratio: float = 1.0
    group_width: int = 0
    skip: str = SKIPS[0]


class BlockKind(NamedTuple):
    """`expand` makes one block of (stage, input channels, stride, activation); `keys` are the Stage fields it reads
    beside kind, channels, repeats, kernel and stride."""

    description: str
    expand: Callable[[Stage, int, int, str], Block]
    keys: tuple[str, ...] = ()


def _conv(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    return Block(_normed(Conv(in_channels, stage.channels, stage.kernel, stride), activation))


def _conv_pool(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """The stem of ResNet (He et al. 2016, table 1); the whole is strided by twice `stride`."""
    return Block((*_conv(stage, in_channels, stride, activation).layers, MaxPool(3, 2)))


def _separable(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """MobileNetV1 (Howard et al. 2017, figure 3): both convolutions are activated, nothing is added."""
    depthwise = Conv(in_channels, in_channels, stage.kernel, stride, groups=in_channels)
    pointwise = Conv(in_channels, stage.channels, 1)
    return Block((*_normed(depthwise, activation), *_normed(pointwise, activation)))


def _mbconv(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """Inverted residual (Sandler et al. 2018); with squeeze-and-excitation, MBConv (MnasNet, Tan et al. 2019).

    With `expand` 1 it is MnasNet's SepConv. The squeeze is reduced from the block's input channels, not the expanded
    ones, as in the official code.
    """
    hidden = max(1, round(in_channels * stage.expand))
    layers: list[Layer] = []
    if stage.expand != 1:
        layers += _normed(Conv(in_channels, hidden, 1), activation)
    layers += _normed(Conv(hidden, hidden, stage.kernel, stride, groups=hidden), activation)
    if stage.se:
        layers.append(SqueezeExcite(hidden, max(1, int(in_channels * stage.se)), activation))
    layers += _normed(Conv(hidden, stage.channels, 1))
    return _skipped(stage, in_channels, stride, layers)


def _fused_mbconv(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """Fused-MBConv (EfficientNetV2, Tan & Le 2021, figure 2): one full convolution expands and strides.

    With `expand` 1 the block is that one convolution, activated, as in the official code.
    """
    hidden = max(1, round(in_channels * stage.expand))
    out_channels = hidden if stage.expand != 1 else stage.channels
    layers: list[Layer] = list(_normed(Conv(in_channels, out_channels, stage.kernel, stride), activation))
    if stage.se:
        layers.append(SqueezeExcite(out_channels, max(1, int(in_channels * stage.se)), activation))
    if stage.expand != 1:
        layers += _normed(Conv(hidden, stage.channels, 1))
    return _skipped(stage, in_channels, stride, layers)


def _basic(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """Two full convolutions (He et al. 2016, figure 5 left)."""
    layers = [
        *_normed(Conv(in_channels, stage.channels, stage.kernel, stride), activation),
        *_normed(Conv(stage.channels, stage.channels, stage.kernel)),
    ]
    return _projected(stage, in_channels, stride, activation, layers)


def _bottleneck(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """1x1, kxk (strided, in groups), 1x1: ResNet's, ResNeXt's and, with `ratio` 1, RegNet's block.

    The stride sits in the middle ("v1.5"), as in torchvision and pycls; the squeeze is reduced from the block's
    input channels and rounded to the nearest integer, as in pycls `models/blocks.py`.
    """
    hidden = hidden_channels(stage.channels, stage.ratio)
    groups = hidden // min(stage.group_width, hidden) if stage.group_width else 1
    layers = [
        *_normed(Conv(in_channels, hidden, 1), activation),
        *_normed(Conv(hidden, hidden, stage.kernel, stride, groups), activation),
    ]
    if stage.se:
        layers.append(SqueezeExcite(hidden, max(1, round(in_channels * stage.se)), activation))
    layers += _normed(Conv(hidden, stage.channels, 1))
    return _projected(stage, in_channels, stride, activation, layers)


def hidden_channels(channels: int, ratio: float) -> int:
    """Channels of the middle convolution of a `bottleneck`."""
    return max(1, round(channels * ratio))


def _normed(conv: Conv, activation: str | None = None) -> tuple[Layer, ...]:
    """A convolution, its norm, and the activation if there is one."""
    return (conv, Norm(conv.out_channels), *(() if activation is None else (Activation(activation),)))


def _skipped(stage: Stage, in_channels: int, stride: int, layers: list[Layer]) -> Block:
    """The input is added as `stage.skip` says and its shape allows, and nothing follows (linear bottleneck)."""
    return Block(tuple(layers), _shortcut(stage.skip, in_channels == stage.channels, stride))


def _shortcut(skip: str, same_channels: bool, stride: int) -> tuple[Layer, ...] | None:
    """MnasNet's SkipOp (Tan et al. 2019, section 4.1), which says no more of pooling than its name."""
    if skip == "none" or not same_channels:
        return None
    if skip == "pool":
        return (AvgPool(3, stride),)
    return () if stride == 1 else None


def settled(stage: Stage, in_channels: int) -> Stage:
    """`stage` with the first of SKIPS in place of one that makes the same blocks of these input channels."""
    first, rest = in_channels == stage.channels, stage.repeats > 1

    def shortcuts(skip: str) -> tuple[object, object]:
        return _shortcut(skip, first, stage.stride), rest and _shortcut(skip, True, 1)

    same = stage.skip != SKIPS[0] and shortcuts(stage.skip) == shortcuts(SKIPS[0])
    return replace(stage, skip=SKIPS[0]) if same else stage


def _projected(stage: Stage, in_channels: int, stride: int, activation: str, layers: list[Layer]) -> Block:
    """The input is added always, through a 1x1 convolution where its shape differs, and the sum is activated."""
    same = stride == 1 and in_channels == stage.channels
    shortcut = () if same else _normed(Conv(in_channels, stage.channels, 1, stride))
    return Block(tuple(layers), shortcut, after=(Activation(activation),))


BLOCK_KINDS: Mapping[str, BlockKind] = {
    "conv": BlockKind("convolution, norm, activation", _conv),
    "conv_pool": BlockKind("conv, then 3x3 max pooling of stride 2: ResNet's stem", _conv_pool),
    "separable": BlockKind("depthwise and 1x1 convolution, both activated: MobileNetV1", _separable),
    "mbconv": BlockKind(
        "inverted bottleneck: MobileNetV2, MnasNet, EfficientNet; with expand 1, SepConv",
        _mbconv,
        ("expand", "se", "skip"),
    ),
    "fused_mbconv": BlockKind("inverted bottleneck with one full convolution", _fused_mbconv, ("expand", "se", "skip")),
    "basic": BlockKind("two full convolutions: ResNet-18 and 34", _basic),
    "bottleneck": BlockKind(
        "1x1, kxk, 1x1: ResNet-50 and deeper, ResNeXt, RegNet", _bottleneck, ("ratio", "group_width", "se")
    ),
}
