"""Function-preserving growth: a network's trained weights as the start of one that is scaled from it.

In eval mode and at the same side, the grown network gives the source's logits (Net2Net, Chen et al. 2016,
arXiv:1511.05641). Width: the source's channels come first, and new ones get fresh incoming weights and outgoing weights
of zero. Depth: a stage's new blocks follow its old ones and start as the identity. Resolution: nothing changes. Only
norm statistics shift with the side, and training re-estimates them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from scalesearch.nets.build import Network, Residual, build, start_as_identity
from scalesearch.spec import layers
from scalesearch.spec.arch import Arch, sections
from scalesearch.spec.blocks import Stage
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.factory import AnyArch, FactoryArch

# Applied twice, they give what they give once: a block of zeros between two such activations changes nothing.
_IDEMPOTENT = ("relu", "relu6")


def grow(state: Mapping[str, Tensor], source: AnyArch, target: AnyArch, seed: int) -> dict[str, Tensor]:
    """The state dict of `target`, on the CPU, that goes on where `state`, of `source`, stands.

    `seed` decides all that is new, by `build`'s initialisation; torch's global generator is left as it was. Raises
    SpaceError, with every reason, if `target` cannot be grown from `source` (`obstacles`).
    """
    if found := obstacles(source, target):
        raise SpaceError(f"{target.name} from {source.name}", found)
    assert isinstance(source, Arch) and isinstance(target, Arch)  # a factory's network is an obstacle
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        old, new = Network(source), build(target)
        old.load_state_dict(state)
        start_as_identity(new)
        for old_part, new_part in zip(sections(source), sections(target), strict=True):
            old_blocks = _modules(old.sections[old_part.name], len(old_part.blocks))
            new_blocks = _modules(new.sections[new_part.name], len(new_part.blocks))
            for one, other in zip(old_blocks, new_blocks, strict=False):
                _continue(one, other)
            for index in range(len(old_blocks), len(new_blocks)):
                if not isinstance(new_blocks[index], Residual):  # those are the identity already
                    _make_identity(new_part.blocks[index], new_blocks[index], new_blocks[index - 1])
    return new.state_dict()


def obstacles(source: AnyArch, target: AnyArch) -> list[str]:
    """Why `target` cannot be grown from `source`, a sentence each; empty if it can."""
    if isinstance(source, FactoryArch) or isinstance(target, FactoryArch):
        return ["a factory's networks cannot inherit weights: what its modules do is not known; train from scratch"]
    found = [
        f"{key} must be the source's, {getattr(source, key)!r}, got {getattr(target, key)!r}; leave it as it is"
        for key in ("classes", "in_channels", "activation", "norm_eps")
        if getattr(source, key) != getattr(target, key)
    ]
    if target.resolution < source.resolution:
        found.append(f"the side must be at least the source's {source.resolution} px, got {target.resolution}; grow it")
    if len(source.stages) != len(target.stages) or (source.head is None) != (target.head is None):
        return [*found, f"must have the source's {_outline(source)}, got {_outline(target)}; scale the source"]
    for old, new in zip(sections(source)[:-1], sections(target)[:-1], strict=True):
        old_stage, new_stage = _stage(source, old.name), _stage(target, new.name)
        found += [f"{new.name}: {reason}" for reason in _stage_obstacles(old_stage, new_stage)]
        if old_stage.kind == new_stage.kind:
            found += [f"{new.name}: {reason}" for reason in _block_obstacles(old.blocks, new.blocks, target)]
    return found


def _stage_obstacles(old: Stage, new: Stage) -> list[str]:
    found = [
        f"{what} must be at least the source's {getattr(old, what)}, got {getattr(new, what)}; growth does not shrink"
        for what in ("channels", "repeats")
        if getattr(new, what) < getattr(old, what)
    ]
    same = replace(new, channels=old.channels, repeats=old.repeats)
    if same != old:
        found.append(f"must differ from the source's in channels and repeats alone, {old} there, {new} here")
    return found


def _block_obstacles(old: Sequence[layers.Block], new: Sequence[layers.Block], target: Arch) -> list[str]:
    found = []
    for one, other in zip(old, new, strict=False):
        if [_kind(one.shortcut), _kind(one.after)] != [_kind(other.shortcut), _kind(other.after)]:
            found.append(
                f"the input must be added as in the source, where it is {_added(one)}; here it is {_added(other)}; "
                "choose channels that are equal where the source's are, and nowhere else"
            )
    inserted = new[len(old) :]
    pools = (layers.MaxPool, layers.AvgPool)
    if any(isinstance(layer, pools) for block in inserted for layer in (*block.layers, *(block.shortcut or ()))):
        found.append("a new block that pools cannot start as the identity; keep the source's repeats")
    elif any(block.shortcut is None and not isinstance(block.layers[-1], layers.Activation) for block in inserted):
        found.append(
            "a new block that adds no input and does not end in an activation cannot start as the identity; keep the "
            "source's repeats"
        )
    activated = [block for block in inserted if block.shortcut is None or block.after]
    if activated and target.activation not in _IDEMPOTENT:
        found.append(
            f"a new block that ends in an activation starts as the identity with {' or '.join(_IDEMPOTENT)} only, "
            f"got {target.activation}; keep the source's repeats"
        )
    return list(dict.fromkeys(found))


def _kind(records: Sequence[layers.Layer] | None) -> list[type] | None:
    return None if records is None else [type(record) for record in records]


def _added(block: layers.Block) -> str:
    if block.shortcut is None:
        return "not added"
    if not block.shortcut:
        return "added as it is"
    return "added through " + ("pooling" if isinstance(block.shortcut[0], layers.AvgPool) else "a convolution")


def _outline(arch: Arch) -> str:
    return f"{len(arch.stages)} stages {'without' if arch.head is None else 'with'} a head"


def _stage(arch: Arch, name: str) -> Stage:
    if name == "stem":
        return arch.stem
    if name == "head":
        assert arch.head is not None
        return arch.head
    return arch.stages[int(name.removeprefix("stage")) - 1]


def _modules(section: nn.Module, count: int) -> list[nn.Module]:
    """The blocks of a section, as `Network` nests them."""
    return [section] if count == 1 else list(section.children())


def _continue(old: nn.Module, new: nn.Module) -> None:
    """Carry a block over: the source's channels come first, and read nothing of the new ones.

    Where there are groups, whole groups are new, since their width is the source's.
    """
    for one, other in zip(old.modules(), new.modules(), strict=True):
        if isinstance(one, (nn.Conv2d, nn.Linear)) and isinstance(other, (nn.Conv2d, nn.Linear)):
            out, columns = one.weight.shape[:2]
            other.weight[:out, columns:] = 0
            other.weight[:out, :columns] = one.weight
            if one.bias is not None and other.bias is not None:
                other.bias[:out] = one.bias
        elif isinstance(one, nn.BatchNorm2d):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(other, name)[: one.num_features] = getattr(one, name)


def _make_identity(record: layers.Block, new: nn.Module, before: nn.Module) -> None:
    """Make a block without shortcut the identity of what the block `before` it gives, in training mode too.

    Every convolution passes its input on. A norm's scale and shift undo what it subtracts and divides by, for inputs
    as the preceding norm and activation give them: a rectified normal distribution per channel.
    """
    last = [module for module in before.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    kind = next(layer.kind for layer in record.layers if isinstance(layer, layers.Activation))
    mean, variance = _activated(last, kind)
    assert isinstance(new, nn.Sequential)
    for module in new:
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight, module.groups)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.copy_(mean)
            module.running_var.copy_(variance)
            module.weight.copy_((variance + module.eps).sqrt())
            module.bias.copy_(mean)


def _activated(norm: nn.BatchNorm2d, kind: str) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel after `norm` and the activation, if the norm's input is normal."""
    normal = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    density = torch.exp(-(normal**2) / 2)
    density /= density.sum()
    value = (norm.bias[:, None] + norm.weight[:, None] * normal).clamp(0, 6 if kind == "relu6" else math.inf)
    mean = value @ density
    return mean, ((value - mean[:, None]) ** 2) @ density
