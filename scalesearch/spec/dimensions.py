"""How much of a network's growth each dimension brought: realised doublings, in place of requested ones."""

from __future__ import annotations

import math
from dataclasses import replace

from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.factory import AnyArch, FactoryArch


def dimension_logs(base: AnyArch, arch: AnyArch) -> tuple[float, float, float]:
    """log2 of what the depth, the width and the side of `arch`, each alone, do to the base's FLOPs.

    `arch` must have the base's stages, or be of its factory. After rounding, this is how many doublings each dimension
    was given.
    """
    start = cost(base).flops
    alone = (*_deeper_and_wider(base, arch), replace(base, resolution=arch.resolution))
    depth, width, resolution = (math.log2(cost(single).flops / start) for single in alone)
    return depth, width, resolution


def _deeper_and_wider(base: AnyArch, arch: AnyArch) -> tuple[AnyArch, AnyArch]:
    if isinstance(base, FactoryArch) and isinstance(arch, FactoryArch):
        return replace(base, depth=arch.depth), replace(base, width=arch.width)
    assert isinstance(base, Arch) and isinstance(arch, Arch)
    pairs = list(zip(base.stages, arch.stages, strict=True))
    deeper = tuple(replace(own, repeats=other.repeats) for own, other in pairs)
    wider = tuple(replace(other, repeats=own.repeats) for own, other in pairs)
    return replace(base, stages=deeper), replace(base, stem=arch.stem, head=arch.head, stages=wider)
