"""The figures of a report. Each is arithmetic (`…_info`) and drawing (`draw_…`), kept apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from scalesearch.report.figures.accuracy_cost import accuracy_cost_info, draw_accuracy_cost
from scalesearch.report.figures.curves import curves_info, draw_curves
from scalesearch.report.figures.simplex import draw_simplex, simplex_info
from scalesearch.report.figures.single_dimension import draw_single_dimension, single_dimension_info
from scalesearch.report.words import words
from scalesearch.search.run import Run

_Figure = tuple[Callable[[Run], Any], Callable[[Any], Figure]]

# Name of the file -> (arithmetic, drawing), in the order of the page.
FIGURES: Mapping[str, _Figure] = {
    "simplex": (simplex_info, draw_simplex),
    "single_dimension": (single_dimension_info, draw_single_dimension),
    "accuracy_flops": (accuracy_cost_info, draw_accuracy_cost),
    "curves": (curves_info, draw_curves),
}


def figures_of(run: Run) -> Mapping[str, _Figure]:
    """What the evaluator has something for; on another axis than FLOPs, accuracy against that axis comes first."""
    axis, figures = run.axis.name, {name: FIGURES[name] for name in words(run).figures}
    if axis == "flops":
        return figures
    return {f"accuracy_{axis}": (partial(accuracy_cost_info, axis=axis), draw_accuracy_cost), **figures}
