"""Write docs/benchmarks.md from the files of results/reference/benchmarks/: `python benchmarks/table.py`.

A test keeps the page equal to `page()`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import results

PAGE = results.FOLDER.parent.parent.parent / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Each row is a ratio, measured in one run of a script in `benchmarks/`; brackets hold its interval (90 % unless the note
says otherwise), and `≥` marks a lower bound: the rival had not arrived when it ended. A ratio is met or missed by its
value, not by its interval. The files in `results/reference/benchmarks/` have all details. `make bench` runs the
scripts again; this page is written by `python benchmarks/table.py`.

What stands behind the rows of `search` and `confidence`: ScaleBench's training recipe was changed several times after
looking at recordings whose differences drowned in noise, until one was quiet enough, and the definition of its true
scores was changed while two of its three seeds were known (`experiments/README.md` has each step). That one network may
have 30 seeds was chosen on 100 replays, with 6 the surface never arrived; the rows are of other replays of the same
recording. One of the first five networks that every search of the tool trains is close to the best in 90 % of replays:
where a row says that 3 or 4 trainings suffice, it is these, not the model, that do it.
"""
NONE_YET = "Nothing has been measured yet.\n"


def page(folder: Path = results.FOLDER) -> str:
    """The page: a section per file, in the order of their names."""
    sections = [_section(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]
    return "\n".join([INTRODUCTION, *(sections or [NONE_YET])])


def _section(table: dict[str, Any]) -> str:
    machine = table["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    where = f"{machine['machine']}" + ("" if machine["device"] == "cpu" else f", {machine['device']}")
    lines = [
        f"## {table['benchmark']}",
        "",
        f"`python benchmarks/{table['benchmark']}.py`, {table['date']}, commit {(table['commit'] or 'unknown')[:9]}; "
        f"{where}; Python {machine['python']}, {packages}.",
        "",
        "| measure | against | ratio | target | |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_row(row) for row in table["rows"]]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> str:
    bound = "≥ " if row["details"].get("bound") else ""
    interval = ""
    if row["low"] is not None:
        interval = f" ({_number(row['low'])}–{'…' if row['high'] is None else _number(row['high'])})"
    verdict = "" if not row["target"] else "; **met**" if met(row) else "; **missed**"
    cells = (
        row["measure"],
        row["against"],
        f"{bound}{_number(row['ratio'])}{interval}",
        f"{row['target']}{verdict}",
        row["details"].get("note", ""),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def met(row: dict[str, Any]) -> bool:
    """Whether the ratio meets its target, "at least 2.5" or "under 3"."""
    words, _, number = row["target"].rpartition(" ")
    if words == "at least":
        return bool(row["ratio"] >= float(number))
    if words == "under":
        return bool(row["ratio"] < float(number))
    raise ValueError(f"a target reads `at least 2.5` or `under 3`, not {row['target']!r}")


def _number(value: float) -> str:
    return f"{value:.3g}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
