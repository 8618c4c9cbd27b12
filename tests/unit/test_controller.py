"""MnasNet's controller against bandits, and its state as a function of the rewards alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from scalesearch.search.controller import BATCH, Batch, Controller, sample_controller

SIZES = (3, 2, 4)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_fresh_controller_takes_every_option_as_likely() -> None:
    drawn = [sample_controller(SIZES, (), 0, draw) for draw in range(600)]
    for place, size in enumerate(SIZES):
        counts = Counter(point[place] for point in drawn)
        assert set(counts) == set(range(size))
        assert max(counts.values()) < 1.35 * 600 / size


def test_log_probability_and_entropy_are_those_of_the_draws() -> None:
    """Untrained, every option of 3, 2 and 4 is as likely: log 1/24, and log 24."""
    logs, entropy = Controller(SIZES)(torch.tensor([[0, 0, 0], [2, 1, 3]]))
    expected = torch.full((2,), 24.0).log()
    assert torch.allclose(logs, -expected) and torch.allclose(entropy, expected)


def learned(reward: dict[tuple[int, ...], float] | None, updates: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Draws after `updates` on batches of its own draws; without a reward they are noise."""
    batches: tuple[Batch, ...] = ()
    noise = random.Random(seed)
    for update in range(updates):
        points = [sample_controller(SIZES, batches, seed, BATCH * update + index) for index in range(BATCH)]
        own = [(point, noise.random() if reward is None else reward.get(point[:1], 0.0)) for point in points]
        batches = (*batches, tuple(own))
    return [sample_controller(SIZES, batches, seed, 10_000 + draw) for draw in range(100)]


def test_it_learns_a_bandit() -> None:
    """Only the first choice pays, and only its last option."""
    drawn = learned({(2,): 1.0}, 25)
    assert sum(point[0] == 2 for point in drawn) > 80


def test_its_choice_may_depend_on_the_choices_before() -> None:
    """The second choice pays where it differs from the first, of two options each."""
    batches: tuple[Batch, ...] = ()
    for update in range(40):
        points = [sample_controller((2, 2), batches, 1, BATCH * update + index) for index in range(BATCH)]
        batches = (*batches, tuple((point, float(point[0] != point[1])) for point in points))
    drawn = [sample_controller((2, 2), batches, 1, 10_000 + draw) for draw in range(100)]
    assert sum(point[0] != point[1] for point in drawn) > 80


def test_its_state_follows_from_the_rewards_however_it_was_come_to() -> None:
    """From the start, from a prefix, after another search, and with empty batches between."""
    rng = random.Random(3)
    batches: tuple[Batch, ...] = tuple(
        tuple((tuple(rng.randrange(size) for size in SIZES), rng.random()) for _ in range(BATCH)) for _ in range(6)
    )
    whole = [sample_controller(SIZES, batches, 4, draw) for draw in range(20)]
    sample_controller(SIZES, (), 9, 0)  # another search takes its place
    for end in (2, 5, 6):
        sample_controller(SIZES, batches[:end], 4, 0)
    assert [sample_controller(SIZES, batches, 4, draw) for draw in range(20)] == whole
    sample_controller(SIZES, (), 9, 0)
    assert [sample_controller(SIZES, (*batches, ()), 4, draw) for draw in range(20)] == whole
    assert [sample_controller(SIZES, batches[:3], 4, draw) for draw in range(20)] != whole


def test_torchs_own_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    sample_controller(SIZES, ((((0, 0, 0), 1.0), ((1, 1, 1), 0.0)),), 0, 5)
    assert torch.equal(torch.rand(3), expected)
