"""The cost of a network without tensors: one rule per layer record, summed.

FLOPs are multiply-adds of convolutions and linear layers for one image (`units.FLOPS_DEFINITION`);
activations are the output elements of those layers, as Radosavovic et al. (2020) count them;
parameters are the trainable ones (batch-norm statistics are not).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scalesearch.spec.arch import sections
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.layers import (
    Activation,
    AvgPool,
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
    """Cost of a network for one image, and of each of its sections (none are known of a factory's network)."""

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


def _window_pool(layer: MaxPool | AvgPool, side: int) -> tuple[int, int, int, int]:
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
    MaxPool: _window_pool,
    AvgPool: _window_pool,
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


# A factory's networks cannot be summed from records: they are built and counted, once each.
_counted: dict[str, dict[str, Cost]] = {}  # by fingerprint, then digest
_counters: dict[str, Callable[[FactoryArch], Cost]] = {}  # by spelling: factories whose code may run here


def count_by(factory: str, counter: Callable[[FactoryArch], Cost]) -> None:
    """Let `cost` count the networks of `factory`, whose code a person has asked to run."""
    _counters[factory] = counter


def counted(fingerprint: str) -> dict[str, list[int]]:
    """What is counted of a factory's networks, by digest: FLOPs, parameters, activations; for `remember`."""
    known = _counted.get(fingerprint, {})
    return {digest: [found.flops, found.params, found.activations] for digest, found in known.items()}


def remember(fingerprint: str, table: Mapping[str, list[int]]) -> None:
    """Take over the counts that a run of a factory has stored, so that reading it runs no code."""
    known = _counted.setdefault(fingerprint, {})
    for digest, (flops, params, activations) in table.items():
        known.setdefault(digest, Cost(flops, params, activations, ()))


def _count(arch: FactoryArch) -> Cost:
    known = _counted.setdefault(arch.fingerprint, {})
    found = known.get(arch.digest)
    if found is None:
        if arch.factory not in _counters:
            raise SettingsError(
                f"{arch.name}: depth × {arch.depth:g}, width × {arch.width:g} at {arch.resolution} px is not counted "
                f"yet, and counting it would run the code of {arch.factory}; a command that may do so says "
                f"--base {arch.factory}"
            )
        found = known[arch.digest] = _counters[arch.factory](arch)
    return found


def cost(arch: AnyArch) -> Cost:
    """FLOPs, parameters and activations of `arch` at its own resolution, exact to the unit.

    Raises SettingsError for a factory's network that is neither counted yet nor allowed to run its code here.
    """
    if isinstance(arch, FactoryArch):
        return _count(arch)
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
