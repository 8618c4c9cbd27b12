"""The built modules: shapes, initialisation, stochastic depth, squeeze-and-excitation, learning."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from scalesearch.nets.build import Network, Residual, SqueezeExcite, build, start_as_identity, start_undecided
from scalesearch.spec import layers
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch

TINY = Arch(
    name="tiny",
    resolution=32,
    stem=Stage("conv", 8, stride=2),
    stages=(
        Stage("mbconv", 8, repeats=2, expand=4, se=0.25),
        Stage("mbconv", 16, repeats=3, kernel=5, stride=2, expand=4, se=0.25),
    ),
    head=Stage("conv", 32, kernel=1),
    classes=10,
)


@pytest.fixture(scope="module")
def b0() -> Network:
    torch.manual_seed(0)
    return build(load_arch("efficientnet_b0"))


def residuals(network: nn.Module) -> list[Residual]:
    return [module for module in network.modules() if isinstance(module, Residual)]


@pytest.mark.parametrize("side", [32, 45])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_logits_for_any_side(side: int, stem_stride: int) -> None:
    arch = replace(TINY, stem=Stage("conv", 8, stride=stem_stride))
    logits = build(arch).eval()(torch.randn(2, 3, side, side))
    assert logits.shape == (2, 10)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("resolution", [32, 45, 70])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_sections_have_the_sides_of_the_cost_model(resolution: int, stem_stride: int) -> None:
    arch = replace(TINY, resolution=resolution, stem=Stage("conv", 8, stride=stem_stride), in_channels=1)
    network = build(arch).eval()
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> None:
        network.sections[name].register_forward_hook(
            lambda _module, _inputs, output: shapes.update({name: tuple(output.shape)})
        )

    for name in network.sections:
        note(name)
    network(torch.zeros(1, 1, resolution, resolution))
    expected = {part.name: (1, part.channels, part.out_side, part.out_side) for part in cost(arch).sections}
    expected["classifier"] = (1, 10)
    assert shapes == expected


def test_state_dict_round_trip() -> None:
    torch.manual_seed(1)
    source, target = build(TINY), build(TINY)
    source.train()
    source(torch.randn(4, 3, 32, 32))  # moves the running statistics off their start
    source.eval()
    target.eval()
    images = torch.randn(2, 3, 32, 32)
    assert not torch.equal(source(images), target(images))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source(images), target(images))


def test_a_seed_decides_the_weights() -> None:
    torch.manual_seed(7)
    one = build(TINY).state_dict()
    torch.manual_seed(7)
    other = build(TINY).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_initialisation_of_convolutions(b0: Network) -> None:
    """N(0, 2 / fan_out), fan_out = kernel² · out_channels (tensorflow/tpu conv_kernel_initializer)."""
    convolutions = [module for module in b0.modules() if isinstance(module, nn.Conv2d)]
    # Stem, 15 blocks of three and the first of two, squeeze-and-excitation, head.
    assert len(convolutions) == 1 + 15 * 3 + 2 + 16 * 2 + 1
    normalised = []
    for conv in convolutions:
        expected = math.sqrt(2 / (conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels))
        scaled = conv.weight.detach().flatten() / expected
        # Five standard errors of the standard deviation of n normal numbers, 1 / sqrt(2 n).
        assert abs(scaled.std().item() - 1) < 5 / math.sqrt(2 * scaled.numel())
        normalised.append(scaled)
        if conv.bias is not None:
            assert not conv.bias.any()
    together = torch.cat(normalised)
    assert abs(together.mean().item()) < 5 / math.sqrt(together.numel())
    assert together.abs().max() > 4  # a normal tail, which no uniform distribution of this deviation has


def test_initialisation_of_the_rest(b0: Network) -> None:
    """Linear U(±1/sqrt(classes)) with bias 0 (dense_kernel_initializer); norms 1 and 0."""
    (linear,) = (module for module in b0.modules() if isinstance(module, nn.Linear))
    bound = 1 / math.sqrt(1000)
    weights = linear.weight.detach()
    assert 0.999 * bound < weights.abs().max() <= bound
    assert weights.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert not linear.bias.any()
    norms = [module for module in b0.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 49
    for norm in norms:
        assert (norm.weight == 1).all()
        assert not norm.bias.any()
        assert (norm.eps, norm.momentum) == (1e-3, 0.01)


def test_norm_settings_reach_every_norm() -> None:
    network = build(replace(TINY, norm_eps=1e-5, norm_momentum=0.1))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


@pytest.mark.parametrize(("kind", "module"), [("silu", nn.SiLU), ("relu", nn.ReLU), ("relu6", nn.ReLU6)])
def test_activation_reaches_every_layer(kind: str, module: type[nn.Module]) -> None:
    found = [type(one) for one in build(replace(TINY, activation=kind)).modules()]
    assert set(found) & {nn.SiLU, nn.ReLU, nn.ReLU6} == {module}
    # Stem and head one each, five blocks with two and one in the squeeze-and-excitation.
    assert found.count(module) == 2 + 5 * 3


def test_dropout_before_the_classifier() -> None:
    (dropout,) = (m for m in build(replace(TINY, dropout=0.3)).modules() if isinstance(m, nn.Dropout))
    assert dropout.p == 0.3


def test_shortcuts_only_where_shapes_stay(b0: Network) -> None:
    """The first block of each of B0's 7 stages changes channels or side; the other 9 have a shortcut."""
    assert len(residuals(b0)) == 9
    for number in range(2, 7):  # stages 1 and 7 are one block without a shortcut
        first, *others = b0.sections[f"stage{number}"]
        assert not isinstance(first, Residual)
        assert all(isinstance(block, Residual) for block in others)
    # Equal channels and stride 1: the first block of this stage has one too.
    assert isinstance(build(TINY).sections["stage1"][0], Residual)


