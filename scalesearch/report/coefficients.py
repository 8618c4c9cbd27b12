"""What the published ImageNet results say of the coefficients, in sentences; each holds for the numbers beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scalesearch.fit.surrogate import SEED_NOISE, imagenet_surrogate, root_mean_square
from scalesearch.fit.surrogate_checks import EPOCHS, held_out, trends
from scalesearch.search.response import BudgetMap, coefficients_of
from scalesearch.search.stats import Difference

STRATEGIES = ("original", "dWr", "dwr", "2/3", "dw", "d", "w", "r")
_NEAR = 0.1  # points: "within"
_MIDDLE = 3.5  # φ


def findings(maps: Sequence[BudgetMap]) -> list[str]:
    """The source, the claims about depth, balance and width against the maps, how far the surface can be trusted."""
    by_phi = {found.phi: found for found in maps}
    return [_source(), *map(_budget, maps), *_claims(by_phi), _quality(), *_unseen()]


def _source() -> str:
    return (
        f"Nothing was trained here: errors are those of a surface fitted to {imagenet_surrogate().points} networks, "
        f"EfficientNet-B0 scaled in eight ways, which Dollár et al. (CVPR 2021, arXiv:2103.06877, figures 1, 4, 6 "
        f"and 8) trained for {EPOCHS} epochs by one recipe."
    )


def _budget(found: BudgetMap) -> str:
    head = f"φ = {found.phi:g}: "
    if found.best is None or found.best_error is None:
        return head + "no split lies inside the hull of the published networks, so there is no answer."
    values = coefficients_of(found.best)
    error = found.best_error
    text = (
        f"best of {found.answered} answered splits (of {len(found.nodes)}) α, β, γ = {values.alpha:.2f}, "
        f"{values.beta:.2f}, {values.gamma:.2f}, {error.mean:.2f} % [{error.low:.2f}, {error.high:.2f}]"
    )
    if found.region:
        spans = (found.span(index) for index in range(3))
        region = ", ".join(
            f"{name} {2 ** (low / power):.2f}–{2 ** (high / power):.2f}"
            for name, (low, high), power in zip(("α", "β", "γ"), spans, (1, 2, 2), strict=True)
        )
        text += f"; {len(found.region)} of them may be best at 90 %: {region}"
    if found.at_edge:
        text += "; it lies on the hull's edge, and the true best may lie outside"
    missed = [
        f"{rank.name} is {_place(found, rank.rank)}, {_points(rank.miss)} off"
        for rank in found.ranks
        if rank.miss is not None and rank.rank is not None
    ]
    outside = [rank.name for rank in found.ranks if rank.miss is None]
    return head + text + ". " + "; ".join(missed + [f"{name} lies outside" for name in outside]) + "."


def _place(found: BudgetMap, rank: int) -> str:
    """Ranked splits are no nodes of the lattice, and can come behind them all."""
    return f"number {rank}" if rank <= found.answered else f"behind all {found.answered}"


def _points(miss: Difference) -> str:
    return f"{miss.mean:.2f} [{miss.low:.2f}, {miss.high:.2f}] points".replace("-", "−")


def _claims(by_phi: dict[float, BudgetMap]) -> list[str]:
    """Depth at φ = 1, the paper's balance near 3.5, width beyond: what the maps say of each."""
    texts = []
    first, middle = by_phi.get(1.0), by_phi.get(_MIDDLE)
    if first is not None and first.region:
        lowest = first.span(0)[0]
        verdict = "Yes" if lowest > 0.5 else "No"
        texts.append(
            f"Is most of the budget best spent on depth at φ = 1? {verdict}: splits that may be best spend "
            f"{lowest:.0%} or more on it."
        )
    miss = None if middle is None else middle.ranks[0].miss  # the paper's
    if middle is not None and miss is not None:
        verdict = "Yes" if miss.mean <= _NEAR else "No"
        sure = "" if miss.high <= _NEAR else ", but its interval reaches further"
        edge = "; the best is on the hull's edge, and may be beaten outside" if middle.at_edge else ""
        texts.append(
            f"Are the paper's coefficients within {_NEAR:g} point of the best at φ = {_MIDDLE:g}? {verdict}, by the "
            f"fit{sure}: {_points(miss)}{edge}."
        )
    return [*texts, *_width(sorted(by_phi.items()))]


def _width(maps: Sequence[tuple[float, BudgetMap]]) -> list[str]:
    known = [(phi, found, found.best) for phi, found in maps if found.best is not None]
    beyond = [(phi, found) for phi, found, _ in known if phi > _MIDDLE]
    if not beyond:
        return []
    path = ", ".join(f"{best[1]:.0%} (φ = {phi:g})" for phi, _, best in known)
    rising = all(one[2][1] <= other[2][1] for one, other in pairwise(known))
    free = [(phi, found) for phi, found in beyond if not found.at_edge]
    verdict = ("Yes" if rising else "No") if free else "Not shown"
    last, found = beyond[-1]
    answered = [node[1] for node, error in zip(found.nodes, found.errors, strict=True) if error is not None]
    text = f"Does width gain beyond φ = {_MIDDLE:g}? {verdict}: the best width share "
    text += f"{'rises' if rising else 'goes'} {path}"
    if not free:
        few = ", ".join(f"{each.answered} of {len(each.nodes)} splits at φ = {phi:g}" for phi, each in beyond)
        text += (
            f", but past φ = {_MIDDLE:g} the best lies on the edge of what is answered ({few}), and "
            f"at φ = {last:g} no answered split has a width share below {min(answered):.0%}"
        )
    return [text + "."]


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
    for trend in sorted(trends(), key=lambda trend: not trend.fitted):
        epochs = "" if trend.epochs is None else f", {trend.epochs} epochs"
        kind = "Fitted networks, no check of the surface" if trend.fitted else "Other recipes"
        lines.append(
            f"{kind}, {trend.title}{epochs}: published minus predicted {trend.offset:+.2f} points on average, "
            f"{trend.scatter:.2f} of scatter around that over {len(trend.rows)} networks.".replace("-", "−")
        )
    return lines
