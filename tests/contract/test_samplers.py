"""What every entry of SAMPLERS promises, and that those which learn from scores do learn."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesearch.search.candidates import Candidate, Interval, Shares
from scalesearch.search.samplers import (
    CORNERS,
    SAMPLERS,
    Pool,
    Seen,
    make_pool,
    propose,
    simplex_to_square,
    square_to_simplex,
)
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage

ARCH = Arch("one", 16, Stage("conv", channels=4), (Stage("mbconv", channels=4),), classes=10)
STOCHASTIC = ("random", "tpe", "qmc")  # gp has no chance left in it: its start is the anchors
PAPER = (math.log2(1.2), 2 * math.log2(1.1), 2 * math.log2(1.15))


def candidate(number: int, shares: Shares) -> Candidate:
    """A network of its own at a point of the simplex, where αβ²γ² = 2 holds exactly."""
    values = (2 ** shares[0], 2 ** (shares[1] / 2), 2 ** (shares[2] / 2))
    alpha, beta, gamma = (Interval(value, value, value) for value in values)
    arch = replace(ARCH, classes=10 + number)
    return Candidate(arch, alpha, beta, gamma, shares, flops=2_000, params=10, activations=10, ratio=2.0)


@cache
def lattice_pool(m: int) -> Pool:
    """All nodes {i/m} of the simplex."""
    nodes = [(i / m, j / m, (m - i - j) / m) for i in range(m + 1) for j in range(m + 1 - i)]
    return make_pool([candidate(number, node) for number, node in enumerate(nodes)])


POOL = lattice_pool(3)  # 10 networks: the Gaussian process is slow
WIDE = lattice_pool(4)
FIRST = list(dict.fromkeys(anchor.digest for anchor in POOL.anchors.values()))


def score_of(one: Candidate) -> float:
    """Highest at (0.25, 0.25, 0.5)."""
    return 0.9 - 0.3 * math.dist(one.shares, (0.25, 0.25, 0.5)) ** 2


def proposals(sampler: str, pool: Pool, seed: int, count: int, start: tuple[Seen, ...] = ()) -> list[Seen]:
    seen = list(start)
    while len(seen) < count:
        found = propose(sampler, pool, seen, seed)
        assert found is not None
        seen.append(Seen(found, score_of(found)))
    return seen


@cache
def everything(sampler: str, seed: int = 0) -> tuple[Seen, ...]:
    return tuple(proposals(sampler, POOL, seed, len(POOL.candidates)))


def digests(seen: tuple[Seen, ...] | list[Seen]) -> list[str]:
    return [entry.candidate.digest for entry in seen]


every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


@every_sampler
def test_the_pool_is_exhausted_exactly_once_then_none(sampler: str) -> None:
    seen = everything(sampler)
    assert sorted(digests(seen)) == sorted(one.digest for one in POOL.candidates)
    assert propose(sampler, POOL, seen, 0) is None


@every_sampler
def test_the_anchors_come_first(sampler: str) -> None:
    assert len(FIRST) == 4
    assert digests(everything(sampler))[:4] == FIRST


@every_sampler
def test_the_same_question_has_the_same_answer(sampler: str) -> None:
    whole = everything(sampler)
    for count in (0, 4, 6, 9):
        again = propose(sampler, POOL, list(whole[:count]), 0)
        assert again == propose(sampler, POOL, whole[:count], 0) == whole[count].candidate


@every_sampler
@pytest.mark.parametrize("cut", [3, 6, 8])
def test_a_resumed_sequence_equals_an_uninterrupted_one(sampler: str, cut: int) -> None:
    whole = everything(sampler)
    assert digests(proposals(sampler, POOL, 0, cut + 2, whole[:cut])) == digests(whole[: cut + 2])


@pytest.mark.parametrize("sampler", STOCHASTIC)
def test_seeds_differ(sampler: str) -> None:
    assert len({tuple(digests(proposals(sampler, WIDE, seed, 10))) for seed in range(4)}) == 4


@pytest.mark.parametrize("sampler", ["lattice", "grid"])
def test_orders_without_chance_ignore_the_seed(sampler: str) -> None:
    assert digests(everything(sampler, 0)) == digests(everything(sampler, 5))


@every_sampler
def test_running_and_failed_trials_are_neither_repeated_nor_in_the_way(sampler: str) -> None:
    seen: list[Seen] = []
    for number in range(8):
        found = propose(sampler, POOL, seen, 0)
        assert found is not None and found.digest not in digests(seen)
        running, failed = number % 3 == 1, number % 3 == 2
        seen.append(Seen(found, None if running or failed else score_of(found), running))
    # All failed, all running: still new ones.
    for entries in ([Seen(s.candidate, None) for s in seen], [Seen(s.candidate, None, running=True) for s in seen]):
        found = propose(sampler, POOL, entries, 0)
        assert found is not None and found.digest not in digests(seen)


@every_sampler
def test_a_pool_of_one_has_one_proposal(sampler: str) -> None:
    pool = make_pool(POOL.candidates[:1])
    found = propose(sampler, pool, [], 0)
    assert found == POOL.candidates[0]
    assert propose(sampler, pool, [Seen(found, 0.5)], 0) is None


def test_anchors_are_the_nearest_to_the_corners_and_to_the_paper() -> None:
    shares = {name: anchor.shares for name, anchor in WIDE.anchors.items()}
    assert {name: shares[name] for name in CORNERS} == CORNERS
    # By hand: 1.2, 1.1 and 1.15 have shares 0.263, 0.275 and 0.403 (they sum to 0.941, as 1.92027 < 2).
    assert pytest.approx((0.263, 0.275, 0.403), abs=5e-4) == PAPER
    assert shares["paper"] == (0.25, 0.25, 0.5)


def test_the_papers_anchor_is_the_box_that_holds_the_paper() -> None:
    """Nearer by its box than by its quoted point."""
    far = replace(
        WIDE.candidates[0], alpha=Interval(1.9, 1.1, 2.0), beta=Interval(1.0, 1.0, 1.2), gamma=Interval(1.3, 1.1, 1.3)
    )
    assert make_pool([*WIDE.candidates[1:], far]).anchors["paper"] == far


def test_the_lattice_covers_the_inside_early_and_ends_soon_where_points_coincide() -> None:
    """Candidates with equal shares are nearest to no node; they come last, and at once."""
    doubles = [candidate(100 + number, WIDE.candidates[5].shares) for number in range(20)]
    pool = make_pool([*WIDE.candidates, *doubles])
    found = proposals("lattice", pool, 0, 35)
    assert len(set(digests(found))) == 35
    # After the corners and the half-way points the next lattice begins in the middle: no candidate is nearer to it.
    assert min(math.dist(entry.candidate.shares, (1 / 3, 1 / 3, 1 / 3)) for entry in found[:8]) < 0.205


@given(st.floats(0, 1), st.floats(0, 1))
def test_square_to_simplex_and_back(u: float, v: float) -> None:
    shares = square_to_simplex(u, v)
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(1, abs=1e-12)
    back = simplex_to_square(shares)
    assert all(0 <= value <= 1 for value in back.values())
    assert back["u"] == pytest.approx(u, abs=1e-9)
    if u > 1e-6:  # at u = 0 every v is the same corner
        assert back["v"] == pytest.approx(v, abs=1e-6)


def test_uniform_in_the_square_is_uniform_on_the_simplex() -> None:
    """On a uniform simplex each share is Beta(1, 2): P(share > t) = (1 − t)², whichever the share."""
    points = [square_to_simplex((i + 0.5) / 300, (j + 0.5) / 300) for i in range(300) for j in range(300)]
    for axis in range(3):
        for t in (0.1, 0.25, 0.5, 0.8):
            beyond = sum(point[axis] > t for point in points) / len(points)
            assert beyond == pytest.approx((1 - t) ** 2, abs=0.01)


def far_from_the_anchors(one: Candidate) -> float:
    return 0.9 - 0.3 * math.dist(one.shares, (0.15, 0.55, 0.3)) ** 2


def proposals_until_the_best(sampler: str, pool: Pool, seed: int, limit: int) -> int:
    best = max(pool.candidates, key=far_from_the_anchors).digest
    seen: list[Seen] = []
    while len(seen) < limit:
        found = propose(sampler, pool, seen, seed)
        assert found is not None
        seen.append(Seen(found, far_from_the_anchors(found)))
        if found.digest == best:
            break
    return len(seen)


@pytest.mark.parametrize(("sampler", "m", "seeds", "share"), [("tpe", 13, 8, 0.7), ("gp", 7, 2, 0.8)])
def test_samplers_that_learn_find_the_best_sooner_than_chance(sampler: str, m: int, seeds: int, share: float) -> None:
    """Chance draws without repeats: the best of n comes at (n + 1) / 2 on average, whatever the seed."""
    pool = lattice_pool(m)
    assert max(pool.candidates, key=far_from_the_anchors).digest not in {
        anchor.digest for anchor in pool.anchors.values()
    }
    count = len(pool.candidates)
    taken = [proposals_until_the_best(sampler, pool, seed, count) for seed in range(seeds)]
    assert sum(taken) / seeds < share * (count + 1) / 2, taken
