"""The scaling coefficients against real ImageNet results: a surface fitted to published networks, over the simplex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scalesearch.fit.surrogate_checks import Trend, trends
from scalesearch.report.coefficients import findings
from scalesearch.report.figures.error_simplex import draw_error_simplex
from scalesearch.report.reproduce.record import EMPTY, Cell, Experiment, Row, Table, computed, label, published
from scalesearch.search.response import response, table

_BY_ACCURACY = "100 - top-1"  # in the source of errors that were printed as accuracies
_SHARES = ("depth", "width", "resolution")
# Column of `response.table` -> heading.
_SPLITS = {
    **{key: f"{key} share" for key in _SHARES},
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "error": "error (%)",
    "miss": "off the best (points)",
    "miss_low": "from",
    "miss_high": "to",
    "rank": "rank",
}
_REGIONS = {
    "answered": "splits answered",
    "of": "of",
    "at_edge": "best on the edge",
    **{f"region_{key}_{end}": f"{key} {word}" for key in _SHARES for end, word in (("low", "from"), ("high", "to"))},
}


def coefficients() -> Experiment:
    """The best split of each budget 2^φ, where the paper's and dWr rank in it, and printed errors beside it."""
    maps = response()
    rows = table(maps)
    best = [row for row in rows if row["split"] == "best"]
    return Experiment(
        "coefficients",
        "The coefficients against published ImageNet results",
        (
            _table("coefficients", "Predicted top-1 error by split of a budget 2^φ", _SPLITS, rows),
            _table("coefficients_regions", "Shares that may be best, at 90 %", _REGIONS, best),
            _printed(trends()),
        ),
        tuple(findings(maps)),
        lambda: draw_error_simplex(maps),
    )


def _table(name: str, title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> Table:
    lines = [
        Row((label(f"{row['phi']:g}"), label(str(row["split"])), *(_cell(row[key]) for key in columns))) for row in rows
    ]
    return Table(name, title, {"phi": "φ", "split": "split", **columns}, tuple(lines))


def _cell(value: object) -> Cell:
    if isinstance(value, bool):
        return computed("yes" if value else "no")
    if isinstance(value, int):
        return computed(value)
    return computed(value, f"{value:.2f}") if isinstance(value, float) else EMPTY


def _printed(found: Sequence[Trend]) -> Table:
    lines = []
    for trend in found:
        recipe = trend.title if trend.epochs is None else f"{trend.title}, {trend.epochs} epochs"
        by_accuracy = _BY_ACCURACY in trend.source
        for network, printed, predicted in trend.rows:
            difference = printed - predicted
            cells = (
                label(network),
                label(recipe),
                label("yes" if trend.fitted else "no"),
                published(f"{100 - printed:.1f}") if by_accuracy else EMPTY,
                computed(printed, f"{printed:.1f}") if by_accuracy else published(str(printed)),
                computed(predicted, f"{predicted:.2f}"),
                computed(difference, f"{difference:+.2f}"),
            )
            lines.append(Row(cells, trend.source))
    columns = {
        "network": "network",
        "recipe": "printed in",
        "fitted": "fitted to",
        "published_top1_percent": "top-1 (%)",
        "error_percent": "error (%)",
        "predicted_error_percent": "predicted (%)",
        "difference_points": "printed − predicted (points)",
    }
    title = "Errors beside predicted ones: of networks that the surface is fitted to, and by other recipes"
    return Table("coefficients_printed", title, columns, tuple(lines))
