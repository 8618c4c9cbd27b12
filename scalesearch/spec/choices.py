"""From the untrusted [search] and [choices] of a file to a `BaseSpace`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.options import Grid, Options
from scalesearch.spec.regnet import RegNet
from scalesearch.spec.schema import (
    ARCH_KEYS,
    REGNET_KEYS,
    STAGE_KEYS,
    TEXT,
    Key,
    check_table,
    number,
    one_of,
    read_stage,
    short,
    stage_keys,
)

SEARCH_KEYS = {
    "skeleton": TEXT,
    "stages": Key(
        "[least, most] with 1 <= least <= most <= 1000",
        lambda value: (
            isinstance(value, list)
            and len(value) == 2
            and all(type(end) is int for end in value)
            and 1 <= value[0] <= value[1] <= 1_000
        ),
    ),
}
# Of the network itself only these can vary; `stages.…` and `regnet.…` paths cover the rest.
_ARCH_KEYS = {
    key: ARCH_KEYS[key] for key in ("resolution", "activation", "dropout", "drop_path", "norm_eps", "norm_momentum")
}
_GRID_KEYS = {
    "from": number(0, 1e9),
    "to": number(0, 1e9),
    "step": number(1e-6, 1e9),
    "scale": one_of(("linear", "log")),
}
_LONGEST = 100_000  # values of a grid


def read_choices(
    name: str,
    skeleton: Arch,
    regnet: Any,
    entries: dict[str, Any],
    stages: list[int] | None,
    faults: list[str],
) -> BaseSpace | None:
    """The space of these choices over `skeleton`, or None after noting their faults.

    `regnet` are the numbers that the skeleton's stages follow from, if any, and `stages` how many stages such a network
    may have. Paths are spelled out per stage; a later line overrides an earlier, so the specific follows the general.
    """
    before = len(faults)
    result: dict[str, Options] = {}
    for path, options in entries.items():
        for own in _paths(path, len(skeleton.stages), regnet is not None, faults):
            if (found := _options(path, own, options, faults)) is not None:
                result[own] = found
            else:
                break  # one fault, not one per stage
    by_regnet = any(path.startswith("regnet.") for path in result)
    if by_regnet and any(path.startswith("stages.") for path in result):
        faults.append("choices: the stages follow from regnet; vary regnet or the stages, not both")
    if stages is not None and not by_regnet:
        faults.append("search.stages: counts the stages of a RegNet's numbers, and no choice varies them; take it out")
    if not by_regnet:
        for index, stage in enumerate(skeleton.to_dict()["stages"], start=1):
            _check_stage(stage, _of_stage(result, index), f"choices.stages.{index}", faults)
    if len(faults) > before:
        return None
    numbers = RegNet(**regnet) if by_regnet else None
    return BaseSpace(name, skeleton, result, numbers, (1, 1_000) if stages is None else (stages[0], stages[1]))


def _paths(path: str, count: int, by_regnet: bool, faults: list[str]) -> list[str]:
    """The path itself, or one per stage for a star; none after noting a fault."""
    parts = path.split(".")
    if parts[0] == "regnet" and len(parts) == 2:
        if by_regnet:
            return [path]
        faults.append(f"choices.{path}: the skeleton's stages are not given by a RegNet's numbers; vary the stages")
        return []
    if parts[0] in ("regnet", "stages") and len(parts) > 1 and len(parts) not in (2, 3):
        faults.append(f"choices.{path}: must be stages.N, stages.N.key or regnet.key; take out what follows")
        return []
    if parts[0] == "regnet" and len(parts) == 3:
        faults.append(f"choices.{path}: must be regnet.key; take out what follows")
        return []
    if parts[0] != "stages" or len(parts) == 1:
        return [path]
    if parts[1] != "*" and not (parts[1].isdecimal() and 1 <= int(parts[1]) <= count):
        faults.append(f"choices.{path}: the skeleton has stages 1 to {count}, got {parts[1]!r}")
        return []
    numbers = range(1, count + 1) if parts[1] == "*" else (int(parts[1]),)
    return [".".join(("stages", str(stage), *parts[2:])) for stage in numbers]


def _options(written: str, path: str, options: Any, faults: list[str]) -> Options | None:
    """The options of one path, all sound by themselves, or None after noting their faults under `written`."""
    where = f"choices.{written}"
    parts = path.split(".")
    if isinstance(options, dict):
        options = _grid(options, where, faults)
        if options is None:
            return None
        tried = [*itertools.islice(options, 10), options[len(options) - 1]]  # rules are ranges, but for odd integers
    elif isinstance(options, list) and options:
        tried = options
    else:
        faults.append(f"{where}: must be a list of at least one value, or a grid, got {short(options)}")
        return None
    before = len(faults)
    if parts[0] == "stages" and len(parts) == 2:
        for option in tried:
            if not isinstance(option, dict) or not option:
                faults.append(f"{where}: must be a table of a stage's keys, got {short(option)}; or name one key")
            else:
                check_table(option, STAGE_KEYS, (), where, "a stage", faults)
    else:
        keys, what = {"stages": (STAGE_KEYS, "a stage"), "regnet": (REGNET_KEYS, "a RegNet")}.get(
            parts[0], (_ARCH_KEYS, "a choice")
        )
        key = parts[-1] if len(parts) > 1 and keys is not _ARCH_KEYS else path
        where = where.removesuffix(f".{key}")
        if key not in keys:
            tried = tried[:1]  # an unknown key is one fault, not one per option
        for option in tried:
            check_table({key: option}, keys, (), where, what, faults)
    if len(faults) > before:
        return None
    return options if isinstance(options, Grid) else tuple(options)


def _grid(entry: dict[str, Any], where: str, faults: list[str]) -> Grid | None:
    good = check_table(entry, _GRID_KEYS, ("from", "to", "step"), where, "a grid", faults)
    if len(good) < len(entry) or not {"from", "to", "step"} <= good.keys():
        return None
    low, high, step = good["from"], good["to"], good["step"]
    steps = (high - low) / step
    if low >= high or steps > _LONGEST or abs(steps - round(steps)) > 1e-6:
        faults.append(
            f"{where}: must go up in at most {_LONGEST:,} whole steps, "
            f"got {steps:g} of {step:g} from {low:g} to {high:g}"
        )
        return None
    if good.get("scale") == "log" and low <= 0:
        faults.append(f"{where}.from: must be above 0 on a logarithmic scale, got {low:g}")
        return None
    return Grid(low, high, step, good.get("scale") == "log")


def _of_stage(choices: Mapping[str, Options], index: int) -> dict[str, Options]:
    """The choices of one stage by key, "" for those of several keys at once."""
    own = f"stages.{index}"
    return {
        path.removeprefix(own).removeprefix("."): options
        for path, options in choices.items()
        if path == own or path.startswith(f"{own}.")
    }


_TOGETHER = ("", "kind", "channels", "ratio", "group_width")  # the keys of a stage whose rules look at one another


def _check_stage(own: dict[str, Any], free: Mapping[str, Options], where: str, faults: list[str]) -> None:
    """Each option of a stage must make a sound stage with one option, at least, of each other key.

    `own` is the skeleton's stage; a stage of another kind keeps those of its keys that this kind has.
    """
    several = {key for option in free.get("", ()) if isinstance(option, dict) for key in option}
    faults += [
        f"{where}.{key}: {where} sets it already; leave one of the two out" for key in sorted(several & free.keys())
    ]

    def faults_of(chosen: dict[str, Any]) -> list[str]:
        set_here = {key: value for key, value in chosen.items() if key} | chosen.get("", {})
        changed = {**own, **set_here}
        kept = {*stage_keys(changed["kind"]), *named}
        found: list[str] = []
        read_stage({name: value for name, value in changed.items() if name in kept}, where, found)
        return found

    for key, options in free.items():
        others = _TOGETHER if key in _TOGETHER else ("", "kind")
        names = [name for name in others if name in free and name != key]
        for option in options if not isinstance(options, Grid) else [options[0], options[len(options) - 1]]:
            named = set(option) if isinstance(option, dict) else {key}
            first: list[str] = []
            for chosen in itertools.product(*(free[name] for name in names)):
                found = faults_of({**dict(zip(names, chosen, strict=True)), key: option})
                if not found:
                    break
                first = first or found
            else:
                faults += [fault for fault in first if fault not in faults]
