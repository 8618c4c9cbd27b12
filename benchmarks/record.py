"""Pack a finished run into a recording, the file that `--evaluator replay` and benchmarks/search.py read.

    python benchmarks/record.py RUN FILE [--measured TEXT] [--partial]

The same run gives the same bytes. Zero-cost scores that FILE already holds are kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scalesearch import Run, ScaleSearchError
from scalesearch.search.landscape import Landscape, read_landscape, record, with_zero_cost, write_landscape

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("file", type=Path, metavar="FILE", help="to write, such as scalebench.json.gz")
    parser.add_argument("--measured", default=MEASURED, help="what was recorded, in words")
    parser.add_argument("--partial", action="store_true", help="of an unfinished run, what there is")
    arguments = parser.parse_args()
    try:
        found = pack(arguments.run, arguments.file, arguments.measured, arguments.partial)
    except ScaleSearchError as error:
        sys.exit(str(error))
    trainings = sum(len(network.trainings) for network in found.networks)
    print(
        f"{arguments.file}: {len(found.networks)} networks, {trainings} trainings of {found.epochs} epochs, "
        f"{arguments.file.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