def test_residual_adds_its_input() -> None:
    block = residuals(build(TINY))[0].eval()
    x = torch.randn(2, 8, 9, 9)
    assert torch.equal(block(x), x + block.layers(x))


def test_drop_path_rises_linearly_from_zero() -> None:
    arch = replace(TINY, drop_path=0.4, stages=(Stage("mbconv", 8, repeats=2), Stage("mbconv", 8, repeats=3)))
    rates = [block.drop_path for block in residuals(build(arch))]
    assert rates == pytest.approx([0.4 * index / 5 for index in range(5)])


def test_drop_path_counts_blocks_without_a_shortcut(b0: Network) -> None:
    """The official schedule: rate · block / 16 over all blocks, though 7 of them have no shortcut."""
    rates = [block.drop_path for block in residuals(b0)]
    assert rates == pytest.approx([0.2 * index / 16 for index in (2, 4, 6, 7, 9, 10, 12, 13, 14)])


def test_drop_path_keeps_the_expectation_and_skips_whole_images() -> None:
    torch.manual_seed(0)
    block = residuals(build(TINY))[0]
    block.drop_path = 0.3
    block.train()
    block.layers.eval()  # batch statistics would vary with the batch; only the drops shall
    x = torch.randn(1, 8, 4, 4)
    draws = 4_000
    with torch.no_grad():
        branch = block.layers(x)
        out = block(x.expand(draws, -1, -1, -1))
    skipped = (out == x).flatten(1).all(1)
    # Five standard errors of a share of 0.3 in 4,000 draws.
    assert abs(skipped.float().mean().item() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / draws)
    kept = out[~skipped]
    assert torch.allclose(kept, (x + branch / 0.7).expand_as(kept), atol=1e-6)
    error = (out.mean(0) - (x + branch)[0]).abs().max()
    assert error < 5 * branch.abs().max() * math.sqrt(0.3 / 0.7 / draws)


def test_drop_path_is_off_outside_training() -> None:
    torch.manual_seed(0)
    network = build(replace(TINY, drop_path=0.9, dropout=0.5)).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        network.train()
        assert not torch.equal(network(images), network(images))


def test_squeeze_and_excitation_gates_by_hand() -> None:
    torch.manual_seed(0)
    module = SqueezeExcite(layers.SqueezeExcite(6, 2, "relu"))
    x = torch.randn(3, 6, 5, 4)
    pooled = x.mean((2, 3))
    hidden = torch.relu(pooled @ module.reduce.weight[:, :, 0, 0].T + module.reduce.bias)
    gate = torch.sigmoid(hidden @ module.expand.weight[:, :, 0, 0].T + module.expand.bias)
    assert torch.allclose(module(x), x * gate[:, :, None, None], atol=1e-6)


def test_gates_lie_between_zero_and_one(b0: Network) -> None:
    torch.manual_seed(0)
    for module in b0.modules():
        if isinstance(module, SqueezeExcite):
            channels = module.reduce.in_channels
            gates = module(torch.ones(1, channels, 2, 2))  # a gated one is the gate
            assert ((gates > 0) & (gates < 1)).all()
            assert torch.equal(gates[..., :1, :1].expand_as(gates), gates)  # one gate per channel
            assert gates.unique().numel() > channels / 2


def test_squeeze_width_comes_from_the_input_channels(b0: Network) -> None:
    """tensorflow/tpu: max(1, int(input_filters · se_ratio)): 32 to 8 in B0's first block, then 16 to 4."""
    widths = [m.reduce.out_channels for m in b0.modules() if isinstance(m, SqueezeExcite)]
    assert widths[:3] == [8, 4, 6]
    assert widths == [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]


def test_one_step_lowers_the_loss() -> None:
    torch.manual_seed(0)
    network = build(TINY)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05)
    before = nn.functional.cross_entropy(network(images), labels)
    before.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    optimiser.step()
    with torch.no_grad():
        after = nn.functional.cross_entropy(network(images), labels)
    assert after.item() < before.item()


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnetv2_s", "resnet18", "resnet50"])
def test_a_network_that_starts_as_the_identity_is_its_shortcuts(name: str) -> None:
    network = build(load_arch(name)).eval()
    blocks = [module for module in network.modules() if isinstance(module, Residual)]
    assert blocks
    start_as_identity(network)
    for block in blocks:
        channels = next(layer for layer in block.layers if isinstance(layer, nn.Conv2d)).in_channels
        x = torch.randn(2, channels, 8, 8)
        shortcut = x if block.shortcut is None else block.shortcut(x)
        torch.testing.assert_close(block(x), block.after(shortcut))


def assert_all_learn(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """After two steps every parameter has had a gradient other than 0."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    assert all(float(p.grad.abs().sum()) > 0 for p in network.parameters() if p.grad is not None)


def test_a_network_that_starts_undecided_gives_all_classes_the_same_and_still_learns() -> None:
    network = build(replace(load_arch("efficientnet_b0"), resolution=32, classes=7))
    start_undecided(network)
    images, labels = torch.randn(8, 3, 32, 32), torch.randint(7, (8,))
    assert not network(images).any()
    assert_all_learn(network, images, labels)


def test_a_block_that_starts_as_the_identity_still_learns() -> None:
    """Only the last scale is 0: its gradient is not, and after a step the whole branch has one."""
    arch = Arch("one", 8, Stage("conv", 4), (Stage("mbconv", 4, repeats=2, expand=2),), classes=3)
    network = build(arch)
    start_as_identity(network)
    images, labels = torch.randn(8, 3, 8, 8), torch.randint(3, (8,))
    assert_all_learn(network, images, labels)
