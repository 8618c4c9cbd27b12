"""A search space as a record, and the way there from the untrusted table of a file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from scalesearch.spec.arch import Arch
from scalesearch.spec.errors import SettingsError, SpaceError
from scalesearch.spec.scaling import ROUNDINGS, Multipliers, multiply
from scalesearch.spec.schema import (
    ARCH_KEYS,
    NAME,
    STAGE_KEYS,
    TABLE,
    TEXT,
    Key,
    check_table,
    integer,
    near,
    number,
    one_of,
    read_arch,
    read_stage,
    short,
    stage_keys,
)


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of one coefficient."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CoefficientRanges:
    """Where α, β and γ may lie, and the step of the paper-style grid over them."""

    alpha: Range
    beta: Range
    gamma: Range
    step: float


# A little past αβ²γ² = 2 with all three at least 1, because rounding makes √2 cost less or more than twice.
DEFAULT_RANGES = CoefficientRanges(Range(1.0, 2.0), Range(1.0, 1.6), Range(1.0, 1.6), step=0.05)


@dataclass(frozen=True, slots=True)
class Space:
    """A base, the published networks of its family, and what may vary.

    `members` holds every named network; `multipliers` those of the ones that are published as multiples of the base;
    `aliases` maps the names that torchvision, timm and pycls give to some of them.
    `choices` maps a path such as `stages.3.kernel` to its options; everything not named stays as in the base.
    """

    name: str
    description: str
    base: Arch
    members: Mapping[str, Arch]
    multipliers: Mapping[str, Multipliers]
    aliases: Mapping[str, str]
    ranges: CoefficientRanges
    choices: Mapping[str, tuple[Any, ...]]

    @property
    def networks(self) -> int:
        """How many networks the choices span; with choices of `kind`, some may not be: not every kind has every key."""
        return math.prod(len(options) for options in self.choices.values())


_SPACE_KEYS = {
    "description": TEXT,
    "base": TABLE,
    "members": TABLE,
    "networks": TABLE,
    "aliases": TABLE,
    "coefficients": TABLE,
    "choices": TABLE,
}
_MEMBER_KEYS = {
    "depth": number(0.01, 100),
    "width": number(0.01, 100),
    "resolution": integer(1, 16_384),
    "dropout": number(0, 0.95),
    "rounding": one_of(tuple(ROUNDINGS)),
    "of": TEXT,
}
_RANGE = Key(
    "[low, high] with 1 <= low <= high <= 4",
    lambda value: (
        isinstance(value, list)
        and len(value) == 2
        and all(type(bound) in (int, float) for bound in value)
        and 1 <= value[0] <= value[1] <= 4
    ),
)
_COEFFICIENT_KEYS = {"alpha": _RANGE, "beta": _RANGE, "gamma": _RANGE, "step": number(0.001, 1)}


def read_space(name: str, where: str, table: dict[str, Any]) -> Space:
    """The space of this name from the table of the file `where`. Raises SpaceError, listing every fault."""
    faults: list[str] = []
    good = check_table(table, _SPACE_KEYS, ("base",), "", "a search space", faults)
    base = read_arch(good["base"], "base", faults) if "base" in good else None
    members: dict[str, Arch] = {}
    multipliers: dict[str, Multipliers] = {}
    if base is not None:
        _check_name(base.name, "base.name", faults)
        members[base.name] = base
        _add_networks(good["base"], good.get("networks", {}), members, faults)
    _add_members(base, good.get("members", {}), members, multipliers, faults)
    aliases = good.get("aliases", {})
    if base is not None:
        _check_aliases(aliases, members, faults)
    coefficients = check_table(good.get("coefficients", {}), _COEFFICIENT_KEYS, (), "coefficients", "it", faults)
    choices = _choices(base, good.get("choices", {}), faults)
    if base is None or faults:
        raise SpaceError(where, faults)
    return Space(
        name=name,
        description=good.get("description", ""),
        base=base,
        members=members,
        multipliers=multipliers,
        aliases=aliases,
        ranges=_ranges(coefficients),
        choices=choices,
    )


def _check_name(name: str, where: str, faults: list[str]) -> None:
    """A name that `load_arch` can be asked for."""
    if not NAME.holds(name):
        faults.append(f"{where}: a name must be {NAME.rule}")
    elif name.endswith((".toml", ".json")):
        faults.append(f"{where}: a name must not end in .toml or .json, which stand for files, got {name!r}")


def _add_networks(base: Any, entries: dict[str, Any], members: dict[str, Arch], faults: list[str]) -> None:
    """Published networks that are no multiple of the base: the base's table with the given keys replaced."""
    twins = {"stages", "regnet"}
    for name, entry in entries.items():
        where = f"networks.{name}"
        _check_name(name, where, faults)
        if name in members:
            faults.append(f"{where}: the base has this name already; choose another")
        if not isinstance(entry, dict):
            faults.append(f"{where}: must be a table, got {short(entry)}")
            continue
        if "name" in entry:
            faults.append(f"{where}.name: the network is called {name!r}, as its table; take {entry['name']!r} out")
            entry = {key: value for key, value in entry.items() if key != "name"}
        kept = {key: value for key, value in base.items() if not (key in twins and twins & entry.keys())}
        found = read_arch({**kept, **entry, "name": name}, where, faults)
        if found is not None and name not in members:
            members[name] = found


