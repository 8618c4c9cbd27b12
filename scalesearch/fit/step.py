"""One training step: loss, gradients, optimiser, weight average. The loop and the measurements share it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from scalesearch.fit.recipe import Recipe


def step_on_batch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    accumulation: int,
) -> float:
    """Forward, loss, backward and update, in `accumulation` parts of the batch; the mean loss before it.

    A batch that does not give every part two images, which batch norm needs, is done in fewer parts. `labels` are
    indices of classes (B,), or shares of the classes (B, classes).
    """
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    count = min(accumulation, max(1, len(images) // 2))
    parts = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
    for part, part_labels in parts:
        with torch.autocast(images.device.type, amp_dtype(images.device), enabled=images.device.type == "cuda"):
            logits = network(part)
            loss = nn.functional.cross_entropy(logits, part_labels, label_smoothing=recipe.label_smoothing)
        loss = loss * (len(part) / len(images))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    scaler.step(optimizer)
    scaler.update()
    return total


def amp_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has it (no loss scaling needed), else float16; unused on CPU, where it is slower."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """No weight decay on norms and biases, which have one dimension (He et al. 2019, bag of tricks)."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    rate = recipe.learning_rate * recipe.batch / 256
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, recipe.momentum, nesterov=True, fused=True)
    if recipe.optimizer == "adamw":  # Loshchilov & Hutter 2019
        return torch.optim.AdamW(groups, rate, betas=(recipe.momentum, 0.999), fused=True)
    # Tan & Le 2019, section 5.2: decay 0.9, momentum 0.9; epsilon 0.001 as in the official code, but PyTorch adds it
    # outside the root and starts the average at 0, so that equal rates are not equal steps.
    return torch.optim.RMSprop(groups, rate, alpha=0.9, eps=1e-3, momentum=recipe.momentum, foreach=True)


def rate_at(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0, of a training of `steps` steps."""
    peak = recipe.learning_rate * recipe.batch / 256
    warmup = max(1, round(recipe.warmup * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    if recipe.schedule == "exponential":  # a staircase, as in google/automl efficientnetv2/utils.py
        return float(peak * recipe.decay ** math.floor(step * recipe.epochs / steps / recipe.decay_epochs))
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def last_rate(recipe: Recipe, epoch: int) -> float:
    """The learning rate at the end of an epoch, counted from 1, of a training of very many steps."""
    many = 1_000_000
    return rate_at(recipe, epoch * many - 1, recipe.epochs * many)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def set_dropout(network: nn.Module, rate: float) -> None:
    """Of the layer before the classifier, which is the only one of its kind in a network built from an Arch."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate


class WeightAverage:
    """Exponential moving average of weights and norm statistics, each update one fused operation."""

    def __init__(self, network: nn.Module, copy: nn.Module) -> None:
        copy.load_state_dict(network.state_dict())
        self.network = copy
        self._old = [tensor for tensor in copy.state_dict().values() if tensor.is_floating_point()]
        self._new = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        torch._foreach_lerp_(self._old, self._new, 1 - decay)


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
