"""What a run found, in sentences: shared by the page, the figures and the end of `scalesearch run`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesearch.report.words import words
from scalesearch.search.candidates import Candidate, Interval
from scalesearch.search.confirmation import Confirmation
from scalesearch.search.run import CandidateResult, Run
from scalesearch.spec.axes import MEASURED
from scalesearch.spec.evaluators import EVALUATORS, IDLE_IN_REPLAY, RECORDED, USED_BY
from scalesearch.spec.scaling import PAPER_COEFFICIENTS
from scalesearch.spec.settings import OPTIONS, RULES, SEARCH, WEIGHED, make_settings, option

SMOKE_BANNER = "smoke preset: this shows that the tool works; the numbers mean nothing"
PAPER_NAME = "nearest to the paper's point"
PAPER_NETWORK = f"the network {PAPER_NAME}"
_DIMENSIONS = {"depth only": 0, "width only": 1, "resolution only": 2}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer in three sentences."""

    coefficients: str
    alternatives: str
    paper: str


def answer(run: Run) -> Answer:
    """Raises RunError if no training has finished."""
    return Answer(_coefficients(run), _alternatives(run), _paper(run))


def _coefficients(run: Run) -> str:
    candidate = run.recommended.candidate
    sides = (("α", candidate.alpha), ("β", candidate.beta), ("γ", candidate.gamma))
    return (
        "Recommended: "
        + ", ".join(f"{name} = {side.value:.3f} [{interval(side)}]" for name, side in sides)
        + f"; of one doubling the network spends {shares(candidate)}."
    )


def _alternatives(run: Run) -> str:
    results = run.candidates
    alike = sum(result.may_be_best for result in results)
    pool = [standing for _, standing in run.standings]
    if run.noise.freedom == 0 and len(results) > 1:
        return (
            "There is no noise estimate, because no two networks were trained with a second seed: "
            f"none of the {count(len(results), 'network')} can be ruled out as the best."
        )
    if len(results) == 1 and len(pool) == 1:
        return f"It is the only network {words(run).judged}, so nothing was compared."
    if not run.recommended.may_be_best:
        return (
            f"{alike} of {count(len(results), 'network')} {words(run).judged} cannot be told apart from the best "
            f"{at_confidence(run)}; this one, of the highest score, is not among them."
        )
    if len(pool) > len(results):
        return _of_the_pool(run)
    if alike == 1:
        return f"It is better than the other {len(results) - 1} networks {words(run).judged}, {at_confidence(run)}."
    return (
        f"{alike} of {count(len(results), 'network')} {words(run).judged}, this one among them, cannot be told apart "
        f"from the best {at_confidence(run)}."
    )


def _of_the_pool(run: Run) -> str:
    """What may be best of all networks that could have been tried."""
    kept = [place for place, standing in run.standings if standing.may_be_best]
    tried = sum(result.may_be_best for result in run.candidates)
    if len(kept) == 1:
        return (
            f"It is better than the other {len(run.standings) - 1} networks of the pool, tried or not, "
            f"{at_confidence(run)}."
        )
    return (
        f"{at_confidence(run).capitalize()}, {len(kept)} of the {len(run.standings)} networks of the pool may be the "
        f"best, {tried} of them {words(run).judged} ({len(run.candidates)} were)."
    )


def region_line(run: Run) -> str:
    """The coefficients of all that may be best, and what the recommended network is expected to miss.

    Empty where nothing is ruled out, or no other is left.
    """
    kept = [place for place, standing in run.standings if standing.may_be_best]
    if run.noise.freedom == 0 or not 1 < len(kept) < len(run.standings):
        return ""
    sides = {
        "α": [place.alpha for place in kept],
        "β": [place.beta for place in kept],
        "γ": [place.gamma for place in kept],
    }
    region = ", ".join(
        f"{name} {min(side.low for side in found):.2f}–{max(side.high for side in found):.2f}"
        for name, found in sides.items()
    )
    return (
        f"Region that may hold the best, {at_confidence(run)}: {region}. The recommended network is expected to miss "
        f"the best of the pool by {100 * run.verdict.regret:.2f} points of score."
    )


