"""The same network by quicker routes on a CPU: what training changes in how layers are done, not in what they give.

A convolution of one pixel over images in channels_last is a matrix product. PyTorch hands it to oneDNN, which sets up
and reorders weights for 40 to 60 us per call; proxies have a hundred such calls a step, and little to do in each.
Only training takes these routes: networks of `build` stay convolutions for counters, exports and whoever reads them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalesearch.nets.build import SqueezeExcite, build
from scalesearch.spec.factory import AnyArch


def trainable(arch: AnyArch, place: torch.device) -> nn.Module:
    """A new network of `arch` on `place`, as training wants it: in channels_last, on a CPU with matrix products.

    Depthwise convolutions are about twice as fast on CPU in this layout, and tensor cores want it.
    """
    network: nn.Module = build(arch).to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if place.type == "cpu":
        use_matrix_products(network)
    return network


class Pointwise(nn.Conv2d):
    """A 1×1 convolution as a matrix product over the pixels; images in channels_last are not copied."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class MatrixGate(SqueezeExcite):
    """A squeeze-and-excitation as two matrix products of (N, channels). Hooks on its convolutions do not see them."""

    def forward(self, x: Tensor) -> Tensor:
        reduce, expand = self.reduce, self.expand
        # As x.mean((2, 3)), but its gradient is divided before it is spread over the pixels.
        pooled = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
        squeezed = self.activation(F.linear(pooled, reduce.weight.flatten(1), reduce.bias))
        gate: Tensor = F.linear(squeezed, expand.weight.flatten(1), expand.bias).sigmoid()
        return x * gate[:, :, None, None]


def use_matrix_products(network: nn.Module) -> None:
    """Turn the 1×1 convolutions of `network` into matrix products, in place; weights and their names stay.

    Results equal the convolutions' up to rounding. Convolutions of other classes than nn.Conv2d itself are left alone.
    """
    for module in network.modules():
        if type(module) is SqueezeExcite:
            module.__class__ = MatrixGate
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = Pointwise


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and conv.groups == 1 and conv.padding in ((0, 0), 0, "valid")
