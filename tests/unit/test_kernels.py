"""The quicker routes of training on a CPU give what the convolutions give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from scalesearch.fit.kernels import MatrixGate, Pointwise, trainable, use_matrix_products
from scalesearch.nets.build import SqueezeExcite, build
from scalesearch.spec.arch import Arch, Stage

NET = Arch(
    name="net",
    resolution=13,
    stem=Stage("conv", channels=5, stride=2),
    stages=(
        Stage("mbconv", channels=6, se=0.25),
        Stage("mbconv", channels=7, repeats=2, stride=2, kernel=5, expand=6, se=0.25),
    ),
    head=Stage("conv", channels=19, kernel=1),
    classes=3,
    in_channels=1,
)


def outcome(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Logits, gradients and norm statistics of one step."""
    logits = network(images)
    nn.functional.cross_entropy(logits, labels).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    return {"logits": logits.detach(), **gradients, **dict(network.named_buffers())}


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_step_equals_that_of_the_convolutions(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    plain = build(NET).to(memory_format=layout)
    quick = trainable(NET, torch.device("cpu"))
    quick.load_state_dict(plain.state_dict())
    images, labels = torch.randn(8, 1, 13, 13).contiguous(memory_format=layout), torch.randint(3, (8,))
    expected, found = outcome(plain, images, labels), outcome(quick, images, labels)
    assert expected.keys() == found.keys()
    assert len(expected) > len(list(plain.parameters()))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)


def test_all_convolutions_of_one_pixel_are_turned_and_no_others() -> None:
    network = trainable(NET, torch.device("cpu"))
    kinds = [(type(module), module.kernel_size) for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert {kind for kind, kernel in kinds if kernel == (1, 1)} == {Pointwise}
    assert {kind for kind, kernel in kinds if kernel != (1, 1)} == {nn.Conv2d}
    gates = [module for module in network.modules() if isinstance(module, SqueezeExcite)]
    assert len(gates) == 3 and {type(gate) for gate in gates} == {MatrixGate}
    assert network.state_dict().keys() == build(NET).state_dict().keys()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 3, padding=1),
    ],
    ids=["stride", "groups", "padding", "kernel"],
)
def test_what_is_no_product_over_the_pixels_is_left_alone(conv: nn.Conv2d) -> None:
    use_matrix_products(nn.Sequential(conv))
    assert type(conv) is nn.Conv2d


def test_a_class_of_somebody_else_is_left_alone() -> None:
    class Doubled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    network = nn.Sequential(Doubled(2, 2, 1), nn.Conv2d(2, 2, 1, padding="valid"))
    use_matrix_products(network)
    assert [type(module) for module in network] == [Doubled, Pointwise]


def test_the_result_stays_in_channels_last() -> None:
    """The next depthwise convolution would else copy it."""
    conv = Pointwise(3, 6, 1)
    images = torch.randn(2, 3, 5, 4).contiguous(memory_format=torch.channels_last)
    assert conv(images).shape == (2, 6, 5, 4)
    assert conv(images).is_contiguous(memory_format=torch.channels_last)
