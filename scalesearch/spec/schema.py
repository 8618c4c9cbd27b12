"""From untrusted tables (parsed TOML or JSON) to records: one rule per key, and every fault at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from scalesearch.spec.arch import FIXED, Arch
from scalesearch.spec.blocks import BLOCK_KINDS, SKIPS, Stage, hidden_channels
from scalesearch.spec.factory import AnyArch, read_factory_arch
from scalesearch.spec.layers import ACTIVATIONS
from scalesearch.spec.regnet import RegNet, regnet_stages

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True, slots=True)
class Key:
    """What a value must be: `rule` finishes the sentence "must be …"."""

    rule: str
    holds: Callable[[Any], bool]


def integer(low: int, high: int, extra: str = "", also: Callable[[int], bool] = lambda value: True) -> Key:
    rule = f"{extra or 'an integer'} from {low} to {high}"
    return Key(rule, lambda value: type(value) is int and low <= value <= high and also(value))


def number(low: float, high: float) -> Key:
    return Key(
        f"a number from {low:g} to {high:g}",
        lambda value: type(value) in (int, float) and low <= value <= high,
    )


def one_of(names: tuple[str, ...]) -> Key:
    return Key("one of " + ", ".join(repr(name) for name in names), lambda value: value in names)


NAME = Key(
    "1 to 100 letters, digits, dots, dashes, underscores or pluses, starting with a letter or digit",
    lambda value: isinstance(value, str) and _NAME.fullmatch(value) is not None,
)
TABLE = Key("a table", lambda value: isinstance(value, dict))
TEXT = Key("text", lambda value: isinstance(value, str))

STAGE_KEYS: Mapping[str, Key] = {
    "kind": one_of(tuple(BLOCK_KINDS)),
    "channels": integer(1, 100_000),
    "repeats": integer(1, 1_000),
    "kernel": integer(1, 31, "an odd integer", lambda value: value % 2 == 1),
    "stride": integer(1, 8),
    "expand": number(0.1, 64),
    "se": number(0, 1),
    "ratio": number(0.01, 1),
    "group_width": integer(0, 100_000),
    "skip": one_of(SKIPS),
}
_ALWAYS = ("kind", "channels", "repeats", "kernel", "stride")  # what every block kind reads
ARCH_KEYS: Mapping[str, Key] = {
    "name": NAME,
    "resolution": integer(1, 16_384),
    "stem": TABLE,
    "stages": Key("a list of at least one table", lambda value: isinstance(value, list) and len(value) > 0),
    "head": TABLE,
    "classes": integer(2, 1_000_000),
    "in_channels": integer(1, 1_000),
    "activation": one_of(ACTIVATIONS),
    "dropout": number(0, 0.95),
    "drop_path": number(0, 0.95),
    "norm_eps": number(1e-12, 1),
    "norm_momentum": number(1e-6, 1),
    "fixed": Key(
        "a list of " + ", ".join(repr(name) for name in FIXED),
        lambda value: isinstance(value, (list, tuple)) and all(entry in FIXED for entry in value),
    ),
}
REGNET_KEYS: Mapping[str, Key] = {
    "depth": integer(1, 1_000),
    "w0": integer(8, 10_000),
    "wa": number(0, 10_000),
    "wm": number(1.001, 100),
    "group_width": integer(1, 10_000),
    "se": number(0, 1),
    "stride": integer(1, 8),
}


def check_table(
    table: Any, keys: Mapping[str, Key], required: tuple[str, ...], where: str, what: str, faults: list[str]
) -> dict[str, Any]:
    """The entries of `table` that keep their rule; everything else is appended to `faults`.

    `where` is the path of the table ("" at the top), `what` names it in messages ("a stage").
    """
    if not isinstance(table, dict):
        faults.append(f"{where or 'the file'}: must be a table, got {short(table)}")
        return {}
    prefix = f"{where}." if where else ""
    good = {}
    for key, value in table.items():
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else "it has " + ", ".join(sorted(keys))
            faults.append(f"{prefix}{key}: {what} has no {key!r}; {hint}")
        elif not keys[key].holds(value):
            faults.append(f"{prefix}{key}: must be {keys[key].rule}, got {short(value)}")
        else:
            good[key] = value
    faults += [f"{prefix}{key}: is missing; {what} needs it" for key in required if key not in table]
    return good


def stage_keys(kind: str) -> tuple[str, ...]:
    """The keys of STAGE_KEYS that a stage of this kind may have."""
    return (*_ALWAYS, *BLOCK_KINDS[kind].keys)


def read_stage(table: Any, where: str, faults: list[str]) -> Stage | None:
    """A Stage, or None after noting its faults."""
    before = len(faults)
    good = check_table(table, STAGE_KEYS, ("kind", "channels"), where, "a stage", faults)
    if len(faults) > before:
        return None
    read = stage_keys(good["kind"])
    faults += [
        f"{where}.{key}: a stage of kind {good['kind']!r} has no {key!r}; it has {', '.join(read)}"
        for key in good
        if key not in read
    ]
    stage = Stage(**good)
    if stage.kind == "conv_pool" and (not where.endswith("stem") or stage.repeats > 1):
        faults.append(f"{where}.kind: 'conv_pool' must be the stem, of one block; elsewhere depth shrinks the maps")
    hidden, group = hidden_channels(stage.channels, stage.ratio), stage.group_width
    if group and hidden > group and hidden % group:
        faults.append(f"{where}.group_width: must divide the {hidden} hidden channels (channels × ratio), got {group}")
    return stage if len(faults) == before else None


def read_arch(table: Any, where: str, faults: list[str]) -> Arch | None:
    """An Arch, or None after noting its faults. `regnet` may stand for `stages`."""
    before = len(faults)
    if isinstance(table, dict) and "factory" in table:
        where = f"{where}.factory" if where else "factory"
        faults.append(
            f"{where}: a file cannot name Python code to run, got {short(table['factory'])}; "
            "name the factory on the command line, package.module:function"
        )
        return None
    required = tuple(field.name for field in fields(Arch) if field.default is MISSING)
    prefix = f"{where}." if where else ""
    stages: tuple[Stage | None, ...] = ()
    if isinstance(table, dict) and "regnet" in table:
        if "stages" in table:
            faults.append(f"{prefix}regnet: stands for the stages; give one of the two")
        stages = _read_regnet(table["regnet"], f"{prefix}regnet", faults)
        table = {key: value for key, value in table.items() if key not in ("regnet", "stages")}
        required = tuple(key for key in required if key != "stages")
    good = check_table(table, ARCH_KEYS, required, where, "a network", faults)
    if "stages" in good:
        stages = tuple(
            read_stage(stage, f"{prefix}stages.{number}", faults)
            for number, stage in enumerate(good["stages"], start=1)
        )
    good["stages"] = stages
    for key in ("stem", "head"):
        if key in good:
            good[key] = read_stage(good[key], f"{prefix}{key}", faults)
    if "fixed" in good:
        good["fixed"] = tuple(good["fixed"])
    return Arch(**good) if len(faults) == before else None


def read_stored(table: Any) -> AnyArch | None:
    """A network as a run has stored it, of whatever kind; None if it does not fit this version. Runs no code."""
    if isinstance(table, Mapping) and "factory" in table:
        return read_factory_arch(table)
    return read_arch(table, "arch", [])


def _read_regnet(table: Any, where: str, faults: list[str]) -> tuple[Stage, ...]:
    before = len(faults)
    needed = ("depth", "w0", "wa", "wm", "group_width")
    good = check_table(table, REGNET_KEYS, needed, where, "a RegNet", faults)
    stages = regnet_stages(RegNet(**good)) if len(faults) == before else ()
    widest = max((stage.channels for stage in stages), default=0)
    if not STAGE_KEYS["channels"].holds(widest or 1):
        faults.append(f"{where}: its widest stage must have {STAGE_KEYS['channels'].rule} channels, got {widest:,}")
    return stages


def near(name: str, known: tuple[str, ...]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)


def short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers past 4,300 digits; TOML can hold them in hexadecimal
        return "a number too long to print"
    return text if len(text) <= 60 else text[:57] + "..."
