"""The tables of a run as DataFrames. Column names and their order are a promise; see docs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scalesearch.nets.timing import Spread
from scalesearch.report.cast import part
from scalesearch.report.member_cells import imagenet_columns
from scalesearch.report.published import rows as published_rows
from scalesearch.search.budgets import predicted_interval
from scalesearch.search.family import Member
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import CandidateResult, Run
from scalesearch.spec.axes import AXES, MEASURED
from scalesearch.spec.cost import cost
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.files import load_arch
from scalesearch.spec.outline import blocks, channels, repeats

PUBLISHED_BASE = "efficientnet_b0"


def trials_table(run: Run) -> pd.DataFrame:
    """One row per training. `rung` counts the finished ones, `accuracy` (0 to 1) and `seconds` are theirs."""
    columns = (
        "number digest seed status reason rung accuracy flops params seconds "
        "role resolution epochs score images_per_second peak_memory_mb evaluator"
    )
    return as_frame(columns, [{**trial_row(record), "evaluator": run.settings.evaluator} for record in run.trials])


def trial_row(record: TrialRecord) -> dict[str, Any]:
    # Averaged over time, not over epochs: images of all epochs by their seconds.
    seconds = sum(epoch["seconds"] for epoch in record.epochs)
    memories = [rung["peak_memory"] for rung in record.rungs if "peak_memory" in rung]
    images = sum(epoch["seconds"] * epoch["images_per_second"] for epoch in record.epochs)
    return {
        "number": record.number,
        "digest": record.digest,
        "seed": record.seed,
        "status": record.status,
        "reason": record.reason,
        "rung": len(record.rungs),
        "accuracy": record.accuracy,
        "flops": record.flops,
        "params": record.params,
        "seconds": record.seconds,
        "role": record.role,
        "resolution": record.arch.resolution,
        "epochs": record.epochs_done,
        "score": record.score,
        "images_per_second": images / seconds if seconds > 0 else None,
        "peak_memory_mb": max((memory / 1e6 for memory in memories), default=None),
    }


def candidates_table(run: Run) -> pd.DataFrame:
    """One row per distinct candidate with a finished training, the highest expected score first.

    `full_flops` and `full_ratio` are of the full-size base scaled once by the same coefficients.
    """
    columns = (
        "digest alpha alpha_low alpha_high beta beta_low beta_high gamma gamma_low gamma_high "
        "flops nominal_ratio realised_ratio accuracy_mean accuracy_se seeds score may_be_best expected_score "
        "depth_share width_share resolution_share params activations resolution repeats channels "
        "full_flops full_ratio anchors accuracy_low accuracy_high evaluator confirmed_score confirmed_seeds"
    )
    rows = [
        {
            **_candidate(result),
            **_predicted(run, result),
            **_confirmed(run, result),
            **_measured(run.measured(result.candidate.digest)),
        }
        for result in run.candidates
    ]
    return as_frame(" ".join([columns, *_measured({})]), rows)


def _predicted(run: Run, result: CandidateResult) -> dict[str, Any]:
    low, high = predicted_interval(run, result.candidate.digest) or (None, None)
    return {"accuracy_low": low, "accuracy_high": high, "evaluator": run.settings.evaluator}


def _confirmed(run: Run, result: CandidateResult) -> dict[str, Any]:
    """Of the two networks that fresh seeds compare: the mean over these alone."""
    found = run.confirmation
    scores = {} if found is None else found.scores.get(result.candidate.digest, {})
    return {"confirmed_score": statistics.mean(scores.values()) if scores else None, "confirmed_seeds": len(scores)}


def _measured(found: Mapping[str, Spread]) -> dict[str, float | None]:
    """What was measured, in the axis' unit, by column: the median, and from where to where eight tenths fell."""
    row: dict[str, float | None] = {}
    for axis in MEASURED:
        spread = found.get(axis.name)
        row[axis.column] = None if spread is None else spread.median / axis.per_unit
        if axis.unit == "ms":
            row[f"{axis.name}_p10_ms"] = None if spread is None else spread.p10 / axis.per_unit
            row[f"{axis.name}_p90_ms"] = None if spread is None else spread.p90 / axis.per_unit
    return row


