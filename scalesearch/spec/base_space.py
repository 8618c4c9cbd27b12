"""A search space of base networks: a skeleton, and named choices over it.

A point is a tuple of indices, one per choice. Networks have fewer than one point each where a choice changes nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage, settled
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.options import Options, changed, drawn, place_of
from scalesearch.spec.regnet import RegNet, regnet_numbers, regnet_stages
from scalesearch.spec.schema import STAGE_KEYS, read_stage, stage_keys

Point = tuple[int, ...]
_TRIES = 1_000  # of a random point that makes no sound network
_MOST_STAGES = 1_000_000  # stages that `networks` spells out


@dataclass(frozen=True, slots=True)
class BaseSpace:
    """What a search of the base may vary of `skeleton`; everything not named stays as in it.

    `choices` maps a path to its options: `stages.3.kernel` a key of a stage, `stages.3` several keys of it at once,
    `regnet.wa` one of the numbers in `regnet` that the stages follow from, `resolution` a key of the network.
    A RegNet must have `stages` (least, most) stages.
    """

    name: str
    skeleton: Arch
    choices: Mapping[str, Options]
    regnet: RegNet | None = None
    stages: tuple[int, int] = (1, 1_000)

    @property
    def size(self) -> int:
        """How many points there are, also those that make no sound network, or one that another point makes, too."""
        return math.prod(map(len, self.choices.values()))

    def values(self, point: Point) -> dict[str, Any]:
        """The option that the point takes of each choice. Raises SpaceError if it is no point of this space."""
        ends = tuple(map(len, self.choices.values()))
        if len(point) != len(ends) or not all(0 <= index < end for index, end in zip(point, ends, strict=True)):
            raise SpaceError(
                self.name,
                [f"a point must be {len(ends)} indices below {', '.join(map(str, ends))}, got {point}; sample one"],
            )
        pairs = zip(point, self.choices.items(), strict=True)
        return {path: options[index] for index, (path, options) in pairs}

    def decode(self, point: Point) -> Arch:
        """The network of a point, named after the space and its own digest.

        A `skip` that changes nothing is left at its default, so that equal networks have equal digests. Raises
        SpaceError if the point makes no sound network: its options are sound each, but some do not go together.
        """
        arch = self._network(point)
        return replace(arch, name=f"{self.name}-{arch.digest}")

    def encode(self, arch: Arch) -> Point | None:
        """A point that `decode` makes this network of, whatever its name; None if there is none."""
        arch = without_idle_skips(arch)
        places = self._regnet_places(arch) if self._by_regnet else self._stage_places(arch)
        if places is None:
            return None
        for path, options in self.choices.items():
            if "." not in path:
                places[path] = place_of(options, getattr(arch, path))
        found = [places[path] for path in self.choices]
        point = tuple(index for index in found if index is not None)
        if len(point) < len(found) or not self.sound(point):
            return None
        return point if self._network(point).digest == arch.digest else None

    def sample(self, rng: random.Random) -> Point:
        """A random point that makes a sound network: each option of a list as likely.

        Raises SpaceError if none of 1,000 does.
        """
        for _ in range(_TRIES):
            point = tuple(drawn(options, rng) for options in self.choices.values())
            if self.sound(point):
                return point
        raise SpaceError(self.name, [f"choices: none of {_TRIES:,} random points makes a sound network; widen them"])

    def points(self) -> Iterator[Point]:
        """All that make a sound network."""
        return filter(self.sound, itertools.product(*(range(len(options)) for options in self.choices.values())))

    def sound(self, point: Point) -> bool:
        """Whether the point makes a network at all."""
        try:
            self._network(point)
        except SpaceError:
            return False
        return True

    def mutate(self, point: Point, rng: random.Random) -> Point:
        """A point that takes another option of one choice, and makes another, sound network.

        Raises SpaceError if none of 1,000 random changes does.
        """
        free = [(place, options) for place, options in enumerate(self.choices.values()) if len(options) > 1]
        before = self._network(point)
        for _ in range(_TRIES if free else 0):
            place, options = rng.choice(free)
            found = (*point[:place], changed(options, point[place], rng), *point[place + 1 :])
            if self.sound(found) and self._network(found) != before:
                return found
        raise SpaceError(
            self.name, [f"choices: no change of one of them makes another network of {point}; add options"]
        )

    def networks(self) -> int | None:
        """How many distinct, sound networks the points make.

        None where that would take too long: for a RegNet's numbers, or past a million stages to tell apart.
        """
        if self._by_regnet or sum(map(self._stage_size, range(len(self.skeleton.stages)))) > _MOST_STAGES:
            return None
        ways = {self.skeleton.stem.channels: 1}  # how many networks so far end in these channels
        for number in range(len(self.skeleton.stages)):
            made = {found for _, found in self._made(number, self._paths(number)) if found is not None}
            further: dict[int, int] = {}
            for in_channels, count in ways.items():
                for stage in {settled(stage, in_channels) for stage in made}:
                    further[stage.channels] = further.get(stage.channels, 0) + count
            ways = further
        whole = [set(options) for path, options in self.choices.items() if "." not in path]
        return sum(ways.values()) * math.prod(map(len, whole))

    def per_stage(self) -> tuple[int, ...]:
        """How many combinations of options each stage has; empty for a RegNet's numbers."""
        return () if self._by_regnet else tuple(map(self._stage_size, range(len(self.skeleton.stages))))

    def _network(self, point: Point) -> Arch:
        """`decode` without the name, which takes as long as all the rest."""
        values = self.values(point)
        stages = self._regnet_stages(values) if self._by_regnet else self._stages(values)
        whole = {key: value for key, value in values.items() if "." not in key}
        return replace(without_idle_skips(replace(self.skeleton, stages=stages)), **whole)

    @property
    def _by_regnet(self) -> bool:
        return any(path.startswith("regnet.") for path in self.choices)

    def _paths(self, number: int) -> dict[str, Options]:
        """The choices of a stage, counted from 0."""
        return {path: self.choices[path] for path in _by_stage(tuple(self.choices), len(self.skeleton.stages))[number]}

    def _stage_size(self, number: int) -> int:
        return math.prod(map(len, self._paths(number).values()))

    def _made(self, number: int, paths: Mapping[str, Options]) -> Iterator[tuple[Point, Stage | None]]:
        """Every combination of these options of a stage: indices, and the stage if it is sound."""
        for point in itertools.product(*(range(len(options)) for options in paths.values())):
            values = {path: options[index] for index, (path, options) in zip(point, paths.items(), strict=True)}
            found = _stage(self.skeleton.stages[number], _settings(values))
            yield point, found if isinstance(found, Stage) else None

    def _stages(self, values: Mapping[str, Any]) -> tuple[Stage, ...]:
        result, faults = [], []
        paths = _by_stage(tuple(self.choices), len(self.skeleton.stages))
        for number, own in enumerate(self.skeleton.stages):
            mine = {path: values[path] for path in paths[number]}
            found = _stage(own, _settings(mine)) if mine else own
            if isinstance(found, Stage):
                result.append(found)
            else:
                faults += [f"stages.{number + 1}.{fault}" for fault in found]
        if faults:
            raise SpaceError(self.name, faults)
        return tuple(result)

    def _regnet_stages(self, values: Mapping[str, Any]) -> tuple[Stage, ...]:
        assert self.regnet is not None  # the file's reader sees to it
        own = {path.removeprefix("regnet."): value for path, value in values.items() if path.startswith("regnet.")}
        stages = regnet_stages(replace(self.regnet, **own))
        least, most = self.stages
        if not least <= len(stages) <= most:
            rule = f"{least}" if least == most else f"{least} to {most}"
            raise SpaceError(self.name, [f"regnet: must have {rule} stages, got {len(stages)} from {own}"])
        if not all(STAGE_KEYS["channels"].holds(stage.channels) for stage in stages):
            raise SpaceError(
                self.name, [f"regnet: channels must be {STAGE_KEYS['channels'].rule}, got more from {own}"]
            )
        return stages

    def _stage_places(self, arch: Arch) -> dict[str, int | None] | None:
        """For each choice of a stage, the option that makes this network's stage; None if no combination does."""
        places: dict[str, int | None] = {}
        in_channels = arch.stem.channels
        if len(arch.stages) != len(self.skeleton.stages):
            return None
        for number, stage in enumerate(arch.stages):
            paths = self._paths(number)
            fitting = {path: _fitting(path, options, stage) for path, options in paths.items()}
            for point, found in self._made(number, {path: tuple(fit.values()) for path, fit in fitting.items()}):
                if found is not None and settled(found, in_channels) == stage:
                    indices = [list(fit)[index] for fit, index in zip(fitting.values(), point, strict=True)]
                    places.update(zip(paths, indices, strict=True))
                    break
            else:
                return None
            in_channels = stage.channels
        return places

    def _regnet_places(self, arch: Arch) -> dict[str, int | None] | None:
        assert self.regnet is not None
        grids = {path.removeprefix("regnet."): options for path, options in self.choices.items() if "." in path}
        numbers = regnet_numbers(arch.stages, self.regnet, grids)
        if numbers is None:
            return None
        return {f"regnet.{key}": place_of(options, getattr(numbers, key)) for key, options in grids.items()}


