"""Is a factory fit to be a base? Asked of its code before anything is trained, one fault at a time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import torch

from scalesearch.nets.count import checked_flops
from scalesearch.nets.factory import Measured, allow, make, measure, parameters_of
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.factory import FactoryArch
from scalesearch.spec.schema import ARCH_KEYS, short

# The base's side (px), classes and channels, where the factory's signature has no default for them.
DEFAULTS = {"resolution": 224, "classes": 1000, "in_channels": 3}
_CALLS = 4  # of one request; a structure drawn from a coin shows in seven of eight factories


def open_factory(factory: str) -> FactoryArch:
    """The base of a factory, `module:function`, that a person has typed: allowed to run, and checked.

    The defaults of its arguments resolution, classes and in_channels are the base's, if it has any. Raises
    SpaceError, naming what the factory ignores, refuses or does not keep to, and CountError if fvcore counts other
    FLOPs of the base.
    """
    allow(factory)
    base = _base(factory)
    with torch.random.fork_rng(devices=[]):
        found = _steady(base)
        _refuse_lazy(base)
        _check_classes(base, found)
        deeper = _check_grows(base, found, "depth")
        wider = _check_grows(base, found, "width")
        _check_sides(base, found)
        _check_training(base)
    described = [(one.structure, one.cost.flops) for one in (found, deeper, wider)]
    fingerprint = hashlib.blake2b(json.dumps(described).encode(), digest_size=8).hexdigest()
    base = replace(base, fingerprint=fingerprint)
    checked_flops(base)
    return base


def uncounted(arch: FactoryArch) -> str:
    """What the definition of FLOPs leaves out of this network, in words; empty if nothing."""
    found = measure(arch)
    share = sum(found.uncounted.values()) / found.cost.flops
    names = ", ".join(name.strip("_") for name in found.uncounted)
    return f"not counted: {names} ({share:.1%} more)" if found.uncounted else ""


def _base(factory: str) -> FactoryArch:
    given = parameters_of(factory)
    chosen = {}
    for name, usual in DEFAULTS.items():
        value = usual if given.get(name) is None else given[name]
        if not ARCH_KEYS[name].holds(value):
            raise SpaceError(factory, [f"the default of {name} must be {ARCH_KEYS[name].rule}, got {short(value)}"])
        chosen[name] = value
    return FactoryArch(name=factory.replace(":", ".")[-60:].lstrip("._"), factory=factory, fingerprint="", **chosen)


def _steady(base: FactoryArch) -> Measured:
    found = []
    for seed in range(_CALLS):
        torch.manual_seed(seed)
        found.append(measure(base))
    first = found[0]
    for other in found[1:]:
        if (other.structure, other.cost) != (first.structure, first.cost):
            raise SpaceError(
                base.factory,
                [
                    f"makes another network each time for the same arguments: {first.cost.params:,} and "
                    f"{other.cost.params:,} parameters, {first.cost.flops:,} and {other.cost.flops:,} FLOPs; "
                    "its structure must follow from the arguments alone"
                ],
            )
    if first.cost.flops == 0:
        raise SpaceError(base.factory, ["makes a network without convolutions and linear layers; there is no FLOP"])
    return first


def _refuse_lazy(base: FactoryArch) -> None:
    if any(map(torch.nn.parameter.is_lazy, make(base).parameters())):
        raise SpaceError(
            base.factory, ["makes lazy modules, whose sizes are open until a first image; give them their input sizes"]
        )


def _check_classes(base: FactoryArch, found: Measured) -> None:
    for arch in (base, replace(base, classes=7)):
        output = found.output if arch == base else measure(arch).output
        if output != (1, arch.classes):
            raise SpaceError(
                base.factory,
                [f"must give logits of shape (1, {arch.classes}) for one image, as classes asks, got {output}"],
            )


def _check_grows(base: FactoryArch, found: Measured, what: str) -> Measured:
    doubled = measure(replace(base, depth=2.0) if what == "depth" else replace(base, width=2.0))
    if doubled.structure == found.structure and doubled.cost == found.cost:
        raise SpaceError(
            base.factory,
            [f"ignores {what}: {what} 1 and 2 give the same network of {found.cost.params:,} parameters"],
        )
    if doubled.cost.flops <= found.cost.flops:
        raise SpaceError(
            base.factory,
            [f"must cost more at {what} 2 than at {what} 1, got {doubled.cost.flops:,} and {found.cost.flops:,} FLOPs"],
        )
    return doubled


def _check_sides(base: FactoryArch, found: Measured) -> None:
    measure(replace(base, resolution=base.resolution + 1))  # candidates and members have any side
    larger = measure(replace(base, resolution=2 * base.resolution))
    if larger.cost.flops <= found.cost.flops:
        raise SpaceError(
            base.factory,
            [
                f"ignores resolution: {base.resolution} and {2 * base.resolution} px cost {found.cost.flops:,} and "
                f"{larger.cost.flops:,} FLOPs"
            ],
        )


def _check_training(base: FactoryArch) -> None:
    output = measure(base, training=True, batch=2).output
    if output != (2, base.classes):
        raise SpaceError(
            base.factory,
            [f"in training mode must give logits of shape (2, {base.classes}) for two images, got {output}"],
        )
