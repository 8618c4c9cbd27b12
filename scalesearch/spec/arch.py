"""`Arch` and `Stage`: one network as a frozen record, and the layers it expands to.

A block kind is one entry of BLOCK_KINDS: a function from a stage to the blocks that realise it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, NamedTuple

from scalesearch.spec.layers import (
    Activation,
    Block,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Norm,
    SqueezeExcite,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """`repeats` blocks of one kind; the first carries the stride and the change of channels.

    `channels` are output channels; `expand` multiplies the block's input channels (MBConv); `se` is the
    squeeze-and-excitation ratio, of the block's input channels (0: none).
    """

    kind: str
    channels: int
    repeats: int = 1
    kernel: int = 3
    stride: int = 1
    expand: float = 1
    se: float = 0.0


@dataclass(frozen=True, slots=True)
class Arch:
    """One network.

    `resolution` is the side of the square input in px; `dropout` is applied before the classifier;
    `drop_path` is the stochastic-depth rate of the last block, rising linearly from 0 at the first
    (Huang et al. 2016); `norm_momentum` is the weight of the newest batch.
    """

    name: str
    resolution: int
    stem: Stage
    stages: tuple[Stage, ...]
    head: Stage | None = None
    classes: int = 1000
    in_channels: int = 3
    activation: str = "silu"
    dropout: float = 0.0
    drop_path: float = 0.0
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01

    def to_dict(self) -> dict[str, Any]:
        """A JSON- and TOML-ready dictionary; fields at their default are left out."""
        return _without_defaults(self)

    @property
    def digest(self) -> str:
        """16 hex digits that identify the network whatever its name; stable across versions and machines.

        Fields at their default do not enter, so a later field with a default leaves old digests alone.
        """
        described = {key: value for key, value in self.to_dict().items() if key != "name"}
        text = json.dumps(described, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _without_defaults(record: Arch | Stage) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        if isinstance(value, Stage):
            value = _without_defaults(value)
        elif isinstance(value, tuple):
            value = [_without_defaults(stage) for stage in value]
        elif isinstance(value, float) and value.is_integer():
            value = int(value)  # 6 and 6.0 are one network
        result[field.name] = value
    return result


class Section(NamedTuple):
    """A stage with its blocks spelled out. All blocks after the first are the same object."""

    name: str
    blocks: tuple[Block, ...]
    out_channels: int


def _conv(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """Convolution, norm, activation: stems and heads."""
    layers: tuple[Layer, ...] = (
        Conv(in_channels, stage.channels, stage.kernel, stride),
        Norm(stage.channels),
        Activation(activation),
    )
    return Block(layers)


def _mbconv(stage: Stage, in_channels: int, stride: int, activation: str) -> Block:
    """Mobile inverted bottleneck (Sandler 2018) with squeeze-and-excitation (MnasNet, Tan 2019).

    The squeeze is reduced from the block's input channels, not the expanded ones, as in the official code.
    """
    hidden = max(1, round(in_channels * stage.expand))
    norm_and_activation = (Norm(hidden), Activation(activation))
    layers: list[Layer] = []
    if stage.expand != 1:
        layers += (Conv(in_channels, hidden, 1), *norm_and_activation)
    layers += (Conv(hidden, hidden, stage.kernel, stride, groups=hidden), *norm_and_activation)
    if stage.se:
        layers.append(SqueezeExcite(hidden, max(1, int(in_channels * stage.se)), activation))
    layers += (Conv(hidden, stage.channels, 1), Norm(stage.channels))
    return Block(tuple(layers), shortcut=stride == 1 and in_channels == stage.channels)


BLOCK_KINDS: Mapping[str, Callable[[Stage, int, int, str], Block]] = {"conv": _conv, "mbconv": _mbconv}


def sections(arch: Arch) -> tuple[Section, ...]:
    """The whole network, in order: stem, stage1 …, head, classifier."""
    result: list[Section] = []
    channels = arch.in_channels
    named = [("stem", arch.stem)]
    named += [(f"stage{number}", stage) for number, stage in enumerate(arch.stages, start=1)]
    if arch.head is not None:
        named.append(("head", arch.head))
    for name, stage in named:
        expand = BLOCK_KINDS[stage.kind]
        blocks: tuple[Block, ...] = (expand(stage, channels, stage.stride, arch.activation),)
        if stage.repeats > 1:
            blocks += (expand(stage, stage.channels, 1, arch.activation),) * (stage.repeats - 1)
        channels = stage.channels
        result.append(Section(name, blocks, channels))
    classifier = Block((GlobalPool(), Dropout(arch.dropout), Linear(channels, arch.classes)))
    result.append(Section("classifier", (classifier,), arch.classes))
    return tuple(result)


__all__ = ["BLOCK_KINDS", "Arch", "Section", "Stage", "sections"]
