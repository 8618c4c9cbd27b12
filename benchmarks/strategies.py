"""Ways to search a recorded landscape, as functions of a world of fresh noise. benchmarks/search.py compares them.

A strategy pays the recorded processor seconds of every epoch it looks at, and leaves a path: what it had paid each time
that it gave an answer. A strategy that trains a network again gets a fresh training of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from scalesearch.search import surface as model
from scalesearch.search.candidates import Candidate
from scalesearch.search.landscape import Landscape
from scalesearch.search.places import next_of, posterior_of
from scalesearch.search.plan import BASE_EPOCHS, proxy_rounding
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.pruners import make_pruning
from scalesearch.search.records import TrialRecord
from scalesearch.search.resample import Floats, Noise, noise_of
from scalesearch.search.samplers import Pool, Seen, make_pool, propose
from scalesearch.spec.arch import Arch
from scalesearch.spec.dimensions import dimension_logs
from scalesearch.spec.errors import DataError
from scalesearch.spec.evaluators import RECORDED
from scalesearch.spec.files import ranges_of
from scalesearch.spec.scaling import Coefficients, Rounding, scale
from scalesearch.spec.settings import Settings, from_dict
from scalesearch.spec.spaces import CoefficientRanges

NOMINAL = 0.1  # |αβ²γ² − 2|, of the paper's procedure and of constraint by rejection
MOST_TRAININGS = 64  # of one network in one world
REDUCTION = 3  # Hyperband's, Optuna's default
MOST_ASKED = 1_000  # trials of one Optuna study, feasible or not; its examples ask for 100

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, slots=True)
class Field:
    """What does not change from world to world: networks, their costs, and where nominal coefficients lead."""

    landscape: Landscape
    noise: Noise
    proxy: Arch
    ranges: CoefficientRanges
    rounding: Rounding
    nodes: tuple[int, ...]  # of the paper's grid, by the recorded network that each stands for
    distinct: tuple[int, ...]  # of them, the first that realises each network
    candidates: tuple[Candidate, ...]
    digests: tuple[str, ...]  # theirs
    anchors: tuple[Candidate, ...]  # that every search of the tool begins with
    order: tuple[int, ...]  # of the lattice sampler
    paper: int  # the network nearest to the paper's point
    base: float  # cost of one training of the base, which every search of the tool trains first
    rung_stops: tuple[int, ...]  # epochs after which a pruner of the tool is asked; the last is the end
    grown: Grown | None = None  # where trainings that inherit the base's weights were recorded too

    @property
    def whole(self) -> Floats:
        """Cost (n,) of one training to the end."""
        found: Floats = self.noise.seconds.sum(axis=1)
        return found

    @property
    def first(self) -> list[int]:
        """The anchors' networks."""
        return list(dict.fromkeys(self.digests.index(one.digest) for one in self.anchors))

    def realise(self, coefficients: Coefficients) -> Arch:
        return scale(self.proxy, coefficients, 1.0, self.rounding)

    def recorded(self, arch: Arch) -> int:
        """The recorded network nearest to `arch` in realised shares."""
        logs = [max(0.0, value) for value in dimension_logs(self.proxy, arch)]
        shares = np.array(logs) / (sum(logs) or 1.0)
        return int(np.linalg.norm(self.noise.shares - shares, axis=1).argmin())


@dataclass(frozen=True, slots=True)
class Grown:
    """The field's networks, in its order, trained from the base's weights: with `seeds` seeds, for which the base is
    trained first, at `before` of cost. What they are compared by stays their score from scratch."""

    noise: Noise
    seeds: int
    before: float
    rung_stops: tuple[int, ...]


@dataclass(slots=True)
class Path:
    """Costs and answers, in order; `spent` is what has been paid so far."""

    spent: float = 0.0
    costs: list[float] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def answer(self, network: int) -> None:
        self.costs.append(self.spent)
        self.answers.append(network)


@dataclass(frozen=True, slots=True)
class World:
    """One draw: true scores (n,), and scores (n, k, e) of the k-th training of each network after each epoch; `grown`:
    of those that inherit."""

    field: Field
    truth: Floats
    scores: Floats
    number: int
    grown: Floats | None = None

    @property
    def seconds(self) -> Floats:
        return self.field.noise.seconds

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.number, 1])


Strategy = Callable[[World, float], Path]  # a world, and the cost at which to stop


