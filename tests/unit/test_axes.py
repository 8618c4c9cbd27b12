"""The axes: their names in files and sentences."""

from __future__ import annotations

import pytest

from scalesearch.spec.axes import AXES, MEASURED
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch


def test_which_there_are() -> None:
    assert list(AXES) == ["flops", "params", "activations", "latency", "train_step", "memory"]
    assert [axis.name for axis in MEASURED] == ["latency", "train_step", "memory"]
    assert [axis.column for axis in MEASURED] == ["latency_ms", "train_step_ms", "memory_mb"]


def test_the_others_are_fields_of_the_cost_model() -> None:
    found = cost(load_arch("efficientnet_b0"))
    # tests/golden/complexity.csv
    values = {name: getattr(found, name) for name, axis in AXES.items() if not axis.measured}
    assert values == {"flops": 385_814_752, "params": 5_288_548, "activations": 6_748_036}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("flops", 385_814_752, "385.8M FLOPs"),
        ("params", 5_288_548, "5.289M parameters"),
        ("activations", 6_748_036, "6.748M activations"),
        ("latency", 0.0032149, "3.215 ms"),
        ("train_step", 1.8, "1800 ms"),
        ("memory", 4.2e9, "4200 MB"),
    ],
)
def test_values_in_sentences(name: str, value: float, words: str) -> None:
    assert AXES[name].spell(value) == words