def _paper(run: Run) -> str:
    paper = paper_result(run)
    if paper is None:
        return f"The paper's point has no {words(run).judgement} that finished, so the two are not compared."
    if paper.candidate.digest == run.recommended.candidate.digest:
        return "It is itself the network nearest to the paper's point (α, β, γ = 1.2, 1.1, 1.15)."
    depth, width, resolution = map(percent, paper_shares())
    spends = (
        f"That network spends {shares(paper.candidate)}; the paper's coefficients ask for {depth}, {width} and "
        f"{resolution}."
    )
    return f"{_lead(run, paper)} {spends}"


def _lead(run: Run, paper: CandidateResult) -> str:
    lead, digits = run.lead_over("paper"), words(run).digits
    against = PAPER_NETWORK
    if lead is None or math.isnan(lead.mean):
        return f"It shares no seed with {against}, so the two are not compared."
    if run.confirmation is not None:
        return _confirmed(run, run.confirmation)
    flattered = ""
    if run.recommended.accuracies:  # a prediction has no trainings
        narrow = ", and the interval too narrow" if run.noise.freedom else ""
        flattered = f" By the trainings that chose it, this is too high on average{narrow}."
    above = f"Its score is {above_or_below(lead.mean, digits)} that of {against}"
    if run.noise.freedom == 0:
        return f"{above}; nothing says how much of that is noise.{flattered}"
    mean = points(lead.mean, digits)
    span = f"{points(lead.low, digits)} to {points(lead.high, digits)} {at_confidence(run)}"
    if lead.low <= 0 <= lead.high:
        return f"It cannot be told apart from {against}: {mean} points of score, {span}.{flattered}"
    if paper.may_be_best:
        return (
            f"Taken alone, its lead over {against} is {mean} points of score, {span}; with all comparisons allowed "
            f"for, the two cannot be told apart.{flattered}"
        )
    return f"{above}; the difference is {span}.{flattered}"


def _confirmed(run: Run, found: Confirmation) -> str:
    """The lead over the paper's network by the seeds that did not choose."""
    lead, digits = found.lead, words(run).digits
    if math.isinf(lead.low):
        stands = f"is {points(lead.mean, digits)} points of score by {count(len(found.seeds), 'fresh seed')}"
        return f"Its lead over {PAPER_NETWORK} {stands}; nothing says how much of that is noise."
    start = " Both started from weights of the base that the search had used too." if run.settings.inherit else ""
    stands = "confirmed" if lead.low > 0 else "refuted" if lead.high < 0 else "not confirmed"
    apart = ": the two cannot be told apart" if lead.low <= 0 <= lead.high else ""
    return (
        f"Its lead over {PAPER_NETWORK} is {stands} by {count(len(found.seeds), 'fresh seed')}: "
        f"{points(lead.mean, digits)} points of score [{points(lead.low, digits)}, {points(lead.high, digits)}] "
        f"{at_confidence(run)}{apart}.{start}"
    )


def paper_result(run: Run) -> CandidateResult | None:
    """The trained network that stands for the paper's coefficients."""
    return run.trained("paper")


def paper_shares() -> tuple[float, float, float]:
    """Budget shares of the paper's coefficients, normalised to sum 1: their product is 1.92, not 2."""
    point = PAPER_COEFFICIENTS
    logs = (math.log2(point.alpha), 2 * math.log2(point.beta), 2 * math.log2(point.gamma))
    return logs[0] / sum(logs), logs[1] / sum(logs), logs[2] / sum(logs)


def anchor_name(anchor: str, shares: Sequence[float]) -> str:
    """A corner by how near a network of these shares gets to it, so that none is called pure that is not."""
    if anchor not in _DIMENSIONS:
        return PAPER_NAME if anchor == "paper" else f"nearest to {anchor}"
    share = shares[_DIMENSIONS[anchor]]
    dimension = anchor.removesuffix(" only")
    if share >= 0.995:
        return anchor
    return f"mostly {dimension} ({percent(share)})" if share >= 0.5 else f"nearest to {anchor} ({percent(share)})"


def shares(candidate: Candidate) -> str:
    depth, width, resolution = candidate.shares
    return f"{percent(depth)} on depth, {percent(width)} on width and {percent(resolution)} on resolution"


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def at_confidence(run: Run) -> str:
    return f"at {100 * run.settings.confidence:g}% confidence"


def sentence(text: str) -> str:
    """`str.capitalize` would make every other letter small."""
    return text[0].upper() + text[1:] + "."


