"""How much to train: networks, epochs and images, from a time budget and a measured speed. Decided once per run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scalesearch.fit.progressive import Ends, progressive_stages, published
from scalesearch.fit.recipe import Recipe, TrainingStage
from scalesearch.fit.speed import measure_steps
from scalesearch.search.executor import Executor, run_all
from scalesearch.search.records import TrialRecord
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import A, AnyArch, FactoryArch
from scalesearch.spec.scaling import ROUNDINGS, Multipliers, Rounding, multiply
from scalesearch.spec.settings import Settings
from scalesearch.spec.units import format_duration

CALIBRATION_SECONDS = 1.3  # per network; a tenth where no time budget depends on it
REPORT_SECONDS = 25.0  # kept back for counting the family with fvcore and drawing the report
FAMILY_SHARE = 0.2  # of the training time, for members beyond B1
FEWEST_NETWORKS = 6
UNTIMED_NETWORKS = 12  # without a time budget
FEWEST_PASSES = 1_000  # images seen by one training; below this it shows nothing
PASSES_TO_LEARN = 6_000  # with fewer, ten-block proxies are near chance on ten-class glyphs (experiments/README.md)
EPOCHS = 3  # more images and fewer epochs rank better than the reverse (Zhou et al. 2020, EcoNAS)
STAGES = 4  # of a progressive training, one per epoch at least
BASE_EPOCHS = 4  # of the base, times those of the networks that inherit from it: two of these cost as much
LENGTHS = ("epochs", "train_images", "val_images")  # what a plan says of the length of a training
EVAL_SHARE = 3  # at least one validation image per this many training images, and FEWEST_EVALUATED
FEWEST_EVALUATED = 500


@dataclass(frozen=True, slots=True)
class Speed:
    """Images per second of one worker while all are busy: the proxy base, and a candidate at twice its FLOPs."""

    base_train: float
    base_eval: float
    candidate_train: float
    candidate_eval: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run trains. `seconds` is the expected time for the candidates on all workers together, `confirm_seconds`
    the time kept for the confirmation after them."""

    networks: int
    seeds: int
    epochs: int
    train_images: int
    val_images: int
    workers: int
    device: str
    speed: Speed
    seconds: float
    family_seconds: float
    confirm_seconds: float = 0.0  # plans of older versions have none

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def trial_seconds(self, ratio: float) -> float:
        """Expected time of one training at `ratio` times the base's FLOPs, if speed falls in proportion past 2."""
        rate_train, rate_eval = self.speed.candidate_train, self.speed.candidate_eval
        slower = ratio / 2
        if ratio < 1.5:
            rate_train, rate_eval, slower = self.speed.base_train, self.speed.base_eval, ratio
        return self.epochs * slower * (self.train_images / rate_train + self.val_images / rate_eval)

    def pace(self, records: Iterable[TrialRecord], base_flops: int) -> float:
        """How many times longer than planned the trainings so far took, at least 1: of it depends when to stop."""
        done = [record for record in records if record.status == "done"]
        planned = sum(self.trial_seconds(record.flops / base_flops) for record in done)
        return max(1.0, sum(record.seconds for record in done) / planned) if done else 1.0

    def rung_stops(self, rungs: int) -> list[int]:
        """The epochs after which a checkpoint is written; the last is the end."""
        return sorted({max(1, round(self.epochs * index / rungs)) for index in range(1, rungs + 1)})


def from_dict(table: Mapping[str, Any]) -> Plan:
    return Plan(**{**table, "speed": Speed(**table["speed"])})


def proxy_rounding(settings: Settings) -> Rounding:
    """The run's rounding with its channel step shrunk like the channels, so that the staircases of width are alike."""
    rounding = ROUNDINGS[settings.rounding]
    return replace(
        rounding,
        channels_step=max(1, round(rounding.channels_step * settings.proxy_width)),
        resolution_step=settings.pixel_step or rounding.resolution_step,
    )


def proxy_base(base: A, settings: Settings, classes: int, channels: int) -> A:
    """The base shrunk by the settings' multipliers, for the data's classes and channels.

    Dropout and stochastic depth are off: in trainings this short they only slow learning down. Norm statistics
    average over tens of batches, not the hundreds of a full training. All parts are shrunk, those too that scaling
    leaves alone, and groups like the width. A factory's network keeps its stem, norms and dropout as they are made.
    """
    rounding = proxy_rounding(settings)
    width = settings.proxy_width
    whole = base if isinstance(base, FactoryArch) else replace(base, fixed=())
    shrunk = replace(
        multiply(whole, Multipliers(settings.proxy_depth, width, 1.0, width), rounding, name=f"{base.name}-proxy"),
        resolution=settings.proxy_resolution,
        classes=classes,
        in_channels=channels,
    )
    if isinstance(base, FactoryArch) or isinstance(shrunk, FactoryArch):
        return shrunk
    return replace(
        shrunk,
        stem=replace(shrunk.stem, stride=settings.proxy_stem_stride or base.stem.stride),
        dropout=0.0,
        drop_path=0.0,
        norm_momentum=0.1,
        fixed=base.fixed,
    )


# Rate for batches of 256, and weight decay: AdamW's and SGD's from experiments/README.md, RMSprop's from tensorflow/tpu
# efficientnet main.py.
RATES = {"adamw": (0.05, 0.02), "sgd": (0.2, 5e-5), "rmsprop": (0.016, 1e-5)}


def recipe_of(settings: Settings, epochs: int) -> Recipe:
    rate, decay = RATES[settings.optimizer]
    return Recipe(
        epochs=epochs,
        batch=settings.batch,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate or rate,
        weight_decay=decay,
        shift=settings.shift,
        stages=_stages(settings, epochs),
    )


