"""What whole searches with `--base search` found, against EfficientNet-B0 scaled to the same FLOPs of the proxy.

    python benchmarks/base_found.py RUN RUN ... [--json FILE]

Each RUN is the folder of a finished `scalesearch run --base search`, of one set of settings and a `--seed` of its own.
A ratio is the accuracy of the found base's proxy over that of B0's with as many FLOPs (the match), both trained with
fresh seeds; its interval is the run's own. The last row takes the runs together: the mean of their leads, and Student's
t over the runs, which differ in everything that the seed decides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import results
from scalesearch import BaseRun, Run, ScaleSearchError
from scalesearch.report.base_wording import base_answer
from scalesearch.search.stats import mean_lead
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError

MEASURE = "accuracy of the found base's proxy, by fresh seeds"
AGAINST = "EfficientNet-B0's scaled to its FLOPs"


def row_of(folder: Path) -> dict[str, Any]:
    """Raises RunError for a folder without a finished search, or without fresh seeds of the match."""
    base, run = BaseRun.load(folder / "base"), Run.load(folder)
    found = base.match_confirmation
    if found is None or base.match is None or run.finished is None:
        raise RunError(f"{folder}: must hold a finished search with a confirmed match; let it go on, with confirm >= 1")
    match = float(np.mean([found.scores[found.against][seed] for seed in found.seeds]))
    return results.row(
        f"{MEASURE}, --seed {base.settings.seed}",
        AGAINST,
        1 + found.lead.mean / match,
        1 + found.lead.low / match,
        1 + found.lead.high / match,
        note=f"{' '.join(base_answer(base)[:2])} The base took {base.facts['used_seconds'] / 60:.1f} minutes",
        lead_points=100 * found.lead.mean,
        match_accuracy=match,
        proxy_flops=base.winner.proxy_flops,
        match_flops=cost(base.match).flops,
        base=base.winner.arch.to_dict(),
        flops=base.winner.flops,
        fvcore=base.facts["fvcore"],
        tried=sum(one.part != "reference" for one in base.networks),
        seconds=base.facts["used_seconds"],
        answer=base_answer(base),
        confidence=base.settings.confidence,
        settings=base.settings.to_dict(),
    )


def together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of at least two runs: what their leads say together."""
    leads = [row["details"]["lead_points"] / 100 for row in rows]
    match = float(np.mean([row["details"]["match_accuracy"] for row in rows]))
    deviation = float(np.std(leads, ddof=1))
    lead = mean_lead(leads, deviation, len(leads) - 1, rows[0]["details"]["confidence"])
    told = "cannot be told apart" if lead.low <= 0 <= lead.high else "are not alike"
    points = f"{100 * lead.mean:+.1f} points [{100 * lead.low:.1f}, {100 * lead.high:.1f}]"
    note = f"{len(rows)} runs: {points}; found bases and B0 {told}"
    return results.row(
        f"{MEASURE}, all seeds", AGAINST, 1 + lead.mean / match, 1 + lead.low / match, 1 + lead.high / match, note=note
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        rows = [row_of(folder) for folder in arguments.runs]
    except ScaleSearchError as error:
        sys.exit(str(error))
    if len(rows) > 1:
        rows.append(together(rows))
    for row in rows:
        print(f"{row['measure']}: {row['ratio']:.3f} ({row['low']:.3f}–{row['high']:.3f}); {row['details']['note']}")
    if arguments.json:
        results.write(arguments.json, "base_found", rows)


if __name__ == "__main__":
    main()
