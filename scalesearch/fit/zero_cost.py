"""Zero-cost scores: what is said of a network's worth without training it, from one batch at its initialisation.

Each takes (network, images (N, C, side, side), labels (N,)) and gives a number of which more is meant to be better.
The network is left as it was. Dropout and stochastic depth are off; norms use the batch's statistics, as in the first
step of a training. Layers below are convolutions and linear layers; what a factory's code does outside of modules is
not seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scalesearch.fit.data import open_dataset, read_split, subset_indices
from scalesearch.nets.build import Residual, SqueezeExcite, build
from scalesearch.spec.errors import TrainingError
from scalesearch.spec.factory import AnyArch

_LAYERS = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
_DROPS = (nn.Dropout, nn.Dropout2d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.ELU)
ZEN_STEP = 0.01  # the size of the perturbation, `mixup_gamma` of the authors' code

Score = Callable[[nn.Module, Tensor, Tensor], float]


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """ln Σ θ·∂R/∂θ over the weights θ of all layers, R = Σ of the logits of |θ| for an image of ones.

    Tanaka et al. 2020 (arXiv:2006.05467), R as in algorithm 1, summed over the network as in Abdelfattah et al. 2021
    (arXiv:2101.08134), section 3, whose code leaves the norms out, as is done here. Different here: activations
    and squeeze-excite gates are left out as well. On the values of such a network, none of which is negative, ReLU
    does nothing; SiLU and the gates would, and would break the conservation of flow that the score stands on. And
    the logarithm, which changes no rank; with it and float64 a network of a hundred layers does not overflow.
    """
    linear = _copy(network, lambda module: nn.Identity() if isinstance(module, _NOT_SYNAPSES) else None).double()
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    flow = linear(torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device)).sum()
    pairs = _gradients(linear, flow)
    return math.log(sum(float((weight * gradient).sum()) for weight, gradient in pairs))


_NOT_SYNAPSES = (*_NORMS, *_ACTIVATIONS, *_DROPS, SqueezeExcite)


def naswot(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """ln |det K|, K_ij = the number of units that images i and j switch alike (N_A − Hamming distance of their codes).

    Mellor et al. 2021 (arXiv:2006.04647), section 3. A unit is one input element of one activation module,
    squeeze-excite's included; it is on if that is positive. The paper has ReLU, where this is the linear region;
    SiLU has none, and the sign of its input is taken in its place.
    """
    observed = _copy(network)
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)

    def compare(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        signs = torch.where(inputs[0].flatten(1) > 0, 1.0, -1.0)
        kernel.add_((signs @ signs.T).double().add_(signs.shape[1]).div_(2))  # whole numbers, exact in float32

    for module in observed.modules():
        if isinstance(module, _ACTIVATIONS):
            module.register_forward_pre_hook(compare)
    with torch.no_grad():
        observed(images)
    return float(torch.linalg.slogdet(kernel).logabsdet)


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Σ over the layers of ‖∂L/∂W‖₂, L the mean cross-entropy of the batch.

    Abdelfattah et al. 2021 (arXiv:2101.08134), section 3; the norms are summed by layer, as in their code.
    """
    return sum(float(gradient.norm()) for _, gradient in _loss_gradients(network, images, labels))


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Σ |θ·∂L/∂θ| over the weights θ of all layers, L the mean cross-entropy of the batch.

    Connection sensitivity (Lee et al. 2019, arXiv:1810.02340, section 4) before its division by the network's own sum;
    that sum is the score in Abdelfattah et al. 2021 (arXiv:2101.08134), section 3.
    """
    return sum(float((weight * gradient).abs().sum()) for weight, gradient in _loss_gradients(network, images, labels))


def zen(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """ln E‖f(x) − f(x + 0.01·x′)‖ + Σ over norms of ln √(mean over channels of σ²), x, x′ and all weights ~ N(0, 1).

    Lin et al. 2021 (arXiv:2102.01063), algorithm 1, f being the map before global pooling of the network without its
    residual links and squeeze-excite; ‖·‖ is the sum of absolute values, as in the authors' code. Drawn anew by that
    rule: the official initialisation would change the score by the logarithm of its scale in every layer. Images and
    labels do not enter but for their shape. Different here: σ² is that of the batch, where the authors' code reads a
    running average that starts at 1; activations stay the network's own. A factory's residual links stay.
    """
    plain = _copy(network, _without_links)
    maps: list[Tensor] = []
    deviations: list[float] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.ndim == 4:
            maps[:] = [output]

    def spread(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance = inputs[0].transpose(0, 1).flatten(1).var(1, correction=0)
        deviations.append(0.5 * math.log(float(variance.mean())))

    hooks = []
    for module in plain.modules():
        if isinstance(module, _LAYERS):
            nn.init.normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, _NORMS) and module.weight is not None:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, (*_LAYERS, *_NORMS, *_ACTIVATIONS)):
            module.register_forward_hook(keep)
        if isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(spread))
    with torch.no_grad():
        x, other = torch.randn_like(images), torch.randn_like(images)
        plain(x)
        (before,) = maps
        for hook in hooks:
            hook.remove()
        plain(x + ZEN_STEP * other)
        change = float((maps[0] - before).abs().sum() / len(images))
    return math.log(change) + sum(deviations)


def params(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Trainable parameters: the baseline that few scores beat (Li et al. 2023, arXiv:2301.11300)."""
    return float(sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad))