def _add_members(
    base: Arch | None,
    entries: dict[str, Any],
    members: dict[str, Arch],
    multipliers: dict[str, Multipliers],
    faults: list[str],
) -> None:
    """Published multiples of the base, or of one of `members`; one that equals the base may have its name."""
    for name, entry in entries.items():
        before = len(faults)
        where = f"members.{name}"
        _check_name(name, where, faults)
        checked = check_table(entry, _MEMBER_KEYS, ("depth", "width", "resolution"), where, "a member", faults)
        origin = base if "of" not in checked else members.get(checked["of"])
        if base is not None and origin is None:
            hint = near(checked["of"], tuple(members))
            faults.append(f"{where}.of: must be the base or one of [networks], got {checked['of']!r}; {hint}")
        if origin is None or len(faults) > before:
            continue
        found = _member(origin, name, checked, faults)
        if name in members and members[name] is not base:
            faults.append(f"{where}: one of [networks] has this name already; choose another")
        elif name in members and found not in (None, base):
            faults.append(f"{where}: the base has this name, and these multiples make another network; choose another")
        elif found is not None:
            members[name] = found
            ratio = checked["resolution"] / origin.resolution
            multipliers[name] = Multipliers(checked["depth"], checked["width"], ratio)


def _member(origin: Arch, name: str, entry: dict[str, Any], faults: list[str]) -> Arch | None:
    """Multiplied by the official rounding unless it says else, at its resolution as printed; None after noting what
    is too large for a network."""
    rounding = ROUNDINGS[entry.get("rounding", "official")]
    try:
        scaled = multiply(origin, Multipliers(entry["depth"], entry["width"], 1.0), rounding, name=name)
    except SettingsError as error:
        faults.append(f"members.{name}.depth: {error}")
        return None
    scaled = replace(scaled, resolution=entry["resolution"], dropout=entry.get("dropout", origin.dropout))
    return None if read_arch(scaled.to_dict(), f"members.{name}", faults) is None else scaled


def _check_aliases(aliases: dict[str, Any], members: Mapping[str, Arch], faults: list[str]) -> None:
    for alias, member in aliases.items():
        where = f"aliases.{alias}"
        _check_name(alias, where, faults)
        if alias in members:
            faults.append(f"{where}: one of the networks has this name already; choose another")
        if not isinstance(member, str) or member not in members:
            hint = near(str(member), tuple(members))
            faults.append(f"{where}: must name one of the networks, got {short(member)}; {hint}")


def _ranges(entry: dict[str, Any]) -> CoefficientRanges:
    bounds = {key: Range(*map(float, entry[key])) for key in ("alpha", "beta", "gamma") if key in entry}
    return replace(DEFAULT_RANGES, **bounds, step=entry.get("step", DEFAULT_RANGES.step))


# Of the network itself only these can vary; `stages.…` paths cover the rest.
_VARIABLE_ARCH_KEYS = {
    key: ARCH_KEYS[key] for key in ("resolution", "activation", "dropout", "drop_path", "norm_eps", "norm_momentum")
}


def _choices(base: Arch | None, entry: dict[str, Any], faults: list[str]) -> dict[str, tuple[Any, ...]]:
    """Paths spelled out per stage; a later line overrides an earlier, so the specific follows the general."""
    result: dict[str, tuple[Any, ...]] = {}
    if base is None:  # its faults come first; without it no path can be judged
        return result
    count = len(base.stages)
    for path, options in entry.items():
        where = f"choices.{path}"
        parts = path.split(".")
        if not isinstance(options, list) or not options:
            faults.append(f"{where}: must be a list of at least one value, got {short(options)}")
            continue
        if len(parts) == 3 and parts[0] == "stages":
            keys, key, what = STAGE_KEYS, parts[2], "a stage"
            if parts[1] != "*" and not (parts[1].isdecimal() and 1 <= int(parts[1]) <= count):
                faults.append(f"{where}: the base has stages 1 to {count}, got {parts[1]!r}")
                continue
            numbers = range(1, count + 1) if parts[1] == "*" else (int(parts[1]),)
            paths = [f"stages.{stage}.{key}" for stage in numbers]
        else:
            keys, key, what, paths = _VARIABLE_ARCH_KEYS, path, "a choice", [path]
        where = where.removesuffix(f".{key}")
        tried = options if key in keys else options[:1]  # an unknown key is one fault, not one per option
        sound = tuple(option for option in tried if check_table({key: option}, keys, (), where, what, faults))
        result.update(dict.fromkeys(paths, sound))
    for index, stage in enumerate(base.to_dict()["stages"], start=1):
        prefix = f"stages.{index}."
        free = {path.removeprefix(prefix): options for path, options in result.items() if path.startswith(prefix)}
        _check_stage(stage, free, f"choices.stages.{index}", faults)
    return result


_TOGETHER = ("kind", "channels", "ratio", "group_width")  # the keys of a stage whose rules look at one another


def _check_stage(own: dict[str, Any], free: Mapping[str, tuple[Any, ...]], where: str, faults: list[str]) -> None:
    """Each option of a stage must make a sound stage with one option, at least, of each other key.

    `own` is the base's stage; a stage of another kind keeps those of its keys that this kind has.
    """

    def faults_of(key: str, option: Any, others: dict[str, Any]) -> list[str]:
        changed = {**own, **others, key: option}
        kept = {*stage_keys(changed["kind"]), key}
        found: list[str] = []
        read_stage({name: value for name, value in changed.items() if name in kept}, where, found)
        return found

    for key, options in free.items():
        names = [name for name in (_TOGETHER if key in _TOGETHER else ("kind",)) if free.get(name) and name != key]
        for option in options:
            first: list[str] = []
            for chosen in itertools.product(*(free[name] for name in names)):
                found = faults_of(key, option, dict(zip(names, chosen, strict=True)))
                if not found:
                    break
                first = first or found
            else:
                faults += [fault for fault in first if fault not in faults]
