"""Pack a finished run into a recording, the file that `--evaluator replay` and benchmarks/search.py read.

    python benchmarks/record.py RUN [RUN …] FILE [--measured TEXT] [--partial]

The same run gives the same bytes. Zero-cost scores that FILE already holds are kept. Searches of a base (`--base search
--only base`) become a recording that benchmarks/base_search.py reads: one or more of the same space, each with a --seed
of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scalesearch import BaseRun, Run, ScaleSearchError
from scalesearch.search.base_landscape import BaseLandscape, record_bases, write_base_landscape
from scalesearch.search.base_pipeline import load_run
from scalesearch.search.landscape import Landscape, read_landscape, record, with_zero_cost, write_landscape
from scalesearch.spec.errors import RunError

MEASURED = (
    "accuracy on the validation images, losses and times after every epoch of every training, all by one recipe; "
    "processor_seconds are of one worker's training and evaluation"
)


def pack(folder: Path, file: Path, measured: str = MEASURED, partial: bool = False) -> Landscape:
    """Write the recording of the run in `folder`, and return it. Raises RunError or DataError."""
    found = record(Run.load(folder), measured, partial)
    if file.exists():
        found = with_zero_cost(found, {n.candidate.digest: n.zero_cost for n in read_landscape(file).networks})
    file.parent.mkdir(parents=True, exist_ok=True)
    write_landscape(found, file)
    return found


def pack_bases(runs: Sequence[BaseRun], file: Path, measured: str = MEASURED, partial: bool = False) -> BaseLandscape:
    """Write the recording of these searches, and return it. Raises RunError."""
    found = record_bases(runs, measured, partial)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_base_landscape(found, file)
    return found


def bases_in(folders: Sequence[Path]) -> list[BaseRun]:
    """The searches of a base in these folders; none where there is but one folder, of another run.

    Raises RunError for several folders of which one holds no search of a base, or for one that holds both.
    """
    loaded = [load_run(folder) for folder in folders]
    found = [base for base, run in loaded if base is not None and run is None]
    if len(found) < len(folders) and (found or len(folders) > 1 or loaded[0][0] is not None):
        other = next(folder for folder, (base, run) in zip(folders, loaded, strict=True) if run or base is None)
        raise RunError(
            f"{other}: holds a search of coefficients, which is recorded by itself; give one such run, or folders of "
            "--base search only (RUN/base of a run that has both)"
        )
    return found


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    parser.add_argument("file", type=Path, metavar="FILE", help="to write, such as scalebench.json.gz")
    parser.add_argument("--measured", default=MEASURED, help="what was recorded, in words")
    parser.add_argument("--partial", action="store_true", help="of an unfinished run, what there is")
    arguments = parser.parse_args(given)
    found: Landscape | BaseLandscape
    try:
        bases = bases_in(arguments.runs)
        if bases:
            found = pack_bases(bases, arguments.file, arguments.measured, arguments.partial)
        else:
            found = pack(arguments.runs[0], arguments.file, arguments.measured, arguments.partial)
    except ScaleSearchError as error:
        sys.exit(str(error))
    trainings = [training for network in found.networks for training in network.trainings]
    print(
        f"{arguments.file}: {len(found.networks)} networks, {len(trainings)} trainings of {len(trainings[0].epochs)} "
        f"epochs, {arguments.file.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
