"""A recorded landscape: every epoch of every training of a set of networks at one budget, in one file.

It is made from a finished run, and a replay (`search/replay.py`) or a benchmark answers from it in place of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch.fit.recipe import Epoch
from scalesearch.search.candidates import Candidate, Interval
from scalesearch.search.plan import Plan
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import Run, read_candidate
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import DataError, RunError, ScaleSearchError
from scalesearch.spec.recording import pack, read_recording
from scalesearch.spec.schema import read_arch
from scalesearch.spec.settings import from_dict as settings_from_dict

COLUMNS = ("train_loss", "val_loss", "accuracy", "seconds", "images_per_second", "processor_seconds")
DIGITS = 6  # of a recorded number
_MEND = "restore the file, or pack the run again with benchmarks/record.py"
_MOST_FAULTS = 10  # in one message
_MOST_COUNT = 100_000_000  # of epochs or images, as in the settings


@dataclass(frozen=True, slots=True)
class Training:
    """One whole training: its seed, and its epochs in order."""

    seed: int
    epochs: tuple[Epoch, ...]

    @property
    def processor_seconds(self) -> float:
        return sum(epoch.processor_seconds for epoch in self.epochs)


@dataclass(frozen=True, slots=True)
class Network:
    """A recorded network. `zero_cost`: by score, a value per initialisation; of what needs no training."""

    candidate: Candidate
    anchors: tuple[str, ...]
    trainings: tuple[Training, ...]
    zero_cost: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Landscape:
    """What was recorded, and how: `settings`, `plan`, `environment` and `data_fingerprint` are the run's own.

    All trainings have the same number of epochs. `base` is full size, `proxy_base` is what the networks were scaled
    from; `base_trainings` are the latter's.
    """

    measured: str  # what was recorded, in words
    settings: Mapping[str, Any]
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    data_fingerprint: str
    notes: tuple[str, ...]
    base: Arch
    base_note: str
    proxy_base: Arch
    base_trainings: tuple[Training, ...]
    networks: tuple[Network, ...]

    @property
    def epochs(self) -> int:
        return len(self.networks[0].trainings[0].epochs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that every network was trained with."""
        common = frozenset[int].intersection(*(frozenset(t.seed for t in n.trainings) for n in self.networks))
        return tuple(sorted(common))


def record(run: Run, measured: str, partial: bool = False) -> Landscape:
    """The landscape of a run: its candidates' whole trainings, and the base's.

    Raises RunError for a run that has not finished (unless `partial`), that trained nothing, or of a factory.
    """
    if run.finished is None and not partial:
        raise RunError(f"{run.folder}: the run has not finished; continue it, or pack what there is with --partial")
    base, proxy = run.base, run.proxy_base
    if not isinstance(base, Arch) or not isinstance(proxy, Arch):
        raise RunError(f"{run.folder}: its base comes from a factory, which no file can hold; record a base of files")
    whole = run.plan.epochs if run.plan is not None else math.inf
    done = [trial for trial in run.trials if trial.status == "done" and len(trial.epochs) == whole]
    trials: dict[str, list[TrialRecord]] = {}
    for trial in done:
        if trial.role == "candidate":
            trials.setdefault(trial.digest, []).append(trial)
    if not trials:
        raise RunError(f"{run.folder}: no candidate was trained to the end; a recording needs whole trainings")
    assert run.plan is not None  # it has been trained
    networks = [
        Network(read_candidate(own[0]), tuple(own[0].attributes["anchors"]), _trainings(own), {})
        for own in trials.values()
    ]
    return Landscape(
        measured=measured,
        settings=run.settings.to_dict(),
        plan=run.plan.to_dict(),
        environment=run.facts["environment"],
        data_fingerprint=run.facts["data_fingerprint"],
        notes=tuple(run.facts["notes"]),
        base=base,
        base_note=run.facts["base_note"],
        proxy_base=proxy,
        base_trainings=_trainings([trial for trial in done if trial.role == "base"]),
        networks=tuple(sorted(networks, key=lambda network: network.candidate.digest)),
    )


