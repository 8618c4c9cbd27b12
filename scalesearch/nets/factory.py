"""A user's factory at work: its modules, and their cost by counting.

This is the one door to a user's code. A process runs a factory only after `allow` was called with its spelling, and
that is done only for what a person has typed: never for a name that came from a file or from a stored run.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from scalesearch.spec.cost import Cost, count_by
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.factory import FactoryArch, is_factory

ARGUMENTS = ("depth", "width", "resolution", "classes")
# What our definition counts: convolutions and linear layers, as PyTorch's counter meets them below autograd. Products
# of two activations (bmm, baddbmm, scaled_dot_product_attention) are outside it, as they are for fvcore's `linear`.
COUNTED = ("convolution", "_convolution", "addmm", "mm")

_allowed: set[str] = set()


def allow(factory: str) -> None:
    """Let this process run the code of `factory`. Call it only with what a person has typed."""
    _allowed.add(factory)
    count_by(factory, lambda arch: measure(arch).cost)


def allowed() -> tuple[str, ...]:
    """The factories whose code may run here; workers get the same."""
    return tuple(sorted(_allowed))


@dataclass(frozen=True, slots=True)
class Measured:
    """One forward pass for one image. `uncounted` are multiply-adds outside the definition, by operator."""

    cost: Cost
    structure: tuple[tuple[str, tuple[int, ...]], ...]  # names and shapes of parameters and buffers
    output: object  # the shape of what came out, or the type of it if it is no tensor
    uncounted: dict[str, int]


def function_of(factory: str) -> Callable[..., Any]:
    """The function that is spelled so, imported, with the folder of the command on the path as under `python -m`.

    Raises SpaceError if it may not run here, cannot be imported, or cannot be called as a factory.
    """
    if not is_factory(factory):
        raise SpaceError(factory, ["a factory is spelled package.module:function"])
    if factory not in _allowed:
        raise SpaceError(factory, [f"its code may not run unless a command names it; give --base {factory}"])
    return _function(factory)


@cache
def _function(factory: str) -> Callable[..., Any]:
    module_name, _, name = factory.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise SpaceError(
            factory,
            [
                f"the module {module_name} cannot be imported: {_told(error)}; it must be installed, or below the "
                "folder that the command is given in"
            ],
        ) from None
    if not hasattr(module, name):
        raise SpaceError(factory, [f"the module {module_name} has no {name!r}"])
    function = getattr(module, name)
    if not callable(function):
        raise SpaceError(factory, [f"must be a function, got a {type(function).__name__}"])
    try:
        inspect.signature(function).bind(**dict.fromkeys(ARGUMENTS, 1))
    except (TypeError, ValueError) as error:
        raise SpaceError(
            factory, [f"must take {', '.join(ARGUMENTS)} by these names, and need nothing else: {error}"]
        ) from None
    result: Callable[..., Any] = function
    return result


def parameters_of(factory: str) -> dict[str, Any]:
    """The factory's named parameters, with their defaults (None where there is none)."""
    parameters = inspect.signature(function_of(factory)).parameters.values()
    return {
        entry.name: None if entry.default is inspect.Parameter.empty else entry.default
        for entry in parameters
        if entry.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    }


def make(arch: FactoryArch) -> nn.Module:
    """The module that the factory makes, initialised by itself from torch's global generator.

    A factory without `in_channels` gets images of three channels; grey ones are repeated. Raises SpaceError if the
    code may not run here, or raises, or makes no module.
    """
    function = function_of(arch.factory)
    asked: dict[str, Any] = {name: getattr(arch, name) for name in ARGUMENTS}
    takes_channels = "in_channels" in parameters_of(arch.factory)
    if takes_channels:
        asked["in_channels"] = arch.in_channels
    elif arch.in_channels not in (1, 3):
        raise SpaceError(
            arch.factory,
            [f"the images have {arch.in_channels} channels; without an argument in_channels it can take 1 or 3"],
        )
    try:
        module = function(**asked)
    except (Exception, SystemExit) as error:
        raise SpaceError(arch.factory, [f"{_call(arch)} raised {_told(error)}"]) from None
    if not isinstance(module, nn.Module):
        raise SpaceError(arch.factory, [f"{_call(arch)} must make a torch.nn.Module, got a {type(module).__name__}"])
    if not takes_channels and arch.in_channels == 1:
        module.register_forward_pre_hook(_repeat_grey)
    return module


