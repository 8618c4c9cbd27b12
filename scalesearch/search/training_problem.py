"""Everything of a full training that is fixed before it begins: network, images, device and recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch.fit.data import DataRequest, Dataset, load_dataset
from scalesearch.fit.events import installed
from scalesearch.fit.pretrained import Pretrained, described, read_pretrained, require_same_layers
from scalesearch.fit.progressive import Ends, progressive_stages, published
from scalesearch.fit.randaugment import require_kornia
from scalesearch.fit.recipe import Recipe, TrainingStage
from scalesearch.nets.probe import open_factory
from scalesearch.search.executor import cores
from scalesearch.search.opening import RUN_FILE, choose_device
from scalesearch.search.plan import RATES
from scalesearch.search.problem import cache_dir
from scalesearch.search.run import Run
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import AnyArch, FactoryArch, is_factory
from scalesearch.spec.files import load_arch
from scalesearch.spec.settings import Settings
from scalesearch.spec.training_settings import TrainingSettings

RECOMMENDED = "B1"
# A fine-tuning's rate against a training's: EfficientNetV2 transfers at 0.001 for batches of 512 (arXiv:2104.00298v1,
# section 5.3), and trains at 0.256 for 4096 (its section 5.1).
_FINE = (0.001 / 512) / (0.256 / 4096)
# The weight average reaches back over this share of all steps, as 0.9999 does over EfficientNetV2's 109,000.
_AVERAGED = 0.1
_IMAGES = ("data", "glyph_classes", "glyph_zoom", "glyph_bright", "holdout_fonts")


@dataclass(frozen=True, slots=True)
class Posed:
    """What will be trained, before anything is. `notes` say in sentences what was decided."""

    arch: AnyArch
    dataset: Dataset
    recipe: Recipe
    device: str
    threads: int
    pretrained: Pretrained | None
    notes: tuple[str, ...]


def network_of(settings: TrainingSettings) -> tuple[AnyArch, Pretrained | None, list[str]]:
    """The network that the settings name, the training it goes on from, and what is to be said of both.

    Raises RunError, SettingsError or SpaceError.
    """
    arch: AnyArch | None = None
    found, notes = None, list[str]()
    if settings.network is not None:
        arch, notes = _named(settings.network, settings.member, settings.data)
    elif settings.member is not None:
        raise SettingsError(f"--member {settings.member}: is of a run, got no run's folder; give it before --data")
    if settings.start is not None:
        path = Path(settings.start)
        found = read_pretrained(path)
        if arch is None:
            arch = found.arch
            notes.append(f"network: {arch.name}, as {path} holds it")
        elif isinstance(arch, FactoryArch):
            raise SettingsError(
                f"--from {path}: {arch.factory} makes networks whose classifier is not known, so that none can be "
                "fine-tuned; train it from scratch"
            )
        else:
            require_same_layers(path, found.arch, replace(arch, in_channels=found.arch.in_channels))
    assert arch is not None  # the settings have a network or a start
    return arch, found, notes


def _named(network: str, member: str | None, data: str) -> tuple[AnyArch, list[str]]:
    folder = Path(network)
    if folder.is_dir() or (folder / RUN_FILE).exists():
        run = Run.load(folder)
        name = member or RECOMMENDED
        members = {found.name: found for found in run.family}
        if name not in members:
            raise SettingsError(
                f"--member {name}: the family of {folder} is {', '.join(members)}; give one of them, or a run with "
                "more --set members"
            )
        found = members[name]
        why = ", the recommended network" if member is None else ""
        notes = [f"network: {name} of {folder}{why}: {found.cost.flops:,} FLOPs at {found.arch.resolution} px"]
        if run.finished is None:
            notes.append("the run has not ended: what it recommends may still change")
        if run.settings.data == data:
            notes.append(
                "the run chose it by accuracies on the held-out split of the same data: the test has seen that"
            )
        return found.arch, notes
    if member is not None:
        raise SettingsError(f"--member {member}: is of a run, got {network}, a network; leave --member out")
    arch = open_factory(network) if is_factory(network) else load_arch(network)
    return arch, [f"network: {arch.name}"]


def images_of(settings: Settings) -> dict[str, Any]:
    """A run's kind of images, which a training of its member takes unless it is given others."""
    return {name: getattr(settings, name) for name in _IMAGES}


