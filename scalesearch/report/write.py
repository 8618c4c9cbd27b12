"""Everything in a run's folder that is derived from its ledger, and the text that ends `scalesearch run`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from scalesearch.report.figures import figures_of
from scalesearch.report.figures.style import render
from scalesearch.report.files import write_bytes, write_csv, write_text
from scalesearch.report.html import report_html
from scalesearch.report.html_tables import NOT_MEASURED
from scalesearch.report.tables import (
    candidates_table,
    family_table,
    pareto_table,
    published_members,
    rejected_table,
    trials_table,
)
from scalesearch.report.wording import SMOKE_BANNER, answer, count, noise_line, score_line, sentence, timing_line
from scalesearch.search.run import Run
from scalesearch.spec.errors import RunError
from scalesearch.spec.files import to_json
from scalesearch.spec.units import format_flops

REPORT_FILE = "report.html"
_COLUMNS = 110


def write_report(run: Run) -> Path:
    """Write tables, networks, figures and the page into the run's folder; return the page's path.

    Existing files are replaced one by one, each whole. If no training has finished, only `trials.csv` is
    written, and RunError raised.
    """
    try:
        return _write(run)
    except OSError as error:
        raise RunError(
            f"{error.filename or run.folder}: the report cannot be written: {error.strerror}; the run itself is kept, "
            f"mend this and give scalesearch report {run.folder}"
        ) from error


def _write(run: Run) -> Path:
    folder = run.folder
    write_csv(folder / "trials.csv", trials_table(run))
    answer(run)  # raises before anything is drawn
    write_csv(folder / "candidates.csv", candidates_table(run))
    write_csv(folder / "pareto.csv", pareto_table(run))
    write_csv(folder / "family.csv", family_table(run))
    write_csv(folder / "rejected.csv", rejected_table(run))
    for member in run.family:
        write_text(folder / "family" / f"{member.name.lower()}.json", to_json(member.arch))
    figures = figures_of(run)
    infos = {name: compute(run) for name, (compute, _) in figures.items()}
    drawings = {}
    for name, (_, draw) in figures.items():
        figure = draw(infos[name])
        drawings[name] = render(figure, "svg")
        write_bytes(folder / "figures" / f"{name}.svg", drawings[name])
        write_bytes(folder / "figures" / f"{name}.png", render(figure, "png"))
    path = folder / REPORT_FILE
    write_text(path, report_html(run, infos, drawings))
    if run.finished is not None and "reported" not in run.facts:
        run.ledger.set_fact("reported", True)
    return path


def summary(run: Run) -> str:
    """The answer, the family and where the report is, in 110 columns.

    Raises RunError if no training has finished.
    """
    found = answer(run)
    blocks = [found.coefficients, found.alternatives, found.paper, sentence(noise_line(run))]
    if run.axis.name != "flops":
        blocks.append(f"{score_line(run)} {timing_line(run)}".strip())
    if run.settings.preset == "smoke":
        blocks.insert(0, sentence(SMOKE_BANNER))
    paragraphs = ["\n".join(textwrap.wrap(block, _COLUMNS, subsequent_indent="  ")) for block in blocks]
    footnote = (
        f"FLOPs are multiply-adds. Proxy accuracy is on the proxy task ({run.settings.data}, base side "
        f"{run.proxy_base.resolution} px), with its own standard error; it ranks networks and promises "
        "nothing else."
    )
    return "\n".join(
        [
            *paragraphs,
            "",
            _family(run),
            *textwrap.wrap(footnote, _COLUMNS),
            "",
            f"report: {run.folder / REPORT_FILE}",
        ]
    )


def _family(run: Run) -> str:
    published = published_members(run.base)
    fvcore = run.facts.get("family_fvcore", {})
    rows = [["", "φ", "px", "FLOPs", "fvcore", "params", "paper's αβγ", "published", "proxy accuracy"]]
    for member, paper in zip(run.family, run.paper_family, strict=True):
        measured, known = run.member_accuracy(member.name), published.get(member.name)
        counted = fvcore.get(member.arch.digest)
        accuracy = NOT_MEASURED
        if measured is not None:
            error = "" if measured.seeds < 2 else f" ± {100 * measured.error:.1f}"
            accuracy = f"{100 * measured.accuracy:.1f}%{error} ({count(measured.seeds, 'seed')})"
        rows.append(
            [
                member.name,
                f"{member.phi:.2f}",
                str(member.arch.resolution),
                format_flops(member.cost.flops),
                "-" if counted is None else format_flops(counted),
                format_flops(member.cost.params),
                format_flops(paper.cost.flops),
                "-" if known is None else f"{known['published_flops_b']:g}G",
                accuracy,
            ]
        )
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
