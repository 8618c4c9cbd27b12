"""The interval of a share that was counted."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    """Of a share found in `count` draws (Wilson 1927): its ends are where a test would just keep the share."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    shrink = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / shrink
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / shrink
    return (0.0 if share == 0 else middle - half), (1.0 if share == 1 else middle + half)
