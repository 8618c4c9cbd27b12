"""Records that pass between the search and its workers: how to train, what to train next, what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from scalesearch.spec.factory import AnyArch


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """A part of a training: the epochs up to the end of `stop`, with images and regularisation of their own.

    `side` is a share of the network's side; smaller images are made on the training device. `magnitude` is
    RandAugment's (kornia's scale, 0 to 30 without its ends; 0: none). `mixup` and `cutmix` are α of Beta(α, α) (0:
    none); with both, each batch takes one of them. `dropout` is the rate before the classifier (None: the network's).
    """

    stop: int
    side: float = 1.0
    magnitude: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    dropout: float | None = None

    def pixels(self, resolution: int) -> int:
        """The side of this stage's images, in px, for a network of side `resolution`."""
        return max(1, round(self.side * resolution))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. One recipe serves every candidate of a run.

    `learning_rate` is for a batch of 256 images and scales linearly with `batch` (Goyal et al. 2017); it warms up
    linearly over `warmup` of all steps. Then it follows half a cosine to zero, or with the `exponential` schedule is
    multiplied by `decay` every `decay_epochs`, counted from the start (Tan & Le 2019, section 5.2). `shift` is the
    largest random translation, as a share of the side. `ema_decay` is reached gradually: min(decay, (1 + step) /
    (10 + step)). `stages` are the training's parts, in order; without any, all of it is one stage of the network's own
    side.
    """

    epochs: int
    batch: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    warmup: float = 0.05
    ema_decay: float = 0.98
    shift: float = 0.0
    schedule: str = "cosine"
    decay: float = 0.97
    decay_epochs: float = 2.4
    stages: tuple[TrainingStage, ...] = ()

    @property
    def all_stages(self) -> tuple[TrainingStage, ...]:
        """The stages, of a plain recipe the one that it is."""
        return self.stages or (TrainingStage(self.epochs),)

    def stage_at(self, epoch: int) -> TrainingStage:
        """The stage of an epoch, counted from 0."""
        return next(stage for stage in self.all_stages if epoch < stage.stop)

    def times(self, factor: int) -> Recipe:
        """The same over so many times the epochs; its stages are longer in proportion."""
        stages = tuple(replace(stage, stop=factor * stage.stop) for stage in self.stages)
        return replace(self, epochs=factor * self.epochs, stages=stages)


@dataclass(frozen=True, slots=True)
class Origin:
    """A trained network whose weights another starts from: its arch, and the checkpoint at its training's end."""

    arch: AnyArch
    checkpoint: Path


@dataclass(frozen=True, slots=True)
class Rung:
    """One stateless piece of work: train `arch` from the end of `start_epoch` to the end of `stop_epoch`.

    `train_images` and `val_images` are how many of the data set's images are used (None: all), the same ones for
    every candidate of a seed. `checkpoint` is always written, atomically; if start_epoch > 0, `previous` is read first
    (None: `checkpoint` itself). Two files, so that a rung whose result was lost can be done again. With `origin` the
    first rung starts from that network's weights, grown to `arch` (nets.inherit); the seed decides what is new.
    """

    arch: AnyArch
    data: Path
    train_images: int | None
    val_images: int | None
    recipe: Recipe
    seed: int
    start_epoch: int
    stop_epoch: int
    checkpoint: Path
    device: str = "cpu"
    previous: Path | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave: mean training loss, validation loss and top-1 accuracy (0 to 1), training seconds.

    `processor_seconds` are of training and evaluation by the worker's own processor time, which other work on the
    machine disturbs little; on CUDA they are wall-clock seconds.
    """

    epoch: int
    train_loss: float
    val_loss: float
    accuracy: float
    seconds: float
    images_per_second: float
    processor_seconds: float


@dataclass(frozen=True, slots=True)
class RungResult:
    """The epochs of a rung.

    `peak_memory` in bytes: on CPU of the worker since it started, on CUDA of this rung's tensors.
    """

    epochs: tuple[Epoch, ...]
    seconds: float
    peak_memory: int
    accumulation: int = 1
    notes: tuple[str, ...] = field(default=())

    @property
    def accuracy(self) -> float:
        return self.epochs[-1].accuracy
