"""Zero-cost scores against sums done by hand, and what must not change them."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scalesearch.fit.data import DataRequest, Dataset, load_dataset
from scalesearch.fit.zero_cost import ZERO_COST, fixed_batch, score_network
from scalesearch.nets.build import Residual, build, start_as_identity
from scalesearch.search.executor import HereExecutor
from scalesearch.search.zero_cost import checked, score_networks
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, TrainingError
from scalesearch.spec.files import load_arch

NET = Arch(
    name="net",
    resolution=16,
    stem=Stage("conv", channels=8, stride=2),
    stages=(
        Stage("mbconv", channels=8, se=0.25),
        Stage("mbconv", channels=12, repeats=2, stride=2, expand=3, se=0.25),
    ),
    head=Stage("conv", channels=32, kernel=1),
    classes=10,
    in_channels=1,
    dropout=0.2,
    drop_path=0.2,
)


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return load_dataset(DataRequest("digits", size=16), cache)


@pytest.fixture(scope="module")
def batch(digits: Dataset) -> tuple[Tensor, Tensor]:
    return fixed_batch(digits.folder, 32, 16)


def score(name: str, network: nn.Module, images: Tensor, labels: Tensor | None = None, seed: int = 0) -> float:
    torch.manual_seed(seed)
    return ZERO_COST[name](network, images, torch.zeros(len(images), dtype=torch.long) if labels is None else labels)


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


# synflow


def test_synflow_of_two_layers_is_twice_the_sum_over_paths() -> None:
    """Ones through |W1| = [[1, 2], [3, 0]] are (3, 3), through |W2| = [[1, 2]] they are 9: two layers, each with 9."""
    network = nn.Sequential(nn.Flatten(), linear([1.0, -2.0], [-3.0, 0.0]), linear([-1.0, 2.0]))
    assert score("synflow", network, torch.randn(4, 2, 1, 1)) == pytest.approx(math.log(18))


def test_synflow_leaves_norms_activations_and_gates_out() -> None:
    layers = [linear([1.0, -2.0], [-3.0, 0.0]), linear([-1.0, 2.0])]
    norm = nn.BatchNorm1d(2)
    norm.running_var.fill_(7.0)  # type: ignore[union-attr]
    network = nn.Sequential(nn.Flatten(), layers[0], norm, nn.SiLU(), nn.Dropout(0.5), layers[1])
    assert score("synflow", network, torch.randn(4, 2, 1, 1)) == pytest.approx(math.log(18))


def test_synflow_of_a_residual_block() -> None:
    """Weight 2, then a shortcut beside weight −3: R = 2·(1 + 3), of which 8 flow through the 2 and 6 through the 3."""
    inner = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    first = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(first.weight, 2.0)
    nn.init.constant_(inner[0].weight, -3.0)
    network = nn.Sequential(first, Residual(inner, None, nn.Sequential(), 0.5), nn.Flatten())
    assert score("synflow", network, torch.randn(4, 1, 1, 1)) == pytest.approx(math.log(14))


def test_synflow_of_three_hundred_layers_is_no_overflow() -> None:
    """Each layer sums eight equal inputs: R = 8^301, far past float32, and each layer carries all of it."""
    layers = [nn.Linear(8, 8, bias=False) for _ in range(300)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    found = score("synflow", nn.Sequential(nn.Flatten(), *layers), torch.randn(2, 8, 1, 1))
    assert found == pytest.approx(math.log(300) + 301 * math.log(8))


# NASWOT


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_naswot_of_two_images(activation: type[nn.Module]) -> None:
    """Codes 101 and 110 differ in two of three units: K = [[3, 1], [1, 3]], det K = 8."""
    images = torch.tensor([[1.0, -1.0, 1.0], [2.0, 0.5, -3.0]]).view(2, 3, 1, 1)
    assert score("naswot", nn.Sequential(nn.Flatten(), activation()), images) == pytest.approx(math.log(8))


def test_naswot_counts_every_activation() -> None:
    """The second ReLU sees the same signs: K doubles, det K = 4 · 8."""
    images = torch.tensor([[1.0, -1.0, 1.0], [2.0, 0.5, -3.0]]).view(2, 3, 1, 1)
    assert score("naswot", nn.Sequential(nn.ReLU(), nn.ReLU()), images) == pytest.approx(math.log(32))


# gradients of the loss


def regression(classes: int = 3) -> tuple[nn.Sequential, Tensor, Tensor, np.ndarray[Any, Any]]:
    """A linear model, a batch, and dL/dW = mean (softmax(Wx) − y) xᵀ in numpy."""
    rng = np.random.default_rng(0)
    weight, x, y = rng.normal(size=(classes, 4)), rng.normal(size=(6, 4)), rng.integers(0, classes, 6)
    logits = x @ weight.T
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = (chances - np.eye(classes)[y]).T @ x / len(x)
    network = nn.Sequential(nn.Flatten(), linear(*weight.astype(np.float32).tolist()))
    return network, torch.tensor(x, dtype=torch.float32).view(6, 4, 1, 1), torch.tensor(y), gradient


def test_grad_norm_of_a_linear_model() -> None:
    network, images, labels, gradient = regression()
    assert score("grad_norm", network, images, labels) == pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-5)


def test_snip_of_a_linear_model() -> None:
    network, images, labels, gradient = regression()
    weight = network[1].weight.detach().numpy()
    assert score("snip", network, images, labels) == pytest.approx(np.abs(weight * gradient).sum(), rel=1e-5)


def test_snip_ignores_the_scale_of_weights_before_a_norm_and_grad_norm_does_not() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, eps=1e-12), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3, bias=False)
    ).double()
    images, labels = torch.randn(8, 1, 8, 8).double(), torch.arange(8) % 3
    scaled = copy.deepcopy(network)
    scaled[0].weight.data *= 10  # type: ignore[operator]
    assert score("snip", scaled, images, labels) == pytest.approx(score("snip", network, images, labels), rel=1e-6)
    # The loss does not change, so that the gradient of ten times the weight is a tenth.
    head = np.sqrt(sum(float((g**2).sum()) for g in [_gradient(network, images, labels, network[4].weight)]))
    first, second = (score("grad_norm", net, images, labels) - head for net in (network, scaled))
    assert second == pytest.approx(first / 10, rel=1e-6)


def _gradient(network: nn.Module, images: Tensor, labels: Tensor, weight: Any) -> Tensor:
    return torch.autograd.grad(nn.functional.cross_entropy(network(images), labels), weight)[0]


# Zen-score


def test_zen_of_one_weight() -> None:
    """f(x) = w·x: the change is 0.01·|w|·Σ|x′| for each image; w, x and x′ are drawn in this order."""
    images = torch.zeros(4, 1, 8, 8)
    torch.manual_seed(3)
    weight, _, other = torch.randn(1), torch.randn_like(images), torch.randn_like(images)
    expected = math.log(0.01 * float(weight.abs()) * float(other.abs().sum()) / 4)
    assert score("zen", nn.Conv2d(1, 1, 1, bias=False), images, seed=3) == pytest.approx(expected, rel=1e-4)


def test_zen_gives_back_what_norms_take() -> None:
    """Norms divide the map by each layer's deviation, and their logarithms are added again (Lin et al. 2021)."""
    images = torch.zeros(16, 3, 32, 32)
    plain = nn.Sequential(nn.Conv2d(3, 1, 3, bias=False), nn.Conv2d(1, 1, 3, bias=False))
    normed = nn.Sequential(plain[0], nn.BatchNorm2d(1), plain[1], nn.BatchNorm2d(1))
    assert score("zen", normed, images) == pytest.approx(score("zen", plain, images), abs=0.02)