def pose(settings: TrainingSettings) -> Posed:
    """Find network and data, and decide the recipe. Raises RunError, SettingsError, SpaceError or DataError."""
    named, pretrained, notes = network_of(settings)
    side = settings.resolution or named.resolution
    device = choose_device(settings.device)
    threads = settings.threads or cores()
    if any(stage.magnitude > 0 for stage in _stages(settings, side)):
        require_kornia("randaugment" if settings.randaugment else f"progressive={settings.progressive}")
    dataset = load_dataset(_request(settings, side), cache_dir(), threads)
    arch = replace(named, resolution=side, classes=len(dataset.classes), in_channels=dataset.channels)
    if isinstance(arch, FactoryArch):
        _refuse_for_factories(arch, settings)
    else:
        if pretrained is not None:
            require_same_layers(Path(settings.start or ""), pretrained.arch, arch)
        given: dict[str, Any] = {"dropout": settings.dropout, "drop_path": settings.drop_path}
        arch = replace(arch, **{name: value for name, value in given.items() if value is not None})
    held = max(1, round(settings.validation_share * dataset.train_count))
    steps_per_epoch = -(-(dataset.train_count - held) // settings.batch)
    if not isinstance(arch, FactoryArch):
        # Norm statistics follow within an epoch, of however few steps.
        momentum = settings.norm_momentum or max(arch.norm_momentum, min(0.1, 10 / steps_per_epoch))
        arch = replace(arch, norm_momentum=momentum)
    recipe = _recipe(settings, steps_per_epoch, side)
    notes += [
        f"data: {dataset.name}, {len(dataset.classes)} classes, {dataset.train_count:,} training images of "
        f"{dataset.size} px, of which about {held:,} are held back to choose the best epoch; the test is on the "
        f"{dataset.val_count:,} images of the held-out split (fingerprint {dataset.fingerprint[:12]})",
        *dataset.notes,
        *_stage_notes(recipe, side),
    ]
    if pretrained is not None:
        notes += described(Path(settings.start or ""), pretrained, dataset)
    if not installed():
        notes.append("tensorboard is not installed, so no event files are written (pip install 'scalesearch[train]')")
    return Posed(arch, dataset, recipe, device, threads, pretrained, tuple(notes))


def _refuse_for_factories(arch: FactoryArch, settings: TrainingSettings) -> None:
    for name in ("dropout", "drop_path", "norm_momentum"):
        if getattr(settings, name) is not None:
            raise SettingsError(f"{name}: {arch.factory} decides it for its networks; leave it out")
    if settings.progressive != "none":
        raise SettingsError(
            f"progressive: needs a network that takes images of any side, got one that {arch.factory} makes for its "
            "own; leave it out"
        )


def _request(settings: TrainingSettings, side: int) -> DataRequest:
    held = None if settings.data_images is None else max(1, settings.data_images // 5)
    return DataRequest(
        source=settings.data,
        size=side,
        train_images=settings.data_images,
        val_images=held,
        classes=settings.glyph_classes,
        zoom=settings.glyph_zoom,
        bright=settings.glyph_bright,
        holdout_fonts=settings.holdout_fonts,
        max_bad_share=settings.max_bad_share,
        seed=0,  # whatever --seed is: a fine-tuning must not be tested on what its start was trained on
    )


def _recipe(settings: TrainingSettings, steps_per_epoch: int, side: int) -> Recipe:
    rate, decay = RATES[settings.optimizer]
    if settings.start is not None:
        rate *= _FINE
    average = 1 - 1 / max(2.0, _AVERAGED * settings.epochs * steps_per_epoch)
    return Recipe(
        epochs=settings.epochs,
        batch=settings.batch,
        optimizer=settings.optimizer,
        learning_rate=rate if settings.learning_rate is None else settings.learning_rate,
        weight_decay=decay if settings.weight_decay is None else settings.weight_decay,
        label_smoothing=settings.label_smoothing,
        warmup=settings.warmup,
        ema_decay=min(0.9999, average) if settings.ema_decay is None else settings.ema_decay,
        shift=settings.shift,
        schedule=settings.schedule,
        decay=settings.decay,
        decay_epochs=settings.decay_epochs,
        stages=_stages(settings, side),
    )


def _stages(settings: TrainingSettings, side: int) -> tuple[TrainingStage, ...]:
    if settings.progressive == "none":
        magnitude, mixup = settings.randaugment or 0.0, settings.mixup or 0.0
        return (TrainingStage(settings.epochs, 1.0, magnitude, mixup, settings.cutmix),)
    ends = published()[settings.progressive]
    if settings.first_side is not None and settings.first_side > side:
        raise SettingsError(f"first_side: must be at most the network's side, {side} px, got {settings.first_side}")

    def up_to(pair: tuple[float, float], last: float | None) -> tuple[float, float]:
        return pair if last is None else (min(pair[0], last), last)

    ends = Ends(
        side=ends.side if settings.first_side is None else (settings.first_side / side, 1.0),
        magnitude=up_to(ends.magnitude, settings.randaugment),
        mixup=up_to(ends.mixup, settings.mixup),
        dropout=up_to(ends.dropout, settings.dropout),
    )
    return progressive_stages(ends, settings.epochs, settings.training_stages, settings.cutmix)


def _stage_notes(recipe: Recipe, side: int) -> list[str]:
    notes, first = [], 1
    for number, stage in enumerate(recipe.stages, 1):
        parts = [f"{stage.pixels(side)} px"]
        parts += [f"RandAugment {stage.magnitude:g}"] * (stage.magnitude > 0)
        parts += [f"mixup {stage.mixup:g}"] * (stage.mixup > 0) + [f"CutMix {stage.cutmix:g}"] * (stage.cutmix > 0)
        parts += [] if stage.dropout is None else [f"dropout {stage.dropout:g}"]
        if len(recipe.stages) > 1:
            notes.append(f"stage {number}, epochs {first} to {stage.stop}: {', '.join(parts)}")
        first = stage.stop + 1
    return notes
