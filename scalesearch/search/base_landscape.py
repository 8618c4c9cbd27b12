"""A recorded search of a base: the trainings of a space's networks within one budget, in one file.

It is made from finished searches of one space that differ in their seed, each of which trained every network once;
`benchmarks/base_search.py` lets any strategy search it again. Unlike `search/landscape.py`'s networks these are points
of a space, and their reward is by the FLOPs of the whole network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch.search.base_problem import budget_of, fingerprint_of, proxy_of
from scalesearch.search.base_run import BaseRun
from scalesearch.search.base_search import base_of
from scalesearch.search.plan import LENGTHS, Plan
from scalesearch.search.recorded import (
    Training,
    common_seeds,
    read_checked,
    read_plan,
    read_trainings,
    training_table,
    trainings_of,
)
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import reward
from scalesearch.spec.arch import Arch
from scalesearch.spec.base_space import BaseSpace, Point
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import RunError, ScaleSearchError
from scalesearch.spec.feasible import Budget
from scalesearch.spec.files import parse_space, space_text
from scalesearch.spec.recording import BASE_FORMAT, pack, read_recording
from scalesearch.spec.settings import SEARCH, Settings
from scalesearch.spec.settings import from_dict as settings_from_dict

FREE = ("seed", "strategy", "trials", "workers")  # settings in which the recorded searches may differ


@dataclass(frozen=True, slots=True)
class Source:
    """One recorded search: its `seed` is that of its trainings here, and of its images where these are drawn."""

    seed: int
    ended: str  # in words
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    data_fingerprint: str


@dataclass(frozen=True, slots=True)
class BaseNetwork:
    """A network that was trained, by its proxy, whose `digest` it has here; `flops` are its own."""

    point: Point
    digest: str
    flops: int
    proxy_flops: int
    trainings: tuple[Training, ...]


@dataclass(frozen=True, slots=True)
class BaseLandscape:
    """What was recorded, and how. The space is kept as its file's name and text.

    `settings` are the first search's, its exponent a number. All trainings have the same number of epochs. `classes`
    and `channels` are the images'.
    """

    measured: str  # what was recorded, in words
    settings: Settings
    space_file: str
    space_text: str
    classes: int
    channels: int
    sources: tuple[Source, ...]
    networks: tuple[BaseNetwork, ...]

    @property
    def space(self) -> BaseSpace:
        found = parse_space(self.space_file, self.space_text).search
        assert found is not None  # checked where a landscape is made
        return found

    @property
    def budget(self) -> Budget:
        return budget_of(self.settings)

    @property
    def images(self) -> int:
        """That an accuracy is measured on."""
        return int(self.sources[0].plan["val_images"])

    @property
    def seeds(self) -> tuple[int, ...]:
        return common_seeds(network.trainings for network in self.networks)

    def reward(self, flops: int, accuracy: float) -> float:
        """The search's own objective, of a network of these FLOPs whose proxy reached this accuracy."""
        settings = self.settings
        assert settings.exponent is not None  # a recorded search has fitted it
        target = float(settings.target_flops)
        return reward(accuracy, flops, target, settings.objective, exponent=settings.exponent)


