"""Count FLOPs, parameters and activations of a network, per stage and in total.

Exact to the unit, without building the network; `--latency` and `--train-step` build and measure it. A network of a
factory is built and counted twice, by PyTorch's formulas and by fvcore.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from scalesearch.commands.text import ARCH, argument, integer, read_network, table
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.schema import ARCH_KEYS
from scalesearch.spec.units import FLOPS_DEFINITION, format_flops

if TYPE_CHECKING:
    from scalesearch.fit.speed import TrainStep
    from scalesearch.nets.latency import Latency

EXAMPLES = """examples:
  scalesearch cost efficientnet_b0
  scalesearch cost efficientnet_b2 --resolution 288 --json
  scalesearch cost my_network.toml --latency
  scalesearch cost my_package.my_module:make
  scalesearch cost efficientnet_b0 --latency --threads 2 --batch 8 --warmup 5 --repeats 50
  scalesearch cost efficientnet_b0 --train-step --batch 32
"""
# How a measurement is done, where the command line leaves it open.
_LATENCY = {"device": "cpu", "threads": 1, "batch": 1, "warmup": 3, "repeats": 20}
_TRAIN_STEP = {"device": "cpu", "threads": 1, "batch": 32, "warmup": 1, "repeats": 5}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arch", metavar="ARCH", help=ARCH)
    parser.add_argument("--resolution", type=argument(_side), metavar="R", help="side of the input in px")
    parser.add_argument("--latency", action="store_true", help="also time forward passes in eval mode")
    parser.add_argument(
        "--train-step",
        action="store_true",
        help="also time training steps (forward, backward, optimiser, weight average), and their peak memory",
    )
    parser.add_argument("--device", metavar="D", help="where to measure: cpu, cuda or cuda:N (default cpu)")
    for name, meaning in (
        ("threads", "threads of PyTorch on CPU"),
        ("batch", "images at a time"),
        ("warmup", "first passes that are not counted"),
        ("repeats", "passes that are counted"),
    ):
        low = 0 if name == "warmup" else 1
        default = f"{_LATENCY[name]}"
        if _TRAIN_STEP[name] != _LATENCY[name]:
            default += f", of training steps {_TRAIN_STEP[name]}"
        parser.add_argument(
            f"--{name}",
            type=argument(integer(low, 1_024 if name == "threads" else 1_000_000)),
            metavar="N",
            help=f"{meaning} (default {default})",
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(arguments: argparse.Namespace) -> None:
    arch = read_network(arguments.arch)
    if arguments.resolution is not None:
        arch = replace(arch, resolution=arguments.resolution)
    found = cost(arch)
    measured = _measure(arch, arguments)
    if arguments.json:
        print(
            json.dumps(
                {
                    "name": arch.name,
                    "resolution": arch.resolution,
                    "flops": found.flops,
                    "params": found.params,
                    "activations": found.activations,
                    "digest": arch.digest,
                    "stages": [asdict(section) for section in found.sections],
                    **{name: asdict(result) for name, result in measured.items()},
                }
            )
        )
        return
    rows: list[tuple[object, ...]] = [
        (
            section.name,
            section.blocks,
            f"{section.in_side} → {section.out_side}",
            section.channels,
            f"{section.flops:,}",
            f"{section.params:,}",
            f"{section.activations:,}",
        )
        for section in found.sections
    ]
    rows.append(("total", "", "", "", f"{found.flops:,}", f"{found.params:,}", f"{found.activations:,}"))
    print(
        f"{arch.name} at {arch.resolution} px: {format_flops(found.flops)} FLOPs, {found.params / 1e6:.2f}M parameters"
    )
    print(table(("stage", "blocks", "side px", "channels", "FLOPs", "parameters", "activations"), rows))
    if "latency" in measured:
        print(f"latency: {_times(measured['latency'], 'passes')}")
    if "train_step" in measured:
        step: TrainStep = measured["train_step"]
        print(
            f"training step: {_times(step, 'steps')}; {step.images_per_second:.1f} images/s, peak memory "
            f"{step.peak_memory / 1e6:.0f} MB beside the libraries'"
        )
    print(*_counted(arch), FLOPS_DEFINITION, sep="\n")


def _counted(arch: AnyArch) -> list[str]:
    """How a factory's network was counted, which no record tells."""
    if not isinstance(arch, FactoryArch):
        return []
    from scalesearch.nets.count import checked_flops
    from scalesearch.nets.probe import uncounted

    checked_flops(arch)
    return ["; ".join(filter(None, ("PyTorch's formulas and fvcore count the same FLOPs", uncounted(arch))))]


def _measure(arch: AnyArch, arguments: argparse.Namespace) -> dict[str, Any]:
    """`latency` and `train_step`, as far as they were asked for. Raises SettingsError, or TrainingError."""
    given = {name: getattr(arguments, name) for name in _LATENCY if getattr(arguments, name) is not None}
    if given and not (arguments.latency or arguments.train_step):
        raise SettingsError(f"--{next(iter(given))}: says how to measure; give --latency or --train-step with it")
    measured: dict[str, Any] = {}
    if arguments.latency:
        from scalesearch.nets.latency import measure_latency

        try:
            measured["latency"] = measure_latency(arch, **{**_LATENCY, **given})
        except RuntimeError as error:  # torch has no narrower one for the CPU's memory
            if "memory" not in str(error):
                raise
            raise SettingsError(
                f"--batch {given.get('batch', 1)}: {arch.name} at {arch.resolution} px needs more memory than there "
                "is; give a smaller batch or --resolution"
            ) from error
    if arguments.train_step:
        from scalesearch.fit.recipe import Recipe
        from scalesearch.fit.speed import measure_train_step
        from scalesearch.search.executor import in_fresh_process

        how = {**_TRAIN_STEP, **given}
        measured["train_step"] = in_fresh_process(
            measure_train_step,
            arch,
            Recipe(epochs=1, batch=how["batch"]),
            how["device"],
            how["threads"],
            how["warmup"],
            how["repeats"],
        )
    return measured


def _times(found: Latency | TrainStep, noun: str) -> str:
    return (
        f"{found.median_s * 1e3:.2f} ms median of {found.repeats} {noun} ({found.p10_s * 1e3:.2f} to "
        f"{found.p90_s * 1e3:.2f} from 10 % to 90 %), batch {found.batch}, {found.device}, "
        f"{found.threads} thread{'' if found.threads == 1 else 's'}"
    )


def _side(text: str) -> int:
    rule = ARCH_KEYS["resolution"]
    value = int(text) if text.strip().lstrip("+-").isdecimal() else None
    if value is None or not rule.holds(value):
        raise SettingsError(f"must be {rule.rule}, got {text!r}")
    return value
