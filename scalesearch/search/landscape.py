"""A recorded landscape: every epoch of every training of a set of networks at one budget, in one file.

It is made from a finished run, and a replay (`search/replay.py`) or a benchmark answers from it in place of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch.search.candidates import Candidate, Interval
from scalesearch.search.recorded import (
    Training,
    common_seeds,
    read_checked,
    read_plan,
    read_trainings,
    rounded,
    training_table,
    trainings_of,
)
from scalesearch.search.records import TrialRecord
from scalesearch.search.run import Run, read_candidate
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import DataError, RunError, ScaleSearchError
from scalesearch.spec.recording import pack, read_recording
from scalesearch.spec.schema import read_arch
from scalesearch.spec.settings import from_dict as settings_from_dict


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
        return common_seeds(network.trainings for network in self.networks)


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
        Network(read_candidate(own[0]), tuple(own[0].attributes["anchors"]), trainings_of(own), {})
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
        base_trainings=trainings_of([trial for trial in done if trial.role == "base"]),
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
        added = {name: tuple(map(rounded, values)) for name, values in own.items()}
        networks.append(replace(network, zero_cost={**network.zero_cost, **added}))
    return replace(landscape, networks=tuple(networks))


def write_landscape(landscape: Landscape, path: Path) -> None:
    path.write_bytes(pack(_to_table(landscape)))


def read_landscape(path: Path) -> Landscape:
    """The landscape in a file. Raises DataError, with every fault (the first ten) and where it is."""
    return read_checked(path, read_recording(path), _from_table)


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
        "base_trainings": [training_table(training) for training in landscape.base_trainings],
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
        "trainings": [training_table(training) for training in network.trainings],
        "zero_cost": {name: list(values) for name, values in network.zero_cost.items()},
    }


def _sides(found: Candidate) -> dict[str, Interval]:
    return {"alpha": found.alpha, "beta": found.beta, "gamma": found.gamma}


def _from_table(table: Mapping[str, Any], faults: list[str]) -> Landscape | None:
    try:
        settings_from_dict(table["settings"])
    except ScaleSearchError as error:
        faults.append(f"settings: {error}")
    plan = read_plan(table["plan"], faults)
    environment = table["environment"]
    if not isinstance(environment, Mapping):
        faults.append(f"environment: must be a table, got {environment!r}")
    base, proxy = (read_arch(table[name], name, faults) for name in ("base", "proxy_base"))
    if not table["networks"]:
        faults.append("networks: must hold at least one, got none")
    networks = [_network(entry, f"networks[{index}]", faults) for index, entry in enumerate(table["networks"])]
    base_trainings = read_trainings(table["base_trainings"], "base_trainings", faults)
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
    trainings = read_trainings(table["trainings"], f"{where}.trainings", faults)
    if not trainings:
        faults.append(f"{where}.trainings: must hold at least one, got none")
    scores = {str(name): tuple(map(float, values)) for name, values in table["zero_cost"].items()}
    candidate = Candidate(
        arch, sides[0], sides[1], sides[2], (shares[0], shares[1], shares[2]), counted.flops, counted.params,
        counted.activations, float(table["ratio"]),
    )  # fmt: skip
    return Network(candidate, tuple(map(str, table["anchors"])), trainings, scores)