def with_zero_cost(landscape: Landscape, scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Landscape:
    """The landscape with scores (digest -> name -> a value per initialisation) beside those it has.

    Raises DataError for a network that it does not hold.
    """
    known = {network.candidate.digest for network in landscape.networks}
    if foreign := sorted(set(scores) - known):
        raise DataError(f"zero-cost scores of {foreign[0]}: the recording holds no such network; score its own")
    networks = []
    for network in landscape.networks:
        own = scores.get(network.candidate.digest, {})
        added = {name: tuple(map(_rounded, values)) for name, values in own.items()}
        networks.append(replace(network, zero_cost={**network.zero_cost, **added}))
    return replace(landscape, networks=tuple(networks))


def write_landscape(landscape: Landscape, path: Path) -> None:
    path.write_bytes(pack(_to_table(landscape)))


def read_landscape(path: Path) -> Landscape:
    """The landscape in a file. Raises DataError, with every fault (the first ten) and where it is."""
    table = read_recording(path)
    faults: list[str] = []
    try:
        landscape = _from_table(table, faults)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        faults.append(f"its tables do not fit this version: {what}")
        landscape = None
    if landscape is None or faults:
        shown = "; ".join(faults[:_MOST_FAULTS])
        more = f"; and {len(faults) - _MOST_FAULTS} more faults" if len(faults) > _MOST_FAULTS else ""
        raise DataError(f"{path}: {shown}{more}; {_MEND}")
    return landscape


def _trainings(records: Sequence[TrialRecord]) -> tuple[Training, ...]:
    trainings = []
    for own in records:
        rows = [{name: _rounded(epoch[name]) for name in COLUMNS} for epoch in own.epochs]
        trainings.append(Training(own.seed, tuple(Epoch(number, **row) for number, row in enumerate(rows, 1))))
    return tuple(sorted(trainings, key=lambda training: training.seed))


def _rounded(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def _to_table(landscape: Landscape) -> dict[str, Any]:
    return {
        "measured": landscape.measured,
        "settings": dict(landscape.settings),
        "plan": dict(landscape.plan),
        "environment": dict(landscape.environment),
        "data_fingerprint": landscape.data_fingerprint,
        "notes": list(landscape.notes),
        "base": landscape.base.to_dict(),
        "base_note": landscape.base_note,
        "proxy_base": landscape.proxy_base.to_dict(),
        "base_trainings": [_training_table(training) for training in landscape.base_trainings],
        "networks": [_network_table(network) for network in landscape.networks],
    }


def _network_table(network: Network) -> dict[str, Any]:
    found = network.candidate
    return {
        "arch": found.arch.to_dict(),
        "digest": found.digest,
        "anchors": list(network.anchors),
        "shares": list(found.shares),
        **{name: [side.value, side.low, side.high] for name, side in _sides(found).items()},
        "flops": found.flops,
        "params": found.params,
        "activations": found.activations,
        "ratio": found.ratio,
        "trainings": [_training_table(training) for training in network.trainings],
        "zero_cost": {name: list(values) for name, values in network.zero_cost.items()},
    }


def _sides(found: Candidate) -> dict[str, Interval]:
    return {"alpha": found.alpha, "beta": found.beta, "gamma": found.gamma}


def _training_table(training: Training) -> dict[str, Any]:
    return {"seed": training.seed, **{name: [getattr(epoch, name) for epoch in training.epochs] for name in COLUMNS}}


def _from_table(table: Mapping[str, Any], faults: list[str]) -> Landscape | None:
    try:
        settings_from_dict(table["settings"])
    except ScaleSearchError as error:
        faults.append(f"settings: {error}")
    plan = _plan(table["plan"], faults)
    environment = table["environment"]
    if not isinstance(environment, Mapping):
        faults.append(f"environment: must be a table, got {environment!r}")
    base, proxy = (read_arch(table[name], name, faults) for name in ("base", "proxy_base"))
    if not table["networks"]:
        faults.append("networks: must hold at least one, got none")
    networks = [_network(entry, f"networks[{index}]", faults) for index, entry in enumerate(table["networks"])]
    base_trainings = _read_trainings(table["base_trainings"], "base_trainings", faults)
    lengths = {len(t.epochs) for n in networks if n is not None for t in n.trainings} | {
        len(training.epochs) for training in base_trainings
    }
    if len(lengths) > 1:
        faults.append(f"trainings must all have the same number of epochs, got {sorted(lengths)}")
    elif plan is not None and lengths and lengths != {plan.epochs}:
        faults.append(f"plan.epochs: must be what the trainings have, {lengths.pop()}, got {plan.epochs}")
    digests = [network.candidate.digest for network in networks if network is not None]
    if len(set(digests)) < len(digests):
        faults.append("networks must be distinct, and two are the same")
    if faults or base is None or proxy is None:
        return None
    return Landscape(
        measured=str(table["measured"]),
        settings=table["settings"],
        plan=table["plan"],
        environment=environment,
        data_fingerprint=str(table["data_fingerprint"]),
        notes=tuple(map(str, table["notes"])),
        base=base,
        base_note=str(table["base_note"]),
        proxy_base=proxy,
        base_trainings=base_trainings,
        networks=tuple(network for network in networks if network is not None),
    )


def _plan(table: Any, faults: list[str]) -> Plan | None:
    """The stored plan, of which a replay makes its own."""
    try:
        plan = plan_from_dict(table)
    except (KeyError, TypeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        faults.append(f"plan: must be a run's plan: {what}")
        return None
    for name in ("epochs", "train_images", "val_images"):
        value = getattr(plan, name)
        if type(value) is not int or not 1 <= value <= _MOST_COUNT:
            faults.append(f"plan.{name}: must be an integer from 1 to {_MOST_COUNT:,}, got {value!r}")
            return None
    return plan


def _network(table: Mapping[str, Any], where: str, faults: list[str]) -> Network | None:
    arch = read_arch(table["arch"], f"{where}.arch", faults)
    if arch is None:
        return None
    counted = cost(arch)
    for name, value in (
        ("digest", arch.digest),
        ("flops", counted.flops),
        ("params", counted.params),
        ("activations", counted.activations),
    ):
        if table[name] != value:
            faults.append(f"{where}.{name}: must be its network's, {value!r}, got {table[name]!r}")
    shares = tuple(map(float, table["shares"]))
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        faults.append(f"{where}.shares: must be three shares of 1, got {table['shares']}")
        return None
    sides = [Interval(*map(float, table[name])) for name in ("alpha", "beta", "gamma")]
    trainings = _read_trainings(table["trainings"], f"{where}.trainings", faults)
    if not trainings:
        faults.append(f"{where}.trainings: must hold at least one, got none")
    scores = {str(name): tuple(map(float, values)) for name, values in table["zero_cost"].items()}
    candidate = Candidate(
        arch, sides[0], sides[1], sides[2], (shares[0], shares[1], shares[2]), counted.flops, counted.params,
        counted.activations, float(table["ratio"]),
    )  # fmt: skip
    return Network(candidate, tuple(map(str, table["anchors"])), trainings, scores)


def _read_trainings(tables: Sequence[Mapping[str, Any]], where: str, faults: list[str]) -> tuple[Training, ...]:
    trainings = []
    for index, table in enumerate(tables):
        place = f"{where}[{index}]"
        columns = {name: [float(value) for value in table[name]] for name in COLUMNS}
        if len({len(column) for column in columns.values()}) > 1 or not columns["accuracy"]:
            faults.append(f"{place}: its columns must be of one length, at least 1")
            continue
        for name, column in columns.items():
            highest = 1.0 if name == "accuracy" else math.inf
            bad = [value for value in column if not (math.isfinite(value) and 0 <= value <= highest)]
            if bad:
                rule = "from 0 to 1" if name == "accuracy" else "finite and not negative"
                faults.append(f"{place}.{name}: must be {rule}, got {bad[0]}")
        rows = zip(*(columns[name] for name in COLUMNS), strict=True)
        epochs = tuple(Epoch(number, *row) for number, row in enumerate(rows, 1))
        trainings.append(Training(int(table["seed"]), epochs))
    seeds = [training.seed for training in trainings]
    if len(set(seeds)) < len(seeds):
        faults.append(f"{where}: seeds must be distinct, got {seeds}")
    return tuple(trainings)
