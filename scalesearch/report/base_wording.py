"""What a search of the base found, in sentences: shared by its page and the end of `scalesearch run`."""

from __future__ import annotations

import math
import shlex

from scalesearch.report.wording import SMOKE_BANNER, count, points, sentence, settings_command
from scalesearch.search.base_pipeline import FILE, FOLDER
from scalesearch.search.base_problem import limits_of
from scalesearch.search.base_run import BaseRun
from scalesearch.search.base_search import CHOSEN
from scalesearch.search.costs import measured
from scalesearch.spec.axes import AXES
from scalesearch.spec.cost import cost
from scalesearch.spec.units import format_flops

DIGITS = 1  # of a difference in points


def base_answer(run: BaseRun) -> list[str]:
    """Raises RunError if the search has not come to a winner."""
    found = run.winner
    lines = [
        f"Found: {found.arch.name}, {format_flops(found.flops)} FLOPs and {format_flops(found.params)} parameters, of "
        f"{count(sum(one.part != 'reference' for one in run.networks), 'network')} tried.",
        lead_sentence(run),
        *match_lines(run),
        *limit_lines(run),
    ]
    if not run.facts[CHOSEN]["by_final"]:
        lines.append("It was chosen by its first training alone: the time did not suffice for the final's seeds.")
    if run.settings.preset == "smoke":
        lines.insert(0, sentence(SMOKE_BANNER))
    return lines


def lead_sentence(run: BaseRun) -> str:
    """How the winner compares with the reference, and whether the two can be told apart."""
    lead, against = run.lead, reference_name(run)
    if run.is_reference:
        return f"Its proxy is that of {against}: the search cannot tell the two networks apart."
    if lead is None:
        return f"It shares no seed with {against}, so the two are not compared."
    flattered = " By the trainings that chose it, this is too high on average."
    seeds = ""
    if run.confirmation is not None:
        flattered, seeds = "", f" by {count(len(run.confirmation.seeds), 'fresh seed')}"
    mean = points(lead.mean, DIGITS)
    if math.isinf(lead.low):
        return f"Its lead over {against} is {mean} points of reward{seeds}; nothing says how much is noise.{flattered}"
    at = f"at {100 * run.settings.confidence:g}% confidence"
    span = f"{mean} points of reward [{points(lead.low, DIGITS)}, {points(lead.high, DIGITS)}] {at}{seeds}"
    if lead.low <= 0 <= lead.high:
        return f"It cannot be told apart from {against}: {span}.{flattered}"
    return f"It is {'better' if lead.mean > 0 else 'worse'} than {against}: {span}.{flattered}"


def match_lines(run: BaseRun) -> list[str]:
    """How the winner's proxy compares with the reference's of as many FLOPs."""
    found = run.match_confirmation
    if found is None or run.match is None:
        return []
    ratio = cost(run.match).flops / run.winner.proxy_flops
    against = f"{run.reference.name}'s scaled to {ratio:.0%} of its FLOPs"
    mean, seeds = points(found.lead.mean, DIGITS), count(len(found.seeds), "fresh seed")
    if math.isinf(found.lead.low):
        return [f"Its proxy leads {against} by {mean} points of accuracy, {seeds}; nothing says how much is noise."]
    low, high = points(found.lead.low, DIGITS), points(found.lead.high, DIGITS)
    span = f"{mean} points of accuracy [{low}, {high}] at {100 * run.settings.confidence:g}% confidence by {seeds}"
    if found.lead.low <= 0 <= found.lead.high:
        return [f"At equal FLOPs of the proxies the two cannot be told apart: against {against}, {span}."]
    word = "better" if found.lead.mean > 0 else "worse"
    return [f"At equal FLOPs of the proxies it is {word}: against {against}, {span}."]


def limit_lines(run: BaseRun) -> list[str]:
    """What the limits of latency and memory were asked for, and what was measured of the winner."""
    lines = []
    for name, most in limits_of(run.settings).items():
        axis, found = AXES[name], measured(run.facts, name, run.winner.arch.digest)
        if found is not None:
            lines.append(f"Its {axis.title}, measured here: {axis.spell(found.median)}, of {axis.spell(most)} allowed.")
    return lines


def reference_name(run: BaseRun) -> str:
    return f"the reference ({run.reference.name}, {format_flops(_reference_flops(run))} FLOPs)"


def _reference_flops(run: BaseRun) -> int:
    return cost(run.reference).flops


def base_noise_line(run: BaseRun) -> str:
    noise = run.noise
    if noise.freedom == 0:
        return "There is no noise estimate: the final gave no network a second seed."
    return (
        f"Seed noise: standard deviation {100 * noise.deviation:.2f} points of reward per training, from the final "
        f"({count(noise.freedom, 'degree')} of freedom)."
    )


def next_command(run: BaseRun) -> str:
    """The command that goes on from there: the same without --only, which takes the found base; or, of a search in a
    folder of its own name, one that takes the base's file."""
    if run.folder.name == FOLDER:
        return settings_command({**run.facts["settings"], "only": None}, run.folder.parent)
    words = ["scalesearch", "run", "--target-flops", str(run.winner.flops), "--base", str(run.folder / FILE)]
    return shlex.join([*words, "--data", run.settings.data])
