"""Second opinions on FLOPs: fvcore and PyTorch's counter, run on the network that is really built.

The only file that imports fvcore. Both count multiply-adds of convolutions and linear layers for one image
(`units.FLOPS_DEFINITION`), from the modules' own tensor shapes: neither sees a layer record.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scalesearch.nets.build import Network
from scalesearch.nets.factory import make, measure, plain_attention
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import CountError
from scalesearch.spec.factory import AnyArch, FactoryArch

with warnings.catch_warnings():
    # fvcore's focal loss calls torch.jit.script on import.
    warnings.simplefilter("ignore", DeprecationWarning)
    from fvcore.nn import FlopCountAnalysis


def count_fvcore(arch: AnyArch) -> int:
    """FLOPs by fvcore: `conv` + `linear` of the built network in eval mode for one image at its resolution.

    fvcore's total also holds batch norm and pooling, which our definition leaves out; what it skips
    (sigmoid, mean, multiplication, addition) is outside the definition too, so its warnings about them are
    off. fvcore needs a real forward: below Conv2d, PyTorch's meta kernels cannot be traced (their shape check
    gets a tensor instead of a bool). On two cores of a 2.5 GHz Xeon that takes 0.3 s for EfficientNet-B0,
    3 s and 1 GB for B7, 20 s and 4 GB for L2.
    """
    return fvcore_flops(_zeroed(arch), torch.zeros(1, arch.in_channels, arch.resolution, arch.resolution))


def fvcore_flops(network: nn.Module, image: Tensor) -> int:
    """fvcore's `conv` + `linear` of one forward pass of `network` on `image`."""
    operators = fvcore_operators(network, image)
    return operators.get("conv", 0) + operators.get("linear", 0)


def fvcore_operators(network: nn.Module, image: Tensor) -> dict[str, int]:
    """What fvcore counts of each operator that it knows."""
    analysis = FlopCountAnalysis(network, image)
    # A module that is not called, or an operator that is missed, shows in the count; it needs no log line.
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad(), plain_attention(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # of a factory's code; the count is for this one image
        return {name: int(number) for name, number in analysis.by_operator().items()}


def count_torch(arch: Arch) -> int:
    """FLOPs by PyTorch's FlopCounterMode, on the meta device (nothing is computed).

    It counts a multiplication and an addition as two, hence the division.
    """
    with torch.device("meta"):
        network = Network(arch).eval()
        image = torch.empty(1, arch.in_channels, arch.resolution, arch.resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops()) // 2


def checked_flops(arch: AnyArch) -> int:
    """FLOPs of `arch` by the cost model, after fvcore has found the same. Raises CountError if it has not.

    A factory's network is in place of the cost model counted by PyTorch's formulas.
    """
    modelled, counted = cost(arch).flops, count_fvcore(arch)
    if modelled != counted:
        if isinstance(arch, FactoryArch):
            raise CountError(_disagreement(arch, modelled, counted))
        raise CountError(
            f"{arch.name} at {arch.resolution} px: the cost model counts {modelled:,} FLOPs, fvcore counts "
            f"{counted:,}; the two must be equal, so this is a bug in scalesearch: "
            "please report it with the arch file"
        )
    return modelled


def _disagreement(arch: FactoryArch, counted: int, fvcore: int) -> str:
    """Which operators the two counters saw: a layer written as a bare product is `mm` to one, `matmul` to the other."""
    image = torch.zeros(1, arch.in_channels, arch.resolution, arch.resolution)
    seen = fvcore_operators(_zeroed(arch), image)
    others = {name: seen.get(name, 0) for name in ("matmul", "addmm", "bmm", "baddbmm", "mv", "dot", "einsum")}
    return (
        f"{arch.factory}: at depth {arch.depth:g}, width {arch.width:g}, {arch.resolution} px PyTorch counts "
        f"{counted:,} FLOPs of convolutions and linear layers, fvcore {fvcore:,}; other products, by fvcore: "
        f"{_listed(others)}, by PyTorch: {_listed(measure(arch).uncounted)}; write layers with weights as nn.Conv2d "
        "and nn.Linear (or F.conv2d, F.linear), not as products of tensors"
    )


def _listed(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in operators.items() if number) or "none"


def _zeroed(arch: AnyArch) -> nn.Module:
    """The network in eval mode, with every parameter and statistic 0 (a factory's: as the factory makes it).

    The values do not enter a count; zeros take no initialisation and cannot become slow denormal numbers.
    """
    if isinstance(arch, FactoryArch):
        with torch.random.fork_rng(devices=[]):
            return make(arch).eval()
    with torch.device("meta"):
        network = Network(arch)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.zero_()
    return network.eval()
