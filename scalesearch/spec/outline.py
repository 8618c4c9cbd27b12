"""A network in a few words, for tables: what is known of an `Arch` by stage, and of a factory's network at all."""

from __future__ import annotations

from scalesearch.spec.factory import AnyArch, FactoryArch


def repeats(arch: AnyArch) -> str:
    """Repeats per stage, spaced: dashes would make a date of them in a spreadsheet. Of a factory, its multiplier."""
    if isinstance(arch, FactoryArch):
        return f"× {arch.depth:g}"
    return " ".join(str(stage.repeats) for stage in arch.stages)


def channels(arch: AnyArch, ends: bool = True) -> str:
    """Channels of the stages, and of stem and head unless `ends` is False. Of a factory, its multiplier."""
    if isinstance(arch, FactoryArch):
        return f"× {arch.width:g}"
    stages = [arch.stem, *arch.stages, *([] if arch.head is None else [arch.head])] if ends else arch.stages
    return " ".join(str(stage.channels) for stage in stages)


def blocks(arch: AnyArch) -> int | None:
    """How many, or None: what a block is, only the factory knows."""
    return None if isinstance(arch, FactoryArch) else sum(stage.repeats for stage in arch.stages)
