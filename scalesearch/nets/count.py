"""Second opinions on FLOPs: fvcore and PyTorch's counter, run on the network that is really built.

The only file that imports fvcore. Both count multiply-adds of convolutions and linear layers for one image
(`units.FLOPS_DEFINITION`), from the modules' own tensor shapes: neither sees a layer record.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scalesearch.nets.build import Network
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import CountError

with warnings.catch_warnings():
    # fvcore's focal loss calls torch.jit.script on import.
    warnings.simplefilter("ignore", DeprecationWarning)
    from fvcore.nn import FlopCountAnalysis


def count_fvcore(arch: Arch) -> int:
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
    analysis = FlopCountAnalysis(network, image)
    # A module that is not called, or an operator that is missed, shows in the count; it needs no log line.
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        operators = analysis.by_operator()
    return int(operators["conv"] + operators["linear"])


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


def checked_flops(arch: Arch) -> int:
    """FLOPs of `arch` by the cost model, after fvcore has found the same. Raises CountError if it has not."""
    modelled, counted = cost(arch).flops, count_fvcore(arch)
    if modelled != counted:
        raise CountError(
            f"{arch.name} at {arch.resolution} px: the cost model counts {modelled:,} FLOPs, fvcore counts "
            f"{counted:,}; the two must be equal, so this is a bug in scalesearch: "
            "please report it with the arch file"
        )
    return modelled


def _zeroed(arch: Arch) -> Network:
    """The network in eval mode, with every parameter and statistic 0.

    The values do not enter a count; zeros take no initialisation and cannot become slow denormal numbers.
    """
    with torch.device("meta"):
        network = Network(arch)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.zero_()
    return network.eval()
