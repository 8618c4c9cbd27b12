"""Count FLOPs, parameters and activations of a network, per stage and in total.

Exact to the unit, without building the network; `--latency` builds and times it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace

from scalesearch.commands.text import argument, table
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.files import load_arch
from scalesearch.spec.schema import ARCH_KEYS
from scalesearch.spec.units import FLOPS_DEFINITION, format_flops

EXAMPLES = """examples:
  scalesearch cost efficientnet_b0
  scalesearch cost efficientnet_b2 --resolution 288 --json
  scalesearch cost my_network.toml --latency
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "arch",
        metavar="ARCH",
        help="a shipped name (efficientnet_b0, resnet50 …; see scalesearch spaces) or a .toml/.json file",
    )
    parser.add_argument("--resolution", type=argument(_side), metavar="R", help="side of the input in px")
    parser.add_argument("--latency", action="store_true", help="also time it: batch 1, one CPU thread, in eval mode")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(arguments: argparse.Namespace) -> None:
    arch = load_arch(arguments.arch)
    if arguments.resolution is not None:
        arch = replace(arch, resolution=arguments.resolution)
    found = cost(arch)
    latency = None
    if arguments.latency:
        from scalesearch.nets.latency import measure_latency

        latency = measure_latency(arch)
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
                    **({} if latency is None else {"latency": asdict(latency)}),
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
    if latency is not None:
        print(
            f"latency: {latency.median_s * 1e3:.2f} ms median of {latency.repeats} ({latency.p10_s * 1e3:.2f} to "
            f"{latency.p90_s * 1e3:.2f} from 10 % to 90 %), batch {latency.batch}, {latency.device}, "
            f"{latency.threads} thread"
        )
    print(FLOPS_DEFINITION)


def _side(text: str) -> int:
    rule = ARCH_KEYS["resolution"]
    value = int(text) if text.strip().lstrip("+-").isdecimal() else None
    if value is None or not rule.holds(value):
        raise SettingsError(f"must be {rule.rule}, got {text!r}")
    return value