def _candidate(result: CandidateResult) -> dict[str, Any]:
    candidate = result.candidate
    sides = {"alpha": candidate.alpha, "beta": candidate.beta, "gamma": candidate.gamma}
    intervals = {
        name + suffix: getattr(side, end)
        for name, side in sides.items()
        for suffix, end in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    depth, width, resolution = candidate.shares
    return {
        "digest": candidate.digest,
        **intervals,
        "flops": candidate.flops,
        "nominal_ratio": candidate.coefficients.nominal_ratio,
        "realised_ratio": candidate.ratio,
        "accuracy_mean": result.accuracy_mean,
        "accuracy_se": result.accuracy_se,
        "seeds": len(result.accuracies),
        "score": result.score,
        "may_be_best": result.may_be_best,
        "expected_score": result.standing.expected,
        "depth_share": depth,
        "width_share": width,
        "resolution_share": resolution,
        "params": candidate.params,
        "activations": candidate.activations,
        "resolution": candidate.arch.resolution,
        "repeats": repeats(candidate.arch),
        "channels": channels(candidate.arch),
        "full_flops": cost(result.full).flops,
        "full_ratio": result.full_ratio,
        "anchors": ", ".join(result.anchors),
    }


def pareto_table(run: Run) -> pd.DataFrame:
    """The measured proxy networks that no other beats in accuracy and one cost; one front per cost, by rising cost."""
    names = network_names(run)
    rows = [
        {
            "front": front.axis,
            "label": names[point.digest],
            "digest": point.digest,
            "flops": point.flops,
            "params": point.params,
            "accuracy": point.accuracy,
            "accuracy_se": point.error,
            "seeds": point.seeds,
            "activations": point.activations,
            **_measured(point.measured),
            "knee": point == front.knee,
            "evaluator": run.settings.evaluator,
        }
        for front in map(run.front, AXES)
        for point in front.points
    ]
    measured = " ".join(_measured({}))
    columns = f"front label digest flops params activations {measured} accuracy accuracy_se seeds knee evaluator"
    return as_frame(columns, rows)


def rejected_table(run: Run) -> pd.DataFrame:
    """Depth-and-width pairs that no side brings within the budget, with the nearest side and its FLOPs ratio."""
    columns = "repeats channels resolution realised_ratio"
    rows = [dict(zip(columns.split(), row, strict=True)) for row in run.facts.get("rejected", [])]
    return as_frame(columns, rows)


def network_names(run: Run) -> dict[str, str]:
    """By digest: what each measured network is to the run."""
    names = {point.digest: point.label for point in run.points}
    for result in run.candidates:
        names[result.candidate.digest] = part(run, result).label
    return names


def family_table(run: Run) -> pd.DataFrame:
    """One row per member B0 ….

    `depth`, `width` and `resolution_multiplier` are requested by φ; `blocks`, `resolution` (px), `flops` and
    `params` are of the realised network. `proxy_…` were measured on the proxy, blank where they were not.
    `paper_…` is the same base scaled by the paper's coefficients under the same rule; `published_…` is Table
    2 of the paper, whose members are not α^φ of one φ. `imagenet_error…` are predictions in %, with their interval;
    `no_answer` says why there is none.
    """
    columns = (
        "member phi depth width resolution flops flops_fvcore params "
        "digest resolution_multiplier blocks budget budget_ratio "
        "proxy_accuracy proxy_accuracy_se proxy_seeds "
        "paper_phi paper_flops paper_params paper_resolution "
        "published_flops_b published_params_m published_resolution published_top1 "
        "imagenet_error imagenet_error_low imagenet_error_high paper_imagenet_error no_answer evaluator"
    )
    fvcore = run.facts.get("family_fvcore", {})
    published = published_members(run.base)
    rows = []
    for member, paper in zip(run.family, run.paper_family, strict=True):
        measured = run.member_accuracy(member.name)
        if measured is not None and not measured.seeds:
            measured = None  # a prediction, in the columns of its own
        rows.append(
            {
                **_member(member),
                "flops_fvcore": fvcore.get(member.arch.digest),
                "proxy_accuracy": None if measured is None else measured.accuracy,
                "proxy_accuracy_se": None if measured is None else measured.error,
                "proxy_seeds": None if measured is None else measured.seeds,
                "paper_phi": paper.phi,
                "paper_flops": paper.cost.flops,
                "paper_params": paper.cost.params,
                "paper_resolution": paper.arch.resolution,
                **published.get(member.name, {}),
                **imagenet_columns(run, member, paper),
                "evaluator": run.settings.evaluator,
            }
        )
    return as_frame(columns, rows)


def _member(member: Member) -> dict[str, Any]:
    return {
        "member": member.name,
        "phi": member.phi,
        "depth": member.requested.depth,
        "width": member.requested.width,
        "resolution": member.arch.resolution,
        "flops": member.cost.flops,
        "params": member.cost.params,
        "digest": member.arch.digest,
        "resolution_multiplier": member.requested.resolution,
        "blocks": blocks(member.arch),
        "budget": round(member.budget),
        "budget_ratio": member.budget_ratio,
    }


def published_members(base: AnyArch) -> dict[str, dict[str, float]]:
    """By member, Table 2 of the paper's last version, the side from the official code.

    Empty unless `base` is EfficientNet-B0 as published.
    """
    if base.digest != load_arch(PUBLISHED_BASE).digest:
        return {}
    sides = {row["model"].upper(): int(row["resolution_px"]) for row in published_rows("efficientnet_coefficients")}
    return {
        row["model"].removeprefix("EfficientNet-"): {
            "published_flops_b": float(row["flops_B_multiply_adds"]),
            "published_params_m": float(row["params_M"]),
            "published_resolution": sides[row["model"].upper()],
            "published_top1": float(row["imagenet_top1_pct"]),
        }
        for row in published_rows("efficientnet_table2")
        if row["paper_version"].startswith("v5")
    }


def as_frame(columns: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Columns of whole numbers stay whole where rows are blank."""
    frame = pd.DataFrame(rows, columns=columns.split())
    for name in frame.columns:
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None]
        if len(known) < len(values) and known and all(type(value) is int for value in known):
            frame[name] = pd.array(values, dtype="Int64")
    return frame
