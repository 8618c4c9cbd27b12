"""Reproduce a published table or figure: published numbers beside those computed or measured here.

Prints the table with the origin of every cell and the discrepancies found, and writes it with a figure.
Without NAME, lists what there is. Needs no network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scalesearch.commands.text import argument, folder, table
from scalesearch.spec.errors import SettingsError

DEFAULT = "results/reproduce"
EXAMPLES = """examples:
  scalesearch reproduce
  scalesearch reproduce table2
  scalesearch reproduce figure3 --out figures/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="e.g. table2; without it, the list")
    parser.add_argument(
        "--out",
        type=argument(folder),
        metavar="DIR",
        help=f"folder for NAME.md, .csv, .png and .svg (default {DEFAULT}); existing files are replaced",
    )


def execute(arguments: argparse.Namespace) -> None:
    from scalesearch.report.reproduce import EXPERIMENTS, reproduce
    from scalesearch.report.reproduce.write import text, write_experiment

    if arguments.name is None:
        if arguments.out is not None:
            raise SettingsError(f"--out {arguments.out}: there is nothing to write without NAME, e.g. reproduce table2")
        rows = [(name, "a minute" if each.measured else "seconds", each.summary) for name, each in EXPERIMENTS.items()]
        print(table(("name", "takes", "what"), rows, left=3))
        return
    found = reproduce(arguments.name)
    print(text(found), flush=True)  # before anything can fail: what was measured took its time
    written = write_experiment(found, arguments.out or Path(DEFAULT))
    print(f"\nwritten: {', '.join(map(str, written))}")
