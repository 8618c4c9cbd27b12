"""What a search of the base is asked: a space, a budget, the data, and a reference to compare its answer with."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace

from scalesearch.fit.data import Dataset
from scalesearch.search.executor import Executor
from scalesearch.search.family import base_for_budget
from scalesearch.search.plan import (
    CALIBRATION_SECONDS,
    Plan,
    calibrate,
    make_plan,
    proxy_base,
    proxy_rounding,
    recipe_of,
)
from scalesearch.search.problem import load_images
from scalesearch.spec.arch import Arch
from scalesearch.spec.axes import AXES
from scalesearch.spec.base_space import BaseSpace, without_idle_skips
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import BudgetError, SettingsError, SpaceError
from scalesearch.spec.feasible import Budget, Share, draw, feasible_share, limit, some
from scalesearch.spec.files import load_arch, load_space, shipped_spaces
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS
from scalesearch.spec.settings import WEIGHED, Settings
from scalesearch.spec.solving import to_flops
from scalesearch.spec.units import format_flops

REFERENCE = "efficientnet_b0"  # scaled to the budget
LINE = (0.5, 1.0, 2.0)  # times the budget: the networks that w is fitted to
SPREAD = 20  # networks that say how much the FLOPs of proxies differ
SAMPLED = 4  # networks that stand for the space in the calibration


@dataclass(frozen=True, slots=True)
class BaseProblem:
    """What is searched. `reference` is the network at the budget that the winner is compared with."""

    space: BaseSpace
    budget: Budget
    reference: Arch
    reference_note: str
    dataset: Dataset
    settings: Settings

    def proxy(self, arch: Arch) -> Arch:
        """The small network that is trained in its place. Sides keep their ratio to the skeleton's."""
        return proxy_of(arch, self.space, self.settings, len(self.dataset.classes), self.dataset.channels)

    def proxy_at(self, flops: int) -> Arch:
        """The reference's proxy scaled by the paper's coefficients to `flops`, or as near as it gets.

        Where it would be larger than the images, by α and β alone.
        """
        small, rounding = self.proxy(self.reference), proxy_rounding(self.settings)
        for coefficients in (PAPER_COEFFICIENTS, replace(PAPER_COEFFICIENTS, gamma=1.0)):
            try:
                found, _ = base_for_budget(small, flops, coefficients, rounding)
            except BudgetError:
                found = to_flops(small, flops, coefficients, rounding, tolerance=1.0).arch
            if found.resolution <= self.dataset.size:
                break
        return found

    def line(self) -> list[Arch]:
        """The reference at LINE times the budget, scaled by the paper's coefficients, where w is fitted to it."""
        return [_reference(self.settings, ratio)[0] for ratio in LINE if self.settings.exponent is None]

    @property
    def fingerprint(self) -> str:
        """Of the space: trials hold points of it."""
        return fingerprint_of(self.space)


def pose(settings: Settings, workers: int) -> BaseProblem:
    """Load space and data. Raises SpaceError, SettingsError, BudgetError or DataError."""
    space = space_of(settings)
    budget = budget_of(settings)
    draw(space, budget, _rng(settings))  # raises if nothing of the space is within the budget
    reference, note = _reference(settings, 1.0)
    problem = BaseProblem(space, budget, reference, note, load_images(settings, workers), settings)
    sides = space.choices.get("resolution", (space.skeleton.resolution,))
    whole = replace(space.skeleton, resolution=int(max(sides)))
    largest = max(problem.proxy(arch).resolution for arch in (whole, reference, *problem.line()))
    if largest > problem.dataset.size:
        raise SettingsError(
            f"image_size: images of {problem.dataset.size} px are too small for proxies of up to {largest} px; give "
            f"--set image_size={largest}, or a smaller proxy_resolution"
        )
    return problem


def space_of(settings: Settings) -> BaseSpace:
    """The space that is searched. Raises SpaceError if there is none, or it has no choices."""
    found = load_space(settings.space)
    if found.search is None:
        able = [name for name in shipped_spaces() if load_space(name).search is not None]
        raise SpaceError(
            settings.space,
            [f"--space: must have [choices] that a search can vary, has none; take {', '.join(able)}, or add some"],
        )
    return found.search


def fingerprint_of(space: BaseSpace) -> str:
    return hashlib.blake2b(repr(space).encode(), digest_size=8).hexdigest()


def proxy_of(arch: Arch, space: BaseSpace, settings: Settings, classes: int, channels: int) -> Arch:
    """The small network that is trained in place of one of the space, on images of so many classes and channels."""
    side = round(settings.proxy_resolution * arch.resolution / space.skeleton.resolution)
    settings = replace(settings, proxy_resolution=min(2_048, max(8, side)))
    # A skip that does something in three blocks may do nothing in the proxy's one.
    return without_idle_skips(proxy_base(arch, settings, classes, channels))


