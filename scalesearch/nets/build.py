"""Torch modules from layer records: the same records that `spec.cost` sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn

from scalesearch.nets.factory import make
from scalesearch.spec import layers
from scalesearch.spec.arch import Arch, sections
from scalesearch.spec.factory import AnyArch, FactoryArch

Module = nn.Module  # for annotations where torch must not be imported

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    # Not in place: its gradient needs its input, of which autograd would make a copy first.
    "silu": lambda: nn.SiLU(),
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
}


class SqueezeExcite(nn.Module):
    """Gates each channel by a sigmoid of the globally pooled channels (Hu et al. 2018, figure 3)."""

    def __init__(self, record: layers.SqueezeExcite) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(record.channels, record.squeezed, 1)
        self.activation = _ACTIVATIONS[record.activation]()
        self.expand = nn.Conv2d(record.squeezed, record.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.expand(self.activation(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Residual(nn.Module):
    """shortcut(x) + layers(x); in training the layers are dropped per image with `drop_path` (Huang et al. 2016)."""

    def __init__(self, inner: nn.Sequential, shortcut: nn.Sequential | None, after: nn.Module, drop_path: float):
        super().__init__()
        self.layers = inner
        self.shortcut = shortcut
        self.after = after
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        if self.training and self.drop_path > 0:
            keep = 1.0 - self.drop_path
            mask = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
            y = y * (mask / keep)
        added: Tensor = self.after(y + (x if self.shortcut is None else self.shortcut(x)))
        return added


class Network(nn.Module):
    """An `Arch` as a module: images (N, in_channels, side, side) to logits (N, classes)."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch
        parts = sections(arch)
        total = sum(len(part.blocks) for part in parts if part.name.startswith("stage"))
        index = 0
        built: dict[str, nn.Module] = {}
        for part in parts:
            blocks: list[nn.Module] = []
            for block in part.blocks:
                # The official schedule: rate · index / blocks, so that the first block is always kept.
                blocks.append(_block(block, arch, arch.drop_path * index / total))
                index += part.name.startswith("stage")
            built[part.name] = nn.Sequential(*blocks) if len(blocks) > 1 else blocks[0]
        self.sections = nn.ModuleDict(built)

    def forward(self, x: Tensor) -> Tensor:
        for section in self.sections.values():
            x = section(x)
        return x


@overload
def build(arch: Arch) -> Network: ...
@overload
def build(arch: AnyArch) -> nn.Module: ...
def build(arch: AnyArch) -> nn.Module:
    """The network of `arch`, in training mode, officially initialised from torch's global generator.

    Convolutions ~ N(0, 2 / fan_out), with fan_out = kernel² · out_channels (not divided by groups);
    linear ~ U(±1/sqrt(classes)); norms 1 and 0; biases 0 (tensorflow/tpu efficientnet_model.py). A factory makes and
    initialises its network itself; raises SpaceError if its code may not run here, or fails.
    """
    if isinstance(arch, FactoryArch):
        return make(arch)
    network = Network(arch)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1.0 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
    return network


def start_as_identity(network: nn.Module) -> None:
    """Set the scale of the last norm of every residual branch to 0, so that each block starts as its shortcut.

    Goyal et al. 2017 (arXiv:1706.02677, section 5.1). A deep network then learns from its first steps as a shallow
    one does. Networks of a factory are left as they are made.
    """
    for module in network.modules():
        if isinstance(module, Residual):
            norms = [layer for layer in module.layers if isinstance(layer, nn.BatchNorm2d)]
            nn.init.zeros_(norms[-1].weight)


def start_undecided(network: nn.Module) -> None:
    """Set the classifier's weights and biases to 0, so that all classes are equally likely at first.

    The official ±1/sqrt(classes) is large for few classes: the first steps then go into unlearning it, and how many is
    a matter of the seed (experiments/README.md). Networks of a factory are left as they are made.
    """
    if isinstance(network, Network):
        classifier = next(module for module in reversed(list(network.modules())) if isinstance(module, nn.Linear))
        nn.init.zeros_(classifier.weight)
        nn.init.zeros_(classifier.bias)


def _block(block: layers.Block, arch: Arch, drop_path: float) -> nn.Module:
    def sequence(records: tuple[layers.Layer, ...]) -> nn.Sequential:
        return nn.Sequential(*(_LAYERS[type(layer)](layer, arch) for layer in records))

    if block.shortcut is None:
        return sequence((*block.layers, *block.after))
    shortcut = sequence(block.shortcut) if block.shortcut else None
    return Residual(sequence(block.layers), shortcut, sequence(block.after), drop_path)


def _conv(record: layers.Conv, arch: Arch) -> nn.Module:
    return nn.Conv2d(
        record.in_channels,
        record.out_channels,
        record.kernel,
        record.stride,
        padding=record.kernel // 2,
        groups=record.groups,
        bias=False,
    )


_LAYERS: dict[type, Callable[[Any, Arch], nn.Module]] = {
    layers.Conv: _conv,
    layers.Norm: lambda record, arch: nn.BatchNorm2d(record.channels, arch.norm_eps, arch.norm_momentum),
    layers.Activation: lambda record, arch: _ACTIVATIONS[record.kind](),
    layers.SqueezeExcite: lambda record, arch: SqueezeExcite(record),
    layers.MaxPool: lambda record, arch: nn.MaxPool2d(record.kernel, record.stride, padding=record.kernel // 2),
    layers.AvgPool: lambda record, arch: nn.AvgPool2d(
        record.kernel, record.stride, padding=record.kernel // 2, count_include_pad=False
    ),
    layers.GlobalPool: lambda record, arch: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    layers.Dropout: lambda record, arch: nn.Dropout(record.rate),
    layers.Linear: lambda record, arch: nn.Linear(record.in_features, record.out_features),
}
