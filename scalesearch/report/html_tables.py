"""The tables of the page: fewer columns than the CSV files, numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scalesearch.report.markup import Html, join, table, tag
from scalesearch.report.member_cells import member_cells, member_headings
from scalesearch.report.tables import network_names, published_members
from scalesearch.report.wording import count, interval, percent
from scalesearch.report.words import words
from scalesearch.search.base_run import BaseRun
from scalesearch.search.candidates import Interval
from scalesearch.search.fronts import Point
from scalesearch.search.run import Run
from scalesearch.spec.axes import AXES, Axis
from scalesearch.spec.outline import blocks
from scalesearch.spec.units import format_flops


def candidates(run: Run) -> Html:
    axis = run.axis
    extra = () if axis.name == "flops" else (_heading(axis), "× base")
    columns = (
        "network", "accuracy", "seeds", "score", "may be best", "α", "β", "γ", "depth", "width", "resolution",
        "px", "FLOPs", "× base", "αβ²γ²", *extra,
    )  # fmt: skip
    cost = 4 + len(extra)
    groups = (("", 1), (words(run).task, 4), ("coefficients", 3), ("realised shares", 3), ("cost", cost))
    points = {point.digest: point for point in run.points}
    start = points.get(run.proxy_base.digest)
    names = network_names(run)
    rows = []
    for result in run.candidates:
        candidate = result.candidate
        rows.append(
            (
                _two_lines(names[candidate.digest], candidate.digest),
                _with_error(result.accuracy_mean, result.accuracy_se),
                len(result.accuracies),
                f"{result.score:.4f}",
                "yes" if result.may_be_best else "no",
                *(_coefficient(side) for side in (candidate.alpha, candidate.beta, candidate.gamma)),
                *(percent(share) for share in candidate.shares),
                candidate.arch.resolution,
                format_flops(candidate.flops),
                f"{candidate.ratio:.3f}",
                f"{candidate.coefficients.nominal_ratio:.3f}",
                *(_on_axis(axis, points[candidate.digest], start) if extra else ()),
            )
        )
    digests = [result.candidate.digest for result in run.candidates]
    chosen = digests.index(run.recommended.candidate.digest)
    return table(columns, rows, text=("network",), groups=groups, chosen=chosen)


def family(run: Run) -> Html:
    headings = member_headings(run)
    columns = (
        "member", "φ", "depth", "width", "resolution", "blocks", "px", "FLOPs", "of budget", "fvcore",
        "params", *headings,
    )  # fmt: skip
    counted = run.facts.get("family_fvcore", {})
    rows = []
    for member in run.family:
        asked, arch = member.requested, member.arch
        rows.append(
            (
                member.name,
                f"{member.phi:.3f}",
                *(f"{value:.3f}" for value in (asked.depth, asked.width, asked.resolution)),
                "" if blocks(arch) is None else blocks(arch),
                arch.resolution,
                format_flops(member.cost.flops),
                f"{member.budget_ratio:.3f}",
                format_flops(counted[arch.digest]) if arch.digest in counted else "not counted",
                format_flops(member.cost.params),
                *member_cells(run, member.name),
            )
        )
    return table(columns, rows)


def members_beside(run: Run) -> Html:
    """Size of each member: by the recommended coefficients, by the paper's, and as published."""
    published = published_members(run.base)
    columns = ["member", "px", "FLOPs", "params", "φ", "px", "FLOPs", "params"]
    groups = [("", 1), ("recommended", 3), ("paper's coefficients", 4)]
    if published:
        columns += ["px", "FLOPs", "params", "top-1"]
        groups.append(("published", 4))
    rows = []
    for member, paper in zip(run.family, run.paper_family, strict=True):
        row: list[object] = [member.name, member.arch.resolution]
        row += [format_flops(member.cost.flops), format_flops(member.cost.params)]
        row += [f"{paper.phi:.3f}", paper.arch.resolution]
        row += [format_flops(paper.cost.flops), format_flops(paper.cost.params)]
        if published:
            row += _published(published.get(member.name))
        rows.append(row)
    return table(columns, rows, groups=groups)


