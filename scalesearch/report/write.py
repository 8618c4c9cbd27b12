"""Everything in a run's folder that is derived from its ledger, and the text that ends `scalesearch run`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from scalesearch.report.budgets import budget_lines
from scalesearch.report.fidelity import fidelity_table
from scalesearch.report.figures import figures_of
from scalesearch.report.figures.style import render
from scalesearch.report.files import write_bytes, write_csv, write_text
from scalesearch.report.html import report_html
from scalesearch.report.member_cells import family_note, member_cells, member_headings
from scalesearch.report.ranks import ranks_line
from scalesearch.report.tables import (
    candidates_table,
    family_table,
    pareto_table,
    published_members,
    rejected_table,
    trials_table,
)
from scalesearch.report.wording import (
    SMOKE_BANNER,
    answer,
    noise_line,
    region_line,
    score_line,
    sentence,
    timing_line,
)
from scalesearch.report.words import words
from scalesearch.search.agreement import outcomes
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
    checks = outcomes(run)
    if checks:
        write_csv(folder / "fidelity.csv", fidelity_table(run, checks))
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
    write_text(path, report_html(run, infos, drawings, checks))
    if run.finished is not None and "reported" not in run.facts:
        run.ledger.set_fact("reported", True)
    return path


def summary(run: Run) -> str:
    """The answer, the family and where the report is, in 110 columns.

    Raises RunError if no training has finished.
    """
    found = answer(run)
    blocks = [found.coefficients, found.alternatives, found.paper]
    if region_line(run):
        blocks.insert(2, region_line(run))
    if run.noise.freedom > 0:  # else the second sentence has said that there is no estimate
        blocks.append(sentence(noise_line(run)))
    if ranks_line(run):
        blocks.append(ranks_line(run))
    if run.axis.name != "flops":
        blocks.append(f"{score_line(run)} {timing_line(run) if run.axis.measured else ''}".strip())
    if run.settings.preset == "smoke":
        blocks.insert(0, sentence(SMOKE_BANNER))
    paragraphs = ["\n".join(textwrap.wrap(block, _COLUMNS, subsequent_indent="  ")) for block in blocks]
    label = words(run).label
    if label is not None:
        paragraphs.insert(0, "\n".join(textwrap.wrap(label, _COLUMNS, subsequent_indent="  ")))
    footnote = f"FLOPs are multiply-adds. {family_note(run)}"
    return "\n".join(
        [
            *paragraphs,
            "",
            _family(run),
            *textwrap.wrap(footnote, _COLUMNS),
            *budget_lines(run, _COLUMNS),
            "",
            f"report: {run.folder / REPORT_FILE}",
        ]
    )


def _family(run: Run) -> str:
    published = published_members(run.base)
    fvcore = run.facts.get("family_fvcore", {})
    rows = [["", "φ", "px", "FLOPs", "fvcore", "params", "paper's αβγ", "published"]]
    rows[0] += member_headings(run)
    for member, paper in zip(run.family, run.paper_family, strict=True):
        known = published.get(member.name)
        counted = fvcore.get(member.arch.digest)
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
                *member_cells(run, member.name, seeds=True),
            ]
        )
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
