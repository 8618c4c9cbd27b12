"""What other people's counters add to ours: biases and pooled outputs (pycls), statistics of batch norm (Keras)."""

from __future__ import annotations

from collections.abc import Iterator

from scalesearch.spec.arch import Arch, sections
from scalesearch.spec.cost import cost
from scalesearch.spec.layers import Layer, Linear, MaxPool, Norm, SqueezeExcite


def bias_additions(arch: Arch) -> int:
    """One per output of each layer with a bias, all of which have 1x1 outputs; pycls counts them as FLOPs."""
    total = 0
    for layer in _layers(arch):
        if isinstance(layer, SqueezeExcite):
            total += layer.squeezed + layer.channels
        elif isinstance(layer, Linear):
            total += layer.out_features
    return total


def norm_statistics(arch: Arch) -> int:
    """Running means and variances, which Keras and TensorFlow count as parameters and PyTorch does not."""
    return sum(2 * layer.channels for layer in _layers(arch) if isinstance(layer, Norm))


def pooled_outputs(arch: Arch) -> int:
    """Outputs of max pooling, which pycls counts as activations; only stems have any, at their end."""
    stem = cost(arch).sections[0]
    pools = [layer for block in sections(arch)[0].blocks for layer in block.layers if isinstance(layer, MaxPool)]
    return len(pools) * stem.channels * stem.out_side**2


def _layers(arch: Arch) -> Iterator[Layer]:
    for section in sections(arch):
        for block in section.blocks:
            yield from (*block.layers, *(block.shortcut or ()), *block.after)
