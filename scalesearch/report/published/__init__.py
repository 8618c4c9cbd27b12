"""Numbers that other people printed, as CSV beside this file. Every row names its `source`.

`certainty` says how a row was obtained: read_from_file (the paper or a file of the named repository), computed
(that repository's code, executed), or digitised from vector figure (good to about 0.001 G FLOPs and 0.01 points).
Nothing in the project writes these files.
"""

from __future__ import annotations

import csv
from pathlib import Path


def rows(name: str) -> list[dict[str, str]]:
    """The rows of `name`.csv, as text."""
    with Path(__file__).with_name(f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
