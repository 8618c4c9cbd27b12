"""`Arch`: one network as a frozen record, and the layers it expands to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

from scalesearch.spec.blocks import BLOCK_KINDS, Stage
from scalesearch.spec.layers import Block, Dropout, GlobalPool, Linear

FIXED = ("stem", "head", "ends")  # what a family may leave alone when it is scaled


@dataclass(frozen=True, slots=True)
class Arch:
    """One network.

    `resolution` is the side of the square input in px; `dropout` is applied before the classifier;
    `drop_path` is the stochastic-depth rate of the last block, rising linearly from 0 at the first
    (Huang et al. 2016); `norm_momentum` is the weight of the newest batch. `fixed` holds what scaling leaves alone,
    of FIXED: the channels of `stem` or `head`, and the repeats of the first and last stage (`ends`).
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
    fixed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON- and TOML-ready dictionary; fields at their default are left out."""
        return _without_defaults(self)

    @property
    def digest(self) -> str:
        """16 hex digits that identify the network whatever its name; stable across versions and machines.

        Fields at their default do not enter, so a later field with a default leaves old digests alone.
        """
        return _digest(self)


@lru_cache(maxsize=10_000)  # a search asks for those of its whole pool before every training
def _digest(arch: Arch) -> str:
    described = {key: value for key, value in arch.to_dict().items() if key not in ("name", "fixed")}
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
            value = [_without_defaults(entry) if isinstance(entry, Stage) else entry for entry in value]
        elif isinstance(value, float) and value.is_integer():
            value = int(value)  # 6 and 6.0 are one network
        result[field.name] = value
    return result


class Section(NamedTuple):
    """A stage with its blocks spelled out. All blocks after the first are the same object."""

    name: str
    blocks: tuple[Block, ...]
    out_channels: int


def sections(arch: Arch) -> tuple[Section, ...]:
    """The whole network, in order: stem, stage1 …, head, classifier."""
    result: list[Section] = []
    channels = arch.in_channels
    named = [("stem", arch.stem)]
    named += [(f"stage{number}", stage) for number, stage in enumerate(arch.stages, start=1)]
    if arch.head is not None:
        named.append(("head", arch.head))
    for name, stage in named:
        expand = BLOCK_KINDS[stage.kind].expand
        blocks: tuple[Block, ...] = (expand(stage, channels, stage.stride, arch.activation),)
        if stage.repeats > 1:
            blocks += (expand(stage, stage.channels, 1, arch.activation),) * (stage.repeats - 1)
        channels = stage.channels
        result.append(Section(name, blocks, channels))
    classifier = Block((GlobalPool(), Dropout(arch.dropout), Linear(channels, arch.classes)))
    result.append(Section("classifier", (classifier,), arch.classes))
    return tuple(result)


__all__ = ["FIXED", "Arch", "Section", "Stage", "sections"]
