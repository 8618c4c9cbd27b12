"""Settings of a run: every knob, its rule, its default, and the presets. No knob lives anywhere else."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from scalesearch.spec.axes import AXES
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.evaluators import EVALUATORS, USED_BY
from scalesearch.spec.recording import replay_settings
from scalesearch.spec.scaling import ROUNDINGS
from scalesearch.spec.units import parse_duration, parse_flops

SAMPLERS = ("surface", "lattice", "grid", "random", "tpe", "gp", "qmc")
PRUNERS = ("none", "asha", "hyperband", "median", "wilcoxon")
OBJECTIVES = ("soft", "hard", "efficientnetv2")  # see search/stats.py
COSTS = tuple(AXES)
OPTIMIZERS = ("adamw", "sgd", "rmsprop")
DEVICES = ("auto", "cpu", "cuda")
COEFFICIENTS = ("fixed", "per-budget")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run was asked to do. Equal settings mean the same run; `run.json` stores them.

    `target_flops` is the budget of the base (φ = 0). `trials` counts trainings of candidates (networks × seeds);
    None leaves it to the time budget. Fields that are None are decided by the plan, from a calibration.
    """

    target_flops: int
    base: str = "efficientnet_b0"
    data: str = "glyphs"
    preset: str = "quick"
    evaluator: str = "train"
    coefficients: str = "fixed"  # of the family: one triple for all members, or the best one at each member's budget
    sampler: str = "surface"
    pruner: str = "none"
    trials: int | None = None
    time_budget: float | None = None  # seconds, for everything but the installation
    seeds: int = 2
    confirm: int = 0  # fresh seeds of the recommended network and the paper's, after the search; 0: none
    workers: int | None = None  # None: one per core
    device: str = "auto"
    seed: int = 0
    objective: str = "soft"
    cost: str = "flops"  # what the objective weighs accuracy against; the budget is FLOPs whatever it is
    measure_seconds: float = 4.0  # for each network, on a cost that is measured
    confidence: float = 0.9
    precision: float = 0.2  # points of score; `surface` stops when its choice is expected to miss no more of the best
    rounding: str = "official"
    # How far a candidate's realised FLOPs may be from twice the base's, and the grid node's product from 2.
    tolerance: float = 0.03
    grid_tolerance: float = 0.1  # admits the paper's own 1.2 · 1.1² · 1.15² = 1.92027
    members: int = 7  # the family ends at B7
    # The proxy: the base multiplied by these; its side in px; the stride of its stem (None: as in the base).
    proxy_depth: float = 0.5
    proxy_width: float = 0.15
    proxy_resolution: int = 36
    proxy_stem_stride: int | None = 1
    pixel_step: int | None = None  # px; sides of candidates are multiples of this (None: as the rounding has it)
    # Training: one recipe for all candidates.
    epochs: int | None = None
    rungs: int = 3  # checkpoints per training, each a stateless piece of work
    train_images: int | None = None
    val_images: int | None = None
    batch: int = 32
    optimizer: str = "adamw"
    learning_rate: float | None = None  # for batches of 256; None: the optimizer's own (plan.RATES)
    shift: float = 0.0  # largest random translation in training, as a share of the side
    inherit: bool = False  # candidates start from the base's trained weights, grown (nets/inherit.py)
    # Data.
    image_size: int = 64  # px; side of the stored master images
    data_images: int | None = None  # training images to hold at most, beside a fifth of that for validation
    glyph_classes: int = 48  # how many characters: digits first, then lower and upper case
    glyph_zoom: float = 1.0  # 1.7 fills the frame: learned sooner, and pixels matter less
    glyph_bright: bool = False  # always brighter than the ground, not darker half the time: learned far sooner
    holdout_fonts: bool = False
    max_bad_share: float = 0.01

    def __post_init__(self) -> None:
        faults = [
            f"{name}: must be {rule.text}, got {getattr(self, name)!r}"
            for name, rule in RULES.items()
            if not rule.holds(getattr(self, name))
        ]
        if faults:
            raise SettingsError("; ".join(faults))
        if self.trials is not None and self.trials < self.seeds:
            raise SettingsError(
                f"trials: must be at least --seeds {self.seeds}, got {self.trials}; give more trials, or fewer seeds"
            )
        if self.coefficients == "per-budget" and self.evaluator != "imagenet_surrogate":
            raise SettingsError(
                f"--coefficients per-budget: needs answers at every budget, got --evaluator {self.evaluator}, which "
                "searches one; use --evaluator imagenet_surrogate, or leave it out"
            )
        if self.objective == "efficientnetv2" and self.cost != "train_step":
            raise SettingsError(
                f"objective: efficientnetv2 weighs training-step time and parameters, got --cost {self.cost}; "
                "give --cost train_step with it"
            )

    @property
    def networks(self) -> int | None:
        """How many `trials` are for, each trained `seeds` times; None where nothing says so."""
        return None if self.trials is None else self.trials // self.seeds

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rule:
    """`text` finishes the sentence "must be …"; `read` turns command-line text into a value."""

    text: str
    holds: Callable[[Any], bool]
    read: Callable[[str], Any]