def make_field(landscape: Landscape, inherited: Landscape | None = None) -> Field:
    """`inherited` is a recording of the same networks that start from the base's weights. Raises DataError."""
    settings = from_dict(landscape.settings)
    ranges, rounding = ranges_of(settings.base), proxy_rounding(settings)
    candidates = tuple(network.candidate for network in landscape.networks)
    digests, pool = tuple(one.digest for one in candidates), make_pool(candidates)
    found = Field(
        landscape=landscape,
        noise=noise_of(landscape),
        proxy=landscape.proxy_base,
        ranges=ranges,
        rounding=rounding,
        nodes=(),
        distinct=(),
        candidates=candidates,
        digests=digests,
        anchors=tuple(pool.anchors.values()),
        order=_lattice_order(pool, digests),
        paper=digests.index(pool.anchors["paper"].digest),
        base=_base_cost(landscape),
        rung_stops=tuple(plan_from_dict(dict(landscape.plan)).rung_stops(settings.rungs)),
    )
    nodes = [
        Coefficients(alpha, beta, gamma)
        for alpha in _steps(ranges.alpha.low, ranges.alpha.high, ranges.step)
        for beta in _steps(ranges.beta.low, ranges.beta.high, ranges.step)
        for gamma in _steps(ranges.gamma.low, ranges.gamma.high, ranges.step)
    ]
    archs = [found.realise(node) for node in nodes if abs(node.nominal_ratio - 2) <= NOMINAL + 1e-9]
    return replace(
        found,
        nodes=tuple(map(found.recorded, archs)),
        distinct=tuple(map(found.recorded, {arch.digest: arch for arch in archs}.values())),
        grown=None if inherited is None else _grown(landscape, inherited),
    )


def _base_cost(landscape: Landscape) -> float:
    """Raises DataError."""
    trainings = landscape.base_trainings
    if not trainings:
        raise DataError("the recording must hold a training of the base, which every search pays for; record one")
    return float(np.mean([own.processor_seconds for own in trainings]))


def _grown(landscape: Landscape, inherited: Landscape) -> Grown:
    """The base's price is that of its epochs from scratch. Raises DataError if the two do not belong together."""
    settings = from_dict(inherited.settings)
    one, other = landscape.settings, inherited.settings
    faults = [
        f"{name} must be {one[name]!r} as in the recording from scratch, got {other[name]!r}"
        for name in RECORDED
        if name != "epochs" and one[name] != other[name]
    ]
    if not settings.inherit:
        faults.append("its settings must have inherit = true")
    digests = [[network.candidate.digest for network in one.networks] for one in (landscape, inherited)]
    if digests[0] != digests[1] or landscape.data_fingerprint != inherited.data_fingerprint:
        faults.append("networks and images must be those of the recording from scratch")
    if faults:
        raise DataError(f"inherited: {'; '.join(faults)}; record it by experiments/scalebench_inherited.toml")
    return Grown(
        noise=noise_of(inherited),
        seeds=settings.seeds,
        before=settings.seeds * BASE_EPOCHS * inherited.epochs / landscape.epochs * _base_cost(landscape),
        rung_stops=tuple(plan_from_dict(dict(inherited.plan)).rung_stops(settings.rungs)),
    )


def noise_in(field: Field, number: int) -> Noise:
    """That of world `number`, with a truth that the recording leaves open."""
    return field.noise.redrawn(np.random.default_rng([number, 3]))


def make_world(field: Field, number: int, one_seed: bool) -> World:
    """World `number`: its truth, and fresh trainings under it; with `one_seed` all share the effect of one seed.
    Inherited trainings are drawn from a recording of their own, about its best guesses."""
    noise = noise_in(field, number)
    scores = noise.draw(np.random.default_rng([number, 0]), MOST_TRAININGS, one_seed)
    grown = field.grown and field.grown.noise.draw(np.random.default_rng([number, 2]), field.grown.seeds)
    return World(field, noise.truth[:, -1], scores, number, grown)


def _steps(low: float, high: float, step: float) -> list[float]:
    return [round(low + index * step, 10) for index in range(math.floor((high - low) / step + 1e-9) + 1)]


def _lattice_order(pool: Pool, digests: tuple[str, ...]) -> tuple[int, ...]:
    """In which the tool's lattice sampler tries the networks, the anchors first."""
    seen = list[Seen]()
    while (found := propose("lattice", pool, seen, 0)) is not None:
        seen.append(Seen(found, None))
    return tuple(digests.index(one.candidate.digest) for one in seen)