def _repeat_grey(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A hook, so that the module's state dict keeps its names."""
    return (inputs[0].repeat(1, 3, 1, 1).contiguous(memory_format=torch.channels_last),)


def measure(arch: FactoryArch, training: bool = False, batch: int = 1) -> Measured:
    """Cost and shapes from one forward pass, on the meta device, where nothing is computed.

    A module that cannot be made there (its code reads a tensor's value) is made on the CPU, and one that cannot run
    there is run on the CPU too. Raises SpaceError as `make` does, and if the forward pass fails.
    """
    for made_on, run_on in (("meta", "meta"), ("cpu", "meta")):
        try:
            return _measure(arch, training, batch, made_on, run_on)
        except Exception:  # any: what the code cannot do on meta tensors, it says in its own way
            continue
    return _measure(arch, training, batch, "cpu", "cpu")


def _measure(arch: FactoryArch, training: bool, batch: int, made_on: str, run_on: str) -> Measured:
    with torch.random.fork_rng(devices=[]), plain_attention(), torch.no_grad():
        with torch.device(made_on):
            module = make(arch).train(training)
        try:
            with torch.device(run_on), _Counter() as counter:
                image = torch.zeros(batch, arch.in_channels, arch.resolution, arch.resolution)
                output = module.to(run_on)(image)
        except Exception as error:
            raise SpaceError(
                arch.factory,
                [f"{_call(arch)} cannot take images of {arch.resolution} px: its network raised {_told(error)}"],
            ) from None
    trainable = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    named = (*module.named_parameters(), *module.named_buffers())
    inside = {name: flops // 2 for name, flops in counter.flops.items()}  # the registry counts x and + as two
    return Measured(
        Cost(sum(inside.get(name, 0) for name in COUNTED), trainable, counter.activations, ()),
        tuple((name, tuple(tensor.shape)) for name, tensor in named),
        tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__,
        {name: flops for name, flops in inside.items() if name not in COUNTED},
    )


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """PyTorch's own FLOPs formulas, applied to each operator below autograd, and the outputs of those that count.

    torch's FlopCounterMode also keeps them per module, which takes it half of its time, and has no activations.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: dict[str, int] = {}
        self.activations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry:
            known = _same_shape(packet, args)
            if known is not None:
                return known
            with self:
                decomposed = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if decomposed is NotImplemented else decomposed
        out = func(*args, **kwargs)
        name = packet.__name__
        self.flops[name] = self.flops.get(name, 0) + int(flop_registry[packet](*args, **kwargs, out_val=out))
        if name in COUNTED:
            self.activations += out.numel()
        return out


_aten = torch.ops.aten
_POINTWISE = {_aten.relu, _aten.silu, _aten.gelu, _aten.hardtanh, _aten.hardswish, _aten.sigmoid}
_POINTWISE_HERE = {_aten.relu_, _aten.silu_, _aten.hardtanh_, _aten.hardswish_}
_OF_TWO = {_aten.add, _aten.mul}


def _same_shape(packet: Any, args: Any) -> Any:
    """What an operator gives on the meta device whose output has its input's shape; None for all others.

    PyTorch finds the shapes of these in Python, at 0.2 to 1 ms each, ten times a convolution's: four fifths of a count.
    """
    if not (args and isinstance(args[0], Tensor) and args[0].is_meta):
        return None
    if packet in _POINTWISE_HERE:
        return args[0]
    if packet in _POINTWISE:
        return torch.empty_like(args[0])
    other = args[1] if len(args) > 1 else None
    if packet in _OF_TWO and isinstance(other, Tensor) and (other.shape, other.dtype) == (args[0].shape, args[0].dtype):
        return torch.empty_like(args[0])
    if packet is _aten.native_batch_norm and not args[5]:  # in eval mode, it gives no statistics
        return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
    return None


@contextmanager
def plain_attention() -> Iterator[None]:
    """nn.MultiheadAttention as its single layers: in eval mode it may call one fused operator that no counter opens."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _call(arch: FactoryArch) -> str:
    asked = f"depth={arch.depth:g}, width={arch.width:g}, resolution={arch.resolution}, classes={arch.classes}"
    return f"{arch.factory.partition(':')[2]}({asked})"


def _told(error: BaseException) -> str:
    """An error of somebody else's code in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
