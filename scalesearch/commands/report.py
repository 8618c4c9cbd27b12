"""Rebuild the tables, figures and HTML page of a run from its storage.

Also shows how far a run has come that is not finished yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scalesearch.commands.text import read_network
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import FactoryArch

if TYPE_CHECKING:
    from scalesearch.search.run import Run

EXAMPLES = """examples:
  scalesearch report results/efficientnet_b0-400M-glyphs-quick-surface-s0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument(
        "--base",
        metavar="FACTORY",
        help="the factory that the run began with, if its code may run: only a run that has not ended needs it",
    )
    parser.add_argument("--storage", metavar="URL", help="the run's storage, where its URL needs a password")


def execute(arguments: argparse.Namespace) -> None:
    from scalesearch.report.write import summary, write_report
    from scalesearch.search.run import Run

    found = Run.load(Path(arguments.run), arguments.storage)
    if arguments.base is not None:
        check_base(found, arguments.base)
    write_report(found)
    print(summary(found))


def check_base(run: Run, typed: str) -> None:
    """Let the code of the run's factory run, which a person has typed. Raises SettingsError if it is another."""
    base = read_network(typed)
    if not isinstance(base, FactoryArch) or base.fingerprint != getattr(run.base, "fingerprint", None):
        raise SettingsError(
            f"--base {typed}: is not the factory that {run.folder} began with ({run.settings.base}), "
            "or its code has changed since; leave --base out, or restore it"
        )
