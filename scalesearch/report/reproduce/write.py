"""An experiment as text, Markdown, CSV and figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from scalesearch.report.figures.style import render
from scalesearch.report.files import write_bytes, write_csv, write_text
from scalesearch.report.reproduce.record import ORIGINS, Cell, Experiment, Table
from scalesearch.spec.errors import SettingsError

_COLUMNS = 110
_LONG = 40  # rows; on a page, a longer table is folded away


def write_experiment(experiment: Experiment, folder: Path) -> list[Path]:
    """Write NAME.md, a CSV file per table, and the figure as PNG and SVG; return the paths.

    In a CSV file each value column is followed by `<column>_from`: published, computed, measured, reference, or
    blank for a label. Raises SettingsError if the folder cannot be written.
    """
    paths = [folder / f"{experiment.name}.md"]
    try:
        write_text(paths[0], markdown(experiment))
        for table in experiment.tables:
            paths.append(folder / f"{table.name}.csv")
            write_csv(paths[-1], frame(table))
        figure = experiment.draw()
        for kind in ("svg", "png"):
            paths.append(folder / f"{experiment.name}.{kind}")
            write_bytes(paths[-1], render(figure, kind))
    except OSError as error:
        raise SettingsError(f"--out {error.filename or folder}: cannot be written: {error.strerror}") from error
    return paths


def frame(table: Table) -> pd.DataFrame:
    """A column of values and one of origins for each column of the table, and `source`."""
    columns = [name for key in table.columns for name in (key, f"{key}_from")]
    rows = [[entry for cell in row.cells for entry in (cell.value, cell.origin)] + [row.source] for row in table.rows]
    return pd.DataFrame(rows, columns=[*columns, "source"], dtype=object)


def text(experiment: Experiment) -> str:
    """For a terminal: tables as wide as they are, prose in 110 columns."""
    blocks = [experiment.title, _legend(experiment)]
    for table in experiment.tables:
        blocks.append(f"{table.title}\n{_plain(table)}")
    blocks += ["\n".join(textwrap.wrap(f"- {note}", _COLUMNS, subsequent_indent="  ")) for note in experiment.notes]
    return "\n\n".join(blocks[: 2 + len(experiment.tables)]) + "\n\n" + "\n".join(blocks[2 + len(experiment.tables) :])


def markdown(experiment: Experiment) -> str:
    """The same as a section of a page."""
    blocks = [f"## {experiment.title}", _legend(experiment)]
    blocks.append("\n".join(f"- {note}" for note in experiment.notes))
    for table in experiment.tables:
        lines = [_line(table.columns.values()), _line("---" for _ in table.columns)]
        lines += [_line(map(_marked, row.cells)) for row in table.rows]
        body = "\n".join(lines)
        if len(table.rows) > _LONG:
            summary = f"<summary>{table.title} ({len(table.rows)} rows)</summary>"
            blocks.append(f"<details>{summary}\n\n{body}\n\n</details>")
        else:
            blocks.append(f"**{table.title}**\n\n{body}")
    return "\n\n".join(blocks) + "\n"


def _legend(experiment: Experiment) -> str:
    """Which marks mean what, of those in use."""
    used = {cell.origin for table in experiment.tables for row in table.rows for cell in row.cells}
    return ", ".join(f"{mark} {meaning}" for origin, (mark, meaning) in ORIGINS.items() if origin in used)


def _marked(cell: Cell) -> str:
    return cell.text + ORIGINS[cell.origin][0] if cell.origin else cell.text


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _plain(table: Table) -> str:
    rows = [list(table.columns.values()), *([_marked(cell) for cell in row.cells] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numeric = [
        any(isinstance(row.cells[index].value, int | float) for row in table.rows) for index in range(len(widths))
    ]
    return "\n".join(
        "  ".join(
            entry.rjust(width) if right else entry.ljust(width)
            for entry, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    )
