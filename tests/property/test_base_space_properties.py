"""What holds of every point of every shipped space."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_space, shipped_spaces
from scalesearch.spec.schema import read_arch

FOUND = [load_space(name).search for name in shipped_spaces()]
SPACES = st.sampled_from([space for space in FOUND if space is not None])
SEEDS = st.integers(0, 2**32)


@given(SPACES, SEEDS)
def test_encode_gives_back_the_network_and_settles(space: BaseSpace, seed: int) -> None:
    arch = space.decode(space.sample(random.Random(seed)))
    found = space.encode(arch)
    assert found is not None
    assert space.decode(found) == arch
    assert space.encode(space.decode(found)) == found


@given(SPACES, SEEDS)
def test_every_point_is_a_network_that_a_file_can_hold(space: BaseSpace, seed: int) -> None:
    arch = space.decode(space.sample(random.Random(seed)))
    faults: list[str] = []
    assert read_arch(arch.to_dict(), "", faults) == arch, faults
    assert cost(arch).flops > 0
    assert arch.name == f"{space.name}-{arch.digest}"


@given(SPACES, SEEDS)
def test_a_mutation_changes_exactly_one_choice_and_the_network(space: BaseSpace, seed: int) -> None:
    rng = random.Random(seed)
    point = space.sample(rng)
    other = space.mutate(point, rng)
    assert sum(one != two for one, two in zip(point, other, strict=True)) == 1
    assert space.decode(point).digest != space.decode(other).digest


@given(SPACES, SEEDS)
def test_the_generator_decides_everything(space: BaseSpace, seed: int) -> None:
    def walk() -> list[tuple[int, ...]]:
        rng = random.Random(seed)
        one, other = space.sample(rng), space.sample(rng)
        return [one, other, space.mutate(one, rng)]

    assert walk() == walk()


@settings(max_examples=30)
@given(SPACES, SEEDS)
def test_values_and_points_name_each_other(space: BaseSpace, seed: int) -> None:
    point = space.sample(random.Random(seed))
    values = space.values(point)
    assert list(values) == list(space.choices)
    for (path, options), index in zip(space.choices.items(), point, strict=True):
        assert values[path] == options[index]