def _stages(settings: Settings, epochs: int) -> tuple[TrainingStage, ...]:
    if not settings.progressive:
        return ()
    ends = Ends(side=published()["s"].side, magnitude=(0.0, 0.0), mixup=(0.0, 0.0), dropout=(0.0, 0.0))
    return progressive_stages(ends, epochs, STAGES)


def _area(settings: Settings) -> float:
    """Mean area of a training's images over the full side's; progressive, it is 0.56 from three epochs on."""
    recipe = recipe_of(settings, settings.epochs or EPOCHS)
    return sum(recipe.stage_at(epoch).side ** 2 for epoch in range(recipe.epochs)) / recipe.epochs


def calibrate(
    executor: Executor, base: AnyArch, candidates: Sequence[AnyArch], recipe: Recipe, device: str, seconds: float
) -> Speed:
    """Measure the base and some candidates, every worker busy, since cores slow one another down.

    Equal FLOPs do not mean equal speed (depth is slower than width), so a candidate's speed is that of the mean time
    per image.
    """
    rates: list[float] = []
    for archs in ([base], candidates):
        rounds = math.ceil(executor.workers / len(archs))
        calls = [(arch, recipe, device, seconds) for arch in archs] * rounds
        measured = run_all(executor, measure_steps, calls)
        rates += [len(calls) / sum(1 / rate for rate in column) for column in zip(*measured, strict=True)]
    return Speed(*rates)


def make_plan(
    settings: Settings,
    speed: Speed,
    pool_size: int,
    train_count: int,
    val_count: int,
    workers: int,
    device: str,
    elapsed: float,
    family_share: float = FAMILY_SHARE,
) -> Plan:
    """Networks and images per training from what the time budget leaves after `elapsed` seconds.

    The images a budget can pass are split evenly between more networks and longer trainings (each grows with the
    square root), once each has enough to learn anything. Raises SettingsError if the budget is too short for the
    fewest of both.
    """
    area, left = _area(settings), math.inf
    speed = replace(speed, base_train=speed.base_train / area, candidate_train=speed.candidate_train / area)
    if settings.time_budget is not None:
        left = settings.time_budget - elapsed - REPORT_SECONDS
    search = left * (1 - family_share)
    # The base is trained once per seed too, at half a candidate's cost; longer, if candidates inherit from it.
    base_epochs = BASE_EPOCHS if settings.inherit else 1
    # Each round of the confirmation takes every worker for one training.
    rounds = math.ceil(2 * settings.confirm / workers)
    others = base_epochs / 2 + rounds * workers / settings.seeds
    passes = search * workers * speed.candidate_train * 0.85 / settings.seeds
    images = min(train_count, settings.train_images or train_count)
    networks = _networks(settings, passes, pool_size, images, others)
    fixed = settings.epochs is not None and settings.train_images is not None
    each = passes / (networks + others)
    if settings.time_budget is None:
        each = float(images * (settings.epochs or 10))
    elif not fixed and each < FEWEST_PASSES:
        needed = FEWEST_PASSES * (networks + others) * settings.seeds / (workers * speed.candidate_train * 0.85)
        needed = elapsed + REPORT_SECONDS + needed / (1 - family_share)
        raise SettingsError(
            f"--time-budget {format_duration(settings.time_budget)}: leaves {max(0, int(each)):,} images per "
            f"training, at least {FEWEST_PASSES:,} are needed; give it about {format_duration(math.ceil(needed))}, "
            "or fewer --seeds or --trials"
        )
    # Images that are given leave only the epochs to fit the budget.
    fitting = max(1, int(each / images)) if settings.train_images else max(EPOCHS, math.ceil(each / images))
    epochs = settings.epochs or fitting
    train_images = min(train_count, settings.train_images or max(settings.batch, int(each / epochs)))
    val_images = min(val_count, settings.val_images or max(FEWEST_EVALUATED, train_images // EVAL_SHARE))
    plan = Plan(networks, settings.seeds, epochs, train_images, val_images, workers, device, speed, 0.0, 0.0)
    seconds = settings.seeds * (networks * plan.trial_seconds(2) + base_epochs * plan.trial_seconds(1)) / workers
    confirm = rounds * plan.trial_seconds(2)
    if seconds + confirm > left and (settings.epochs or settings.train_images):
        raise SettingsError(
            f"--time-budget {format_duration(settings.time_budget or 0)}: {networks} networks of {epochs} epochs and "
            f"{train_images:,} images take about {format_duration(seconds + confirm)}, {format_duration(max(0, left))} "
            "are left for them; give more time, or fewer --trials, --seeds or images"
        )
    family = max(0.0, left - seconds - confirm) if math.isfinite(left) else seconds * family_share
    return replace(plan, seconds=seconds, family_seconds=family, confirm_seconds=confirm)


def fewest_networks(settings: Settings, pool_size: int) -> int:
    """That a run trains at least: before the calibration, a time budget says no more."""
    return _networks(settings, math.inf if settings.time_budget is None else 0.0, pool_size, images=1, others=0.0)


def _networks(settings: Settings, passes: float, pool_size: int, images: int, others: float) -> int:
    if settings.networks is not None:
        wanted = settings.networks
    elif math.isinf(passes):
        wanted = UNTIMED_NETWORKS
    elif settings.epochs is not None and settings.train_images is not None:
        wanted = max(FEWEST_NETWORKS, int(passes / (settings.epochs * images) - others))
    else:
        shared = math.sqrt(max(0.0, passes) / FEWEST_PASSES)
        wanted = max(FEWEST_NETWORKS, round(min(shared, passes / PASSES_TO_LEARN)))
    return min(wanted, pool_size)
