"""What each network of a run costs on each axis: computed, or measured once and kept in the ledger.

Times are measured on a worker, one thread, the network's steps in turn with the proxy base's: what slows the machine
slows both, so their ratio holds where times drift. A time is that ratio times the base's own. On CPU it is processor
time, because the other workers, and other people's processes, take their share of every wall-clock time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scalesearch.fit.recipe import Recipe
from scalesearch.fit.speed import measure_train_step, train_step_seconds
from scalesearch.nets.latency import latency_seconds
from scalesearch.nets.timing import Spread, spread
from scalesearch.search.executor import Executor, WorkerDied, in_fresh_process, run_all
from scalesearch.search.ledger import Ledger
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import reward
from scalesearch.spec.axes import AXES, Axis
from scalesearch.spec.cost import cost
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.settings import Settings

ROUNDS = (3, 11)  # warm-up and the fewest to be counted, for the base and the network each
MEMORY_ROUNDS = (1, 2)
ATTEMPTS = 3  # at one measurement, if workers die


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how a run measures."""

    executor: Executor
    base: AnyArch  # the proxy base
    recipe: Recipe
    device: str
    seconds: float  # at least so long for each network, with the base in turn


def measured(facts: Mapping[str, Any], axis: str, digest: str) -> Spread | None:
    """What a run's facts hold of a network on a measured axis, in seconds or bytes."""
    stored = facts.get(_key(axis, digest))
    return None if stored is None else Spread(**stored)


def measure(ledger: Ledger, bench: Bench, axis: str, archs: Iterable[AnyArch]) -> None:
    """Measure those of `archs` that the ledger does not have yet, on all workers, and store them.

    Raises TrainingError if the memory does not suffice, or WorkerDied.
    """
    facts = ledger.facts()
    missing = {arch.digest: arch for arch in archs if _key(axis, arch.digest) not in facts}
    if not missing:
        return
    start = measured(facts, axis, bench.base.digest)
    if start is None:
        (values,) = _values(bench, axis, [bench.base])
        start = spread(values)
        _store(ledger, axis, bench.base, start)
    others = [arch for digest, arch in missing.items() if digest != bench.base.digest]
    step = bench.executor.workers
    for first in range(0, len(others), step):  # stored as they come: an interruption loses the last few
        some = others[first : first + step]
        for arch, values in zip(some, _values(bench, axis, some, start.median), strict=True):
            _store(ledger, axis, arch, spread(values))


def make_score(ledger: Ledger, bench: Bench, settings: Settings) -> Callable[[TrialRecord, float], float]:
    """Maps a trained network and its accuracy to its score; on a measured axis the network is measured first.

    The target is the proxy base's cost on the same axis times the network's budget ratio in FLOPs: 2 for candidates.
    The score raises TrainingError if the network cannot be measured.
    """
    value, base = make_cost(ledger, bench, AXES[settings.cost]), cost(bench.base)
    start, exponent = value(bench.base), settings.exponent
    assert exponent is not None  # a search of the base has fitted it

    def score(record: TrialRecord, accuracy: float) -> float:
        ratio = 2.0 if record.role == "candidate" else float(record.attributes["budget"])
        params_ratio = record.params / (base.params * ratio)
        found = value(record.arch)
        return reward(accuracy, found, start * ratio, settings.objective, params_ratio, exponent)

    return score


def make_cost(ledger: Ledger, bench: Bench, axis: Axis) -> Callable[[AnyArch], float]:
    """Maps a network to its cost: counted, or measured once and kept in the ledger. Then it may raise TrainingError."""

    def value(arch: AnyArch) -> float:
        if not axis.measured:
            return float(getattr(cost(arch), axis.name))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                measure(ledger, bench, axis.name, [arch])
                break
            except WorkerDied:
                if attempt == ATTEMPTS:
                    raise
        found = measured(ledger.facts(), axis.name, arch.digest)
        assert found is not None
        return found.median

    return value


def _values(bench: Bench, axis: str, archs: Sequence[AnyArch], base: float | None = None) -> list[list[float]]:
    """Repeated measurements of each network. `base` is the base's own median; None while that is measured itself."""
    calls: list[tuple[Any, ...]]
    if axis == "memory":
        calls = [(measure_train_step, arch, bench.recipe, bench.device, 1, *MEMORY_ROUNDS) for arch in archs]
        return [[float(in_fresh_process(*call).peak_memory)] for call in calls]
    pairs = [(arch,) if base is None else (bench.base, arch) for arch in archs]
    if axis == "latency":
        calls = [(pair, bench.device, *ROUNDS, bench.seconds) for pair in pairs]
        found = run_all(bench.executor, latency_seconds, calls)
    else:
        calls = [(pair, bench.recipe, bench.device, *ROUNDS, bench.seconds) for pair in pairs]
        found = run_all(bench.executor, train_step_seconds, calls)
    if base is None:
        return [times[0] for times in found]
    return [[base * own / other for other, own in zip(*times, strict=True)] for times in found]


def _store(ledger: Ledger, axis: str, arch: AnyArch, found: Spread) -> None:
    ledger.set_fact(_key(axis, arch.digest), asdict(found))


def _key(axis: str, digest: str) -> str:
    return f"{axis} {digest}"
