"""List, show, check and copy search spaces: the files that hold bases and what may vary.

The format is described on one page in search_spaces/README.md.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from scalesearch.commands.text import read_network, table
from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError, SpaceError
from scalesearch.spec.factory import is_factory
from scalesearch.spec.files import load_arch, load_space, shipped_spaces
from scalesearch.spec.options import spelled
from scalesearch.spec.units import format_flops

EXAMPLES = """examples:
  scalesearch spaces list
  scalesearch spaces show efficientnet
  scalesearch spaces copy efficientnet mine.toml
  scalesearch spaces check mine.toml
  scalesearch spaces check my_package.my_module:make
"""


_SAMPLE = 100  # random points whose FLOPs `show` looks at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="the shipped spaces (the default)")
    show = actions.add_parser("show", help="one space: its members with their cost, and what may vary")
    show.add_argument("name", metavar="NAME", help="a shipped name, or a .toml/.json file")
    check = actions.add_parser(
        "check", help="read a file and list every fault in it; or run a factory and check what it makes"
    )
    check.add_argument("file", metavar="FILE|FACTORY")
    copy = actions.add_parser("copy", help="copy a shipped space to a file of your own")
    copy.add_argument("name", metavar="NAME")
    copy.add_argument("file", metavar="FILE", help="must not exist yet")


def execute(arguments: argparse.Namespace) -> None:
    {"show": _show, "check": _check, "copy": _copy}.get(arguments.action, _list)(arguments)


def _list(arguments: argparse.Namespace) -> None:
    rows = []
    for name in shipped_spaces():
        space = load_space(name)
        points = "" if space.search is None else _many(space.search.size)
        rows.append((name, format_flops(cost(space.base).flops), len(space.members), points, space.description))
    print(table(("space", "base FLOPs", "members", "points", "description"), rows, text_last=True))


def _show(arguments: argparse.Namespace) -> None:
    space = load_space(arguments.name)
    print(f"{space.name}: {space.description}")
    rows = []
    for name, member in space.members.items():
        found = cost(member)
        blocks = sum(stage.repeats for stage in member.stages)
        names = ", ".join(alias for alias, known in space.aliases.items() if known == name)
        rows.append((name, member.resolution, blocks, f"{found.flops:,}", f"{found.params:,}", names))
    print(table(("member", "px", "blocks", "FLOPs", "parameters", "also called"), rows, text_last=True))
    ranges = space.ranges
    print(
        "coefficients: "
        + ", ".join(
            f"{symbol} {bounds.low:g} to {bounds.high:g}"
            for symbol, bounds in (("α", ranges.alpha), ("β", ranges.beta), ("γ", ranges.gamma))
        )
        + f", grid step {ranges.step:g}"
    )
    if space.search is not None:
        _show_search(space.search)


def _show_search(search: BaseSpace) -> None:
    """The choices over the skeleton, how many there are, and what they cost."""
    print(f"what a search of the base may vary, of {search.skeleton.name}:")
    print(table(("", "options", "values"), _choices(search), text_last=True))
    print(table(("stage", "kind", "px", "stride", "channels", "repeats", "choices"), _skeleton(search), left=2))
    networks = search.networks()
    distinct = "many of them of one network" if networks is None else f"{networks:,} distinct networks"
    print(f"{search.size:,} points (about {_many(search.size)}), {distinct}")
    rng = random.Random(0)
    flops = sorted(cost(search.decode(search.sample(rng))).flops for _ in range(_SAMPLE))
    low, middle, high = (flops[int(share * _SAMPLE)] for share in (0.05, 0.5, 0.95))
    print(
        f"FLOPs of {_SAMPLE} random points: median {format_flops(middle)}, nine of ten from {format_flops(low)} to "
        f"{format_flops(high)}"
    )


def _skeleton(search: BaseSpace) -> list[tuple[object, ...]]:
    """A row per stage of the skeleton, as it is where nothing is chosen, with its input's side and its choices."""
    parts = [part for part in cost(search.skeleton).sections if part.name.startswith("stage")]
    counts = search.per_stage() or ("",) * len(parts)
    return [
        (number, stage.kind, part.in_side, stage.stride, stage.channels, stage.repeats, count)
        for number, (stage, part, count) in enumerate(zip(search.skeleton.stages, parts, counts, strict=True), start=1)
    ]


def _many(count: int) -> str:
    """`8,192`; `2.2e18` from a million on."""
    return f"{count:,}" if count < 1e6 else f"{count:.1e}".replace("e+", "e")


def _choices(search: BaseSpace) -> list[tuple[str, int, str]]:
    """A row per choice; stages with the same options of one key share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for path, options in search.choices.items():
        parts = path.split(".")
        stage, key = (parts[1], ".".join(parts[2:])) if parts[0] == "stages" else ("", path)
        row = (key if stage == "" else f".{key}", spelled(options))
        shared.setdefault(row, []).append(stage)
        counts[row] = len(options)
    every = [str(number) for number in range(1, len(search.skeleton.stages) + 1)]
    rows = []
    for (key, text), stages in shared.items():
        where = "" if stages == [""] else "stages." + ("*" if stages == every else ",".join(stages))
        rows.append(((where + key).rstrip("."), counts[key, text], text))
    return rows


def _check(arguments: argparse.Namespace) -> None:
    if is_factory(arguments.file):
        base = read_network(arguments.file)
        counts = cost(base)
        print(
            f"{arguments.file}: no faults; {base.resolution} px, {counts.flops:,} FLOPs, {counts.params:,} parameters"
        )
        return
    if Path(arguments.file).suffix not in (".toml", ".json"):
        raise SettingsError(f"{arguments.file}: a search space file must end in .toml or .json")
    base = load_arch(arguments.file)  # a space's base, or the one network that the file holds
    found = cost(base)
    print(f"{arguments.file}: no faults; {base.name}, {found.flops:,} FLOPs, {found.params:,} parameters")


def _copy(arguments: argparse.Namespace) -> None:
    shipped, target = shipped_spaces(), Path(arguments.file)
    if arguments.name not in shipped:
        raise SpaceError(arguments.name, [f"is not a shipped space; they are {', '.join(shipped)}"])
    if target.suffix != ".toml":
        raise SettingsError(f"{target}: must end in .toml, which is what the shipped spaces are written in")
    try:
        with target.open("xb") as file:
            file.write(shipped[arguments.name].read_bytes())
    except FileExistsError:
        raise SettingsError(f"{target}: exists already; choose another name") from None
    except OSError as error:
        raise SettingsError(f"{target}: cannot be written: {error.strerror}") from error
    print(f"{target}: a copy of {arguments.name}; change it and check it with scalesearch spaces check {target}")