def _integer(low: int, high: int, optional: bool = False) -> Rule:
    return Rule(
        f"an integer from {low} to {high:,}",
        lambda value: (optional and value is None) or (type(value) is int and low <= value <= high),
        lambda text: int(text.replace("_", "")),
    )


def _number(low: float, high: float, optional: bool = False) -> Rule:
    return Rule(
        f"a number from {low:g} to {high:g}",
        lambda value: (
            (optional and value is None)
            or (type(value) in (int, float) and math.isfinite(value) and low <= value <= high)
        ),
        float,
    )


def _one_of(names: tuple[str, ...]) -> Rule:
    return Rule("one of " + ", ".join(names), lambda value: value in names, str)


def _text() -> Rule:
    return Rule("text", lambda value: isinstance(value, str) and value != "", str)


def _flag() -> Rule:
    return Rule(
        "true or false",
        lambda value: type(value) is bool,
        lambda text: {"true": True, "false": False}[text.lower()],
    )


PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The whole path in seconds, to see that it works: its answer means nothing, and the report says so.
    "smoke": {
        "trials": 5,
        "seeds": 1,
        "epochs": 1,
        "train_images": 256,
        "val_images": 128,
        "measure_seconds": 0.4,
        "proxy_width": 0.1,
        "glyph_classes": 10,
    },
    "quick": {
        "time_budget": 430.0,
        "confirm": 2,
        "glyph_classes": 10,
        "glyph_zoom": 1.7,
        "glyph_bright": True,
        "data_images": 8_000,
    },
    "full": {
        "time_budget": 8 * 3600.0,
        "seeds": 3,
        "confirm": 3,
        "proxy_depth": 1.0,
        "proxy_width": 0.25,
        "shift": 0.06,
    },
}

