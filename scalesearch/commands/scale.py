"""Scale a network by α, β, γ: to a given φ, or to a given number of FLOPs.

Prints what the formula asks for beside what remains after rounding.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, replace
from pathlib import Path

from scalesearch.commands.text import ARCH, argument, read_network, table
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.files import to_json, to_toml
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS, Coefficients, Multipliers, scale, to_flops
from scalesearch.spec.units import format_flops, parse_flops

EXAMPLES = """examples:
  scalesearch scale efficientnet_b0 --phi 1
  scalesearch scale efficientnet_b0 --to-flops 1.6B
  scalesearch scale efficientnet_b0 --alpha 1.2 --beta 1.1 --gamma 1.1 --phi 7 --rounding pycls --write b.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arch", metavar="ARCH", help=ARCH)
    paper = PAPER_COEFFICIENTS
    for name, meaning, default in (
        ("alpha", "depth", paper.alpha),
        ("beta", "width", paper.beta),
        ("gamma", "resolution", paper.gamma),
    ):
        parser.add_argument(
            f"--{name}",
            type=argument(_number),
            default=default,
            metavar=name[0].upper(),
            help=f"{meaning} per unit of φ (default {default:g}, the paper's)",
        )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--phi", type=argument(_number), metavar="P", help="the compound coefficient φ; below 0 scales down"
    )
    how.add_argument("--to-flops", type=argument(parse_flops), metavar="T", help="solve for φ, e.g. 1.6B")
    parser.add_argument(
        "--tolerance",
        type=argument(_number),
        default=0.03,
        metavar="SHARE",
        help="how far from --to-flops the nearest network may be (default 0.03)",
    )
    parser.add_argument(
        "--rounding",
        choices=tuple(ROUNDINGS),
        default="official",
        help="official: repeats up, channels to multiples of 8 but not below 90 %%, 1 px; "
        "pycls: repeats to nearest, multiples of 8, 4 px",
    )
    parser.add_argument("--write", metavar="FILE", help="write the scaled network to a .toml or .json file")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the network")


def execute(arguments: argparse.Namespace) -> None:
    base = read_network(arguments.arch)
    coefficients = Coefficients(arguments.alpha, arguments.beta, arguments.gamma)
    rounding = ROUNDINGS[arguments.rounding]
    phi = arguments.phi
    if phi is not None and abs(phi) > 40:
        raise SettingsError(f"--phi must be from -40 to 40, got {phi:g}")
    if phi is None:
        found = to_flops(base, arguments.to_flops, coefficients, rounding, arguments.tolerance)
        arch, phi = found.arch, found.phi
    else:
        arch = scale(base, coefficients, phi, rounding)
    suffix = f"-phi{phi:.3f}".rstrip("0").rstrip(".")
    arch = replace(arch, name=base.name[: 100 - len(suffix)] + suffix)
    if arguments.write:
        _write(arch, Path(arguments.write))
    before, after = cost(base), cost(arch)
    requested = coefficients.at(phi)
    if arguments.json:
        print(
            json.dumps(
                {
                    "name": arch.name,
                    "phi": phi,
                    "requested": asdict(requested),
                    "resolution": arch.resolution,
                    "flops": after.flops,
                    "params": after.params,
                    "activations": after.activations,
                    "nominal_ratio": coefficients.nominal_ratio**phi,
                    "realised_ratio": after.flops / before.flops,
                    "arch": arch.to_dict(),
                }
            )
        )
        return
    print(
        f"{base.name} at φ = {phi:.4g}: depth × {requested.depth:.3f}, width × {requested.width:.3f}, "
        f"resolution × {requested.resolution:.3f}"
    )
    print(_realised(base, arch, requested))
    print(
        f"{format_flops(after.flops)} FLOPs ({after.flops:,}), {after.params:,} parameters: "
        f"{after.flops / before.flops:.3f} "
        f"times {base.name}, nominally {coefficients.nominal_ratio**phi:.3f}"
    )


def _realised(base: AnyArch, arch: AnyArch, requested: Multipliers) -> str:
    if isinstance(base, Arch) and isinstance(arch, Arch):
        return _stages(base, arch, requested)
    return (
        f"{base.resolution * requested.resolution:.1f} px requested, {arch.resolution} realised; "
        "the factory rounds depth and width by itself"
    )


def _stages(base: Arch, arch: Arch, requested: Multipliers) -> str:
    """Requested and realised sizes, per stage; the side is that of the stage's input."""
    rows = []
    sides = {section.name: section.in_side for section in cost(arch).sections}
    wanted = {section.name: section.in_side * requested.resolution for section in cost(base).sections}
    pairs = [("stem", base.stem, arch.stem)]
    pairs += [
        (f"stage{number}", old, new)
        for number, (old, new) in enumerate(zip(base.stages, arch.stages, strict=True), start=1)
    ]
    if base.head is not None and arch.head is not None:
        pairs.append(("head", base.head, arch.head))
    for name, old, new in pairs:
        deeper = name.startswith("stage")
        rows.append(
            (
                name,
                f"{wanted[name]:.1f}",
                sides[name],
                f"{old.channels * requested.width:.1f}",
                new.channels,
                f"{old.repeats * (requested.depth if deeper else 1):.2f}",
                new.repeats,
            )
        )
    headers = ("", "px requested", "realised", "channels requested", "realised", "repeats requested", "realised")
    return table(headers, rows)


def _write(arch: AnyArch, path: Path) -> None:
    if isinstance(arch, FactoryArch):
        raise SettingsError(f"--write {path}: a factory's network is code, which a file cannot hold; leave --write out")
    writers = {".toml": to_toml, ".json": to_json}
    if path.suffix not in writers:
        raise SettingsError(f"--write {path}: must end in .toml or .json")
    try:
        path.write_text(writers[path.suffix](arch), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--write {path}: cannot be written: {error.strerror}") from error


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(f"must be a number, got {text!r}")
    return value