@functools.lru_cache(maxsize=100)
def _by_stage(paths: tuple[str, ...], count: int) -> tuple[tuple[str, ...], ...]:
    """The paths of each stage's choices."""
    owns = [f"stages.{number}" for number in range(1, count + 1)]
    return tuple(tuple(path for path in paths if path == own or path.startswith(f"{own}.")) for own in owns)


def without_idle_skips(arch: Arch) -> Arch:
    """Without a `skip` that changes nothing, in any stage."""
    inputs = (arch.stem.channels, *(stage.channels for stage in arch.stages))
    return replace(arch, stages=tuple(map(settled, arch.stages, inputs)))


def _settings(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Of one stage's choices, the keys that they set."""
    result: dict[str, Any] = {}
    for path, value in values.items():
        result.update(value if isinstance(value, dict) else {path.rpartition(".")[2]: value})
    return tuple(result.items())


@functools.lru_cache(maxsize=100_000)
def _stage(own: Stage, settings: tuple[tuple[str, Any], ...]) -> Stage | tuple[str, ...]:
    """The skeleton's stage with these keys set, or what is wrong with it.

    Keys that its kind does not have are left out.
    """
    kept = stage_keys(dict(settings).get("kind", own.kind))
    table = {key: value for key, value in {**_table(own), **dict(settings)}.items() if key in kept}
    faults: list[str] = []
    found = read_stage(table, "", faults)
    return tuple(fault.removeprefix(".") for fault in faults) if found is None else found


def _table(stage: Stage) -> dict[str, Any]:
    return {key: getattr(stage, key) for key in stage_keys(stage.kind)}


def _fitting(path: str, options: Options, stage: Stage) -> dict[int, Any]:
    """The options, by index, that can be this stage's: exactly its values first, then those whose key it may ignore."""
    exact: dict[int, Any] = {}
    loose: dict[int, Any] = {}
    keys = stage_keys(stage.kind)
    for index, option in enumerate(options):
        settings = dict(_settings({path: option}))
        if all(getattr(stage, key) == value for key, value in settings.items() if key in keys):
            exact[index] = option
        elif all(getattr(stage, key) == value for key, value in settings.items() if key in keys and key != "skip"):
            loose[index] = option
    return {**exact, **loose}
