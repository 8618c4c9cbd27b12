"""Lists and grids of options: draws, moves, distances."""

from __future__ import annotations

import math
import random

import pytest

from scalesearch.spec.options import Grid, beside, changed, drawn, place_of, spelled

SLOPES = Grid(8, 256, 0.01, log=True)  # RegNet's wa
WIDTHS = Grid(8, 320, 8)


def test_a_grid_holds_its_numbers_as_they_are_printed() -> None:
    assert (len(SLOPES), SLOPES[0], SLOPES[len(SLOPES) - 1]) == (24_801, 8, 256)
    assert place_of(SLOPES, 36.44) == 2844
    assert SLOPES[2844] == 36.44
    assert [type(value) for value in (WIDTHS[1], SLOPES[1])] == [int, float]
    assert list(Grid(1, 2, 0.25)) == [1, 1.25, 1.5, 1.75, 2]


def test_what_is_off_a_grid_or_past_its_ends_has_no_place() -> None:
    assert [place_of(WIDTHS, value) for value in (7, 8, 12, 16, 320, 328, 0)] == [None, 0, None, 1, 39, None, None]
    assert place_of((3, 5), 4) is None
    assert place_of((0, 0.25), 0.0) == 0
    for index in (-1, 40):
        with pytest.raises(IndexError):
            WIDTHS[index]


def test_draws_are_uniform_in_the_grids_own_scale() -> None:
    """Half of the draws lie below the geometric mean of the ends, or below their arithmetic mean."""
    rng = random.Random(0)
    logarithmic = [SLOPES[SLOPES.drawn(rng)] for _ in range(4_000)]
    linear = [WIDTHS[WIDTHS.drawn(rng)] for _ in range(4_000)]
    for values, middle in ((logarithmic, math.sqrt(8 * 256)), (linear, 164)):
        below = sum(value < middle for value in values)
        assert abs(below - 2_000) < 4 * math.sqrt(1_000)  # four standard deviations of a fair coin
    assert (min(linear), max(linear)) == (8, 320)


def test_each_option_of_a_list_is_as_likely() -> None:
    rng = random.Random(1)
    counts = [0, 0, 0]
    for _ in range(3_000):
        counts[drawn((1, 4, 6), rng)] += 1
    assert all(abs(count - 1_000) < 4 * math.sqrt(3_000 * 2 / 9) for count in counts)


@pytest.mark.parametrize("options", [(3, 5), (1, 4, 6), WIDTHS, SLOPES, Grid(2, 2.01, 0.01)])
def test_a_change_is_another_option(options: tuple[int, ...] | Grid) -> None:
    rng = random.Random(2)
    for _ in range(200):
        index = drawn(options, rng)
        other = changed(options, index, rng)
        assert other != index
        assert 0 <= other < len(options)


def test_changes_on_a_grid_are_near() -> None:
    """Normally distributed, a tenth of the extent wide: about 68 % lie within it."""
    rng = random.Random(3)
    middle = SLOPES.index(math.sqrt(8 * 256))
    drawn = (SLOPES[changed(SLOPES, middle, rng)] for _ in range(2_000))
    moves = [abs(math.log(value / SLOPES[middle])) / math.log(256 / 8) for value in drawn]
    assert 0.64 < sum(move < 0.1 for move in moves) / 2_000 < 0.72


def test_what_lies_beside_an_option() -> None:
    assert beside((3, 5, 7), 1) == [0, 2]
    assert sorted(beside(WIDTHS, 3)) == [1, 2, 4, 5, 7, 11, 19, 35]


def test_options_in_words() -> None:
    assert spelled((0, 0.25)) == "0, 0.25"
    assert spelled(({"kind": "mbconv", "expand": 3}, {"kind": "conv"})) == "mbconv expand 3, conv"
    assert spelled(SLOPES) == "8 to 256 by 0.01, logarithmic"
    assert spelled(WIDTHS) == "8 to 320 by 8"
