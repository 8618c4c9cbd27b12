"""Check how far a run's proxy can be trusted: train some of its networks longer, or larger, and rank them again.

Networks are trained from scratch, also where the run's started from inherited weights.
Give the same command again to continue an interrupted check. With --epochs 1 the same trainings are done once more with
other seeds: no proxy can agree with anything better than with itself.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scalesearch.commands.report import check_base
from scalesearch.commands.text import argument, integer, number, table
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import is_factory
from scalesearch.spec.units import format_duration, format_flops, parse_duration

if TYPE_CHECKING:
    from scalesearch.search.fidelity import CheckPlan
    from scalesearch.search.run import Run

EXAMPLES = """examples:
  scalesearch fidelity results/mine
  scalesearch fidelity results/mine --epochs 5 --networks 8 --seeds 3
  scalesearch fidelity results/mine --width 1.5 --time-budget 2h
  scalesearch fidelity results/mine --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's folder; the run may have ended early")
    parser.add_argument(
        "--epochs",
        type=argument(number(0.1, 1000)),
        metavar="K",
        help="times the run's epochs (default 3; 1 where the proxy is enlarged)",
    )
    for name, what in (("width", "channels"), ("resolution", "side")):
        parser.add_argument(
            f"--{name}", type=argument(number(0.5, 20)), default=1.0, metavar="K", help=f"times the proxy's {what}"
        )
    parser.add_argument(
        "--networks",
        type=argument(integer(3, 10_000)),
        default=5,
        metavar="N",
        help="how many (default 5): the recommended one, the paper's, then spread over shares and scores",
    )
    parser.add_argument(
        "--seeds", type=argument(integer(1, 200)), metavar="K", help="trainings per network (default: the run's)"
    )
    parser.add_argument(
        "--time-budget", type=argument(parse_duration), metavar="TIME", help="for this call: 10m, 2h (default: none)"
    )
    parser.add_argument(
        "--workers", type=argument(integer(1, 1_024)), metavar="N", help="processes (default: as in the run)"
    )
    parser.add_argument(
        "--base", metavar="FACTORY", help="the factory that the run began with: a check of its networks runs its code"
    )
    parser.add_argument("--storage", metavar="URL", help="the run's storage, where its URL needs a password")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, and how long; train nothing")


def execute(arguments: argparse.Namespace) -> None:
    from scalesearch.commands.progress import Display
    from scalesearch.report.fidelity import HEADINGS, rows, sentences
    from scalesearch.report.write import REPORT_FILE, write_report
    from scalesearch.search.agreement import outcome
    from scalesearch.search.fidelity import check_run, plan_check
    from scalesearch.search.run import Run

    found = Run.load(Path(arguments.run), arguments.storage)
    if arguments.base is not None:
        check_base(found, arguments.base)
    elif is_factory(found.settings.base):
        raise SettingsError(
            f"{found.folder}: a check runs the code of {found.settings.base}; if you want that, say so with "
            f"--base {found.settings.base}"
        )
    planned = plan_check(
        found,
        arguments.epochs,
        arguments.width,
        arguments.resolution,
        arguments.networks,
        arguments.seeds,
        arguments.workers,
    )
    print(_described(found, planned), flush=True)
    if arguments.dry_run:
        return
    display = Display()
    try:
        ended = check_run(found, planned, arguments.time_budget, display, display.line)
    finally:
        display.close()
    checked = outcome(found, planned.folder)
    print(ended)
    if checked is None:
        return
    write_report(found)
    print()
    print(table(HEADINGS, rows(found, checked)))
    print()
    for line in sentences(found, checked):
        print("\n".join(textwrap.wrap(line, 110, subsequent_indent="  ")))
    print(f"\nreport: {found.folder / REPORT_FILE}, table: {found.folder / 'fidelity.csv'}")


def _described(run: Run, planned: CheckPlan) -> str:
    from scalesearch.report.fidelity import changed
    from scalesearch.report.tables import network_names
    from scalesearch.search.fidelity import read_records

    names, plan = network_names(run), planned.plan
    assert run.plan is not None  # the check was planned from it
    left = len(planned.left(read_records(planned.folder)))
    seconds = planned.seconds
    ends = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    rows = [
        (
            names[one.result.candidate.digest],
            " ".join(f"{share:.2f}" for share in one.result.candidate.shares),
            f"{one.result.score:.4f}",
            one.arch.resolution,
            format_flops(cost(one.arch).flops),
            f"{one.ratio:.3f}",
            f"{one.phi:.2f}",
            format_duration(one.seconds),
        )
        for one in planned.networks
    ]
    return "\n".join(
        (
            f"fidelity: {changed(run, planned.check)}; {len(planned.networks)} networks × "
            f"{len(planned.seeds)} seeds of {plan.epochs} epochs, {plan.train_images:,} images; {left} trainings left, "
            f"by the run's speed about {format_duration(seconds)} on {planned.workers} workers, until {ends}",
            table(("", "shares d w r", "score", "px", "FLOPs", "× base", "φ", "each"), rows, left=2),
        )
    )