def paper_grid(world: World, stop: float, distinct: bool = False) -> Path:
    """Every feasible node of the 0.05 grid trained to the end once; the answer is the best of all, at the end.

    `distinct`: nodes that realise one network are trained once, as by someone who notices.
    """
    path, best, answer, count = Path(), -math.inf, -1, dict[int, int]()
    for network in world.field.distinct if distinct else world.field.nodes:
        value = world.scores[network, count.setdefault(network, 0) % MOST_TRAININGS, -1]
        count[network] += 1
        path.spent += float(world.field.whole[network])
        if value > best:
            best, answer = value, network
    if answer >= 0:
        path.answer(answer)
    return path


def grid_in_random_order(world: World, stop: float) -> Path:
    """The same in random order, with the best so far as its answer at any time."""
    path, best, count = Path(), -math.inf, dict[int, int]()
    for network in world.rng().permutation(world.field.nodes):
        value = world.scores[network, count.setdefault(network, 0) % MOST_TRAININGS, -1]
        count[network] += 1
        path.spent += float(world.field.whole[network])
        if value > best:
            best = value
            path.answer(int(network))
    return path


def _train(
    world: World, study: optuna.Study, trial: optuna.Trial, network: int, again: int, path: Path, first: int
) -> float | None:
    """One trial that reports each epoch, numbered from `first`, and asks the pruner; its score, None if pruned."""
    curve = world.scores[network, again % MOST_TRAININGS]
    for epoch, value in enumerate(curve):
        path.spent += float(world.seconds[network, epoch])
        trial.report(float(value), epoch + first)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return None
    study.tell(trial, float(curve[-1]))
    return float(curve[-1])


def _study(world: World, sampler: optuna.samplers.BaseSampler, last: int) -> optuna.Study:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=last, reduction_factor=REDUCTION)
    # Hyperband sorts trials into brackets by the study's name.
    return optuna.create_study(study_name=f"world {world.number}", direction="maximize", sampler=sampler, pruner=pruner)


def tpe_hyperband(world: World, stop: float, first: int = 1) -> Path:
    """Optuna as its examples use it: TPE on α, β and γ, HyperbandPruner, each epoch reported, the answer best_trial's.

    A point that breaks |αβ²γ² − 2| <= 0.1 is pruned before any training, and costs nothing. Defaults else. Some studies
    find hardly a feasible point: after MOST_ASKED trials the search ends.
    """
    here = world.field
    path, count, best = Path(), dict[int, int](), -math.inf
    sampler = optuna.samplers.TPESampler(seed=int(world.rng().integers(2**31)))
    study = _study(world, sampler, len(world.seconds[0]) + first - 1)
    for _ in range(MOST_ASKED):
        if path.spent >= stop:
            break
        trial = study.ask()
        values = [
            trial.suggest_float(name, side.low, side.high)
            for name, side in (("alpha", here.ranges.alpha), ("beta", here.ranges.beta), ("gamma", here.ranges.gamma))
        ]
        coefficients = Coefficients(*values)
        if abs(coefficients.nominal_ratio - 2) > NOMINAL:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        network = here.recorded(here.realise(coefficients))
        value = _train(world, study, trial, network, count.setdefault(network, 0), path, first)
        count[network] += 1
        if value is not None and value > best:
            best = value
            path.answer(network)
    return path


def random_hyperband(world: World, stop: float, first: int = 1, by_mean: bool = True, anchors: bool = False) -> Path:
    """Random search over the distinct networks, with the same pruner: each once in random order, then each again.

    The answer is the best mean over a network's finished trainings; not `by_mean`: the best single training. With
    `anchors` the tool's own first networks come first: what is left is what the model adds.
    """
    path, rng = Path(), world.rng()
    scores: dict[int, list[float]] = {}
    study = _study(world, optuna.samplers.RandomSampler(seed=world.number), len(world.seconds[0]) + first - 1)
    for again in range(MOST_TRAININGS):
        order = list(map(int, rng.permutation(len(world.seconds))))
        if anchors and again == 0:
            order = list(dict.fromkeys([*world.field.first, *order]))
        for network in order:
            if path.spent >= stop:
                return path
            value = _train(world, study, study.ask(), network, again, path, first)
            if value is not None:
                scores.setdefault(network, []).append(value)
                rate = np.mean if by_mean else np.max
                path.answer(max(scores, key=lambda one: (rate(scores[one]), -one)))
    return path


