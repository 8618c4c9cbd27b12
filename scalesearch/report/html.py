"""`report.html`: what a run found, how sure that is, and how it was obtained, in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalesearch.report.budgets import ABOUT_BUDGETS, budgets
from scalesearch.report.captions import alternatives, captions
from scalesearch.report.fidelity import section_of
from scalesearch.report.html_tables import (
    candidates,
    environment,
    family,
    members_beside,
    pareto,
    settings,
    stopped_trials,
)
from scalesearch.report.markup import Html, bullets, page, picture, section, tag
from scalesearch.report.member_cells import family_note
from scalesearch.report.tables import published_members
from scalesearch.report.wording import (
    SMOKE_BANNER,
    Answer,
    answer,
    count,
    noise_line,
    region_line,
    report_command,
    run_command,
    score_line,
    sentence,
    timing_line,
)
from scalesearch.report.words import words
from scalesearch.search.agreement import Outcome
from scalesearch.search.budgets import gains
from scalesearch.search.problem import describe_power
from scalesearch.search.run import Run
from scalesearch.spec.axes import AXES
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.units import FLOPS_DEFINITION


def report_html(
    run: Run, infos: Mapping[str, Any], drawings: Mapping[str, bytes], checks: Sequence[Outcome] = ()
) -> str:
    """The page. `infos` and `drawings` (SVG) are by figure; `checks` are of the proxy.

    Raises RunError if no training has finished.
    """
    texts, spoken = captions(run, infos), alternatives(run)
    found = answer(run)
    pictures = [picture(svg, spoken[name], texts[name]) for name, svg in drawings.items()]
    return page(
        f"scalesearch: {run.folder.name}",
        tag("h1", f"Compound scaling of {run.base.name} on {run.settings.data}"),
        *_banners(run),
        tag("div", *map(_paragraph, filter(None, _answered(run, found))), class_="answer"),
        _note(FLOPS_DEFINITION),
        _note(_how_sure(run)),
        section("What was searched, and what was shrunk", bullets(_notes(run))),
        section("Figures", tag("div", *pictures, class_="figures")),
        *([section("How far the proxy can be trusted", *section_of(run, checks))] if checks else []),
        section("Candidates", _note(_about_candidates(run)), candidates(run)),
        section("Family", _note(_about_family(run)), family(run)),
        *([section("Coefficients that follow the budget", _note(ABOUT_BUDGETS), budgets(run))] if gains(run) else []),
        section("Beside the paper", _note(_about_paper(run)), members_beside(run)),
        section("Pareto front", _paragraph(_about_pareto(run)), pareto(run)),
        section(words(run).without, *_stopped(run)),
        section("Settings and environment", tag("div", environment(run), settings(run), class_="figures start")),
        section("Go on, or rebuild this page", *_commands(run)),
    )


def _answered(run: Run, found: Answer) -> tuple[str, ...]:
    return found.coefficients, found.alternatives, region_line(run), found.paper


def _notes(run: Run) -> list[str]:
    notes = list(run.facts.get("notes", []))
    if run.plan is not None and run.settings.evaluator == "train":
        notes.append(describe_power(run.plan.networks, run.settings))
    return notes


def _paragraph(text: str) -> Html:
    return tag("p", text)


def _note(text: str) -> Html:
    return tag("p", text, class_="note")


def _banners(run: Run) -> list[Html]:
    label = words(run).label
    banners: list[str] = [] if label is None else [label]
    if run.settings.preset == "smoke":
        banners.append(sentence(SMOKE_BANNER))
    if run.finished is None:
        banners.append("This run has not ended yet; the command at the end of this page continues it.")
    return [tag("p", banner, class_="banner") for banner in banners]


def _how_sure(run: Run) -> str:
    picked = ""
    if run.confirmation is None:
        picked = (
            "The comparison with the paper's point is of these two networks alone, and makes no allowance for having "
            "picked the best of many."
        )
    brackets = "All coefficients within the brackets realise the same network."
    return " ".join(filter(None, (brackets, sentence(noise_line(run)), score_line(run), picked, words(run).sure)))


def _about_candidates(run: Run) -> str:
    return (
        "Highest expected score first. Shares are realised: the part of one doubling that depth, width and resolution "
        "take after rounding. × base is the realised ratio of FLOPs, αβ²γ² the nominal one. " + words(run).plus_minus
    )


def _about_family(run: Run) -> str:
    counted = run.facts.get("family_fvcore", {})
    pairs = [(m.name, m.cost.flops, counted[m.arch.digest]) for m in run.family if m.arch.digest in counted]
    wrong = [name for name, own, other in pairs if own != other]
    if not pairs:
        fvcore = "No member was counted with fvcore."
    elif wrong:
        fvcore = f"fvcore's count of convolutions and linear layers differs for {', '.join(wrong)}."
    else:
        fvcore = f"fvcore's count is the same to the unit for {count(len(pairs), 'member')}."
    return (
        "Each member Bk is the network nearest to 2^k times the base's FLOPs, and φ is solved for that; "
        f"depth, width and resolution are the multipliers it asks for. {fvcore} {family_note(run)}"
    )


def _about_paper(run: Run) -> str:
    text = "The same base scaled by the paper's coefficients (1.2, 1.1, 1.15) under the same rule."
    if published_members(run.base):
        text += (
            " The published members are not α^φ of one φ (B1's depth asks for φ = 0.5, its width for φ = "
            "0), and their FLOPs are not 2^k times B0's. Their accuracies are ImageNet top-1 after full "
            "training (Tan & Le, arXiv:1905.11946v5, Table 2); " + words(run).published
        )
    return text


def _about_pareto(run: Run) -> str:
    front = run.front()
    text = (
        f"Against {run.axis.title}, hypervolume {front.hypervolume:.4f} of 1: the area under the front, from chance to "
        "100% accuracy and from 0 to the largest cost measured. "
    )
    if front.knee is None:
        text += "There is no knee: the front has fewer than three points, or does not bend. "
    else:
        at = run.axis.spell(front.knee.cost(front.axis))
        text += f"The knee is at {at} and {100 * front.knee.accuracy:.1f}%. "
    text += timing_line(run)
    others = [run.front(axis) for axis in AXES if axis != front.axis]
    areas = [f"{other.hypervolume:.4f} against {AXES[other.axis].title}" for other in others if other.points]
    return text + f"Hypervolume is {', '.join(areas)}; these fronts are in pareto.csv."


def _stopped(run: Run) -> list[Html]:
    number = sum(record.status != "done" for record in run.trials)
    if number == 0:
        return [_paragraph(f"None: {count(len(run.trials), words(run).judgement)} done.")]
    text = f"{number} of {count(len(run.trials), words(run).judgement)}. They are left out of every mean above."
    return [_paragraph(text), stopped_trials(run)]


def _commands(run: Run) -> list[Html]:
    return [
        _paragraph("Continue or repeat this run; what is finished is not done again:"),
        tag("pre", run_command(run)),
        _paragraph("Rebuild tables, figures and this page from the run's memory:"),
        tag("pre", report_command(run)),
        _paragraph(
            "The tables are trials.csv, candidates.csv, pareto.csv and family.csv; the family's networks "
            "are in family/ as JSON, " + _for_whom(run.base)
        ),
    ]


def _for_whom(base: AnyArch) -> str:
    if isinstance(base, FactoryArch):
        return f"as the arguments with which {base.factory} makes them."
    return "which every scalesearch command reads."