RULES: Mapping[str, Rule] = {
    "target_flops": Rule("FLOPs like 400M", lambda value: type(value) is int and value >= 1, parse_flops),
    "base": _text(),
    "data": _text(),
    "preset": _one_of(tuple(PRESETS)),
    "evaluator": _one_of(tuple(EVALUATORS)),
    "coefficients": _one_of(COEFFICIENTS),
    "sampler": _one_of(SAMPLERS),
    "pruner": _one_of(PRUNERS),
    "trials": _integer(1, 1_000_000, optional=True),
    "time_budget": Rule(
        "a duration like 10m",
        lambda value: value is None or (type(value) in (int, float) and math.isfinite(value) and value > 0),
        parse_duration,
    ),
    "seeds": _integer(1, 1_000),
    "confirm": _integer(0, 100),
    "workers": _integer(1, 1_024, optional=True),
    "device": _one_of(DEVICES),
    "seed": _integer(0, 2**31 - 1),
    "objective": _one_of(OBJECTIVES),
    "cost": _one_of(COSTS),
    "measure_seconds": _number(0.01, 3600),
    "confidence": _number(0.5, 0.999),
    "precision": _number(0, 100),
    "rounding": _one_of(tuple(ROUNDINGS)),
    "tolerance": _number(0.001, 0.5),
    "grid_tolerance": _number(0.001, 1.0),
    "members": _integer(0, 20),
    "proxy_depth": _number(0.1, 10),
    "proxy_width": _number(0.02, 10),
    "proxy_resolution": _integer(8, 2_048),
    "proxy_stem_stride": _integer(1, 8, optional=True),
    "pixel_step": _integer(1, 128, optional=True),
    "epochs": _integer(1, 10_000, optional=True),
    "rungs": _integer(1, 100),
    "train_images": _integer(16, 100_000_000, optional=True),
    "val_images": _integer(16, 100_000_000, optional=True),
    "batch": _integer(2, 65_536),
    "optimizer": _one_of(OPTIMIZERS),
    "learning_rate": _number(1e-6, 100, optional=True),
    "shift": _number(0, 0.5),
    "inherit": _flag(),
    "image_size": _integer(8, 2_048),
    "data_images": _integer(16, 100_000_000, optional=True),
    "glyph_classes": _integer(2, 48),
    "glyph_zoom": _number(0.5, 1.8),
    "glyph_bright": _flag(),
    "holdout_fonts": _flag(),
    "max_bad_share": _number(0, 1),
}


# What the command line spells as an option of its own; everything else goes through --set.
OPTIONS = (
    "target_flops",
    "base",
    "data",
    "preset",
    "evaluator",
    "coefficients",
    "sampler",
    "pruner",
    "trials",
    "time_budget",
    "seeds",
    "workers",
    "device",
    "cost",
    "seed",
)


def make_settings(preset: str = "quick", **given: Any) -> Settings:
    """Settings from a preset and what was given beside it; of a replay, from the recording's file.

    Raises SettingsError for a value that breaks its rule, and DataError for a faulty recording.
    """
    if preset not in PRESETS:
        raise SettingsError(f"preset: must be {RULES['preset'].text}, got {preset!r}")
    if unknown := [key for key in given if key not in RULES]:
        close = difflib.get_close_matches(unknown[0], RULES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"settings are {', '.join(RULES)}"
        raise SettingsError(f"there is no setting {unknown[0]!r}; {hint}")
    evaluator = given.get("evaluator", "train")
    if evaluator == "replay":
        return Settings(**replay_settings(preset, given))
    if evaluator not in USED_BY:
        return Settings(**{**PRESETS[preset], "preset": preset, **given})
    idle = [name for name in given if name not in USED_BY[evaluator]] + (["preset"] if preset != "quick" else [])
    if idle:
        raise SettingsError(
            f"--evaluator {evaluator}: nothing is trained, so {', '.join(idle)} would have no effect; leave "
            f"{'it' if len(idle) == 1 else 'them'} out, or use --evaluator train"
        )
    return Settings(**{**EVALUATORS[evaluator], **given})


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line per setting that differs: `seeds: 2 before, 3 now`."""
    return [
        f"{key}: {old.get(key)!r} before, {new.get(key)!r} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def from_dict(table: Mapping[str, Any]) -> Settings:
    """Settings read back from `run.json`. Raises SettingsError for keys of another version."""
    known = {field.name for field in fields(Settings)}
    foreign = sorted(set(table) - known)
    if foreign or "target_flops" not in table:
        found = f"it does not know {', '.join(foreign)}" if foreign else "target_flops is missing"
        raise SettingsError(f"the stored settings do not fit this version of scalesearch: {found}")
    return Settings(**dict(table))


__all__ = [
    "COEFFICIENTS",
    "COSTS",
    "EVALUATORS",
    "OBJECTIVES",
    "PRESETS",
    "PRUNERS",
    "RULES",
    "SAMPLERS",
    "Settings",
    "difference",
    "from_dict",
    "make_settings",
]
