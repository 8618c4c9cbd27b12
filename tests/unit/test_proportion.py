"""The interval of a share against published ones."""

from __future__ import annotations

import pytest

from scalesearch.spec.proportion import wilson


@pytest.mark.parametrize(
    ("hits", "draws", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), Table I, method 3 (score, without continuity correction)
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval(hits: int, draws: int, low: float, high: float) -> None:
    assert wilson(hits / draws, draws, 0.95) == pytest.approx((low, high), abs=5e-5)
    assert wilson((draws - hits) / draws, draws, 0.95) == pytest.approx((1 - high, 1 - low), abs=5e-5)
