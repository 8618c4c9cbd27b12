"""The figures of a report. Each is arithmetic (`…_info`) and drawing (`draw_…`), kept apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure

from scalesearch.report.figures.accuracy_flops import accuracy_flops_info, draw_accuracy_flops
from scalesearch.report.figures.curves import curves_info, draw_curves
from scalesearch.report.figures.simplex import draw_simplex, simplex_info
from scalesearch.report.figures.single_dimension import draw_single_dimension, single_dimension_info
from scalesearch.report.words import words
from scalesearch.search.run import Run

# Name of the file -> (arithmetic, drawing), in the order of the page.
FIGURES: Mapping[str, tuple[Callable[[Run], Any], Callable[[Any], Figure]]] = {
    "simplex": (simplex_info, draw_simplex),
    "single_dimension": (single_dimension_info, draw_single_dimension),
    "accuracy_flops": (accuracy_flops_info, draw_accuracy_flops),
    "curves": (curves_info, draw_curves),
}


def figures_of(run: Run) -> Mapping[str, tuple[Callable[[Run], Any], Callable[[Any], Figure]]]:
    """Those that the run's evaluator has something for."""
    return {name: FIGURES[name] for name in words(run).figures}
