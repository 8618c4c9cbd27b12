"""A search space as a record, and the way there from the untrusted table of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.choices import SEARCH_KEYS, read_choices
from scalesearch.spec.errors import SettingsError, SpaceError
from scalesearch.spec.scaling import ROUNDINGS, Multipliers, multiply
from scalesearch.spec.schema import (
    NAME,
    TABLE,
    TEXT,
    Key,
    check_table,
    integer,
    near,
    number,
    one_of,
    read_arch,
    short,
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
    `search` is what a search of the base may vary, or None.
    """

    name: str
    description: str
    base: Arch
    members: Mapping[str, Arch]
    multipliers: Mapping[str, Multipliers]
    aliases: Mapping[str, str]
    ranges: CoefficientRanges
    search: BaseSpace | None


_SPACE_KEYS = {
    "description": TEXT,
    "base": TABLE,
    "members": TABLE,
    "networks": TABLE,
    "aliases": TABLE,
    "coefficients": TABLE,
    "search": TABLE,
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
    search = None
    if base is not None:  # its faults come first; without it no choice can be judged
        search = _search(name, good, members, faults)
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
        search=search,
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


def _search(name: str, table: dict[str, Any], members: Mapping[str, Arch], faults: list[str]) -> BaseSpace | None:
    """The choices over the skeleton that [search] names: one of the networks, by default the base."""
    entry = check_table(table.get("search", {}), SEARCH_KEYS, (), "search", "it", faults)
    if "choices" not in table:
        faults += ["search: there are no [choices] that it could be of; add them, or take it out"] * ("search" in table)
        return None
    base = table["base"]
    skeleton = entry.get("skeleton", base["name"])
    if skeleton not in members:
        if skeleton not in table.get("networks", {}):  # else its own faults are there
            hint = near(skeleton, tuple(members))
            faults.append(f"search.skeleton: must be one of the networks, got {skeleton!r}; {hint}")
        return None
    own = base if skeleton == base["name"] else {}
    if skeleton in table.get("networks", {}):
        own = table["networks"][skeleton]
        own = own if {"stages", "regnet"} & own.keys() else base | own
    return read_choices(name, members[skeleton], own.get("regnet"), table["choices"], entry.get("stages"), faults)


def _ranges(entry: dict[str, Any]) -> CoefficientRanges:
    bounds = {key: Range(*map(float, entry[key])) for key in ("alpha", "beta", "gamma") if key in entry}
    return replace(DEFAULT_RANGES, **bounds, step=entry.get("step", DEFAULT_RANGES.step))