def budget_of(settings: Settings) -> Budget:
    """FLOPs and the limits that can be counted; search/base_limits.py adds those that must be measured."""
    limits = {name: value for name, value in limits_of(settings).items() if not AXES[name].measured}
    return Budget.around(settings.target_flops, settings.flops_window, limits)


def limits_of(settings: Settings) -> dict[str, float]:
    """What a base may cost at the most, by axis, in its own units."""
    given = {axis: getattr(settings, f"max_{axis.column}", None) for axis in AXES.values()}
    return {axis.name: value * axis.per_unit for axis, value in given.items() if value is not None}


def describe(problem: BaseProblem) -> list[str]:
    """What is searched, on what, in sentences."""
    data, settings = problem.dataset, problem.settings
    proxy = problem.proxy(problem.reference)
    share = share_of(problem)
    low, high = proxy_spread(problem)
    return [
        f"data: {data.name}, {len(data.classes)} classes, {data.train_count:,} + {data.val_count:,} images "
        f"of {data.size} px (fingerprint {data.fingerprint[:12]})",
        f"space: {problem.space.name}, {problem.space.size:.3g} points; networks of {problem.budget.spelled()}",
        f"  {share.value:.1%} of random points are within the budget [{share.low:.1%}–{share.high:.1%} at 95%], of "
        f"{share.draws:,} drawn",
        *(
            f"  and at most {limit(name, most)}, measured of proposals: not in this share"
            for name, most in limits_of(settings).items()
            if AXES[name].measured
        ),
        f"strategy: {settings.strategy}; reward: {reward_text(settings)}",
        f"reference: {problem.reference_note}",
        f"proxy: depth × {settings.proxy_depth:g}, width × {settings.proxy_width:g}, sides of the skeleton's "
        f"{problem.space.skeleton.resolution} → {settings.proxy_resolution} px; the reference's has "
        f"{format_flops(cost(proxy).flops)} FLOPs, {cost(proxy).params:,} parameters",
        f"  proxies of {SPREAD} random networks within the budget have {low:.2f} to {high:.2f} times its FLOPs: the "
        "budget is of the networks, not of the proxies",
        *(f"  {note}" for note in data.notes),
    ]


def share_of(problem: BaseProblem) -> Share:
    """The share of the space's random points that the budget leaves."""
    return feasible_share(problem.space, problem.budget, _rng(problem.settings))


def proxy_spread(problem: BaseProblem) -> tuple[float, float]:
    """The least and the most FLOPs of SPREAD random networks' proxies, over the reference's proxy's.

    Shrinking keeps the ratios of FLOPs only roughly: the stem's stride, rounded depths and few channels weigh on one
    network more than on another.
    """
    rng, start = _rng(problem.settings), cost(problem.proxy(problem.reference)).flops
    found = [cost(problem.proxy(one.arch)).flops / start for one in some(problem.space, problem.budget, rng, SPREAD)]
    return min(found), max(found)


def reward_text(settings: Settings) -> str:
    """The objective and its exponent."""
    if settings.objective == "accuracy":
        return "accuracy, of networks within the budget"
    if settings.objective not in WEIGHED:
        return settings.objective
    fitted = "w fitted to the reference at several budgets"
    return f"{settings.objective}, {fitted if settings.exponent is None else f'w = {settings.exponent:g}'}"


def plan_of(
    problem: BaseProblem, executor: Executor, device: str, later: int, elapsed: float, budget: float | None
) -> Plan:
    """From a calibration on a few networks of the space: every proposal is trained once, and `later` trainings of the
    final and the confirmation are kept time for. Raises SettingsError if `budget`, in seconds, is too short."""
    settings, rng = problem.settings, _rng(problem.settings)
    archs = [problem.proxy(one.arch) for one in some(problem.space, problem.budget, rng, SAMPLED)]
    seconds = CALIBRATION_SECONDS * (0.1 if budget is None else 1)
    speed = calibrate(executor, problem.proxy(problem.reference), archs, recipe_of(settings, 1), device, seconds)
    return make_plan(
        # Of the confirmation's rounds a plan knows two trainings for each seed.
        replace(settings, seeds=1, confirm=min(100, -(-later // 2)), time_budget=budget, inherit=False),
        speed,
        pool_size=10**9,
        train_count=problem.dataset.train_count,
        val_count=problem.dataset.val_count,
        workers=executor.workers,
        device=device,
        elapsed=elapsed,
        family_share=0.0,
    )


def _reference(settings: Settings, ratio: float) -> tuple[Arch, str]:
    rounding = ROUNDINGS[settings.rounding]
    target = round(ratio * settings.target_flops)
    return base_for_budget(load_arch(REFERENCE), target, PAPER_COEFFICIENTS, rounding)


def _rng(settings: Settings) -> random.Random:
    return random.Random(f"{settings.seed} space")
