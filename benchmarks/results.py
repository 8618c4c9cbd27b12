"""The file that a benchmark leaves: what was measured, against what, on which machine. One form for all of them.

`write(path, benchmark, rows)` adds machine, date and commit. A row is made by `row(...)`; `benchmarks/table.py` writes
docs/benchmarks.md from the files of results/reference/benchmarks/.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalesearch.search.folder import environment

FOLDER = Path(__file__).resolve().parent.parent / "results" / "reference" / "benchmarks"
KEYS = ("measure", "against", "ratio", "low", "high", "target", "details")


def row(
    measure: str,
    against: str,
    ratio: float,
    low: float | None = None,
    high: float | None = None,
    target: str = "",
    **details: Any,
) -> dict[str, Any]:
    """A ratio with its interval (None where there is none), and its target: "at least 2.5" or "under 3".

    `details` go to the file; of them, `note` also to the table. An interval's `high` of None beside a `low` is open.
    """
    values = (measure, against, ratio, low, high, target, details)
    return dict(zip(KEYS, values, strict=True))


def write(path: Path, benchmark: str, rows: Sequence[dict[str, Any]], device: str = "cpu") -> None:
    """`device` is cpu or cuda."""
    found = environment(device)
    table = {
        "benchmark": benchmark,
        "machine": {name: found[name] for name in ("machine", "device", "python", "packages", "scalesearch")},
        "date": time.strftime("%Y-%m-%d"),
        "commit": found["commit"],
        "rows": list(rows),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
