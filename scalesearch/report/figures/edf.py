"""Figure of two design spaces: the share of each one's random networks below every error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from scalesearch.report.figures.style import BLUE, RED, new_figure, styled
from scalesearch.search.edf import ErrorDistribution

_LOOKS = ((RED, "-"), (BLUE, "--"))


@dataclass(frozen=True, slots=True)
class Distributions:
    """`steps`: by space, the corners (error, share of networks with at most that error), from share 0 to 1;
    `bands`: half the height of each one's band at `confidence`."""

    steps: Mapping[str, tuple[tuple[float, float], ...]]
    bands: Mapping[str, float]
    confidence: float


def edf_info(found: Mapping[str, ErrorDistribution], confidence: float) -> Distributions:
    """All steps reach from the lowest to the highest error of all."""
    low, high = (end(one.errors[place] for one in found.values()) for end, place in ((min, 0), (max, -1)))
    steps = {name: ((low, 0.0), *one.steps(), (high, 1.0)) for name, one in found.items()}
    return Distributions(steps, {name: one.band(confidence) for name, one in found.items()}, confidence)


def draw_edf(info: Distributions) -> Figure:
    with styled():
        figure = new_figure(2.75)
        axes = figure.add_subplot()
        for (name, steps), (color, line) in zip(info.steps.items(), _LOOKS, strict=True):
            errors, shares = [100 * error for error, _ in steps], [share for _, share in steps]
            band = info.bands[name]
            low, high = [max(0.0, share - band) for share in shares], [min(1.0, share + band) for share in shares]
            axes.fill_between(errors, low, high, step="post", color=color, alpha=0.15, linewidth=0)
            axes.step(errors, shares, where="post", color=color, linestyle=line, label=name)
        axes.set_xlabel("proxy top-1 error (%)")
        axes.set_ylabel("share of networks, cumulative")
        axes.set_ylim(-0.02, 1.02)
        figure.legend(loc="outside lower center", ncols=2)
    return figure
