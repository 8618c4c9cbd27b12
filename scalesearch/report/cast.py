"""Who is who in every figure: the parts that networks play, and the error of a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scalesearch.report.wording import anchor_name
from scalesearch.search.run import CandidateResult, Run

_ORDER = ("paper", "dWr", "depth only", "width only", "resolution only")


@dataclass(frozen=True, slots=True)
class Part:
    """`look` is a key of LOOKS; `label` goes to the legend."""

    look: str
    label: str


def part(run: Run, result: CandidateResult) -> Part:
    """A candidate's part. A network that is several things looks like the first; its label names all."""
    names = [anchor_name(anchor, result.candidate.shares) for anchor in _ORDER if anchor in result.anchors]
    if result.candidate.digest == run.recommended.candidate.digest:
        return Part("recommended", " = ".join(["recommended", *names]))
    look = next((anchor for anchor in _ORDER if anchor in result.anchors), "candidate")
    return Part(look, " = ".join(names) or "candidate")


def highlighted(run: Run) -> list[tuple[CandidateResult, Part]]:
    """Corners, dWr, the paper's point and the recommended candidate, in this order: the last is drawn on top."""
    rank = {"recommended": 5, "paper": 4, "dWr": 3, "resolution only": 2, "width only": 1, "depth only": 0}
    parts = [(result, part(run, result)) for result in run.candidates]
    return sorted((pair for pair in parts if pair[1].look in rank), key=lambda pair: rank[pair[1].look])


def standard_error(run: Run, seeds: int, own: float) -> float:
    """Of a mean over `seeds` trainings, from the pooled noise: two seeds say little of their `own` spread.

    A prediction rests on no trainings and has nothing but its own. NaN where nothing estimates the noise.
    """
    if seeds == 0:
        return own
    noise = run.noise
    return math.nan if noise.freedom == 0 else noise.deviation / math.sqrt(seeds)
