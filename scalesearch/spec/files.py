"""Archs and search spaces as files: reading, writing, and the library of shipped ones."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch.spec.arch import Arch
from scalesearch.spec.errors import SpaceError
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
    number,
    one_of,
    read_arch,
    short,
)

_PACKAGE = Path(__file__).resolve().parent.parent
_LIMIT_BYTES = 1_000_000  # far above any real file; keeps a wrong path from being read into memory


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
        """How many networks the choices span."""
        return math.prod(len(options) for options in self.choices.values())


def library_dir() -> Path:
    """Folder of the shipped search spaces: inside a wheel, or beside the package in a clone."""
    for folder in (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces"):
        if folder.is_dir():
            return folder
    raise SpaceError("search_spaces", ["the shipped search spaces are missing; reinstall scalesearch"])


def shipped_spaces() -> dict[str, Path]:
    """Name and file of each shipped space."""
    return {path.stem: path for path in sorted(library_dir().glob("*.toml"))}


def load_space(name: str | Path) -> Space:
    """A shipped space by name, or a `.toml`/`.json` file. Raises SpaceError, listing every fault."""
    path = _file(name)
    if path is None:
        shipped = shipped_spaces()
        if str(name) not in shipped:
            raise SpaceError(str(name), [f"no such search space; {_hint(str(name), tuple(shipped))}"])
        path = shipped[str(name)]
    return _space(path.stem, str(path), _read_table(path))


def load_arch(name: str | Path) -> Arch:
    """A shipped arch by name, ours (`efficientnet_b3`) or another library's (`tf_efficientnet_b3`), or a file.

    A `.toml` or `.json` file holds an arch, or a space, whose base it then is.

    Raises SpaceError, listing every fault of the file, or with the nearest names.
    """
    path = _file(name)
    if path is not None:
        table = _read_table(path)
        if "base" in table:
            return _space(path.stem, str(path), table).base
        faults: list[str] = []
        arch = read_arch(table, "", faults)
        if arch is None:
            raise SpaceError(str(path), faults)
        return arch
    known: list[str] = []
    for space in map(load_space, shipped_spaces()):
        member = space.aliases.get(str(name), str(name))
        if member in space.members:
            return space.members[member]
        known += [*space.members, *space.aliases]
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "scalesearch spaces show SPACE lists them"
    raise SpaceError(str(name), [f"no such network; {hint}, or give a .toml or .json file"])


def published_multipliers(name: str) -> Multipliers:
    """Those by which a shipped network is published, such as efficientnet_b3's 1.4, 1.2 and 300 / 224.

    Raises SpaceError, with the nearest names, if there is no such network or it is not given by multipliers.
    """
    known: dict[str, Multipliers] = {}
    for space in map(load_space, shipped_spaces()):
        known.update(space.multipliers)
    if name not in known:
        raise SpaceError(name, [f"no network is published as such multiples of a base; {_hint(name, tuple(known))}"])
    return known[name]


def ranges_of(name: str | Path) -> CoefficientRanges:
    """The coefficient ranges that go with what `load_arch` loads: its space's own, or the default ones."""
    path = _file(name)
    if path is not None:
        table = _read_table(path)
        return _space(path.stem, str(path), table).ranges if "base" in table else DEFAULT_RANGES
    spaces = map(load_space, shipped_spaces())
    return next((s.ranges for s in spaces if s.aliases.get(str(name), str(name)) in s.members), DEFAULT_RANGES)


def to_json(arch: Arch) -> str:
    """The file that `load_arch` reads back to an equal record."""
    return json.dumps(arch.to_dict(), indent=2) + "\n"


def to_toml(arch: Arch) -> str:
    """The same as TOML, one line per stage."""
    lines = []
    for key, value in arch.to_dict().items():
        if key == "stages":
            rows = "".join(f"  {_inline(stage)},\n" for stage in value)
            lines.append(f"stages = [\n{rows}]")
        else:
            lines.append(f"{key} = {_inline(value)}")
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, str):
        return json.dumps(value)  # names and kinds hold no character that TOML escapes differently
    return repr(value)


def _file(name: str | Path) -> Path | None:
    path = Path(name)
    return path if path.suffix in (".toml", ".json") else None


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > _LIMIT_BYTES:
            raise SpaceError(str(path), [f"must be at most {_LIMIT_BYTES:,} bytes, got {size:,}"])
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise SpaceError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:  # faulty TOML, JSON or UTF-8
        raise SpaceError(str(path), [f"is not valid {path.suffix[1:].upper()}: {error}"]) from error
    if not isinstance(table, dict):
        raise SpaceError(str(path), [f"must hold a table, got a {type(table).__name__}"])
    return table


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


def _space(name: str, where: str, table: dict[str, Any]) -> Space:
    faults: list[str] = []
    good = check_table(table, _SPACE_KEYS, ("base",), "", "a search space", faults)
    base = read_arch(good["base"], "base", faults) if "base" in good else None
    members: dict[str, Arch] = {} if base is None else {base.name: base}
    for network, entry in good.get("networks", {}).items():
        _check_name(network, "networks", faults)
        found = _network(good.get("base"), network, entry, faults) if base is not None else None
        if found is not None:
            members[network] = found
    multipliers: dict[str, Multipliers] = {}
    for member, entry in good.get("members", {}).items():
        before = len(faults)
        _check_name(member, "members", faults)
        checked = check_table(
            entry, _MEMBER_KEYS, ("depth", "width", "resolution"), f"members.{member}", "a member", faults
        )
        origin = base if "of" not in checked else members.get(checked["of"])
        if base is not None and origin is None:
            hint = _hint(checked["of"], tuple(members))
            faults.append(f"members.{member}.of: must be the base or one of [networks], got {checked['of']!r}; {hint}")
        if origin is not None and len(faults) == before:
            members[member] = _member(origin, member, checked)
            ratio = checked["resolution"] / origin.resolution
            multipliers[member] = Multipliers(checked["depth"], checked["width"], ratio)
    aliases = good.get("aliases", {})
    faults += [
        f"aliases.{alias}: must name one of the networks, got {short(member)}; {_hint(str(member), tuple(members))}"
        for alias, member in aliases.items()
        if str(member) not in members and base is not None
    ]
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


def _check_name(name: str, table: str, faults: list[str]) -> None:
    if not NAME.holds(name):
        faults.append(f"{table}.{name}: a name must be {NAME.rule}")


def _member(base: Arch, name: str, entry: dict[str, Any]) -> Arch:
    """A published member: its own multipliers, by the official rounding unless it says else, and its resolution as
    printed."""
    rounding = ROUNDINGS[entry.get("rounding", "official")]
    scaled = multiply(base, Multipliers(entry["depth"], entry["width"], 1.0), rounding, name=name)
    return replace(scaled, resolution=entry["resolution"], dropout=entry.get("dropout", base.dropout))


def _network(base: Any, name: str, entry: Any, faults: list[str]) -> Arch | None:
    """A published network that is no multiple of the base: the base's table with the given keys replaced."""
    if not isinstance(entry, dict):
        faults.append(f"networks.{name}: must be a table, got {short(entry)}")
        return None
    twins = {"stages", "regnet"}
    kept = {key: value for key, value in base.items() if not (key in twins and twins & entry.keys())}
    return read_arch({**kept, "name": name, **entry}, f"networks.{name}", faults)


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
        for option in options if key in keys else options[:1]:  # an unknown key is one fault, not one per option
            check_table({key: option}, keys, (), where.removesuffix(f".{key}"), what, faults)
        result.update(dict.fromkeys(paths, tuple(options)))
    return result