def record_bases(runs: Sequence[BaseRun], measured: str, partial: bool = False) -> BaseLandscape:
    """The landscape of searches of one space: the first, whole training of every network that they proposed.

    Raises RunError for a search that has not finished (unless `partial`), weighs another cost than FLOPs, trained
    nothing, or does not go with the first one; SpaceError if its space has gone.
    """
    first = runs[0]
    settings = first.settings
    file, text = space_text(settings.space)
    space = parse_space(file, text).search
    for run in runs:
        if run.finished is None and not partial:
            raise RunError(f"{run.folder}: the search has not finished; continue it, or pack it with --partial")
        if run.settings.cost != "flops":
            raise RunError(
                f"{run.folder}: its rewards weigh {run.settings.cost}, and a recording knows FLOPs; record a search "
                "without --cost"
            )
        if space is None or run.facts["space"] != fingerprint_of(space):
            raise RunError(f"{run.folder}: the space {settings.space} has changed since it was searched; restore it")
        _check_alike(run, first)
    seeds = [run.settings.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise RunError(f"{first.folder}: the searches must differ in --seed, got {seeds}; give each run once")
    trained: dict[str, list[TrialRecord]] = {}
    trainings: dict[str, list[Training]] = {}
    for run in runs:
        plan = run.plan
        for trial in run.trials:
            whole = plan is not None and trial.status == "done" and len(trial.epochs) == plan.epochs
            if trial.role == "candidate" and whole:
                trained.setdefault(trial.digest, []).append(trial)
                own = replace(trainings_of([trial])[0], seed=run.settings.seed)
                trainings.setdefault(trial.digest, []).append(own)
    if not trained:
        raise RunError(f"{first.folder}: no network was trained to the end; a recording needs whole trainings")
    networks = [
        BaseNetwork(
            tuple(own[0].attributes["point"]),
            digest,
            cost(base_of(own[0])).flops,
            own[0].flops,
            tuple(sorted(trainings[digest], key=lambda training: training.seed)),
        )
        for digest, own in trained.items()
    ]
    proxy = next(iter(trained.values()))[0].arch
    assert isinstance(proxy, Arch)  # the networks of a space are
    return BaseLandscape(
        measured=measured,
        settings=settings,
        space_file=file,
        space_text=text,
        classes=proxy.classes,
        channels=proxy.in_channels,
        sources=tuple(sorted(map(_source, runs), key=lambda source: source.seed)),
        networks=tuple(sorted(networks, key=lambda network: network.digest)),
    )


def write_base_landscape(landscape: BaseLandscape, path: Path) -> None:
    path.write_bytes(pack(_to_table(landscape), BASE_FORMAT))


def read_base_landscape(path: Path) -> BaseLandscape:
    """The landscape in a file; points, digests and FLOPs are worked out again.

    Raises DataError, with every fault (the first ten) and where it is.
    """
    return read_checked(path, read_recording(path, BASE_FORMAT), _from_table)


def _check_alike(run: BaseRun, first: BaseRun) -> None:
    """Raises RunError where two searches trained differently."""
    own, other = run.settings.to_dict(), first.settings.to_dict()
    apart = [name for name in own if name not in FREE and own[name] != other[name]]
    plan, model = run.plan, first.plan
    if plan is not None and model is not None:
        apart += [name for name in LENGTHS if getattr(plan, name) != getattr(model, name)]
    if apart:
        raise RunError(
            f"{run.folder}: was not searched as {first.folder}, {', '.join(dict.fromkeys(apart))} differ; record runs "
            f"that differ in {', '.join(FREE)} only"
        )


def _source(run: BaseRun) -> Source:
    assert run.plan is not None  # it has been trained
    ended = run.finished or "not finished"
    facts = run.facts
    return Source(run.settings.seed, ended, run.plan.to_dict(), facts["environment"], facts["data_fingerprint"])


def _to_table(landscape: BaseLandscape) -> dict[str, Any]:
    return {
        "measured": landscape.measured,
        "settings": landscape.settings.to_dict(),
        "space": {"file": landscape.space_file, "text": landscape.space_text},
        "classes": landscape.classes,
        "channels": landscape.channels,
        "sources": [asdict(source) for source in landscape.sources],
        "networks": [
            {
                "point": list(network.point),
                "digest": network.digest,
                "flops": network.flops,
                "proxy_flops": network.proxy_flops,
                "trainings": [training_table(training) for training in network.trainings],
            }
            for network in landscape.networks
        ],
    }


def _from_table(table: Mapping[str, Any], faults: list[str]) -> BaseLandscape | None:
    try:
        settings = settings_from_dict(table["settings"])
        space = parse_space(str(table["space"]["file"]), str(table["space"]["text"])).search
    except ScaleSearchError as error:
        faults.append(f"settings and space: {'; '.join(str(error).splitlines())}")
        return None
    if settings.base != SEARCH or settings.exponent is None or settings.cost != "flops" or space is None:
        faults.append("settings and space: must be those of a search of a base by FLOPs, with its exponent")
        return None
    classes, channels = table["classes"], table["channels"]
    for name, value in (("classes", classes), ("channels", channels)):
        if type(value) is not int or not 1 <= value <= 1_000_000:
            faults.append(f"{name}: must be an integer from 1 to 1,000,000, got {value!r}")
    if faults:
        return None
    sources, plans = [], []
    for entry in table["sources"]:
        plans.append(read_plan(entry["plan"], faults))
        ended, fingerprint = str(entry["ended"]), str(entry["data_fingerprint"])
        sources.append(Source(int(entry["seed"]), ended, entry["plan"], dict(entry["environment"]), fingerprint))
    if not sources or len({source.seed for source in sources}) < len(sources):
        faults.append("sources: must hold at least one, each with a seed of its own")
    found = [
        _network(entry, f"networks[{index}]", space, settings, (classes, channels), faults)
        for index, entry in enumerate(table["networks"])
    ]
    networks = tuple(network for network in found if network is not None)
    if not networks:
        faults.append("networks: must hold at least one, got none")
    if len({network.digest for network in networks}) < len(networks):
        faults.append("networks must be distinct, and two are the same")
    _check_trainings(networks, sources, plans, faults)
    file, text = str(table["space"]["file"]), str(table["space"]["text"])
    return BaseLandscape(str(table["measured"]), settings, file, text, classes, channels, tuple(sources), networks)


def _check_trainings(
    networks: Sequence[BaseNetwork], sources: Sequence[Source], plans: Sequence[Plan | None], faults: list[str]
) -> None:
    """Every training is of one of the sources, and as long as their plans say."""
    known = {source.seed for source in sources}
    seeds = {training.seed for network in networks for training in network.trainings}
    if not seeds <= known:
        faults.append(f"trainings: seeds must be those of sources, {sorted(known)}, got {sorted(seeds - known)}")
    lengths = {len(training.epochs) for network in networks for training in network.trainings}
    sizes = {(plan.epochs, plan.val_images) for plan in plans if plan is not None}
    if len(sizes) > 1:
        faults.append(f"sources: plans must have the same epochs and val_images, got {sorted(sizes)}")
    elif sizes and lengths and lengths != {next(iter(sizes))[0]}:
        faults.append(f"trainings must have the plan's {next(iter(sizes))[0]} epochs, got {sorted(lengths)}")


def _network(
    table: Mapping[str, Any],
    where: str,
    space: BaseSpace,
    settings: Settings,
    images: tuple[int, int],
    faults: list[str],
) -> BaseNetwork | None:
    point = tuple(int(index) for index in table["point"])
    try:
        arch = space.decode(point)
    except ScaleSearchError as error:
        faults.append(f"{where}.point: {error}")
        return None
    proxy = proxy_of(arch, space, settings, *images)
    if not budget_of(settings).excess(arch).within:
        faults.append(f"{where}.point: must be within the budget of settings, has {cost(arch).flops:,} FLOPs")
    counted = (("digest", proxy.digest), ("flops", cost(arch).flops), ("proxy_flops", cost(proxy).flops))
    for name, value in counted:
        if table[name] != value:
            faults.append(f"{where}.{name}: must be its network's, {value!r}, got {table[name]!r}")
    trainings = read_trainings(table["trainings"], f"{where}.trainings", faults)
    if not trainings:
        faults.append(f"{where}.trainings: must hold at least one, got none")
    return BaseNetwork(point, proxy.digest, cost(arch).flops, cost(proxy).flops, trainings)