def _published(known: Mapping[str, float] | None) -> list[object]:
    if known is None:
        return ["–"] * 4
    return [
        known["published_resolution"],
        f"{known['published_flops_b']:g}G",
        f"{known['published_params_m']:g}M",
        f"{known['published_top1']}%",
    ]


def pareto(run: Run) -> Html:
    """The front on the run's axis; beside FLOPs and parameters every cost that is known."""
    names = network_names(run)
    front = run.front()
    shown = {"flops", "params", run.axis.name, *(name for point in front.points for name in point.measured)}
    axes = [axis for axis in AXES.values() if axis.name in shown]
    rows = [
        (
            _two_lines(names[point.digest], point.digest),
            *(_cost(axis, point) for axis in axes),
            _with_error(point.accuracy, point.error),
            point.seeds,
        )
        for point in front.points
    ]
    return table(("network", *map(_heading, axes), "accuracy", "seeds"), rows, text=("network",))


def _heading(axis: Axis) -> str:
    return f"{axis.title}, {axis.unit}" if axis.unit else axis.title


def _cost(axis: Axis, point: Point) -> Html | str:
    """A cost in its axis' unit; times with the 10th and 90th percentile below."""
    value = point.cost(axis.name)
    if math.isnan(value):
        return "–"
    if not axis.measured:
        return axis.format(value)
    spread = point.measured[axis.name]
    shown = f"{value / axis.per_unit:.4g}"
    if spread.repeats == 1:
        return shown
    return _two_lines(shown, f"[{spread.p10 / axis.per_unit:.4g}–{spread.p90 / axis.per_unit:.4g}]")


def _on_axis(axis: Axis, point: Point, base: Point | None) -> tuple[Html | str, str]:
    """The cost, and its ratio to the proxy base's."""
    ratio = math.nan if base is None else point.cost(axis.name) / base.cost(axis.name)
    return _cost(axis, point), "–" if math.isnan(ratio) else f"{ratio:.3f}"


def stopped_trials(run: Run | BaseRun) -> Html:
    columns = ("trial", "status", "reason", "role", "network", "seed", "rungs done")
    rows = [
        (r.number, r.status, r.reason or "–", r.role, r.digest, r.seed, len(r.rungs))
        for r in run.trials
        if r.status != "done"
    ]
    return table(columns, rows, text=("status", "role", "network", "reason"))


def environment(run: Run | BaseRun) -> Html:
    plan = run.plan
    rows: list[tuple[str, str]] = [("ended", run.finished or "not yet")]
    if plan is not None:
        planned = (
            f"{count(plan.networks, 'network')} × {count(plan.seeds, 'seed')}, {count(plan.epochs, 'epoch')} "
            f"of {plan.train_images:,} images, {plan.val_images:,} to validate, "
            f"{count(plan.workers, 'worker')} ({plan.device})"
        )
        rows.append(("plan", planned))
    rows.append(("fingerprint of the images", str(run.facts.get("data_fingerprint", "unknown"))))
    rows += [(key, spelled(value)) for key, value in run.facts.get("environment", {}).items()]
    return table(("environment", "value"), rows, text=("environment", "value"))


def settings(run: Run | BaseRun) -> Html:
    rows = [(key, spelled(value)) for key, value in run.settings.to_dict().items()]
    return table(("setting", "value"), rows, text=("setting", "value"))


def _two_lines(first: str, second: str) -> Html:
    return join((first, Html("<br>"), tag("small", second)))


def _coefficient(side: Interval) -> Html:
    return _two_lines(f"{side.value:.3f}", f"[{interval(side)}]")


def _with_error(value: float, error: float) -> str:
    return f"{100 * value:.2f}%" + ("" if math.isnan(error) else f" ± {100 * error:.2f}")


def spelled(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return "none" if value is None else str(value)
