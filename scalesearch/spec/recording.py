"""A recording's file, as far as a table: gzip around one JSON object, and the settings that it was recorded with.

What the table means, and that it is sound, is `search/landscape.py`'s to say, and `search/base_landscape.py`'s of a
recorded search of a base.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from scalesearch.spec.errors import DataError, SettingsError
from scalesearch.spec.evaluators import EVALUATORS, IDLE_IN_REPLAY, RECORDED

FORMAT = "scalesearch recording"
BASE_FORMAT = "scalesearch base recording"
VERSION = 1
MOST_BYTES = 10_000_000  # unpacked: many times ScaleBench


def pack(table: Mapping[str, Any], form: str = FORMAT) -> bytes:
    """The file's bytes: the same for the same table, wherever and whenever they are made."""
    text = json.dumps({"format": form, "version": VERSION, **table}, sort_keys=True, separators=(",", ":"))
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text.encode())
    return buffer.getvalue()


def read_recording(path: Path, form: str = FORMAT) -> dict[str, Any]:
    """The table of a recording's file, of this format. It is shared by its readers, who leave it as it is.

    Raises DataError; of a bomb, no more than MOST_BYTES are unpacked.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; give the file of a recording") from None
    try:
        return _unpack(packed, form)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


@lru_cache(maxsize=1)  # a run reads its settings from it, and then the rest
def _unpack(packed: bytes, form: str) -> dict[str, Any]:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"is no sound gzip file: {error}; give a recording such as ScaleBench's") from None
    if len(content) > MOST_BYTES:
        raise DataError(f"must unpack to at most {MOST_BYTES:,} bytes, and holds more; give a recording's file")
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"must hold JSON: {error}; restore the file, or pack the run again") from None
    found = table.get("format") if isinstance(table, dict) else None
    if not isinstance(table, dict) or found != form:
        other = f", got {found!r}" if found in (FORMAT, BASE_FORMAT) else ""
        raise DataError(f"is no recording: its format must be {form!r}{other}; pack one with benchmarks/record.py")
    if table.get("version") != VERSION:
        raise DataError(f"is of version {table.get('version')!r}, this scalesearch reads {VERSION}; pack the run again")
    if not isinstance(table.get("settings"), dict):
        raise DataError("settings: must be a table; restore the file, or pack the run again")
    return table


def replay_settings(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a replay's settings are made of: the recording's own, and how to search it. Raises SettingsError, DataError.

    A recorded setting may be given, if it agrees.
    """
    if "data" not in given:
        raise SettingsError(
            "--evaluator replay: needs the recording to replay; give --data FILE, such as "
            "results/reference/scalebench/scalebench.json.gz"
        )
    idle = [name for name in given if name in IDLE_IN_REPLAY] + (["preset"] if preset != "quick" else [])
    if idle:
        raise SettingsError(
            f"--evaluator replay: nothing is trained or measured, so {', '.join(idle)} would have no effect; leave "
            f"{'it' if len(idle) == 1 else 'them'} out, or use --evaluator train"
        )
    if given.get("sampler") == "grid":
        raise SettingsError(
            "--sampler grid: tries networks of any FLOPs, and a recording has those of twice the base's; "
            "use another sampler, or --evaluator train"
        )
    table = read_recording(Path(given["data"]))["settings"]
    recorded = {name: table[name] for name in RECORDED if name in table}
    for name, value in recorded.items():
        if given.get(name, value) != value:
            raise SettingsError(
                f"--evaluator replay: {given['data']} was recorded with {name} {value!r}, got {given[name]!r}; leave "
                "it out, or use --evaluator train"
            )
    return {**EVALUATORS["replay"], **recorded, **given}
