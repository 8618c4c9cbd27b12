"""Training-step time and peak memory: measurements, so only what holds on every machine is asked of them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from scalesearch.fit.memory import peak_resident_bytes, reset_peak, resident_bytes
from scalesearch.fit.recipe import Recipe
from scalesearch.fit.speed import measure_train_step, train_step_seconds
from scalesearch.search.executor import in_fresh_process
from scalesearch.spec.arch import Arch, Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError, TrainingError

NET = Arch("net", 16, Stage("conv", 8), (Stage("mbconv", 8, se=0.25),), classes=10)
# Nearly all of it is one matrix of 512 · 20,000.
WIDE = replace(NET, name="wide", head=Stage("conv", 512, kernel=1), classes=20_000)
RECIPE = Recipe(epochs=1, batch=4)


def test_what_is_reported() -> None:
    found = measure_train_step(NET, RECIPE, warmup=1, repeats=4)
    assert 0 < found.p10_s <= found.median_s <= found.p90_s
    assert found.images_per_second == pytest.approx(4 / found.median_s)
    assert (found.device, found.threads, found.batch, found.warmup, found.repeats) == ("cpu", 1, 4, 1, 4)


def test_peak_memory_holds_what_training_must_hold() -> None:
    """Weights, gradients, momentum and weight average: four times 4 bytes per parameter."""
    least = 16 * cost(WIDE).params
    found = in_fresh_process(measure_train_step, WIDE, RECIPE, "cpu", 1, 1, 2)
    assert least < found.peak_memory < 2.5 * least


BALLAST = """
import json, sys
from dataclasses import asdict
sys.path.insert(0, "tests/unit")
if __name__ == "__main__":
    from test_speed import NET, RECIPE
    from scalesearch.fit.speed import measure_train_step
    from scalesearch.search.executor import in_fresh_process
    ballast = bytearray(b"x" * 700_000_000)
    print(json.dumps(asdict(in_fresh_process(measure_train_step, NET, RECIPE, "cpu", 1, 1, 2))))
"""


def test_what_the_parent_holds_does_not_count(request: pytest.FixtureRequest) -> None:
    """Linux hands a parent's ru_maxrss on to what it starts."""
    done = subprocess.run(
        [sys.executable, "-c", BALLAST], cwd=request.config.rootpath, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peak_memory"] < 200e6
    assert set(json.loads(done.stdout)) == set(asdict(measure_train_step(NET, RECIPE, repeats=1)))


def test_larger_batches_take_more_memory() -> None:
    wider = replace(NET, resolution=64)
    small, large = (
        in_fresh_process(measure_train_step, wider, replace(RECIPE, batch=batch), "cpu", 1, 1, 1).peak_memory
        for batch in (16, 128)
    )
    assert large > 3 * small


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can let the peak begin anew")
def test_the_peak_begins_anew() -> None:
    ballast = bytearray(b"x" * 300_000_000)
    assert peak_resident_bytes() >= len(ballast)
    before = resident_bytes()
    del ballast
    reset_peak()
    assert peak_resident_bytes() < before - 200_000_000


def test_networks_take_turns() -> None:
    found = train_step_seconds((NET, replace(NET, resolution=32)), RECIPE, "cpu", 1, 3, 0.0)
    assert [len(times) for times in found] == [3, 3]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threads": 0}, "train step: threads must be at least 1, got 0; raise it"),
        ({"repeats": 0}, "train step: repeats must be at least 1, got 0; raise it"),
        ({"warmup": -1}, "train step: warmup must be at least 0, got -1; raise it"),
        ({"recipe": Recipe(epochs=1, batch=0)}, "train step: batch must be at least 1, got 0; raise it"),
        ({"device": "gpu"}, "train step: device must be 'cpu' or a CUDA device that PyTorch has here"),
    ],
)
def test_faults_are_told(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        measure_train_step(**{"arch": NET, "recipe": RECIPE, **given})  # type: ignore[arg-type]
    assert str(caught.value).startswith(words)


def test_memory_that_does_not_suffice() -> None:
    huge = replace(NET, head=Stage("conv", 100_000, kernel=1), classes=10**9)
    with pytest.raises(TrainingError, match=r"^out of memory with batches of 4: .*; give a smaller --batch$"):
        measure_train_step(huge, RECIPE)
    with pytest.raises(TrainingError, match=r"^out of memory with batches of 4: .*; lower --set batch$"):
        train_step_seconds((NET, huge), RECIPE, "cpu", 1, 1, 0.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_counts_what_pytorch_allocated() -> None:
    found = in_fresh_process(measure_train_step, WIDE, RECIPE, "cuda", 1, 1, 2)
    assert 16 * cost(WIDE).params < found.peak_memory < 80 * cost(WIDE).params
