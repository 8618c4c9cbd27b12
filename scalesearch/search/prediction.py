"""The evaluator `imagenet_surrogate`: asks a surface fitted to published ImageNet results. Trains nothing.

The networks are full size. Beside the candidates at twice the base's FLOPs, the splits of each larger budget are asked
about, the family, and the paper's.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from optuna.trial import Trial

from scalesearch.fit.surrogate import POINTS_FILE, imagenet_surrogate, place_of
from scalesearch.search.candidates import Feasible
from scalesearch.search.family import base_for_budget
from scalesearch.search.ledger import Ledger
from scalesearch.search.problem import Problem, checked_candidates
from scalesearch.search.queue import attributes_of
from scalesearch.search.run import Run, candidate_attributes
from scalesearch.search.samplers import lattice_nodes, make_pool, simplex_to_square
from scalesearch.search.session import Session
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import SurrogateError
from scalesearch.spec.factory import AnyArch, is_factory
from scalesearch.spec.files import load_arch
from scalesearch.spec.scaling import PAPER_COEFFICIENTS, ROUNDINGS, Coefficients
from scalesearch.spec.settings import Settings
from scalesearch.spec.solving import to_flops

FINENESS = 16  # splits of a larger budget: the 153 nodes {i/16} of the simplex


def pose(settings: Settings, workers: int) -> Problem:
    """Load the base and find the networks inside the hull. Raises SpaceError, BudgetError or SurrogateError."""
    rounding = ROUNDINGS[settings.rounding]
    if is_factory(settings.base):  # refused without running it
        raise SurrogateError(
            f"{settings.base}: is a factory, and imagenet_surrogate knows only scaled EfficientNet-B0s; "
            "use --evaluator train"
        )
    named = load_arch(settings.base)
    place_of(named)  # raises for another base before anything else is said of it
    base, note = base_for_budget(named, settings.target_flops, PAPER_COEFFICIENTS, rounding)
    surface = imagenet_surrogate()
    surface.predict(base)
    found = checked_candidates(base, settings)
    places = np.array([place_of(candidate.arch) for candidate in found.candidates])
    known = [one for one, inside in zip(found.candidates, surface.inside(places), strict=True) if inside]
    if not known:
        nearest = found.candidates[int(surface.outside_by(places).argmin())]
        surface.predict(nearest.arch)  # raises, and says how far outside
    outside = tuple((one.arch, one.ratio) for one in found.candidates if one not in known)
    feasible = Feasible(tuple(known), found.rejected + outside)
    fingerprint = hashlib.blake2b(POINTS_FILE.read_bytes(), digest_size=16).hexdigest()
    return Problem(base, note, base, None, "the published points", fingerprint, feasible, make_pool(known))


def describe(problem: Problem, settings: Settings) -> list[str]:
    """What is asked, and where the answers come from."""
    surface = imagenet_surrogate()
    return [
        f"evaluator: imagenet_surrogate, a surface fitted to {surface.points} published ImageNet errors of scaled "
        f"B0s (Dollár et al. 2021, 200 epochs, one recipe); leave-one-out error {surface.loo:.2f} points; nothing is "
        "trained",
        f"base: {problem.base_note}",
        f"candidates: {len(problem.pool.candidates)} distinct full-size networks within {settings.tolerance * 100:g}% "
        f"of twice the base's FLOPs, inside the hull of the published ones; {len(problem.feasible.rejected)} other "
        "depth-and-width pairs cannot get there at any side, or lie outside",
    ]


def predict(session: Session) -> str:
    """Ask about everything that has no answer yet; says how it ended."""
    ledger = session.ledger
    start = cost(session.problem.base).flops

    def answer(trial: Trial) -> None:
        began = time.monotonic()
        record = ledger.record(trial)
        try:
            error, replicates = imagenet_surrogate().predict(record.arch)
        except SurrogateError as refused:
            ledger.fail(trial, str(refused))
            return
        accuracy = 1 - error / 100
        result = {
            "accuracy": accuracy,
            "replicates": [round(1 - float(value) / 100, 6) for value in replicates],
            "seconds": time.monotonic() - began,
        }
        # At exactly the budget: the reward's exponent would correct twice as much as this surface says, and let
        # networks win for being a few percent below it.
        missing = math.log2(start * float(record.attributes["budget"]) / record.flops)
        corrected = imagenet_surrogate().at_budget(place_of(record.arch), missing)
        ledger.answer(trial, result, 1 - corrected / 100)

    for trial in ledger.running():  # of an interrupted run
        answer(trial)
    _ask(ledger, _first(session), answer)
    _ask(ledger, _later(session), answer)
    records = ledger.records()
    done = sum(record.status == "done" for record in records)
    return f"all {done} predictions done, {len(records) - done} refused as outside the published networks' hull"


def _ask(ledger: Ledger, questions: Iterator[tuple[dict[str, Any], dict[str, float]]], answer: Any) -> None:
    while (trial := ledger.start()) is not None:
        answer(trial)
    known = {(record.role, record.digest) for record in ledger.records()}
    for attributes, params in questions:
        if (attributes["role"], attributes["digest"]) in known:
            continue
        known.add((attributes["role"], attributes["digest"]))
        ledger.queue(attributes, params)
        queued = ledger.start()
        assert queued is not None  # it was queued just now
        answer(queued)


Question = tuple[dict[str, Any], dict[str, float]]


def _first(session: Session) -> Iterator[Question]:
    """The base, and every candidate: asking costs nothing, so no sampler chooses."""
    problem = session.problem
    yield attributes_of("base", problem.base, 0, budget=1.0), {}
    for candidate in problem.pool.candidates:
        anchors = tuple(name for name, anchor in problem.pool.anchors.items() if anchor.digest == candidate.digest)
        more = candidate_attributes(candidate, anchors)
        yield attributes_of("candidate", candidate.arch, 0, budget=2.0, **more), simplex_to_square(candidate.shares)


def _later(session: Session) -> Iterator[Question]:
    """The splits of larger budgets, then the families that follow from the answers so far."""
    settings, base = session.settings, session.problem.base
    start = cost(base).flops
    for k in range(2, settings.members + 1):
        for coefficients, phi, arch in splits(base, k, settings):
            more = {"phi": phi, "coefficients": _values(coefficients), "member": f"B{k}"}
            yield attributes_of("budget", arch, 0, budget=2.0**k, **more), {}
    run = Run(session.folder, session.ledger)
    families = (
        ("family", run.coefficients, run.fixed_family),
        ("reference", PAPER_COEFFICIENTS, run.paper_family),
    )
    for role, coefficients, members in families:
        for k, member in enumerate(members[1:], start=1):
            more = {"phi": member.phi, "coefficients": _values(coefficients), "member": member.name}
            yield attributes_of(role, member.arch, 0, budget=2.0**k, **more), {}
    for member in Run(session.folder, session.ledger).family[1:]:  # members that follow the budget past its last answer
        yield attributes_of("family", member.arch, 0, budget=member.budget / start, member=member.name), {}


def _values(coefficients: Coefficients) -> list[float]:
    return [coefficients.alpha, coefficients.beta, coefficients.gamma]


def splits(base: AnyArch, k: int, settings: Settings) -> Iterator[tuple[Coefficients, float, AnyArch]]:
    """Coefficients on the lattice of shares, with the φ and network nearest to 2^k times the base's FLOPs.

    Only networks within the settings' tolerance of the budget and inside the hull.
    """
    surface = imagenet_surrogate()
    start, rounding = cost(base).flops, ROUNDINGS[settings.rounding]
    origin = np.array(place_of(base))
    for shares in lattice_nodes(FINENESS):
        # Rounding moves a network off its nominal place; what is far outside even so is not solved for.
        if surface.outside_by(np.array([origin + k * np.array(shares)]))[0] > 0.3:
            continue
        coefficients = Coefficients.from_shares(*shares)
        found = to_flops(base, start * 2**k, coefficients, rounding, tolerance=1.0)
        near = abs(found.flops / (start * 2**k) - 1) <= settings.tolerance
        if near and surface.inside(np.array([place_of(found.arch)]))[0]:
            yield coefficients, found.phi, found.arch
