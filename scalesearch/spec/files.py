"""Archs and search spaces as files: reading, writing, and the library of shipped ones."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

from scalesearch.spec.arch import Arch
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.scaling import Multipliers
from scalesearch.spec.schema import near, read_arch
from scalesearch.spec.spaces import DEFAULT_RANGES, CoefficientRanges, Space, read_space

_PACKAGE = Path(__file__).resolve().parent.parent
_LIMIT_BYTES = 1_000_000  # far above any real file; keeps a wrong path from being read into memory


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
    path = _space_path(name)
    return parse_space(str(path), _read_text(path))


def space_text(name: str | Path) -> tuple[str, str]:
    """The file of what `load_space` loads: its name without folders, and its text, which `parse_space` takes.

    Raises SpaceError.
    """
    path = _space_path(name)
    return path.name, _read_text(path)


def parse_space(file: str, text: str) -> Space:
    """The space in the text of a `.toml` or `.json` file, named after it. Raises SpaceError, listing every fault."""
    return read_space(Path(file).stem, file, _parse(file, text))


def load_arch(name: str | Path) -> Arch:
    """A shipped arch by name, ours (`efficientnet_b3`) or another library's (`tf_efficientnet_b3`), or a file.

    A `.toml` or `.json` file holds an arch, or a space, whose base it then is.

    Raises SpaceError, listing every fault of the file, or with the nearest names. A factory is no name and no file:
    `nets.probe.open_factory` takes it, because it runs code.
    """
    path = _file(name)
    if path is not None:
        table = _read_table(path)
        if "base" in table:
            return read_space(path.stem, str(path), table).base
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
    if ":" in str(name):
        hint = "a factory is spelled package.module:function, and given to --base, cost, scale, or spaces check"
        raise SpaceError(str(name), [f"no such network; {hint}"])
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
        raise SpaceError(name, [f"no network is published as such multiples of a base; {near(name, tuple(known))}"])
    return known[name]


def ranges_of(name: str | Path) -> CoefficientRanges:
    """The coefficient ranges that go with what `load_arch` loads: its space's own, or the default ones."""
    path = _file(name)
    if path is not None:
        table = _read_table(path)
        return read_space(path.stem, str(path), table).ranges if "base" in table else DEFAULT_RANGES
    spaces = map(load_space, shipped_spaces())
    return next((s.ranges for s in spaces if s.aliases.get(str(name), str(name)) in s.members), DEFAULT_RANGES)


def to_json(arch: AnyArch) -> str:
    """The file that `load_arch` reads back to an equal record; of a factory's network, a description that it refuses,
    because it names code."""
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


def _space_path(name: str | Path) -> Path:
    path = _file(name)
    if path is not None:
        return path
    shipped = shipped_spaces()
    if str(name) not in shipped:
        raise SpaceError(str(name), [f"no such search space; {near(str(name), tuple(shipped))}"])
    return shipped[str(name)]


def _read_table(path: Path) -> dict[str, Any]:
    return _parse(str(path), _read_text(path))


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _LIMIT_BYTES:
            raise SpaceError(str(path), [f"must be at most {_LIMIT_BYTES:,} bytes, got {size:,}"])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpaceError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeError as error:
        raise SpaceError(str(path), [f"is not valid {path.suffix[1:].upper()}: {error}"]) from error


def _parse(file: str, text: str) -> dict[str, Any]:
    kind = Path(file).suffix[1:]
    try:
        table = tomllib.loads(text) if kind == "toml" else json.loads(text)
    except (ValueError, RecursionError) as error:  # faulty TOML or JSON
        raise SpaceError(file, [f"is not valid {kind.upper()}: {error}"]) from error
    if not isinstance(table, dict):
        raise SpaceError(file, [f"must hold a table, got a {type(table).__name__}"])
    return table
