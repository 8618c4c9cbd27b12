"""One full training: loss and validation accuracy by epoch, with the stages behind them."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scalesearch.report.figures.style import BLUE, GREY, ORANGE, RED, accuracy_axis, legend, new_figure, styled
from scalesearch.search.training_folder import Trained


@dataclass(frozen=True, slots=True)
class Course:
    """What the figure shows: by epoch, counted from 1; `stages` are (first epoch, last epoch, side in px).

    `tested` is the epoch whose weights were tested and the accuracy there, None before the test.
    """

    epochs: tuple[int, ...]
    train_loss: tuple[float, ...]
    val_loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    stages: tuple[tuple[int, int, int], ...]
    tested: tuple[int, float] | None


def course_info(trained: Trained) -> Course:
    """Of the epochs so far, of which there must be one or more."""
    last, first, stages = trained.epochs[-1].epoch, 1, []
    for stage in trained.recipe.all_stages:
        if first <= last:
            stages.append((first, min(stage.stop, last), stage.pixels(trained.arch.resolution)))
        first = stage.stop + 1
    tested = trained.tested
    return Course(
        epochs=tuple(epoch.epoch for epoch in trained.epochs),
        train_loss=tuple(epoch.train_loss for epoch in trained.epochs),
        val_loss=tuple(epoch.val_loss for epoch in trained.epochs),
        accuracy=tuple(epoch.accuracy for epoch in trained.epochs),
        stages=tuple(stages),
        tested=None if tested is None else (tested.epoch, tested.accuracy),
    )


def draw_course(info: Course) -> Figure:
    with styled():
        figure = new_figure(3.6)
        loss, accuracy = figure.subplots(2, 1, sharex=True)
        marker = "o" if len(info.epochs) <= 12 else None  # a line of few epochs needs its points shown
        for values, color, line in ((info.train_loss, ORANGE, "--"), (info.val_loss, BLUE, "-")):
            loss.plot(info.epochs, values, color=color, linestyle=line, marker=marker, markersize=2.5)
        loss.set_ylabel("loss")
        accuracy.plot(info.epochs, [100 * value for value in info.accuracy], color=BLUE, marker=marker, markersize=2.5)
        pairs = [(value, 0.0) for value in info.accuracy]
        handles = [
            Line2D([], [], color=ORANGE, linestyle="--", label="training loss"),
            Line2D([], [], color=BLUE, label="validation"),
        ]
        if info.tested is not None:
            epoch, share = info.tested
            accuracy.plot([epoch], [100 * share], color=RED, marker="*", markersize=8, linestyle="none", zorder=3)
            handles.append(Line2D([], [], color=RED, marker="*", linestyle="none", label="test, of that epoch"))
            pairs.append((share, 0.0))
        accuracy_axis(accuracy, pairs, "accuracy (%)")
        accuracy.set_xlabel("epoch")
        accuracy.set_xlim(0.5, info.epochs[-1] + 0.5)
        accuracy.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        if len(info.stages) > 1:
            _show_stages(loss, accuracy, info)
        legend(figure, handles)
    return figure


def _show_stages(loss: Axes, accuracy: Axes, info: Course) -> None:
    for number, (first, last, side) in enumerate(info.stages):
        for axes in (loss, accuracy):
            if number % 2 == 1:
                axes.axvspan(first - 0.5, last + 0.5, color=GREY, alpha=0.15, linewidth=0)
        loss.annotate(
            f"{side} px", ((first + last) / 2, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom"
        )
