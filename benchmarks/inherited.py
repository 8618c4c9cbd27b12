"""Weights that carry over: how networks that start from the base's weights are ranked, and what that costs.

    python benchmarks/inherited.py results/scalebench results/scalebench_inherited [--confidence 0.9] [--json FILE]

The first run trains every network from scratch, the second has `inherit = true`. Each row is one way to score a network
from one training: after k epochs from scratch, or after k inherited. It is compared with the mean accuracy at the end
of the first run's other seeds: Kendall's τ_b, the accuracy lost by taking the row's first network, and by how many
places it ranks networks too high that spend all on depth, width or resolution. Intervals are of resampled networks and
seeds. The last row of "from scratch" is what a whole training achieves: more cannot be had from one seed. Cost is
processor time (wall-clock time on a GPU), for all networks of one seed; the inherited one contains the base's training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scalesearch import Run, ScaleSearchError
from scalesearch.search.cheap_ranks import cheap_agreement
from scalesearch.search.opening import read_run_file
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import Scores
from scalesearch.spec.errors import RunError


def accuracies(run: Run, epochs: int) -> Scores:
    """Of every candidate and seed that has come so far: accuracy after `epochs`."""
    table: dict[str, dict[int, float]] = {}
    for record in candidates(run):
        if len(record.epochs) >= epochs:
            table.setdefault(record.digest, {})[record.seed] = float(record.epochs[epochs - 1]["accuracy"])
    return table


def candidates(run: Run) -> list[TrialRecord]:
    return [record for record in run.trials if record.role == "candidate"]


def seconds(run: Run, epochs: int, digests: set[str]) -> float:
    """For these networks, one seed each: the mean over seeds of what the first `epochs` took."""
    spent: dict[str, list[float]] = {}
    for record in candidates(run):
        if record.digest in digests and len(record.epochs) >= epochs:
            spent.setdefault(record.digest, []).append(
                sum(float(epoch["processor_seconds"]) for epoch in record.epochs[:epochs])
            )
    return sum(map(statistics.mean, spent.values()))


def base_seconds(run: Run) -> float:
    """The base's training, mean over seeds."""
    bases = [record for record in run.trials if record.role == "base" and record.status == "done"]
    return statistics.mean(sum(float(epoch["processor_seconds"]) for epoch in record.epochs) for record in bases)


def compare(landscape: Run, inherited: Run, confidence: float) -> dict[str, Any]:
    """The table as a dictionary. Raises RunError if the runs are not of the same networks and data."""
    check(landscape, inherited)
    last = max(len(record.epochs) for record in candidates(landscape))
    final = accuracies(landscape, last)
    shares = {record.digest: tuple(record.attributes["shares"]) for record in candidates(landscape)}
    common = final.keys() & {record.digest for record in candidates(inherited)}
    final = {digest: final[digest] for digest in common}
    whole = seconds(landscape, last, set(common))
    rows = []
    for start, run, extra in (("from scratch", landscape, 0.0), ("inherited", inherited, base_seconds(inherited))):
        for epochs in range(1, max(len(record.epochs) for record in candidates(run)) + 1):
            found = cheap_agreement(accuracies(run, epochs), final, shares, confidence)
            cost = seconds(run, epochs, set(common)) + extra
            rows.append({"start": start, "epochs": epochs, "seconds": cost, "saved": whole / cost, **asdict(found)})
    return {
        "landscape": read_run_file(landscape.folder)["study"],
        "inherited": read_run_file(inherited.folder)["study"],
        "environment": read_run_file(inherited.folder)["environment"],
        "confidence": confidence,
        "full_epochs": last,
        "rows": rows,
    }


def check(landscape: Run, inherited: Run) -> None:
    if not inherited.settings.inherit or landscape.settings.inherit:
        raise RunError(
            f"inherit must be false in {landscape.folder} and true in {inherited.folder}, got "
            f"{landscape.settings.inherit} and {inherited.settings.inherit}; give the run from scratch first"
        )
    one, other = landscape.proxy_base.digest, inherited.proxy_base.digest
    if one != other:
        raise RunError(
            f"both runs must scale the same base, got {one} in {landscape.folder} and {other} in {inherited.folder}; "
            "give runs whose settings differ in inherit, epochs and seeds only"
        )


def lines(table: Mapping[str, Any]) -> list[str]:
    level = f"{table['confidence'] * 100:g} %"
    found = [
        f"against the mean of other seeds after {table['full_epochs']} epochs from scratch; {level} intervals",
        f"{'start':<14}{'epochs':>6}  {'τ_b':<22}{'miss, points':<22}{'places too high: depth':<24}{'width':<24}"
        f"{'resolution':<24}{'cpu s':>8}{'saved':>7}",
    ]
    for row in table["rows"]:
        cells = [_cell(row["tau"]), _cell(row["miss"], 100)]
        bias = [_cell(row["bias"][name], digits=1) for name in ("depth", "width", "resolution")]
        found.append(
            f"{row['start']:<14}{row['epochs']:>6}  {cells[0]:<22}{cells[1]:<22}"
            + "".join(f"{cell:<24}" for cell in bias)
            + f"{row['seconds']:>8,.0f}{row['saved']:>6.1f}×"
        )
    first = table["rows"][0]
    return [*found, f"{first['networks']} networks, seeds {', '.join(map(str, first['seeds']))}"]


def _cell(estimate: Mapping[str, float], times: float = 1, digits: int = 2) -> str:
    value, low, high = (f"{times * estimate[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank agreement of inherited trainings with those from scratch.")
    parser.add_argument("landscape", type=Path, help="a run that trains every network from scratch")
    parser.add_argument("inherited", type=Path, help="a run of the same networks with inherit = true")
    parser.add_argument("--confidence", type=float, default=0.9, help="of the intervals (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    options = parser.parse_args()
    try:
        table = compare(Run.load(options.landscape), Run.load(options.inherited), options.confidence)
    except ScaleSearchError as error:
        sys.exit(str(error))
    print("\n".join(lines(table)))
    if options.json is not None:
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
