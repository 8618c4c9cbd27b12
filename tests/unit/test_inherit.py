"""Function-preserving growth: the grown network is the source's function, everywhere new weights learn, and what cannot
be grown is refused with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from scalesearch.nets.build import Network, Residual, build
from scalesearch.nets.inherit import grow, obstacles
from scalesearch.search.plan import proxy_base
from scalesearch.search.problem import checked_candidates
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import BLOCK_KINDS, Stage
from scalesearch.spec.errors import SettingsError, SpaceError
from scalesearch.spec.factory import FactoryArch
from scalesearch.spec.files import load_arch, load_space, shipped_spaces
from scalesearch.spec.scaling import ROUNDINGS, Multipliers, multiply
from scalesearch.spec.settings import make_settings

FINE = replace(ROUNDINGS["official"], channels_step=1)  # as for a proxy: every width is another network
GROWTHS = {
    "depth": Multipliers(2.0, 1.0, 1.0),
    "width": Multipliers(1.0, 1.45, 1.0),  # no multiple: some channels of a group are new, some are not
    "width twice": Multipliers(1.0, 2.0, 1.0),
    "side": Multipliers(1.0, 1.0, 1.4),
    "all": Multipliers(1.7, 1.3, 1.2),
}


def small(space: str) -> Arch:
    """A shipped base at half its depth and 0.15 of its width."""
    base = replace(load_space(space).base, fixed=())
    return replace(multiply(base, Multipliers(0.5, 0.15, 1.0, 0.15), FINE), resolution=40, classes=7)


def trained(arch: Arch) -> Network:
    """A network none of whose parameters and statistics is at its start, in eval mode."""
    torch.manual_seed(3)
    network = Network(arch)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.normal_(module.bias)
    return network.eval()


def grown(source: Network, target: Arch, seed: int = 0) -> Network:
    network = Network(target)
    network.load_state_dict(grow(source.state_dict(), source.arch, target, seed))
    return network.eval()


@torch.no_grad()
def assert_same_function(source: Network, target: Network) -> None:
    torch.manual_seed(4)
    images = torch.randn(2, source.arch.in_channels, 40, 40)
    wanted = source(images)
    assert wanted.std() > 1e-3  # the images and the weights matter
    assert torch.allclose(target(images), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("space", shipped_spaces())
def test_every_shipped_base_grows_without_a_change_of_its_function(space: str, growth: str) -> None:
    source = trained(small(space))
    target = multiply(source.arch, GROWTHS[growth], FINE)
    assert target != source.arch
    assert_same_function(source, grown(source, target))


KINDS = {
    "conv": (Stage("conv", 6, repeats=2), "relu"),
    "separable": (Stage("separable", 6, stride=2), "relu6"),
    "mbconv": (Stage("mbconv", 6, expand=3, stride=2), "silu"),
    "mbconv without expansion": (Stage("mbconv", 6, repeats=2, se=0.25), "silu"),
    "mbconv with squeeze": (Stage("mbconv", 6, expand=3, se=0.5), "relu6"),
    "fused_mbconv": (Stage("fused_mbconv", 6, expand=4, se=0.5), "silu"),
    "fused_mbconv without expansion": (Stage("fused_mbconv", 6, se=0.5), "silu"),
    "fused_mbconv without expansion or skip": (Stage("fused_mbconv", 6, skip="none"), "relu"),
    "basic": (Stage("basic", 6, stride=2), "relu"),
    "bottleneck": (Stage("bottleneck", 8, ratio=0.5, stride=2), "relu"),
    "bottleneck in groups": (Stage("bottleneck", 12, group_width=4, se=0.25), "relu"),
    "bottleneck in one group": (Stage("bottleneck", 4, group_width=8, stride=2), "relu"),
}


def net(stage: Stage, activation: str, stem: str = "conv") -> Arch:
    return Arch("net", 40, Stage(stem, 5, stride=2), (stage,), classes=4, activation=activation)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_block_grows_in_depth_and_width(name: str) -> None:
    stage, activation = KINDS[name]
    source = trained(net(stage, activation, stem="conv_pool" if stage.kind in ("basic", "bottleneck") else "conv"))
    step = stage.group_width or 1
    wider = replace(stage, channels=2 * stage.channels + step)
    if name == "bottleneck in one group":
        wider = replace(stage, channels=16)  # two groups of eight, where there was one of four
    stem = replace(source.arch.stem, channels=7)
    for target in (
        replace(source.arch, stages=(replace(stage, repeats=stage.repeats + 2),)),
        replace(source.arch, stem=stem, stages=(wider,)),
        replace(source.arch, stem=stem, stages=(replace(wider, repeats=stage.repeats + 1),)),
    ):
        assert_same_function(source, grown(source, target))


def test_no_kind_of_block_is_left_out() -> None:
    assert {stage.kind for stage, _ in KINDS.values()} | {"conv_pool"} == set(BLOCK_KINDS)


B0 = small("efficientnet")
BIGGER = multiply(B0, GROWTHS["all"], FINE)


def test_statistics_of_norms_are_carried_over() -> None:
    source = trained(B0)
    target = grown(source, BIGGER)
    old, new = source.sections["stem"], target.sections["stem"]
    assert isinstance(old, nn.Sequential) and isinstance(new, nn.Sequential)
    count = old[1].num_features
    assert new[1].num_features > count
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(new[1], name)[:count], getattr(old[1], name))
    assert (new[1].running_var[count:] == 1).all()


def test_inserted_blocks_are_the_identity_in_training_mode_too() -> None:
    target = grown(trained(B0), multiply(B0, GROWTHS["depth"], FINE)).train()
    repeats = [(old.repeats, new.repeats) for old, new in zip(B0.stages, target.arch.stages, strict=True)]
    assert all(new > old for old, new in repeats)
    inserted = [
        block
        for number, (old, _) in enumerate(repeats, start=1)
        for block in list(target.sections[f"stage{number}"].children())[old:]
    ]
    assert len(inserted) == sum(new - old for old, new in repeats)
    for block in inserted:
        assert isinstance(block, Residual)
        first = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
        x = torch.randn(4, first.in_channels, 6, 6)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_inserted_blocks_without_a_shortcut_change_little_in_training_mode(activation: str) -> None:
    """There, norms use the batch's statistics; by the estimate from the norm before, they are largely undone."""
    source = net(Stage("separable", 32), activation)
    torch.manual_seed(0)
    network = build(source)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    target = grown(network, replace(source, stages=(Stage("separable", 32, repeats=3),))).train()
    images = torch.randn(32, 3, 40, 40)
    first, *inserted = target.sections["stage1"].children()
    assert len(inserted) == 2

    @torch.no_grad()
    def change() -> float:
        before = first(target.sections["stem"](images))
        after = before
        for block in inserted:
            after = block(after)
        return float((after - before).std() / before.std())

    estimated = change()
    for norm in (module for block in inserted for module in block.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
    assert estimated < 0.4
    assert change() > 2 * estimated  # which is what fresh norms do


def test_everything_new_learns_within_three_steps() -> None:
    """New channels feed zeros at first, and new blocks end in zeros: those move first, then what lies before them."""
    torch.manual_seed(0)
    stages = (Stage("mbconv", 4, se=0.5), Stage("mbconv", 6, repeats=2, stride=2, expand=3, se=0.5))
    source = build(Arch("tiny", 24, Stage("conv", 5), stages, head=Stage("conv", 8, kernel=1), classes=7))
    bigger = multiply(source.arch, GROWTHS["all"], FINE)
    target = Network(bigger)
    target.load_state_dict(grow(source.state_dict(), source.arch, bigger, seed=0))
    kernels = {name: value for name, value in target.named_parameters() if value.ndim == 4}
    assert len(kernels) == 2 + 2 * 4 + 4 * 5  # stem and head, and blocks with a squeeze, without and with expansion
    learning = {name: torch.zeros(len(value), dtype=torch.bool) for name, value in kernels.items()}
    for _ in range(3):
        target.zero_grad()
        loss = nn.functional.cross_entropy(target(torch.randn(8, 3, 24, 24)), torch.arange(8) % 7)
        loss.backward()
        for name, value in kernels.items():
            assert value.grad is not None
            learning[name] |= (value.grad != 0).flatten(1).any(1)
        with torch.no_grad():
            for value in target.parameters():
                assert value.grad is not None
                value -= 0.1 * value.grad
    assert [name for name, channels in learning.items() if not channels.all()] == []


def test_the_seed_decides_what_is_new_and_nothing_else() -> None:
    source = trained(B0)
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    one, again, other = (grow(source.state_dict(), B0, BIGGER, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    name = "sections.stem.0.weight"
    old: Tensor = source.state_dict()[name]
    assert torch.equal(one[name][: len(old)], old) and torch.equal(other[name][: len(old)], old)
    assert not torch.equal(one[name][len(old) :], other[name][len(old) :])


def refused(source: Arch, target: Arch | FactoryArch) -> str:
    found = obstacles(source, target)
    with pytest.raises(SpaceError) as caught:
        grow({}, source, target, 0)
    assert caught.value.faults == tuple(found)
    (reason,) = found
    return reason


def test_what_shrinks_is_refused() -> None:
    one, *others = B0.stages
    narrower = replace(B0, stages=(replace(one, channels=one.channels - 1), *others))
    rule = "must be at least the source's"
    assert refused(B0, narrower) == f"stage1: channels {rule} 3, got 2; growth does not shrink"
    assert refused(BIGGER, replace(BIGGER, stages=(replace(BIGGER.stages[0], repeats=1), *BIGGER.stages[1:]))) == (
        f"stage1: repeats {rule} 2, got 1; growth does not shrink"
    )
    assert refused(B0, replace(B0, resolution=39)) == f"the side {rule} 40 px, got 39; grow it"


def test_another_network_is_refused() -> None:
    assert refused(B0, replace(B0, classes=8)) == "classes must be the source's, 7, got 8; leave it as it is"
    assert "activation must be the source's, 'silu', got 'relu'" in refused(B0, replace(B0, activation="relu"))
    assert refused(B0, replace(B0, stages=B0.stages[:-1])) == (
        "must have the source's 7 stages with a head, got 6 stages with a head; scale the source"
    )
    assert "got 7 stages without a head" in refused(B0, replace(B0, head=None))
    other = replace(B0, stages=(replace(B0.stages[0], kernel=5), *B0.stages[1:]))
    assert refused(B0, other).startswith("stage1: must differ from the source's in channels and repeats alone, Stage(")


def test_a_shortcut_that_appears_or_vanishes_is_refused() -> None:
    source = net(Stage("mbconv", 8), "silu")
    same = replace(source, stem=replace(source.stem, channels=8))
    assert refused(source, same) == (
        "stage1: the input must be added as in the source, where it is not added; here it is added as it is; choose "
        "channels that are equal where the source's are, and nowhere else"
    )
    basic = net(Stage("basic", 5), "relu")
    assert "where it is added as it is; here it is added through a convolution" in refused(
        basic, replace(basic, stages=(Stage("basic", 7),))
    )


@pytest.mark.parametrize("stage", [Stage("basic", 6), Stage("separable", 6)])
def test_new_blocks_that_cannot_be_the_identity_are_refused(stage: Stage) -> None:
    source = net(stage, "silu")
    assert refused(source, replace(source, stages=(replace(stage, repeats=2),))) == (
        "stage1: a new block that ends in an activation starts as the identity with relu or relu6 only, got silu; "
        "keep the source's repeats"
    )


@pytest.mark.parametrize(
    "stage",
    [
        Stage("mbconv", 6, expand=3, skip="none"),
        Stage("mbconv", 6, skip="none"),
        Stage("fused_mbconv", 6, se=0.5, skip="none"),
    ],
)
def test_new_blocks_that_end_linearly_and_add_nothing_are_refused(stage: Stage) -> None:
    source = net(stage, "relu")
    assert refused(source, replace(source, stages=(replace(stage, repeats=2),))) == (
        "stage1: a new block that adds no input and does not end in an activation cannot start as the identity; keep "
        "the source's repeats"
    )


def test_a_pooled_shortcut_does_not_start_as_the_identity() -> None:
    stage = Stage("mbconv", 5, skip="pool")
    source = net(stage, "relu")
    assert refused(source, replace(source, stages=(replace(stage, repeats=2),))) == (
        "stage1: a new block that pools cannot start as the identity; keep the source's repeats"
    )
    same = net(Stage("mbconv", 6, skip="pool"), "silu")
    assert "where it is not added; here it is added through pooling" in refused(
        same, replace(same, stem=replace(same.stem, channels=6))
    )


def test_new_pooling_is_refused() -> None:
    source = net(Stage("basic", 6), "relu", stem="conv_pool")
    assert refused(source, replace(source, stem=replace(source.stem, repeats=2))) == (
        "stem: a new block that pools cannot start as the identity; keep the source's repeats"
    )


def test_a_factory_is_refused() -> None:
    factory = FactoryArch("own", "own:make", "0", resolution=40, classes=7)
    assert refused(B0, factory) == (
        "a factory's networks cannot inherit weights: what its modules do is not known; train from scratch"
    )


def test_a_run_whose_candidates_cannot_all_be_grown_is_refused_before_it_begins() -> None:
    """EfficientNet-Lite's stem is fixed at 5 channels here, and its first stage's 3 become 5: the input is added."""
    settings = make_settings("quick", target_flops=400_000_000, base="efficientnet_lite0", inherit=True)
    proxy = proxy_base(load_arch("efficientnet_lite0"), settings, 10, 1)
    with pytest.raises(SettingsError) as caught:
        checked_candidates(proxy, settings)
    text = str(caught.value)
    assert text.startswith("inherit: every candidate must be one that can be grown from the proxy's base, got one of ")
    assert "cannot: stage1: the input must be added as in the source, where it is not added; here it is added" in text
    assert text.endswith("; or give --set inherit=false")
