"""RegNet: a whole network's stages from five numbers (Radosavovic et al. 2020, section 3.3)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from scalesearch.spec.blocks import Stage


@dataclass(frozen=True, slots=True)
class RegNet:
    """Blocks `depth`, initial width `w0`, slope `wa`, width multiplier `wm`, channels per group, and RegNetY's `se`.

    The bottleneck ratio is 1, as in all published models; `stride` is each stage's.
    """

    depth: int
    w0: int
    wa: float
    wm: float
    group_width: int
    se: float = 0.0
    stride: int = 2


def regnet_stages(numbers: RegNet) -> tuple[Stage, ...]:
    """The stages: linear block widths u_j = w0 + wa·j, quantised to w0·wm^k and to multiples of 8 (equations 2 to 4).

    Blocks of one width are a stage. Where the group width does not divide a width, the width goes to its nearest
    multiple, as in pycls (models/regnet.py, models/anynet.py: halves to the even neighbour).
    """
    widths = []
    for block in range(numbers.depth):
        linear = numbers.w0 + numbers.wa * block
        power = round(math.log(linear / numbers.w0) / math.log(numbers.wm))
        widths.append(round(numbers.w0 * numbers.wm**power / 8) * 8)
    stages = []
    for width, blocks in itertools.groupby(widths):
        group = min(numbers.group_width, width)
        stages.append(
            Stage(
                "bottleneck",
                channels=max(group, round(width / group) * group),
                repeats=len(list(blocks)),
                stride=numbers.stride,
                se=numbers.se,
                group_width=group,
            )
        )
    return tuple(stages)
