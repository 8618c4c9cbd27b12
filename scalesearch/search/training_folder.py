"""A full training's folder: what is written at its beginning and its end, and reading it back.

`train.json` says what is trained; `checkpoint.pt` is the memory while it trains, with every epoch that ended;
`model.pt` is the result and `test.json` what the test gave, written last. All else is derived.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalesearch.fit.full import read_history
from scalesearch.fit.recipe import Epoch, Recipe, TrainingStage
from scalesearch.search.folder import environment
from scalesearch.search.opening import check_unchanged
from scalesearch.search.training_problem import Posed
from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.schema import read_stored
from scalesearch.spec.settings import difference
from scalesearch.spec.training_settings import TrainingSettings
from scalesearch.spec.training_settings import from_dict as settings_from_dict

TRAIN_FILE, CHECKPOINT, MODEL, TEST_FILE = "train.json", "checkpoint.pt", "model.pt", "test.json"
FREE = ("threads", "accumulation")  # settings that may differ when a training is gone on with


@dataclass(frozen=True, slots=True)
class Tested:
    """What the test gave, as shares from 0 to 1; `low` and `high` of the accuracy are at `confidence` (Wilson 1927).

    They stand for the chance of which images are in the sample, not for that of training. `top5` is None of five
    classes or fewer; `confusion` counts images: rows truth, columns answer.
    """

    epoch: int  # whose weight average was tested
    images: int
    loss: float
    accuracy: float
    low: float
    high: float
    confidence: float
    top5: float | None
    ended: str  # how the training did
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """A full training as its folder shows it. `tested` is None until it has ended."""

    folder: Path
    settings: TrainingSettings
    arch: AnyArch
    classes: tuple[str, ...]
    recipe: Recipe
    notes: tuple[str, ...]
    environment: dict[str, Any]
    epochs: tuple[Epoch, ...]
    tested: Tested | None


def default_folder(settings: TrainingSettings, arch: AnyArch, root: Path) -> Path:
    """The same settings lead to the same folder, so that a command given again finds its training."""
    data = Path(settings.data).stem or "data"
    tuned = "-tuned" if settings.start else ""
    return root / f"train-{arch.name}-{data}{tuned}-s{settings.seed}"


def begin(settings: TrainingSettings, folder: Path, posed: Posed) -> list[str]:
    """Describe the training in its folder, if that is not done; what there is to be said of it.

    Raises RunError if the folder is of another training.
    """
    for leftover in folder.glob("*.tmp"):  # of a process that was killed while it wrote
        leftover.unlink()
    if (folder / TRAIN_FILE).exists() and ((folder / CHECKPOINT).exists() or (folder / TEST_FILE).exists()):
        table = read_table(folder)
        # What an older version did not store keeps its default.
        free = {name: getattr(settings, name) for name in FREE}
        changed = difference({**settings.to_dict(), **table["settings"], **free}, settings.to_dict())
        if changed:
            raise RunError(
                f"{folder}: holds a training with other settings ({'; '.join(changed)}); give the same ones, or "
                "another --out"
            )
        if table["arch"] != posed.arch.to_dict():
            raise RunError(
                f"{folder}: {settings.network or settings.start} has changed since the training began (it is another "
                "network); restore it, or use another --out"
            )
        check_unchanged(folder, f"the images of {settings.data}", table["fingerprint"], posed.dataset.fingerprint)
        if table["recipe"] != _recipe_table(posed.recipe):
            raise RunError(
                f"{folder}: was begun by another version of scalesearch, which makes another recipe of the same "
                "settings; go on with that one, or use another --out"
            )
        if table.get("start") != _digest(posed):
            raise RunError(
                f"{folder}: {settings.start} has changed since the training began (it holds other weights); restore "
                "it, or use another --out"
            )
        _replace(folder / TRAIN_FILE, _spelled({**table, "settings": settings.to_dict()}))
        return list(table["notes"])
    if (folder / CHECKPOINT).exists():
        raise RunError(f"{folder}: holds a {CHECKPOINT} without {TRAIN_FILE}; give another --out")
    table = {
        "settings": settings.to_dict(),
        "arch": posed.arch.to_dict(),
        "classes": list(posed.dataset.classes),
        "fingerprint": posed.dataset.fingerprint,
        "recipe": _recipe_table(posed.recipe),
        "notes": list(posed.notes),
        "start": _digest(posed),
        "environment": environment(posed.device, optional=("kornia", "tensorboard")),
    }
    _replace(folder / TRAIN_FILE, _spelled(table))
    return list(posed.notes)


def _digest(posed: Posed) -> str | None:
    """Of the weights that a fine-tuning starts from."""
    return None if posed.pretrained is None else posed.pretrained.digest


def _spelled(table: dict[str, Any]) -> str:
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def _recipe_table(recipe: Recipe) -> dict[str, Any]:
    """As JSON has it: stages are a list."""
    return {**asdict(recipe), "stages": [asdict(stage) for stage in recipe.stages]}


def read_trained(folder: Path) -> Trained:
    """A training as far as it has come. Raises RunError if the folder holds none."""
    table = read_table(folder)
    arch = read_stored(table["arch"])
    if arch is None:
        raise RunError(f"{folder / TRAIN_FILE}: its network does not fit this version of scalesearch; train it anew")
    recipe = {**table["recipe"], "stages": tuple(TrainingStage(**stage) for stage in table["recipe"]["stages"])}
    path = folder / CHECKPOINT
    return Trained(
        folder=folder,
        settings=settings_from_dict(table["settings"]),
        arch=arch,
        classes=tuple(table["classes"]),
        recipe=Recipe(**recipe),
        notes=tuple(table["notes"]),
        environment=table["environment"],
        epochs=read_history(path) if path.exists() else (),
        tested=_read_test(folder / TEST_FILE),
    )


def read_table(folder: Path) -> dict[str, Any]:
    """`train.json` of a folder. Raises RunError if the folder is no training."""
    path = folder / TRAIN_FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder}: is not a training's folder: it has no {TRAIN_FILE}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not isinstance(table, dict) or not {"settings", "arch", "recipe", "classes"} <= table.keys():
        raise RunError(f"{path}: must hold settings, arch, recipe and classes; it was not written by scalesearch")
    return table


def write_test(folder: Path, tested: Tested) -> None:
    _replace(folder / TEST_FILE, json.dumps(asdict(tested)) + "\n")


def _read_test(path: Path) -> Tested | None:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return Tested(**{**table, "confusion": tuple(map(tuple, table["confusion"]))})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read: {error}; remove it, and the same command tests again") from error


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
