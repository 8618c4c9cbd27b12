"""Files of a report: written whole or not at all, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` in one step, so that a reader or a kill never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """UTF-8; bytes of a path that are no UTF-8 are spelled out instead of failing."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_text(path, csv_text(frame))


def csv_text(frame: pd.DataFrame) -> str:
    """The table as CSV: LF, six significant digits, missing values blank, nothing a spreadsheet would run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.itertuples(index=False, name=None):
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        line = " ".join(value.splitlines())  # a row is a line, also to readers that know no quotes
        return "'" + line if line.lstrip(" ").startswith(_FORMULA_STARTS) else line
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
