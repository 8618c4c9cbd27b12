"""Scale a network by α, β, γ or another published rule: to a given φ, or to a given number of FLOPs.

Prints what the formula asks for beside what remains after rounding.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, astuple, replace
from pathlib import Path

from scalesearch.commands.text import ARCH, argument, read_network, table
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import ScaleSearchError, SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.files import published_multipliers, to_json, to_toml
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS, RULES, Coefficients, Multipliers, multiply, scale
from scalesearch.spec.solving import to_flops
from scalesearch.spec.units import format_flops, parse_flops

EXAMPLES = """examples:
  scalesearch scale efficientnet_b0 --phi 1
  scalesearch scale efficientnet_b0 --to-flops 1.6B
  scalesearch scale efficientnet_b0 --alpha 1.2 --beta 1.1 --gamma 1.1 --phi 7 --rounding pycls --write b.toml
  scalesearch scale regnety_400mf --rule dWGr --phi 3 --rounding pycls
  scalesearch scale efficientnet_b0 --rule d --to-flops 800M
  scalesearch scale mobilenet_v2 --by efficientnet_b3
  scalesearch scale resnet50 --by 1.4,1.2,1.3
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
            metavar=name[0].upper(),
            help=f"{meaning} per unit of φ (default {default:g}, the paper's)",
        )
    parser.add_argument(
        "--rule",
        type=argument(_rule),
        metavar="RULE",
        help=f"instead of α, β, γ: one of {', '.join(RULES)} (Dollár et al. 2021: what a doubling is spent on), or "
        "shares e_d,e_w,e_r or e_d,e_w,e_r,e_g like 0.1,0.8,0.1; φ is then log2 of the nominal "
        "factor on FLOPs, if the shares add up to 1",
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--phi", type=argument(_number), metavar="P", help="the compound coefficient φ; below 0 scales down"
    )
    how.add_argument(
        "--by",
        type=argument(_multipliers),
        metavar="D,W,R|NAME",
        help="multiply depth, width and side (and group width: D,W,R,G) once, or by a published network's multipliers",
    )
    how.add_argument("--to-flops", type=argument(parse_flops), metavar="T", help="solve for φ, e.g. 1.6B")
    parser.add_argument(
        "--tolerance",
        type=argument(_share),
        default=0.03,
        metavar="SHARE",
        help="how far from --to-flops the nearest network may be (default 0.03)",
    )
    parser.add_argument(
        "--rounding",
        choices=tuple(ROUNDINGS),
        default="official",
        help="official: repeats up, channels to multiples of 8 but not below 90 %%, 1 px; "
        "pycls: repeats to nearest, multiples of 8, 4 px; automl: official without the 90 %%",
    )
    parser.add_argument("--write", metavar="FILE", help="write the scaled network to a .toml or .json file")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the network")


def execute(arguments: argparse.Namespace) -> None:
    base = read_network(arguments.arch)
    rounding = ROUNDINGS[arguments.rounding]
    given = {name: getattr(arguments, name) for name in ("alpha", "beta", "gamma")}
    given = {name: value for name, value in given.items() if value is not None}
    for excluded, values in (("--rule", given), ("--by", {**given, **({"rule": 1} if arguments.rule else {})})):
        if getattr(arguments, excluded[2:]) is not None and values:
            raise SettingsError(f"{excluded} stands for the coefficients; leave out --{' --'.join(values)}")
    if arguments.by is not None:
        # One unit of φ, of these: the multipliers themselves.
        coefficients, phi = Coefficients(*astuple(arguments.by)), 1.0
    else:
        coefficients, phi = arguments.rule or replace(PAPER_COEFFICIENTS, **given), arguments.phi
    if phi is not None and abs(phi) > 40:  # far past any network
        raise SettingsError(f"--phi must be from -40 to 40, got {phi:g}")
    if phi is None:
        found = to_flops(base, arguments.to_flops, coefficients, rounding, arguments.tolerance)
        arch, phi = found.arch, found.phi
    elif arguments.by is not None:
        arch = multiply(base, arguments.by, rounding)
    else:
        arch = scale(base, coefficients, phi, rounding)
    suffix = "-scaled" if arguments.by is not None else f"-phi{phi:.3f}".rstrip("0").rstrip(".")
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
                    "phi": None if arguments.by is not None else phi,
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
    at_phi = "" if arguments.by is not None else f" at φ = {phi:.4g}"
    grouped = isinstance(base, Arch) and any(stage.group_width for stage in base.stages)
    groups = f", group width × {requested.group_width:.3f}" if grouped and requested.group_width != 1 else ""
    print(
        f"{base.name}{at_phi}: depth × {requested.depth:.3f}, width × {requested.width:.3f}, "
        f"resolution × {requested.resolution:.3f}{groups}"
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
    last = f"stage{len(base.stages)}"
    pairs = [("stem", base.stem, arch.stem)]
    pairs += [
        (f"stage{number}", old, new)
        for number, (old, new) in enumerate(zip(base.stages, arch.stages, strict=True), start=1)
    ]
    if base.head is not None and arch.head is not None:
        pairs.append(("head", base.head, arch.head))
    for name, old, new in pairs:
        deeper = name.startswith("stage") and not ("ends" in base.fixed and name in ("stage1", last))
        width = 1.0 if name in base.fixed else requested.width
        rows.append(
            (
                name,
                f"{wanted[name]:.1f}",
                sides[name],
                f"{old.channels * width:.1f}",
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


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise SettingsError(f"must be a share above 0 and up to 1, got {text!r}")
    return value


def _rule(text: str) -> Coefficients:
    if text in RULES:
        return RULES[text]
    shares = _numbers(text)
    if len(shares) not in (3, 4):
        raise SettingsError(f"must be one of {', '.join(RULES)}, or 3 or 4 shares like 0.1,0.8,0.1, got {text!r}")
    return Coefficients.from_shares(*shares)


def _multipliers(text: str) -> Multipliers:
    values = _numbers(text)
    if len(values) in (3, 4):
        return Multipliers(*values)
    try:
        return published_multipliers(text)
    except ScaleSearchError as error:
        raise SettingsError(f"must be 3 or 4 multipliers like 1.4,1.2,1.3, or a name: {error}") from error


def _numbers(text: str) -> list[float]:
    """Numbers between commas; none if one is not a number."""
    try:
        return [_number(part) for part in text.split(",")]
    except SettingsError:
        return []


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(f"must be a number, got {text!r}")
    return value
