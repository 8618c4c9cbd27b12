"""Settings of the full training of one network: every knob of `scalesearch train`, its rule and its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from scalesearch.spec.errors import SettingsError
from scalesearch.spec.rules import IMAGE_RULES, Rule, check, integer, number, one_of, text, unknown_key
from scalesearch.spec.settings import DEVICES, OPTIMIZERS

SCHEDULES = ("cosine", "exponential")
PROGRESSIVE = ("none", "s", "m", "l")  # whose published ends: EfficientNetV2-S, -M or -L (fit/progressive.csv)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What one full training was asked to do. Equal settings mean the same training; `train.json` stores them.

    `network` is a run's folder, a shipped name, a file or a factory; `member` is of a run (None: B1, the
    recommended one). What is None is decided from the network, the optimiser and the number of steps.
    """

    network: str | None  # None: that of `start`
    data: str = "glyphs"
    member: str | None = None
    start: str | None = None  # a checkpoint of an earlier training, which this one fine-tunes
    epochs: int = 30
    device: str = "auto"
    seed: int = 0
    threads: int | None = None  # of the CPU; None: all cores
    # Images.
    resolution: int | None = None  # px; None: the network's own
    validation_share: float = 0.1  # of the training images: for the best epoch and early stopping
    data_images: int | None = None  # training images to hold at most, beside a fifth of that for the test
    glyph_classes: int = 48
    glyph_zoom: float = 1.0
    glyph_bright: bool = False
    holdout_fonts: bool = False
    max_bad_share: float = 0.01
    # Steps.
    batch: int = 64
    accumulation: int = 1  # parts of a batch that are done one after another, and summed
    optimizer: str = "rmsprop"
    learning_rate: float | None = None  # for batches of 256; None: the optimiser's own (plan.RATES)
    weight_decay: float | None = None
    schedule: str = "cosine"
    decay: float = 0.97  # of the exponential schedule, every `decay_epochs`
    decay_epochs: float = 2.4
    warmup: float = 0.05  # share of all steps
    ema_decay: float | None = None
    norm_momentum: float | None = None
    # Regularisation; of a progressive training the last stage's.
    label_smoothing: float = 0.1
    dropout: float | None = None
    drop_path: float | None = None  # stochastic depth
    shift: float = 0.06
    randaugment: float | None = None
    mixup: float | None = None
    cutmix: float = 0.0
    # Progressive learning.
    progressive: str = "none"
    training_stages: int = 4  # of a progressive training
    first_side: int | None = None  # px; None: the published share of the last
    # End.
    patience: int | None = None  # epochs without a better validation accuracy; None: train them all

    def __post_init__(self) -> None:
        check(self, TRAINING_RULES)
        if self.network is None and self.start is None:
            raise SettingsError(
                "a network is missing; give a run's folder, a shipped name or a file, or --from CHECKPOINT"
            )
        if 2 * self.accumulation > self.batch:
            raise SettingsError(
                f"accumulation: every part of a batch must have two images, which batch norm needs, got {self.batch} "
                f"images in {self.accumulation} parts; give at most {self.batch // 2}"
            )
        if self.progressive == "none" and self.first_side is not None:
            raise SettingsError(
                "first_side: is of a progressive training, got --set progressive=none; give s, m or l with it"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _optional(rule: Rule) -> Rule:
    return Rule(rule.text, lambda value: value is None or rule.holds(value), rule.read)


TRAINING_RULES: Mapping[str, Rule] = {
    "network": _optional(text()),
    "data": text(),
    "member": _optional(Rule("B0, B1, …", lambda value: value[:1] == "B" and value[1:].isdecimal(), str.upper)),
    "start": _optional(text()),
    "epochs": integer(1, 100_000),
    "device": one_of(DEVICES),
    "seed": integer(0, 2**31 - 1),
    "threads": integer(1, 1_024, optional=True),
    "resolution": integer(8, 2_048, optional=True),
    "validation_share": number(0.01, 0.5),
    **IMAGE_RULES,
    "batch": integer(2, 65_536),
    "accumulation": integer(1, 1_024),
    "optimizer": one_of(OPTIMIZERS),
    "learning_rate": number(1e-6, 100, optional=True),
    "weight_decay": number(0, 10, optional=True),
    "schedule": one_of(SCHEDULES),
    "decay": number(0.1, 1),
    "decay_epochs": number(0.01, 10_000),
    "warmup": number(0, 0.5),
    "ema_decay": number(0, 0.999999, optional=True),
    "norm_momentum": number(1e-6, 1, optional=True),
    "label_smoothing": number(0, 0.9),
    "dropout": number(0, 0.95, optional=True),
    "drop_path": number(0, 0.95, optional=True),
    "shift": number(0, 0.5),
    "randaugment": number(0, 29, optional=True),
    "mixup": number(0, 10, optional=True),
    "cutmix": number(0, 10),
    "progressive": one_of(PROGRESSIVE),
    "training_stages": integer(2, 100),
    "first_side": integer(1, 2_048, optional=True),
    "patience": integer(1, 100_000, optional=True),
}
# What the command line spells as an argument or option of its own; everything else goes through --set.
TRAINING_OPTIONS = ("network", "data", "member", "start", "epochs", "device", "seed")


def make_training_settings(**given: Any) -> TrainingSettings:
    """Raises SettingsError for a key that there is not, and for a value that breaks its rule."""
    if foreign := [key for key in given if key not in TRAINING_RULES]:
        hint = unknown_key(foreign[0], TRAINING_RULES, "settings")
        raise SettingsError(f"there is no setting {foreign[0]!r}; {hint}")
    return TrainingSettings(**{"network": None, **given})


def from_dict(table: Mapping[str, Any]) -> TrainingSettings:
    """Settings read back from `train.json`. Raises SettingsError for keys of another version."""
    known = {field.name for field in fields(TrainingSettings)}
    if foreign := sorted(set(table) - known):
        raise SettingsError(
            f"the stored settings do not fit this version of scalesearch: it does not know {', '.join(foreign)}"
        )
    return TrainingSettings(**{"network": None, **table})
