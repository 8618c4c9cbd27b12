"""A base of your own, in plain PyTorch: a small network of inverted residuals for `--base my_base:make`."""

from __future__ import annotations

import math

from torch import Tensor, nn

# Channels, repeats and stride of each stage at depth 1 and width 1.
STAGES = ((24, 2, 2), (48, 3, 2), (96, 4, 2), (160, 3, 1))


def _channels(wanted: float) -> int:
    """To the nearest multiple of 4: fine enough that a proxy of a tenth of the width can still widen in steps."""
    return max(4, round(wanted / 4) * 4)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.layers = nn.Sequential(
            *_conv(inputs, hidden, 1),
            nn.ReLU(),
            *_conv(hidden, hidden, 3, stride, hidden),
            nn.ReLU(),
            *_conv(hidden, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def make(
    depth: float = 1.0, width: float = 1.0, resolution: int = 160, classes: int = 100, in_channels: int = 3
) -> nn.Module:
    """Images (N, in_channels, side, side) to logits (N, classes). This network takes any side as it is."""
    channels = _channels(16 * width)
    layers: list[nn.Module] = [*_conv(in_channels, channels, 3, 2), nn.ReLU()]
    for wanted, repeats, stride in STAGES:
        outputs = _channels(wanted * width)
        for index in range(math.ceil(repeats * depth - 1e-9)):
            layers.append(Block(channels, outputs, stride if index == 0 else 1))
            channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