def flops(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """FLOPs of one image, by PyTorch's counter: the other baseline, and the same for all at equal FLOPs.

    The counter takes a multiplication and an addition as two, hence the division.
    """
    counted = copy.deepcopy(network).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(images[:1])
    return float(counter.get_total_flops() // 2)


ZERO_COST: Mapping[str, Score] = {
    "synflow": synflow,
    "naswot": naswot,
    "grad_norm": grad_norm,
    "snip": snip,
    "zen": zen,
    "params": params,
    "flops": flops,
}


def score_network(arch: AnyArch, data: Path, images: int, initialisations: int) -> dict[str, list[float]]:
    """Every score of a network by initialisation seed 0, 1, …, on the same `images` of the training split for all.

    `data` is a data set's folder in the cache. The weights are those of `build`, not those that a training starts
    from where blocks start as the identity. Raises TrainingError for a score that is not a finite number.
    """
    batch, labels = fixed_batch(data, images, arch.resolution)
    found: dict[str, list[float]] = {name: [] for name in ZERO_COST}
    with torch.random.fork_rng(devices=[]):
        for seed in range(initialisations):
            torch.manual_seed(seed)
            network = build(arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, score in ZERO_COST.items():
                torch.manual_seed(seed)  # so that no score depends on which were computed before it
                found[name].append(_finite(name, score, network, batch, labels, arch))
    return found


def fixed_batch(data: Path, count: int, resolution: int) -> tuple[Tensor, Tensor]:
    """`count` training images, as many of each class, not augmented, normalised as for training; and their labels."""
    images, labels = read_split(open_dataset(data), "train", resolution)
    chosen = subset_indices(labels, count, 0)
    pixels = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).to(torch.float32)
    return pixels.sub_(127.5).div_(63.75), torch.from_numpy(labels[chosen])


def _finite(name: str, score: Score, network: nn.Module, images: Tensor, labels: Tensor, arch: AnyArch) -> float:
    try:
        value = score(network, images, labels)
    except ValueError:  # the logarithm of zero, or of what is no number
        value = math.nan
    if not math.isfinite(value):
        raise TrainingError(
            f"{name} of {arch.name} at {arch.resolution} px is not a finite number: it needs modules it can see "
            f"(layers, norms, activations) and images that differ (here {len(images)})"
        )
    return value


def _copy(network: nn.Module, rule: Callable[[nn.Module], nn.Module | None] = lambda module: None) -> nn.Module:
    """A copy in training mode without dropout and stochastic depth; `rule` names what takes a module's place."""
    copied = copy.deepcopy(network).train()
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            other = rule(child)
            if other is not None:
                setattr(parent, name, other)
    for module in copied.modules():
        if isinstance(module, _DROPS):
            module.eval()
        if isinstance(module, Residual):
            module.drop_path = 0.0
    return copied


def _without_links(module: nn.Module) -> nn.Module | None:
    if isinstance(module, Residual):
        return nn.Sequential(module.layers, module.after)
    return nn.Identity() if isinstance(module, SqueezeExcite) else None


def _loss_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    trained = _copy(network)
    return _gradients(trained, nn.functional.cross_entropy(trained(images), labels))


def _gradients(network: nn.Module, of: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The weights of all layers that `of` depends on, each with its gradient."""
    weights = [module.weight for module in network.modules() if isinstance(module, _LAYERS)]
    found = torch.autograd.grad(of, weights, allow_unused=True)
    return [
        (weight.detach(), gradient) for weight, gradient in zip(weights, found, strict=True) if gradient is not None
    ]
