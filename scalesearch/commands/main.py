"""The command line. The one place where errors become exit codes.

Exit codes: 0 done; 1 a bug, with its traceback; 2 bad usage or data, with one line per fault; 130 interrupted.
Torch is imported by the commands that need it, never here: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from scalesearch import __version__
from scalesearch.commands import cost, fidelity, report, reproduce, run, scale, spaces, train
from scalesearch.spec.errors import ScaleSearchError
from scalesearch.spec.units import FLOPS_DEFINITION

COMMANDS = {
    "run": run,
    "fidelity": fidelity,
    "train": train,
    "scale": scale,
    "cost": cost,
    "spaces": spaces,
    "reproduce": reproduce,
    "report": report,
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, like every other error; argparse's own would print the usage first."""
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="scalesearch",
        description="From a dataset, a base network and a FLOPs budget to the scaling coefficients α (depth), "
        "β (width), γ (resolution), and the family B0–B7 that follows from them.",
        epilog=FLOPS_DEFINITION,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"scalesearch {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    previous = signal.signal(signal.SIGTERM, _terminate)  # schedulers stop jobs with it; it is Ctrl-C to us
    try:
        COMMANDS[arguments.command].execute(arguments)
        sys.stdout.flush()
    except ScaleSearchError as error:
        if arguments.debug:
            raise
        for line in str(error).splitlines():
            print(f"scalesearch {arguments.command}: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; finished work is kept, give the same command again to go on", file=sys.stderr)
        return 130
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EPIPE):
            raise
        # Standard output takes no more. Keep Python from failing again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # the reader (head, less) has gone
            return 0
        print(f"scalesearch {arguments.command}: error: standard output: {error.strerror}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _terminate(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
