"""RegNet: a whole network's stages from five numbers (Radosavovic et al. 2020, section 3.3)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scalesearch.spec.blocks import Stage
from scalesearch.spec.options import Grid, Options


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
        widths.append(_width(numbers.w0, numbers.wm, power))
    stages = []
    for width, blocks in itertools.groupby(widths):
        channels, group = _grouped(width, numbers.group_width)
        stages.append(
            Stage(
                "bottleneck",
                channels=channels,
                repeats=len(list(blocks)),
                stride=numbers.stride,
                se=numbers.se,
                group_width=group,
            )
        )
    return tuple(stages)


def regnet_numbers(stages: Sequence[Stage], like: RegNet, options: Mapping[str, Options]) -> RegNet | None:
    """Numbers that `regnet_stages` makes these stages of, each from its options or else as in `like`; None if none do.

    Many do: of the slopes that serve, the middle one is taken. Each width and multiplier leaves an interval of slopes,
    because every block's power of `wm` is known from its stage's width.
    """
    free: dict[str, Options] = {"w0": (like.w0,), "wa": (like.wa,), "wm": (like.wm,), **options}
    known = replace(like, depth=sum(stage.repeats for stage in stages), se=stages[0].se)
    for group_width in map(int, options.get("group_width", (like.group_width,))):
        widths = [_before_grouping(stage, group_width) for stage in stages]
        if not all(widths):
            continue
        starts = [w0 for w0 in map(int, free["w0"]) if _width(w0, 1.0, 0) in widths[0]]
        for w0, wm in itertools.product(starts, free["wm"]):
            for low, high in _slopes(stages, widths, w0, wm):
                for wa in _between(free["wa"], low, high):
                    found = replace(known, w0=w0, wa=wa, wm=wm, group_width=group_width)
                    if regnet_stages(found) == tuple(stages):
                        return found
    return None


def _width(w0: int, wm: float, power: int) -> int:
    """The quantised width, before it meets the group width."""
    return round(w0 * wm**power / 8) * 8


def _grouped(width: int, group_width: int) -> tuple[int, int]:
    """Channels and channels per group."""
    group = min(group_width, width)
    return max(group, round(width / group) * group), group


def _before_grouping(stage: Stage, group_width: int) -> set[int]:
    """The widths that become this stage's channels and group width."""
    near = range(max(8, (stage.channels - group_width) // 8 * 8), stage.channels + group_width + 8, 8)
    return {width for width in near if _grouped(width, group_width) == (stage.channels, stage.group_width)}


def _slopes(stages: Sequence[Stage], widths: Sequence[set[int]], w0: int, wm: float) -> Iterator[tuple[float, float]]:
    """The intervals of `wa` that give each stage one of its widths, and as many blocks as it has."""
    most = math.ceil(math.log(max(map(max, widths)) / w0 + 1) / math.log(wm)) + 1
    powers: dict[int, list[int]] = {}
    for power in range(most + 1):
        powers.setdefault(_width(w0, wm, power), []).append(power)
    for combination in itertools.product(*(sorted(own & powers.keys()) for own in widths)):
        low, high, first = 0.0, math.inf, 0
        for width, stage in zip(combination, stages, strict=True):
            last = first + stage.repeats - 1
            own = powers[width]
            if first == 0 and own[0] != 0:
                break
            if first:
                low = max(low, w0 * (wm ** (own[0] - 0.5) - 1) / first)
            if last:
                high = min(high, w0 * (wm ** (own[-1] + 0.5) - 1) / last)
            first = last + 1
        else:
            if low <= high:
                yield low, high


def _between(options: Options, low: float, high: float) -> list[float]:
    """Options in an interval: of a list, all; of a grid the middle one, then the ends."""
    if not isinstance(options, Grid):
        return [value for value in options if low <= value <= high]
    first = max(0, math.ceil((low - options.low) / options.step))
    last = min(len(options) - 1, options.index(min(high, options.high)))
    return [options[index] for index in ((first + last) // 2, first, last)] if first <= last else []
