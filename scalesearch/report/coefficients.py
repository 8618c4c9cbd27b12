"""What the published ImageNet results say of the coefficients, in sentences; each holds for the numbers beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scalesearch.fit.surrogate import SEED_NOISE, imagenet_surrogate, root_mean_square
from scalesearch.fit.surrogate_checks import held_out, trends
from scalesearch.search.response import BudgetMap, coefficients_of
from scalesearch.search.stats import Difference

STRATEGIES = ("original", "dWr", "dwr", "2/3", "dw", "d", "w", "r")
_NEAR = 0.1  # points: what the claim calls "within"


def findings(maps: Sequence[BudgetMap]) -> list[str]:
    """The claim about depth, balance and width against the maps, then how far the surface can be trusted."""
    by_phi = {found.phi: found for found in maps}
    return [*map(_budget, maps), *_claims(by_phi), _quality(), *_unseen()]


def _budget(found: BudgetMap) -> str:
    head = f"φ = {found.phi:g}: "
    if found.best is None or found.best_error is None:
        return head + "no split lies inside the hull of the published networks, so there is no answer."
    values = coefficients_of(found.best)
    error = found.best_error
    spans = (found.span(index) for index in range(3))
    region = ", ".join(
        f"{name} {2 ** (low / power):.2f}–{2 ** (high / power):.2f}"
        for name, (low, high), power in zip(("α", "β", "γ"), spans, (1, 2, 2), strict=True)
    )
    text = (
        f"best of {found.answered} answered splits (of {len(found.nodes)}) α, β, γ = {values.alpha:.2f}, "
        f"{values.beta:.2f}, {values.gamma:.2f}, {error.mean:.2f} % [{error.low:.2f}, {error.high:.2f}]; "
        f"{len(found.region)} may be best at 90 %: {region}. "
    )
    missed = [
        f"{rank.name} is number {rank.rank}, {_points(rank.miss)} off"
        for rank in found.ranks
        if rank.miss is not None
    ]  # fmt: skip
    outside = [rank.name for rank in found.ranks if rank.miss is None]
    text += "; ".join(missed + [f"{name} lies outside" for name in outside])
    return head + text + "."


def _points(miss: Difference) -> str:
    return f"{miss.mean:.2f} [{miss.low:.2f}, {miss.high:.2f}] points".replace("-", "−")


def _claims(by_phi: dict[float, BudgetMap]) -> list[str]:
    """"Depth-heavy best at φ = 1, balanced near 3.5 within 0.1 point, width gaining beyond"."""
    texts = []
    first, middle = by_phi.get(1.0), by_phi.get(3.5)
    if first is not None and first.region:
        lowest = first.span(0)[0]
        verdict = "holds" if lowest > 0.5 else "does not hold"
        texts.append(
            f"“Depth-heavy best at φ = 1” {verdict}: every split that may be best spends {lowest:.0%} or more on it."
        )
    miss = None if middle is None else middle.ranks[0].miss  # the paper's
    if miss is not None:
        verdict = "holds" if miss.mean <= _NEAR else "does not hold"
        sure = "for certain" if miss.high <= _NEAR else f"by the fit, but its interval reaches {miss.high:.2f}"
        texts.append(
            f"“The paper's coefficients within {_NEAR:g} point of the best near φ = 3.5” {verdict} {sure}: "
            f"{_points(miss)}."
        )
    widths = [(phi, found.best[1]) for phi, found in sorted(by_phi.items()) if found.best is not None]
    rising = all(one[1] <= other[1] for one, other in pairwise(widths))
    beyond = [
        f"{found.answered} of {len(found.nodes)} at φ = {phi:g}" for phi, found in sorted(by_phi.items()) if phi > 3.5
    ]
    texts.append(
        f"“Width gains beyond” is not shown: the best width share {'rises' if rising else 'goes'} "
        + ", ".join(f"{width:.0%} (φ = {phi:g})" for phi, width in widths)
        + f", but past φ = 3.5 few splits have an answer ({', '.join(beyond)}), and those near φ = 5 are all wide."
    )
    return texts


def _quality() -> str:
    surface = imagenet_surrogate()
    return (
        f"The surface: {surface.family} in doublings, floor {surface.floor:g} %, {surface.points} networks, "
        f"leave-one-out error {surface.loo:.3f} points, residuals' deviation {surface.deviation:.3f}; the published "
        f"seeds scatter by {SEED_NOISE:g}. Intervals are by residual bootstrap and hold if this form does."
    )


def _unseen() -> list[str]:
    texts = []
    for strategy in STRATEGIES:
        rows = held_out(strategy)
        inside = [row.predicted - row.published for row in rows if row.inside]
        if inside:
            texts.append(f"{strategy} {root_mean_square(inside):.2f} ({len(inside)} networks)")
    lines = [
        "Without a whole strategy, its networks inside the others' hull are missed by (root mean square, points): "
        + ", ".join(texts)
        + "; d, w and r alone lie outside the hull of the others."
    ]
    for trend in trends():
        epochs = "" if trend.epochs is None else f", {trend.epochs} epochs"
        lines.append(
            f"Against {trend.name}{epochs}: published minus predicted {trend.offset:+.2f} points on average, "
            f"{trend.scatter:.2f} of scatter around that over {len(trend.rows)} networks.".replace("-", "−")
        )
    return lines