def points(value: float, digits: int) -> str:
    """A signed difference in percentage points, with a true minus."""
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def above_or_below(value: float, digits: int) -> str:
    return f"{abs(100 * value):.{digits}f} points {'below' if value < 0 else 'above'}"


def interval(side: Interval) -> str:
    return f"{side.low:.3f}–{side.high:.3f}"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def noise_line(run: Run) -> str:
    noise = run.noise
    if noise.freedom == 0:
        return "no noise estimate: no two networks were trained with a second seed"
    return words(run).noise.format(deviation=100 * noise.deviation, freedom=noise.freedom)


_OBJECTIVES = {
    "soft": "Accuracy·({cost}/T)^{w}",
    "hard": "Accuracy·(T/{cost}) above T, and the accuracy itself up to T",
    "efficientnetv2": "Accuracy·({cost}/T)^{w}·(parameters/T′)^−0.05",
    "absolute": "Accuracy − 0.1·|{cost}/T − 1|",
    "accuracy": "the accuracy",
}


def score_line(run: Run) -> str:
    """What a score is, on which cost."""
    if words(run).score:
        return words(run).score
    formula = _OBJECTIVES[run.settings.objective].format(cost=run.axis.title, w=_exponent(run))
    if run.settings.objective == "accuracy":
        return f"A score is {formula}. Candidates have about twice the base's FLOPs."
    targets = "T and T′ are" if run.settings.objective == "efficientnetv2" else "T is"
    return (
        f"A score is {formula}; {targets} twice the proxy base's own. Candidates have about twice the base's FLOPs "
        "whatever the cost is."
    )


def _exponent(run: Run) -> str:
    """w, with a true minus."""
    return f"{run.settings.exponent:.3g}".replace("-", "−")


def timing_line(run: Run) -> str:
    """How times were measured and how far they can be relied on; empty where nothing was timed."""
    lines = []
    for axis in MEASURED:
        spreads = [point.measured[axis.name] for point in run.points if axis.name in point.measured]
        timed = [spread for spread in spreads if spread.repeats > 1]
        if timed:
            reach = max((spread.high - spread.low) / 2 / spread.median for spread in timed)
            lines.append(f"{axis.title} of {count(timed[0].repeats, 'round')}, its median good to ±{100 * reach:.1f}%")
    if not lines:
        return ""
    clock = "processor time, " if run.plan is None or run.plan.device == "cpu" else ""
    text = f"Times are medians ({clock}one thread, in turn with the proxy base) with the 10th and 90th percentile: "
    text += "; ".join(lines)
    if run.axis.unit == "ms" and run.settings.objective in WEIGHED:
        text += f" (1% of time is {_exponent(run).removeprefix('−')}% of a score)"
    return text + " at the worst network (95%, without slow drifts). "


def run_command(run: Run) -> str:
    """The command that continues this run: the same settings and folder."""
    # w as it was asked for, not as it was fitted
    return settings_command({**run.settings.to_dict(), **run.facts["settings"]}, run.folder)


def settings_command(settings: Mapping[str, Any], folder: Path) -> str:
    """The command with these settings and this folder."""
    used = set(USED_BY.get(settings["evaluator"], tuple(RULES)))
    if settings["evaluator"] == "replay":
        used -= {*RECORDED, *IDLE_IN_REPLAY}
    searched = {"base": SEARCH} if settings["base"] == SEARCH else {}
    usual = make_settings(settings["preset"], target_flops=settings["target_flops"], **searched).to_dict()
    usual |= EVALUATORS[settings["evaluator"]]
    words = ["scalesearch", "run", "--target-flops", str(settings["target_flops"]), "--out", str(folder)]
    for name in RULES:
        value = settings[name]
        if value == usual[name] and name not in ("base", "data", "preset"):
            continue
        if name == "target_flops" or name not in used:
            continue
        if name == "exponent" and value is None:
            words += [option(name), "fit"]
        elif name in OPTIONS and value is not None:
            words += [
                option(name),
                f"{value:.10g}" if isinstance(value, float) else str(value),
            ]
        else:
            words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def report_command(run: Run) -> str:
    """The command that rebuilds the derived files."""
    return shlex.join(["scalesearch", "report", str(run.folder)])
