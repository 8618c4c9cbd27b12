"""Training curves: validation accuracy by epoch."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from scalesearch.report.cast import highlighted
from scalesearch.report.figures.style import LOOKS, accuracy_axis, legend, new_figure, styled
from scalesearch.report.words import words
from scalesearch.search.confirmation import ROLE
from scalesearch.search.run import Run


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy (0 to 1) after each epoch: mean, lowest and highest of the seeds. `look` is a key of LOOKS."""

    digest: str
    look: str
    label: str
    seeds: int
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """`curves` in drawing order."""

    curves: tuple[Curve, ...]
    axis: str


def curves_info(run: Run) -> Curves:
    named = {result.candidate.digest: part for result, part in highlighted(run)}
    others = [result.candidate.digest for result in run.candidates if result.candidate.digest not in named]
    curves = [_curve(run, digest, "candidate", "other candidates") for digest in others]
    base = run.proxy_base.digest
    if any(record.status == "done" and record.digest == base for record in run.trials):
        curves.append(_curve(run, base, "base", "base"))
    curves += [_curve(run, digest, part.look, part.label) for digest, part in named.items()]
    return Curves(tuple(curves), words(run).axis)


def _curve(run: Run, digest: str, look: str, label: str) -> Curve:
    done = [record for record in run.trials if record.digest == digest and record.status == "done"]
    trials = [record.epochs for record in done if record.role != ROLE]
    by_epoch: dict[int, list[float]] = {}
    for epochs in trials:
        for epoch in epochs:
            by_epoch.setdefault(epoch["epoch"], []).append(epoch["accuracy"])
    values = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    return Curve(
        digest=digest,
        look=look,
        label=label,
        seeds=len(trials),
        epochs=tuple(sorted(by_epoch)),
        mean=tuple(sum(row) / len(row) for row in values),
        low=tuple(min(row) for row in values),
        high=tuple(max(row) for row in values),
    )


def draw_curves(info: Curves) -> Figure:
    with styled():
        figure = new_figure(2.75)
        axes = figure.add_subplot()
        labels: set[str] = set()
        for curve in info.curves:
            look, plain = LOOKS[curve.look], curve.look == "candidate"
            heights = [100 * value for value in curve.mean]
            if not plain and curve.seeds > 1:
                axes.fill_between(
                    curve.epochs,
                    [100 * value for value in curve.low],
                    [100 * value for value in curve.high],
                    color=look.color,
                    alpha=0.13,
                    linewidth=0,
                    zorder=1,
                )
            axes.plot(
                curve.epochs,
                heights,
                color=look.color,
                linestyle=look.line,
                linewidth=0.5 if plain else 1.1,
                alpha=0.7 if plain else 1.0,
                zorder=1 if plain else 2,
                # A line of few epochs needs its points shown, of one epoch it is nothing else.
                marker=look.marker if len(curve.epochs) <= 12 else None,
                markersize=2.0 if plain else look.size * 0.75,
                markeredgecolor="white",
                markeredgewidth=0.3,
                label=None if curve.label in labels else curve.label,
            )
            labels.add(curve.label)
        axes.set_xlabel("epoch")
        last = max(curve.epochs[-1] for curve in info.curves)
        axes.set_xlim(0.5, last + 0.5)
        axes.xaxis.set_major_locator(FixedLocator(range(1, last + 1, -(-last // 8))))
        pairs = [(value, 0.0) for curve in info.curves for value in (*curve.low, *curve.high)]
        accuracy_axis(axes, pairs, info.axis)
        legend(figure, axes.get_legend_handles_labels()[0])
    return figure
