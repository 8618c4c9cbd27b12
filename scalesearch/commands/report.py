"""Rebuild the tables, figures and HTML page of a run from its storage.

Also shows how far a run has come that is not finished yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scalesearch.commands.text import read_network
from scalesearch.spec.errors import RunError, SettingsError
from scalesearch.spec.factory import FactoryArch

if TYPE_CHECKING:
    from scalesearch.search.run import Run

EXAMPLES = """examples:
  scalesearch report results/efficientnet_b0-400M-glyphs-quick-surface-s0
  scalesearch report results/mnasnet --against results/regnet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument(
        "--base",
        metavar="FACTORY",
        help="the factory that the run began with, if its code may run: only a run that has not ended needs it",
    )
    parser.add_argument(
        "--against",
        metavar="RUN",
        help="another search of a base: draw the error distributions of both spaces into the first one's figures/",
    )
    parser.add_argument("--storage", metavar="URL", help="the run's storage, where its URL needs a password")


def execute(arguments: argparse.Namespace) -> None:
    from scalesearch.report.base_edf import write_edf
    from scalesearch.report.base_page import base_summary, write_base_report
    from scalesearch.report.write import summary, write_report
    from scalesearch.search.base_pipeline import load_run

    base, found = load_run(Path(arguments.run), arguments.storage)
    if arguments.against is not None:
        other, _ = load_run(Path(arguments.against))
        if base is None or other is None:
            folder = arguments.run if base is None else arguments.against
            raise RunError(
                f"--against: compares searches of a base, and {folder} holds none; give runs of --base search"
            )
        path, said = write_edf(base, other)
        print(f"{said}\nfigure: {path}")
        return
    if base is not None:
        write_base_report(base)
        print(base_summary(base))
    if found is None:
        return
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
