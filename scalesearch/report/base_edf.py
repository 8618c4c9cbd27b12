"""Two searches' spaces compared by the errors of their random networks: which trainings count, a figure, a sentence."""

from __future__ import annotations

import random
from pathlib import Path

from scalesearch.report.figures.edf import draw_edf, edf_info
from scalesearch.report.figures.style import render
from scalesearch.report.files import write_bytes
from scalesearch.search.base_problem import budget_of, space_of
from scalesearch.search.base_run import BaseRun
from scalesearch.search.edf import ErrorDistribution, edf, largest_gap
from scalesearch.search.plan import LENGTHS
from scalesearch.spec.errors import RunError
from scalesearch.spec.feasible import feasible_share

NAME = "edf"  # of the figure's files
DRAWN = 2_000  # random networks that say whether a budget is met by any
# What two searches must share to be compared: the budget, the proxy and the recipe.
ALIKE = (
    "target_flops flops_window max_params max_activations max_latency_ms max_memory_mb data proxy_depth proxy_width "
    "proxy_resolution proxy_stem_stride batch optimizer learning_rate shift"
).split()


def errors_of(run: BaseRun) -> ErrorDistribution:
    """The errors of a search's first trainings; one that failed is wrong everywhere.

    Raises RunError for a search whose networks are no random draw.
    """
    if run.settings.strategy != "random" or run.settings.pruner != "none":
        raise RunError(
            f"{run.folder}: an error distribution is of networks drawn at random and trained to their end, got "
            f"--strategy {run.settings.strategy}, --pruner {run.settings.pruner}; search with --strategy random and "
            "no pruner"
        )
    space, budget = space_of(run.settings), budget_of(run.settings)
    if not feasible_share(space, budget, random.Random(0), DRAWN).hits:
        raise RunError(
            f"{run.folder}: none of {DRAWN:,} random networks of {run.settings.space} is within the budget, so that "
            "those tried were searched for, not drawn; choose a budget that the space meets"
        )
    ended = [one for one in run.networks if one.status in ("done", "failed")]
    return edf(1 - (one.accuracy or 0.0) if one.status == "done" else 1.0 for one in ended)


def write_edf(run: BaseRun, other: BaseRun) -> tuple[Path, str]:
    """Draw both distributions into the folder of `run`; returns the SVG's path, and what they say.

    Raises RunError for searches that are not comparable.
    """
    _check_alike(run, other)
    one, against = errors_of(run), errors_of(other)
    names = _names(run, other)
    figure = draw_edf(edf_info(dict(zip(names, (one, against), strict=True)), run.settings.confidence))
    path = run.folder / "figures" / f"{NAME}.svg"
    try:
        write_bytes(path, render(figure, "svg"))
        write_bytes(path.with_suffix(".png"), render(figure, "png"))
    except OSError as error:
        raise RunError(
            f"{error.filename or path}: the figure cannot be written: {error.strerror}; mend this and give the "
            "command again"
        ) from error
    gap = largest_gap(one, against)
    counts = f"{len(one.errors)} and {len(against.errors)} networks"
    return path, (
        f"error distributions of {names[0]} and {names[1]}, {counts}: they differ most below {100 * gap.error:.1f} %, "
        f"where the first has {100 * abs(gap.share):.0f} points {'more' if gap.share > 0 else 'less'} of its networks; "
        f"two samples of one space would differ as much with a chance of {gap.chance:.2g}"
    )


def _names(run: BaseRun, other: BaseRun) -> tuple[str, str]:
    """By space; of one space, by folder."""
    spaces = Path(run.settings.space).stem, Path(other.settings.space).stem
    return spaces if spaces[0] != spaces[1] else (str(run.folder), str(other.folder))


def _check_alike(run: BaseRun, other: BaseRun) -> None:
    if run.folder.resolve() == other.folder.resolve():
        raise RunError(f"{run.folder}: cannot be compared with itself; give --against another search of a base")
    own, others = run.settings.to_dict(), other.settings.to_dict()
    apart = [name for name in ALIKE if own[name] != others[name]]
    if run.facts["data_fingerprint"] != other.facts["data_fingerprint"]:
        apart.append("the images")
    plan, rival = run.plan, other.plan
    if plan is None or rival is None:
        raise RunError(f"{(run if plan is None else other).folder}: nothing was trained in it; let the search go on")
    apart += [name for name in LENGTHS if getattr(plan, name) != getattr(rival, name)]
    if apart:
        raise RunError(
            f"{other.folder}: is not comparable with {run.folder}, {', '.join(apart)} differ; give both searches the "
            "same --set epochs, train_images and val_images, budget, data and proxy"
        )
