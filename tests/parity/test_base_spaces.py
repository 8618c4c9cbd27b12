"""The cost model against fvcore on networks that a search of the base may propose."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from scalesearch.nets.build import build
from scalesearch.nets.count import checked_flops, count_torch
from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_space, shipped_spaces

SEARCHED = [name for name in shipped_spaces() if load_space(name).search is not None]


def search(name: str) -> BaseSpace:
    found = load_space(name).search
    assert found is not None
    return found


@pytest.mark.parametrize("name", SEARCHED)
def test_counters_agree_on_random_points(name: str) -> None:
    space, rng = search(name), random.Random(name)
    for _ in range(3):
        arch = replace(space.decode(space.sample(rng)), resolution=33)  # a side that no stride divides
        assert cost(arch).flops == checked_flops(arch) == count_torch(arch)
        with torch.device("meta"):
            network = build(arch)
        assert sum(parameter.numel() for parameter in network.parameters()) == cost(arch).params


@pytest.mark.parametrize("skip", ["identity", "none", "pool"])
def test_counters_agree_whatever_the_skip(skip: str) -> None:
    """MnasNet's space with this skip, and stages of as many channels as they read, so that it matters."""
    space = search("mnasnet")
    arch = space.decode(space.sample(random.Random(4)))
    stages = tuple(replace(stage, skip=skip, channels=32, repeats=2) for stage in arch.stages)
    arch = replace(arch, stages=stages, resolution=65)
    assert cost(arch).flops == checked_flops(arch) == count_torch(arch)
    network = build(arch).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 3, 65, 65)).shape == (2, 1000)
