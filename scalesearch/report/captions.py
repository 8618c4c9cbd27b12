"""What stands under each figure: how its numbers were obtained, and what they do not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scalesearch.report.figures.accuracy_cost import AccuracyCost
from scalesearch.report.figures.curves import Curves
from scalesearch.report.figures.simplex import Simplex
from scalesearch.report.figures.single_dimension import SingleDimension
from scalesearch.report.ranks import ranks_line
from scalesearch.report.wording import at_confidence, count, paper_result, percent, shares
from scalesearch.report.words import words
from scalesearch.search.run import Run
from scalesearch.spec.axes import AXES


def alternatives(run: Run) -> dict[str, str]:
    """What stands for each figure where it is not seen."""
    known = words(run).known
    return {
        "simplex": f"Map of budget shares, coloured by {words(run).accuracy}",
        "single_dimension": "Accuracy against FLOPs, one dimension scaled against compound scaling",
        **{
            f"accuracy_{axis.name}": f"Accuracy against {axis.title} of all {known} networks, with the Pareto front"
            for axis in AXES.values()
        },
        "curves": "Validation accuracy per epoch",
    }


def captions(run: Run, infos: Mapping[str, Any]) -> dict[str, str]:
    """By figure; `infos` are the figures' arithmetic."""
    texts: Mapping[str, Callable[[], str]] = {
        "simplex": lambda: _simplex(run, infos["simplex"]),
        "single_dimension": lambda: _single_dimension(run, infos["single_dimension"]),
        "curves": lambda: _curves(run, infos["curves"]),
    }
    return {
        name: _accuracy_cost(run, info) if isinstance(info, AccuracyCost) else texts[name]()
        for name, info in infos.items()
    }


def _error_bars(run: Run) -> str:
    if run.noise.freedom == 0:
        return "There are no error bars, because nothing estimates the noise: no network has a second seed."
    return words(run).error_bars


def _simplex(run: Run, info: Simplex) -> str:
    depth, width, resolution = (percent(share) for share in info.paper)
    text = (
        f"How {count(len(info.spots), 'candidate')} of about twice the base's FLOPs spend one doubling: "
        f"realised shares of depth, width and resolution, after rounding. Colour is {words(run).accuracy}. "
    )
    if run.noise.freedom == 0:
        text += "All have a black edge, because without a noise estimate none can be ruled out. "
    else:
        text += f"A black edge: may be the best {at_confidence(run)}; these are what is shaded. "
    stopped = sum(one.stopped for one in info.untried)
    if untried := len(info.untried) - stopped:
        text += f"Small: {count(untried, 'network')} of the pool, not {words(run).judged}. "
    if stopped:
        text += f"Triangles: {count(stopped, 'network')} stopped early by the pruner, or failed, so without a score. "
    text += "The larger a marker of the crowd, the likelier it is the best. "
    text += f"The paper's point asks for {depth} depth, {width} width and {resolution} resolution (×). "
    paper = paper_result(run)
    if paper is not None:
        text += f"The nearest network {words(run).judged} (dotted line) spends {shares(paper.candidate)}. "
    return text + "Markers that would hide each other are moved apart. Nothing is interpolated."


def _single_dimension(run: Run, info: SingleDimension) -> str:
    text = (
        "From the base to networks that spend about twice its FLOPs on one dimension, as far as rounding "
        "allows, and to compound ones. "
    )
    if any(len(arm.stations) > 1 for arm in info.arms):
        text += "The recommended line goes on through the family members that were measured. "
    reach = max((abs(arm.stations[0].shown / arm.stations[0].flops - 1) for arm in info.arms), default=0.0)
    if reach > 0:
        text += f"Points near 2× are set side by side, by up to {percent(reach)} of their FLOPs. "
    return text + _error_bars(run)


def _accuracy_cost(run: Run, info: AccuracyCost) -> str:
    axis = AXES[info.axis]
    text = f"All {count(len(info.marks), words(run).networks)} and their Pareto front against {axis.title}. "
    if info.knee is None:
        text += "The front has no knee. "
    else:
        text += (
            f"The knee, where the front bends most, is at {axis.spell(info.knee.cost)} and "
            f"{100 * info.knee.accuracy:.1f}%. "
        )
    if axis.unit == "ms":
        text += "Horizontal bars are from the 10th to the 90th percentile of the timings. "
    proxies = "" if run.proxy_base.digest == run.base.digest else "proxy versions of "
    return text + f"B0, B1 … are {proxies}the family's members. " + _error_bars(run)


def _curves(run: Run, info: Curves) -> str:
    text = "Validation accuracy of the averaged weights after each epoch: mean over the seeds"
    text += ", and a band from the lowest to the highest. " if any(c.seeds > 1 for c in info.curves) else ". "
    return text + ranks_line(run)
