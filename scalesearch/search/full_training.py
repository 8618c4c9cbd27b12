"""The full training of one network, from a posed problem to a tested model in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scalesearch.fit.events import Events
from scalesearch.fit.full import FullTraining, Job, Judgement, stalled
from scalesearch.fit.pretrained import start_from
from scalesearch.fit.recipe import Epoch
from scalesearch.fit.step import last_rate
from scalesearch.nets.timing import thread_count
from scalesearch.search.folder import kept, locked, make_folder
from scalesearch.search.training_folder import (
    CHECKPOINT,
    MODEL,
    TEST_FILE,
    Tested,
    Trained,
    begin,
    read_trained,
    write_test,
)
from scalesearch.search.training_problem import Posed
from scalesearch.spec.factory import FactoryArch
from scalesearch.spec.proportion import wilson
from scalesearch.spec.training_settings import TrainingSettings
from scalesearch.spec.units import format_duration

CALIBRATION_SECONDS = 2.0  # per stage; a fifth where the training follows at once
CONFIDENCE = 0.9  # of the interval of an accuracy
EVENTS = "tensorboard"


def plan(posed: Posed, settings: TrainingSettings) -> list[str]:
    """What would be trained and about how long, measured briefly, in sentences. Trains and writes nothing."""
    with thread_count(posed.threads):
        return [*posed.notes, _expected(_open(posed, settings, None), settings, CALIBRATION_SECONDS)]


def train(
    settings: TrainingSettings, folder: Path, posed: Posed, say: Callable[[str], None] = lambda line: None
) -> Trained:
    """Do what is left of a training, and return it. `say` gets one line per step.

    Raises RunError if the folder holds another training, is in use, or cannot be written, TrainingError if the
    training cannot go on; epochs that have ended are kept.
    """
    make_folder(folder)
    with kept(folder), locked(folder), thread_count(posed.threads):
        for note in begin(settings, folder, posed):
            say(note)
        if (folder / TEST_FILE).exists():
            say(f"{folder}: this training has ended; nothing was trained")
            return read_trained(folder)
        training = _open(posed, settings, folder / CHECKPOINT)
        if not training.history:
            say(_expected(training, settings, CALIBRATION_SECONDS / 5))
        else:
            say(f"going on after epoch {len(training.history)} of {settings.epochs}")
        ended = _epochs(training, settings, folder, say)
        training.write_model(folder / MODEL)
        write_test(folder, _tested(training.best, training.test(), ended))
        return read_trained(folder)


def _open(posed: Posed, settings: TrainingSettings, checkpoint: Path | None) -> FullTraining:
    start = None
    if posed.pretrained is not None and not isinstance(posed.arch, FactoryArch):
        start = start_from(posed.pretrained, posed.arch, posed.dataset.classes)
    return FullTraining(
        Job(
            arch=posed.arch,
            data=posed.dataset.folder,
            recipe=posed.recipe,
            seed=settings.seed,
            device=posed.device,
            checkpoint=checkpoint,
            validation_share=settings.validation_share,
            accumulation=settings.accumulation,
            start=start,
        )
    )


def _epochs(training: FullTraining, settings: TrainingSettings, folder: Path, say: Callable[[str], None]) -> str:
    """The epochs that are left; says how the training ended."""
    recipe = training.job.recipe
    events = Events(folder / EVENTS)
    try:
        for epoch in training.history:
            events.add(epoch.epoch, scalars(epoch, training.job))
        # Of a progressive training only the last stage has the network's own side.
        last = recipe.all_stages[-2].stop if len(recipe.all_stages) > 1 else 0
        while len(training.history) < settings.epochs and not stalled(training.history, settings.patience, last):
            epoch = training.next_epoch()
            events.add(epoch.epoch, scalars(epoch, training.job))
            best = training.best
            others = "" if best is epoch else f" (best {best.accuracy:.4f} in epoch {best.epoch})"
            side = recipe.stage_at(epoch.epoch - 1).pixels(training.train.resolution)
            say(
                f"[{epoch.epoch}/{settings.epochs}] {side} px, loss {epoch.train_loss:.4f}, validation "
                f"{epoch.val_loss:.4f}, accuracy {epoch.accuracy:.4f}{others}, {epoch.seconds:.0f} s, "
                f"{epoch.images_per_second:.0f} images/s"
            )
    finally:
        events.close()
    if len(training.history) == settings.epochs:
        return f"all {settings.epochs} epochs were trained"
    return (
        f"stopped after epoch {len(training.history)} of {settings.epochs}: validation accuracy had not risen for "
        f"{settings.patience} epochs"
    )


def scalars(epoch: Epoch, job: Job) -> dict[str, float]:
    """What TensorBoard shows of an epoch, by tag."""
    recipe = job.recipe
    return {
        "loss/train": epoch.train_loss,
        "loss/validation": epoch.val_loss,
        "accuracy/validation": epoch.accuracy,
        "learning_rate": last_rate(recipe, epoch.epoch),
        "side": float(recipe.stage_at(epoch.epoch - 1).pixels(job.arch.resolution)),
        "images_per_second": epoch.images_per_second,
    }


def _expected(training: FullTraining, settings: TrainingSettings, calibration: float) -> str:
    speeds, first, seconds = training.measure(calibration), 0, 0.0
    for stage, rate in zip(training.job.recipe.all_stages, speeds.train, strict=True):
        each = training.train.count / rate + training.val.count / speeds.evaluation
        seconds += (stage.stop - first) * each
        first = stage.stop
    rates = ", ".join(f"{rate:.0f}" for rate in speeds.train)
    return (
        f"plan: {settings.epochs} epochs of {training.train.count:,} images in batches of {settings.batch}; {rates} "
        f"images/s measured in training{' by stage' if len(speeds.train) > 1 else ''}, {speeds.evaluation:.0f} in "
        f"evaluation, {training.job.device}: about {format_duration(max(1, round(seconds)))}"
    )


def _tested(best: Epoch, found: Judgement, ended: str) -> Tested:
    low, high = wilson(found.accuracy, found.images, CONFIDENCE)
    return Tested(
        epoch=best.epoch,
        images=found.images,
        loss=found.loss,
        accuracy=found.accuracy,
        low=low,
        high=high,
        confidence=CONFIDENCE,
        top5=found.top5,
        ended=ended,
        confusion=tuple(map(tuple, found.confusion.tolist())),
    )
