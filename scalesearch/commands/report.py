"""Rebuild the tables, figures and HTML page of a run from its storage.

Also shows how far a run has come that is not finished yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  scalesearch report results/efficientnet_b0-400M-glyphs-quick-lattice-s0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument("--storage", metavar="URL", help="the run's storage, where its URL needs a password")


def execute(arguments: argparse.Namespace) -> None:
    from scalesearch.report.write import summary, write_report
    from scalesearch.search.run import Run

    found = Run.load(Path(arguments.run), arguments.storage)
    write_report(found)
    print(summary(found))
