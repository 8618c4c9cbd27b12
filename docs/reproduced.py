"""Write docs/reproduced.md and its figures: `python docs/reproduced.py`. A test keeps the page equal to `page()`.

What is measured comes from results/reference/reproduce, as the commands wrote it there; the rest is computed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from scalesearch.report.figures.style import render
from scalesearch.report.reproduce import EXPERIMENTS, reproduce
from scalesearch.report.reproduce.write import markdown

DOCS = Path(__file__).resolve().parent
MEASURED = DOCS.parent / "results" / "reference" / "reproduce"
INTRODUCTION = """# Published tables, reproduced

What can be checked of the published tables without ImageNet: every number below is published, computed here or
measured here, and its mark says which. Where the two disagree, the note above the table says so; a note that
explains is a reading, the numbers are not. Accuracies are the authors' own, but for the errors
of the last section, which are predicted from published ones.

Each section is what `scalesearch reproduce NAME` prints; the command also writes it as CSV, with a column of origins
beside each column of values, and as a figure. FLOPs are multiply-adds of convolutions and linear layers for one image,
which is what these papers call FLOPs; `M` and `B` are 10^6 and 10^9. *Printed / exact − 1* is by what share the
printed number lies above the exact one; that an exact count *rounds to the printed number* allows half a unit of its
last digit. Sources of all published rows: `scalesearch/report/published/*.csv`. This page is written by
`python docs/reproduced.py`.
"""


def page() -> str:
    """The page, without its figures."""
    sections = []
    for name, entry in EXPERIMENTS.items():
        body = (MEASURED / f"{name}.md").read_text(encoding="utf-8") if entry.measured else markdown(reproduce(name))
        title, _, rest = body.partition("\n\n")
        figure = f"![{title.removeprefix('## ')}](reproduced/{name}.png)"
        sections.append(f"{title}\n\n`scalesearch reproduce {name}`\n\n{rest.rstrip()}\n\n{figure}\n")
    return "\n".join([INTRODUCTION, *sections])


def main() -> None:
    folder = DOCS / "reproduced"
    folder.mkdir(exist_ok=True)
    for name, entry in EXPERIMENTS.items():
        target = folder / f"{name}.png"
        if entry.measured:
            shutil.copyfile(MEASURED / f"{name}.png", target)
        else:
            target.write_bytes(render(reproduce(name).draw(), "png"))
    (DOCS / "reproduced.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
