"""Settings of a run: every knob, its rule and its default. No knob lives anywhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from scalesearch.spec.axes import AXES
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.evaluators import EVALUATORS, USED_BY
from scalesearch.spec.factory import is_factory
from scalesearch.spec.presets import PRESETS, preset_values
from scalesearch.spec.recording import replay_settings
from scalesearch.spec.rules import IMAGE_RULES, Rule, check, flag, integer, number, one_of, text, unknown_key
from scalesearch.spec.scaling import ROUNDINGS
from scalesearch.spec.units import parse_duration, parse_flops

SAMPLERS = ("surface", "lattice", "grid", "random", "tpe", "gp", "qmc")
PRUNERS = ("none", "asha", "hyperband", "median", "wilcoxon")
OBJECTIVES = ("soft", "hard", "efficientnetv2", "absolute", "accuracy")  # see search/stats.py
WEIGHED = ("soft", "efficientnetv2")  # objectives with the exponent w
STRATEGIES = ("random", "evolution", "tpe", "nsga2", "reinforce")
DEFAULT_STRATEGY = "evolution"  # docs/decisions.md says why; a test holds it to the evidence
SEARCH = "search"  # the base that is searched for
STEPS = ("base",)  # what --only can end after
COSTS = tuple(AXES)
OPTIMIZERS = ("adamw", "sgd", "rmsprop")
DEVICES = ("auto", "cpu", "cuda")
REWARD_EXPONENT = -0.07  # w: Tan & Le 2019, section 3.2; Tan et al. 2019 (MnasNet), equation 3
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
    exponent: float | None = REWARD_EXPONENT  # w of the objective; None: fitted to the run's own accuracy-cost line
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
    # The search of the base, with base = "search".
    space: str = "mnasnet"
    strategy: str = DEFAULT_STRATEGY
    flops_window: float = 0.05  # how far a base's realised FLOPs may be from the target, as a share of it
    max_params: int | None = None  # at the most, of a base itself; latency and memory are measured here
    max_activations: int | None = None
    max_latency_ms: float | None = None  # one image forward
    max_memory_mb: float | None = None  # a training step's peak
    base_share: float = 0.5  # of the time budget
    only: str | None = None  # the step to end after
    # Training: one recipe for all candidates.
    epochs: int | None = None
    rungs: int = 3  # checkpoints per training, each a stateless piece of work
    train_images: int | None = None
    val_images: int | None = None
    batch: int = 32
    optimizer: str = "adamw"
    learning_rate: float | None = None  # for batches of 256; None: the optimizer's own (plan.RATES)
    shift: float = 0.0  # largest random translation in training, as a share of the side
    progressive: bool = False  # trainings begin on small images (fit/progressive.py: EfficientNetV2-S's sides)
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
        check(self, RULES)
        if self.trials is not None and self.trials < self.seeds:
            raise SettingsError(
                f"trials: must be at least --seeds {self.seeds}, got {self.trials}; give more trials, or fewer seeds"
            )
        if self.coefficients == "per-budget" and self.evaluator != "imagenet_surrogate":
            raise SettingsError(
                f"--coefficients per-budget: needs answers at every budget, got --evaluator {self.evaluator}, which "
                "searches one; use --evaluator imagenet_surrogate, or leave it out"
            )
        self._check_base_search()
        if self.progressive and is_factory(self.base):
            raise SettingsError(f"progressive: --base {self.base} makes networks for one side only; leave it out")
        if self.objective == "efficientnetv2" and self.cost != "train_step":
            raise SettingsError(
                f"objective: efficientnetv2 weighs training-step time and parameters, got --cost {self.cost}; "
                "give --cost train_step with it"
            )

    def _check_base_search(self) -> None:
        """Raises SettingsError for what goes with no, or with no other, search of the base."""
        if self.base != SEARCH:
            usual = {field.name: field.default for field in fields(self)}
            for name in OF_BASE_SEARCH:
                if getattr(self, name) != usual[name]:
                    raise SettingsError(
                        f"{option(name) if name in OPTIONS else name}: is of a search of the base, got --base "
                        f"{self.base}; give --base {SEARCH} with it, or leave it out"
                    )
            if self.exponent is None:
                raise SettingsError(
                    f"--w fit: needs networks of different FLOPs, which only a search of the base trains, got --base "
                    f"{self.base}; give --base {SEARCH} with it, or a number"
                )
        elif self.exponent is None and self.cost != "flops":
            raise SettingsError(f"--w fit: fits a line over FLOPs, got --cost {self.cost}; give --w a number")
        elif self.evaluator != "train":
            raise SettingsError(
                f"--base {SEARCH}: trains the networks that it tries, got --evaluator {self.evaluator}; use "
                "--evaluator train, or name a base"
            )
        if self.exponent != REWARD_EXPONENT and self.objective not in WEIGHED:
            raise SettingsError(
                f"--w: is the exponent of the objectives {' and '.join(WEIGHED)}, got objective {self.objective}; "
                "leave it out, or choose one of these"
            )

    @property
    def networks(self) -> int | None:
        """How many `trials` are for, each trained `seeds` times; None where nothing says so."""
        return None if self.trials is None else self.trials // self.seeds

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


AMOUNT = Rule("a number like 5M", lambda value: value is None or (type(value) is int and value >= 1), parse_flops)
RULES: Mapping[str, Rule] = {
    "target_flops": Rule("FLOPs like 400M", lambda value: type(value) is int and value >= 1, parse_flops),
    "base": text(),
    "data": text(),
    "preset": one_of(tuple(PRESETS)),
    "evaluator": one_of(tuple(EVALUATORS)),
    "coefficients": one_of(COEFFICIENTS),
    "sampler": one_of(SAMPLERS),
    "pruner": one_of(PRUNERS),
    "trials": integer(1, 1_000_000, optional=True),
    "time_budget": Rule(
        "a duration like 10m",
        lambda value: value is None or (type(value) in (int, float) and math.isfinite(value) and value > 0),
        parse_duration,
    ),
    "seeds": integer(1, 1_000),
    "confirm": integer(0, 100),
    "workers": integer(1, 1_024, optional=True),
    "device": one_of(DEVICES),
    "seed": integer(0, 2**31 - 1),
    "objective": one_of(OBJECTIVES),
    "exponent": Rule(
        "fit, or a number from -1 to 0",
        lambda value: value is None or (type(value) in (int, float) and -1 <= value <= 0),
        lambda text: None if text == "fit" else float(text),
    ),
    "cost": one_of(COSTS),
    "measure_seconds": number(0.01, 3600),
    "confidence": number(0.5, 0.999),
    "precision": number(0, 100),
    "rounding": one_of(tuple(ROUNDINGS)),
    "tolerance": number(0.001, 0.5),
    "grid_tolerance": number(0.001, 1.0),
    "members": integer(0, 20),
    "proxy_depth": number(0.1, 10),
    "proxy_width": number(0.02, 10),
    "proxy_resolution": integer(8, 2_048),
    "proxy_stem_stride": integer(1, 8, optional=True),
    "pixel_step": integer(1, 128, optional=True),
    "space": text(),
    "strategy": one_of(STRATEGIES),
    "flops_window": number(0.001, 0.9),
    "max_params": AMOUNT,
    "max_activations": AMOUNT,
    "max_latency_ms": number(1e-3, 1e6, optional=True),
    "max_memory_mb": number(1e-3, 1e9, optional=True),
    "base_share": number(0.05, 0.95),
    "only": Rule("one of " + ", ".join(STEPS), lambda value: value is None or value in STEPS, str),
    "epochs": integer(1, 10_000, optional=True),
    "rungs": integer(1, 100),
    "train_images": integer(16, 100_000_000, optional=True),
    "val_images": integer(16, 100_000_000, optional=True),
    "batch": integer(2, 65_536),
    "optimizer": one_of(OPTIMIZERS),
    "learning_rate": number(1e-6, 100, optional=True),
    "shift": number(0, 0.5),
    "progressive": flag(),
    "inherit": flag(),
    "image_size": integer(8, 2_048),
    **IMAGE_RULES,
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
    "exponent",
    "space",
    "strategy",
    "only",
    "seed",
)
LIMITS = ("max_params", "max_activations", "max_latency_ms", "max_memory_mb")
OF_BASE_SEARCH = ("space", "strategy", "flops_window", *LIMITS, "base_share", "only")


def option(name: str) -> str:
    """How the command line spells a setting of OPTIONS: `--time-budget`; `--w` for the exponent."""
    return "--w" if name == "exponent" else f"--{name.replace('_', '-')}"


def make_settings(preset: str = "quick", **given: Any) -> Settings:
    """Settings from a preset and what was given beside it; of a replay, from the recording's file.

    Raises SettingsError for a value that breaks its rule, and DataError for a faulty recording.
    """
    if preset not in PRESETS:
        raise SettingsError(f"preset: must be {RULES['preset'].text}, got {preset!r}")
    if unknown := [key for key in given if key not in RULES]:
        raise SettingsError(f"there is no setting {unknown[0]!r}; {unknown_key(unknown[0], RULES, 'settings')}")
    evaluator = given.get("evaluator", "train")
    if evaluator == "replay":
        return Settings(**replay_settings(preset, given))
    if evaluator not in USED_BY:
        return Settings(**{**preset_values(preset, given.get("base") == SEARCH), "preset": preset, **given})
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
    "PRUNERS",
    "RULES",
    "SAMPLERS",
    "SEARCH",
    "STEPS",
    "STRATEGIES",
    "Settings",
    "difference",
    "from_dict",
    "make_settings",
    "option",
]
