"""What a base search leaves behind for people: tables, two figures and a page, all derived from its ledger."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from scalesearch.report.base_tables import base_candidates_table, base_trials_table, spelled
from scalesearch.report.base_wording import base_answer, base_noise_line, next_command, reference_name
from scalesearch.report.figures.base_search import draw_progress, draw_tried, progress_info, tried_info
from scalesearch.report.figures.style import render
from scalesearch.report.files import write_bytes, write_csv, write_text
from scalesearch.report.html_tables import environment, settings, stopped_trials
from scalesearch.report.markup import Html, bullets, page, picture, section, table, tag
from scalesearch.search.base_run import BaseNetwork, BaseRun
from scalesearch.search.base_search import EXPONENT, exponent_line
from scalesearch.spec.errors import RunError
from scalesearch.spec.units import FLOPS_DEFINITION, format_flops

REPORT_FILE = "report.html"
_COLUMNS = 110
_SHOWN = 30  # rows of the page's table; candidates.csv has all

_FIGURES: Mapping[str, tuple[Callable[[BaseRun], Any], Callable[[Any], Figure], str]] = {
    "accuracy_flops": (
        tried_info,
        draw_tried,
        "Accuracy of the first training of every network tried to its end, against the FLOPs of the network itself. "
        "The line is what the front offers at each budget.",
    ),
    "best_so_far": (
        progress_info,
        draw_progress,
        "Reward of each network's first training in the order of the proposals, and the best until then. A best of "
        "many single trainings is partly luck, so the final trains the best of them again.",
    ),
}


def write_base_report(run: BaseRun) -> Path:
    """Write tables, figures and the page into the search's folder; return the page's path.

    If the search has no winner yet, only `trials.csv` and `candidates.csv` are written, and RunError raised.
    """
    try:
        return _write(run)
    except OSError as error:
        raise RunError(
            f"{error.filename or run.folder}: the report cannot be written: {error.strerror}; the search itself is "
            f"kept, mend this and give scalesearch report {run.folder}"
        ) from error


def base_summary(run: BaseRun) -> str:
    """The answer and where the report is. Raises RunError if there is no winner."""
    blocks = [*base_answer(run), base_noise_line(run)]
    paragraphs = ["\n".join(textwrap.wrap(block, _COLUMNS, subsequent_indent="  ")) for block in blocks]
    return "\n".join([*paragraphs, "", f"base: {run.folder / 'base.toml'}", f"report: {run.folder / REPORT_FILE}"])


def _write(run: BaseRun) -> Path:
    folder = run.folder
    write_csv(folder / "trials.csv", base_trials_table(run))
    write_csv(folder / "candidates.csv", base_candidates_table(run))
    found = base_answer(run)  # raises before anything is drawn
    pictures = []
    for name, (compute, draw, caption) in _FIGURES.items():
        figure = draw(compute(run))
        drawing = render(figure, "svg")
        write_bytes(folder / "figures" / f"{name}.svg", drawing)
        write_bytes(folder / "figures" / f"{name}.png", render(figure, "png"))
        pictures.append(picture(drawing, caption, caption))
    path = folder / REPORT_FILE
    write_text(path, _page(run, found, pictures))
    if run.finished is not None and "reported" not in run.facts:
        run.ledger.set_fact("reported", True)
    return path


def _page(run: BaseRun, found: list[str], pictures: list[Html]) -> str:
    stopped = [record for record in run.trials if record.status != "done"]
    notes = list(run.facts.get("notes", []))
    if EXPONENT in run.facts:
        notes.append(exponent_line(run.facts[EXPONENT]))
    return page(
        f"scalesearch: base search in {run.folder}",
        tag("h1", f"Search of a base network in {run.settings.space} on {run.settings.data}"),
        tag("div", *(tag("p", line) for line in found), class_="answer"),
        tag("p", FLOPS_DEFINITION, class_="note"),
        tag("p", _how_sure(run), class_="note"),
        section("What was searched, and what was shrunk", bullets(notes)),
        section("Figures", tag("div", *pictures, class_="figures")),
        section("The found network", tag("p", _counted(run)), *_choices(run.winner.choices)),
        section("Networks", _networks(run)),
        section(
            "Trainings that did not finish",
            stopped_trials(run) if stopped else tag("p", f"None: all {len(run.trials)} trainings done."),
        ),
        section("Settings and environment", tag("div", environment(run), settings(run), class_="figures start")),
        section("Go on from here", tag("pre", next_command(run))),
    )


def _how_sure(run: BaseRun) -> str:
    return (
        f"{base_noise_line(run)} The winner is the finalist of the highest mean reward over the final's seeds, which "
        f"the choice of the finalists had not seen; its lead over {reference_name(run)} is by seeds that neither "
        "choice had seen, where there are any. All accuracies are on the proxy task: they rank networks, and say "
        "nothing of the accuracy of a full training."
    )


def _counted(run: BaseRun) -> str:
    counted = run.facts.get("fvcore", {}).get(run.winner.digest)
    if counted is None:
        return "Its FLOPs were not counted a second time."
    same = "the same to the unit" if counted == run.winner.flops else f"{counted:,}"
    return f"{run.winner.flops:,} FLOPs, {run.winner.params:,} parameters; fvcore's count is {same}."


def _choices(choices: Mapping[str, Any]) -> list[Html]:
    """A row per stage, a column per key; what is of no stage below."""
    stages: dict[int, dict[str, Any]] = {}
    others = {}
    for path, value in choices.items():
        first, *rest = path.split(".")
        if first != "stages":
            others[path] = value
        else:
            own = stages.setdefault(int(rest[0]), {})
            own.update(value if isinstance(value, dict) else {rest[1]: value})
    keys = list(dict.fromkeys(key for own in stages.values() for key in own))
    rows = [(stage, *(own.get(key, "–") for key in keys)) for stage, own in sorted(stages.items())]
    shown = [table(("stage", *keys), rows)] if rows else []
    return [*shown, bullets(spelled(others).split("; "))] if others else shown


def _networks(run: BaseRun) -> Html:
    columns = ("network", "part", "FLOPs", "params", "accuracy", "reward", "final", "fresh seeds")
    rows = [
        (
            one.arch.name,
            one.part,
            format_flops(one.flops),
            format_flops(one.params),
            "–" if one.accuracy is None else f"{100 * one.accuracy:.2f}%",
            one.status if one.reward is None else f"{one.reward:.4f}",
            _mean(one.final),
            _mean(one.fresh),
        )
        for one in run.networks[:_SHOWN]
    ]
    return table(columns, rows, text=("network", "part"), chosen=_place(run.networks, run.winner))


def _place(networks: list[BaseNetwork], winner: BaseNetwork) -> int:
    return [one.digest for one in networks].index(winner.digest)


def _mean(scores: Mapping[int, float]) -> str:
    mean = sum(scores.values()) / len(scores) if scores else math.nan
    return "–" if math.isnan(mean) else f"{mean:.4f} ({len(scores)})"