def lattice(world: World, stop: float, seeds: int = 2) -> Path:
    """The tool's lattice: all networks with one seed, then all with the next; the best mean over common seeds."""
    path = Path(world.field.base)
    order = world.field.order
    for seed in range(seeds):
        for index, network in enumerate(order):
            if path.spent >= stop:
                return path
            path.spent += float(world.field.whole[network])
            seen = order[: index + 1] if seed == 0 else order
            means = world.scores[:, : max(1, seed), -1].mean(axis=1)
            path.answer(max(seen, key=lambda one: (means[one], -one)))
        means = world.scores[:, : seed + 1, -1].mean(axis=1)
        path.answer(int(means.argmax()))
    return path


def surface(world: World, stop: float, pruner: str = "none", precision: float = -1.0, inherit: bool = False) -> Path:
    """The tool's default search, by its own decisions (`places.next_of`, `pruners.Pruning`), on records as its ledger
    would hold them: the anchors first, then the training that the surface chooses.

    It ends by itself when its answer is expected to miss no more than `precision` of score; of less than
    0: never. With `inherit` the base is trained first, and networks start from its weights.
    """
    here, path = world.field, Path(world.field.base)
    scores, noise, stops, seeds = world.scores, here.noise, here.rung_stops, model.MOST_SEEDS
    if inherit:
        assert here.grown is not None and world.grown is not None  # who asks has seen to it
        scores, noise, stops, seeds = world.grown, here.grown.noise, here.grown.rung_stops, here.grown.seeds
        path.spent = here.grown.before
    records: list[TrialRecord] = []
    factor = dict(zip(here.digests, map(float, noise.correction), strict=True))
    pruning = make_pruning(pruner, stops, lambda record, accuracy: accuracy * factor[record.digest], ())
    while path.spent < stop:
        found = next_of(records, here.candidates, here.anchors, here.digests[here.paper], precision, seeds)
        if found is None:
            break
        candidate, seed = found
        place = here.digests.index(candidate.digest)
        record = _record(here, place, seed, len(records))
        first = 0
        for last in stops:
            accuracies = scores[place, seed, first:last] / noise.correction[place]
            epochs = [{"epoch": first + n, "accuracy": float(value)} for n, value in enumerate(accuracies, 1)]
            seconds = float(noise.seconds[place, first:last].sum())
            path.spent += seconds
            rung: dict[str, Any] = {"epochs": epochs, "seconds": seconds}
            verdict = pruning.judge(record, epochs) if pruning is not None and last < stops[-1] else None
            if verdict is not None:
                rung["pruner"] = verdict.to_dict()
            record, first = replace(record, rungs=(*record.rungs, rung)), last
            if record.stop:
                break
        record = replace(record, status="pruned" if record.stop else "done")
        if not record.stop:
            record = replace(record, score=float(scores[place, seed, -1]))
        records.append(record)
        if pruning is not None:
            pruning.see(record)
        if any(one.score is not None for one in records):
            posterior = posterior_of(records, here.digests, [one.shares for one in here.candidates])
            path.answer(model.recommend(posterior))
    return path


def _record(here: Field, place: int, seed: int, number: int) -> TrialRecord:
    """A training of a network that is about to start."""
    found, anchors = here.candidates[place], here.landscape.networks[place].anchors
    return TrialRecord(
        number, "running", "candidate", found.digest, seed, found.arch, found.flops, found.params, found.activations,
        None, "", (), {"anchors": anchors},
    )  # fmt: skip


STRATEGIES: Mapping[str, Strategy] = {
    "paper": paper_grid,
    "paper_distinct": partial(paper_grid, distinct=True),
    "grid_any_time": grid_in_random_order,
    "tpe": tpe_hyperband,
    "tpe_from_0": partial(tpe_hyperband, first=0),
    "random": random_hyperband,
    "random_from_0": partial(random_hyperband, first=0),
    "random_best_trial": partial(random_hyperband, by_mean=False),
    "random_anchors": partial(random_hyperband, anchors=True),
    "lattice": lattice,
    "surface": surface,
    "surface_stops": partial(surface, precision=Settings(1).precision / 100),
    "surface_asha": partial(surface, pruner="asha"),
    "surface_median": partial(surface, pruner="median"),
    "surface_inherit": partial(surface, inherit=True),
}
INHERIT = ("surface_inherit",)  # need a recording of such trainings
# Scripts with a fixed seed: all their trainings share its effect.
ONE_SEED = ("paper", "paper_distinct", "grid_any_time", "tpe", "tpe_from_0")
