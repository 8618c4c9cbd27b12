"""The cost of a network without tensors: one rule per layer record, summed.

FLOPs are multiply-adds of convolutions and linear layers for one image (`units.FLOPS_DEFINITION`);
activations are the output elements of those layers, as Radosavovic et al. (2020) count them;
parameters are the trainable ones (batch-norm statistics are not).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scalesearch.spec.arch import Arch, sections
from scalesearch.spec.layers import (
    Activation,
    Block,
    Conv,
    Dropout,
    GlobalPool,
    Linear,
    MaxPool,
    Norm,
    SqueezeExcite,
)


@dataclass(frozen=True, slots=True)
class SectionCost:
    """Cost of one section; `in_side` and `out_side` are the sides of its feature maps in px."""

    name: str
    flops: int
    params: int
    activations: int
    blocks: int
    channels: int
    in_side: int
    out_side: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a network for one image, and of each of its sections."""

    flops: int
    params: int
    activations: int
    sections: tuple[SectionCost, ...]


# Each rule: (layer, side of the input in px) -> (flops, params, activations, side of the output).
_Rule = Callable[[Any, int], tuple[int, int, int, int]]


def _conv(layer: Conv, side: int) -> tuple[int, int, int, int]:
    in_channels, out_channels, kernel, stride, groups = layer
    side = -(-side // stride)
    weights = kernel * kernel * (in_channels // groups) * out_channels
    area = side * side
    return weights * area, weights, out_channels * area, side


def _norm(layer: Norm, side: int) -> tuple[int, int, int, int]:
    return 0, 2 * layer.channels, 0, side


def _squeeze_excite(layer: SqueezeExcite, side: int) -> tuple[int, int, int, int]:
    weights = 2 * layer.channels * layer.squeezed
    outputs = layer.channels + layer.squeezed
    return weights, weights + outputs, outputs, side


def _linear(layer: Linear, side: int) -> tuple[int, int, int, int]:
    weights = layer.in_features * layer.out_features
    return weights, weights + layer.out_features, layer.out_features, side


def _max_pool(layer: MaxPool, side: int) -> tuple[int, int, int, int]:
    return 0, 0, 0, -(-side // layer.stride)


def _pool(layer: GlobalPool, side: int) -> tuple[int, int, int, int]:
    return 0, 0, 0, 1


def _free(layer: Activation | Dropout, side: int) -> tuple[int, int, int, int]:
    return 0, 0, 0, side


_RULES: dict[type, _Rule] = {
    Conv: _conv,
    Norm: _norm,
    Activation: _free,
    SqueezeExcite: _squeeze_excite,
    MaxPool: _max_pool,
    GlobalPool: _pool,
    Dropout: _free,
    Linear: _linear,
}


def _block(block: Block, in_side: int) -> tuple[int, int, int, int]:
    """FLOPs, parameters and activations of a block, and the side of its output. `after` is activations, which are
    free."""
    flops = params = activations = 0
    side = in_side
    for layer in block.layers:
        f, p, a, side = _RULES[type(layer)](layer, side)
        flops += f
        params += p
        activations += a
    shortcut_side = in_side
    for layer in block.shortcut or ():
        f, p, a, shortcut_side = _RULES[type(layer)](layer, shortcut_side)
        flops += f
        params += p
        activations += a
    return flops, params, activations, side


def cost(arch: Arch) -> Cost:
    """FLOPs, parameters and activations of `arch` at its own resolution, exact to the unit."""
    result = []
    side = arch.resolution
    for section in sections(arch):
        in_side = side
        flops = params = activations = 0
        # The blocks after the first are one object, at one resolution (the stride sits in the first).
        repeats = len(section.blocks) - 1
        for block, copies in ((section.blocks[0], 1), (section.blocks[-1], repeats)):
            if copies:
                f, p, a, side = _block(block, side)
                flops += copies * f
                params += copies * p
                activations += copies * a
        result.append(
            SectionCost(
                name=section.name,
                flops=flops,
                params=params,
                activations=activations,
                blocks=len(section.blocks),
                channels=section.out_channels,
                in_side=in_side,
                out_side=side,
            )
        )
    return Cost(
        flops=sum(section.flops for section in result),
        params=sum(section.params for section in result),
        activations=sum(section.activations for section in result),
        sections=tuple(result),
    )
