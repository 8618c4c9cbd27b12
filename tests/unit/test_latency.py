"""Latency: a measurement, so only what holds on every machine is asked of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scalesearch.nets.latency import measure_latency
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError

SMALL = Arch("small", 16, Stage("conv", 8), (Stage("conv", 8),), classes=10)
LARGE = replace(SMALL, name="large", resolution=160, stem=Stage("conv", 32), stages=(Stage("conv", 64),))


def test_what_is_reported() -> None:
    found = measure_latency(SMALL, batch=2, warmup=1, repeats=12)
    assert 0 < found.p10_s <= found.median_s <= found.p90_s
    assert (found.device, found.threads, found.batch, found.repeats) == ("cpu", 1, 2, 12)


def test_one_repeat_has_no_spread() -> None:
    found = measure_latency(SMALL, warmup=0, repeats=1)
    assert 0 < found.p10_s == found.median_s == found.p90_s


def test_the_callers_threads_come_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert measure_latency(SMALL, threads=1, warmup=0, repeats=2).threads == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_much_larger_network_is_slower() -> None:
    assert cost(LARGE).flops > 1_000 * cost(SMALL).flops
    # Fast passes against fast passes: a busy machine only makes some of them longer.
    assert measure_latency(LARGE, repeats=11).p10_s > measure_latency(SMALL, repeats=41).p10_s


@pytest.mark.parametrize(("option", "low"), [("threads", 1), ("batch", 1), ("repeats", 1), ("warmup", 0)])
def test_numbers_too_small(option: str, low: int) -> None:
    with pytest.raises(SettingsError) as raised:
        measure_latency(SMALL, **{option: low - 1})  # type: ignore[arg-type]
    assert str(raised.value) == f"latency: {option} must be at least {low}, got {low - 1}; raise it"


@pytest.mark.parametrize("device", ["meta", "mps", "gpu", "cuda:99"])
def test_devices_that_cannot_be_timed(device: str) -> None:
    with pytest.raises(SettingsError) as raised:
        measure_latency(SMALL, device=device)
    found = torch.cuda.device_count()
    assert str(raised.value) == (
        f"latency: device must be 'cpu' or a CUDA device that PyTorch has here ({found} found), "
        f"got {device!r}; use 'cpu'"
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_waits_for_the_result() -> None:
    found = measure_latency(LARGE, device="cuda", batch=64, repeats=11)
    assert found.device == "cuda"
    # 31 GFLOPs cannot be done at 1e15 per second or more; a mere launch would seem to do it.
    assert found.median_s > 64 * cost(LARGE).flops / 1e15
