"""The limits of a base search that are measured here: latency and training memory of the networks themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from scalesearch.search.base_problem import BaseProblem, limits_of
from scalesearch.search.costs import Bench, make_cost
from scalesearch.search.ledger import Ledger
from scalesearch.spec.arch import Arch
from scalesearch.spec.axes import AXES, Axis
from scalesearch.spec.errors import TrainingError
from scalesearch.spec.feasible import Budget

LOOKS = 75  # networks measured for one proposal; walks into a budget look at hundreds


def budget_with_limits(ledger: Ledger, bench: Bench, problem: BaseProblem) -> Budget:
    """The problem's budget for one proposal, with the limits that are measured.

    What has been measured is kept in the ledger. After LOOKS networks, known ones too, all others count as over the
    limit: so a proposal ends, and a resumed search makes the same one.
    """
    limits = limits_of(problem.settings)
    whole = replace(bench, base=problem.reference)
    measures = {name: _measure(ledger, whole, AXES[name]) for name in limits if AXES[name].measured}
    return replace(problem.budget, limits=limits, measures=measures) if measures else problem.budget


def _measure(ledger: Ledger, bench: Bench, axis: Axis) -> Callable[[Arch], float]:
    value, looked = make_cost(ledger, bench, axis), dict[str, float]()

    def measure(arch: Arch) -> float:
        if arch.digest not in looked:
            if len(looked) == LOOKS:
                return math.inf
            try:
                looked[arch.digest] = value(arch)
            except TrainingError:  # more than this machine's memory
                looked[arch.digest] = math.inf
        return looked[arch.digest]

    return measure