def test_zen_leaves_links_and_gates_out_and_draws_its_own_weights(batch: tuple[Tensor, Tensor]) -> None:
    conv, norm = nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1)
    linked = nn.Sequential(Residual(nn.Sequential(conv, norm), None, nn.Sequential(), 0.0), nn.ReLU())
    images = torch.zeros(4, 1, 8, 8)
    assert score("zen", linked, images) == score("zen", nn.Sequential(conv, norm, nn.ReLU()), images)
    ungated = replace(NET, stages=tuple(replace(stage, se=0.0) for stage in NET.stages))
    one, other = build(NET), build(ungated)
    start_as_identity(one)
    assert score("zen", one, batch[0]) == score("zen", other, batch[0])


# baselines, and all of them


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18"])
def test_the_baselines_are_the_cost_models(name: str) -> None:
    arch = replace(load_arch(name), resolution=64)
    network, found = build(arch), cost(arch)
    images = torch.zeros(2, 3, 64, 64)
    assert (score("flops", network, images), score("params", network, images)) == (found.flops, found.params)


@pytest.mark.parametrize("name", ZERO_COST)
def test_a_score_leaves_the_network_alone_and_ignores_dropout(name: str, batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network = build(NET).eval()
    before = copy.deepcopy(network.state_dict())
    found = score(name, network, *batch)
    assert not network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    dropping = build(replace(NET, dropout=0.9, drop_path=0.9))
    dropping.load_state_dict(before)
    assert score(name, dropping, *batch) == found


def test_scores_follow_from_the_seed_alone(digits: Dataset) -> None:
    state = torch.get_rng_state()
    found = score_network(NET, digits.folder, 32, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert found == score_network(NET, digits.folder, 32, 3)
    assert set(found) == set(ZERO_COST)
    for name, values in found.items():
        assert len(values) == 3
        assert len(set(values)) == (1 if name in ("params", "flops") else 3)


def test_the_batch_is_the_same_for_all_and_holds_every_class(digits: Dataset) -> None:
    images, labels = fixed_batch(digits.folder, 32, 16)
    assert images.shape == (32, 1, 16, 16)
    assert set(labels.tolist()) == set(range(10))
    assert -2 <= float(images.min()) < float(images.max()) <= 2
    assert torch.equal(labels, fixed_batch(digits.folder, 32, 12)[1])


def test_equal_images_are_told(tmp_path: Path, cache: Path) -> None:
    same = np.full((40, 16, 16), 99, dtype=np.uint8)
    np.savez(tmp_path / "same.npz", x=same, y=np.arange(40) % 10)
    data = load_dataset(DataRequest(str(tmp_path / "same.npz"), size=16), cache)
    with pytest.raises(TrainingError, match=r"^\w+ of net at 16 px is not a finite number: it needs .* \(here 8\)$"):
        score_network(NET, data.folder, 8, 1)


def test_many_networks_on_the_workers(digits: Dataset) -> None:
    wider = replace(NET, name="wider", head=replace(NET.head, channels=48))
    heard = []
    found = score_networks(
        HereExecutor(), [NET, wider], digits.folder, 16, 2, lambda arch, scores: heard.append((arch.name, scores))
    )
    assert found == {arch.digest: score_network(arch, digits.folder, 16, 2) for arch in (NET, wider)}
    assert heard == [("net", found[NET.digest]), ("wider", found[wider.digest])]


GOOD = {name: [1.0, 2.0] for name in ZERO_COST}


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([1], r"a.json: must hold the scores synflow, .*, flops, found list; score it anew"),
        ({}, r"a.json: must hold the scores synflow, .*, flops, found none; score it anew"),
        ({"synflow": [1.0]}, r"a.json: must hold the scores synflow, .*, found synflow; score it anew"),
        (GOOD | {"zen": [1.0]}, r"a.json: zen must be a list of 2 numbers, one per initialisation, got \[1.0\]; score"),
        (GOOD | {"zen": ["1", 2]}, r"a.json: zen must be a list of 2 numbers, one per initialisation, got \['1', 2\]"),
    ],
)
def test_stored_scores_are_checked(stored: Any, message: str) -> None:
    assert checked("a.json", GOOD, 2) == GOOD
    with pytest.raises(RunError, match=message):
        checked("a.json", stored, 2)
