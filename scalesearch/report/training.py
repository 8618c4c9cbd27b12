"""What a full training gave: log, confusions, figure and page, all derived from its folder."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path

import pandas as pd

from scalesearch.fit.step import last_rate
from scalesearch.report.figures.style import render
from scalesearch.report.figures.training import course_info, draw_course
from scalesearch.report.files import write_bytes, write_csv, write_text
from scalesearch.report.html_tables import spelled
from scalesearch.report.markup import Html, bullets, page, picture, section, table, tag
from scalesearch.report.wording import count
from scalesearch.report.write import REPORT_FILE
from scalesearch.search.opening import RUN_FILE, stored_settings
from scalesearch.search.training_folder import MODEL, Tested, Trained
from scalesearch.search.training_problem import images_of
from scalesearch.spec.cost import cost
from scalesearch.spec.factory import is_factory
from scalesearch.spec.training_settings import TRAINING_OPTIONS, TrainingSettings
from scalesearch.spec.units import FLOPS_DEFINITION, format_duration, format_flops

_COLUMNS = 110
_MIXED_UP = 12  # pairs of classes shown
_WORST = 12  # classes shown


def write_training(trained: Trained) -> Path | None:
    """Write log.csv, and after the test confusion.csv; the figure and the page. None if no epoch has ended."""
    if not trained.epochs:
        return None
    write_csv(trained.folder / "log.csv", log_table(trained))
    if trained.tested is not None:
        write_csv(trained.folder / "confusion.csv", confusion_table(trained.tested, trained.classes))
    figure = draw_course(course_info(trained))
    drawing = render(figure, "svg")
    write_bytes(trained.folder / "figures" / "training.svg", drawing)
    write_bytes(trained.folder / "figures" / "training.png", render(figure, "png"))
    path = trained.folder / REPORT_FILE
    write_text(path, training_html(trained, drawing))
    return path


def log_table(trained: Trained) -> pd.DataFrame:
    """A row per epoch. `learning_rate` is that of its end; accuracy is of the weight average, on validation images."""
    recipe, rows = trained.recipe, []
    for epoch in trained.epochs:
        stage = recipe.stage_at(epoch.epoch - 1)
        rows.append(
            {
                "epoch": epoch.epoch,
                "stage": recipe.all_stages.index(stage) + 1,
                "side": stage.pixels(trained.arch.resolution),
                "magnitude": stage.magnitude,
                "mixup": stage.mixup,
                "cutmix": stage.cutmix,
                "dropout": getattr(trained.arch, "dropout", None) if stage.dropout is None else stage.dropout,
                "learning_rate": last_rate(recipe, epoch.epoch),
                "train_loss": epoch.train_loss,
                "val_loss": epoch.val_loss,
                "accuracy": epoch.accuracy,
                "seconds": epoch.seconds,
                "images_per_second": epoch.images_per_second,
            }
        )
    return pd.DataFrame(rows)


def confusion_table(tested: Tested, classes: tuple[str, ...]) -> pd.DataFrame:
    """A row per true class, a column per answer, counts of test images."""
    frame = pd.DataFrame(list(tested.confusion), columns=list(classes))
    frame.insert(0, "truth", list(classes), allow_duplicates=True)
    return frame


def answer(trained: Trained) -> list[str]:
    """What the training gave, in sentences; without a test, how far it has come."""
    tested = trained.tested
    if tested is None:
        best = max(trained.epochs, key=lambda epoch: epoch.accuracy)
        return [
            f"{count(len(trained.epochs), 'epoch')} of {trained.settings.epochs} trained; the best validation accuracy "
            f"so far is {100 * best.accuracy:.2f}%, after epoch {best.epoch}. Not tested yet."
        ]
    seconds = sum(epoch.seconds for epoch in trained.epochs)
    top5 = "" if tested.top5 is None else f", top-5 {100 * tested.top5:.2f}%"
    return [
        f"Test accuracy {100 * tested.accuracy:.2f}% [{100 * tested.low:.2f} to {100 * tested.high:.2f}% at "
        f"{100 * tested.confidence:g}% confidence]{top5}, on the {tested.images:,} images of the data set's "
        "held-out split, which this training, the choice of the epoch and early stopping have not seen.",
        f"Tested is the weight average after epoch {tested.epoch}, the best on the validation images; {tested.ended}, "
        f"in {format_duration(max(1, round(seconds)))} of training. The interval is for the chance of which images "
        "were tested, of one training.",
    ]


def summary(trained: Trained) -> str:
    """What `scalesearch train` ends with."""
    lines = [line for text in answer(trained) for line in textwrap.wrap(text, _COLUMNS, subsequent_indent="  ")]
    if trained.tested is not None:
        lines.append(f"model: {trained.folder / MODEL}")
    return "\n".join([*lines, f"report: {trained.folder / REPORT_FILE}"])


def training_html(trained: Trained, drawing: bytes) -> str:
    arch, found = trained.arch, cost(trained.arch)
    size = f"{format_flops(found.flops)} FLOPs, {found.params / 1e6:.2f}M parameters at {arch.resolution} px"
    parts = [
        tag("h1", f"Training of {arch.name} on {trained.settings.data}"),
        tag("div", *(tag("p", text) for text in answer(trained)), class_="answer"),
        tag("p", f"{arch.name}: {size}. {FLOPS_DEFINITION}", class_="note"),
        section("What was trained, and how", bullets(trained.notes)),
        section("Course", picture(drawing, _alternative(trained), _CAPTION)),
    ]
    if trained.tested is not None:
        parts.append(section("What is mistaken for what", *_mistakes(trained.tested, trained.classes)))
    parts += [
        section(
            "Settings and environment", tag("div", _environment(trained), _settings(trained), class_="figures start")
        ),
        section(
            "Go on, or make this page again",
            tag("p", "The same command; epochs that have ended are not trained again:"),
            tag("pre", train_command(trained.settings, trained.folder)),
            tag(
                "p",
                "Epochs are in log.csv, the confusion matrix in confusion.csv, the weights with the network's "
                f"description in {MODEL}: torch.load(…, weights_only=True).",
            ),
        ),
    ]
    return page(f"scalesearch: {trained.folder.name}", *parts)


_CAPTION = (
    "Loss and accuracy by epoch. Training loss is with label smoothing, augmentation and dropout, and of the weights "
    "as they are; validation is of the weight average on plain images at the network's full side. Shades are stages."
)


def _alternative(trained: Trained) -> str:
    last = trained.epochs[-1]
    return f"Curves of {count(len(trained.epochs), 'epoch')}, ending at {100 * last.accuracy:.1f}% validation accuracy"


def _mistakes(tested: Tested, classes: tuple[str, ...]) -> list[Html]:
    total = [sum(row) for row in tested.confusion]
    shares = sorted((row[index] / total[index], index) for index, row in enumerate(tested.confusion) if total[index])
    worst = [(classes[index], total[index], f"{100 * share:.1f}%") for share, index in shares[:_WORST]]
    pairs = sorted(
        (
            (number, truth, answer)
            for truth, row in enumerate(tested.confusion)
            for answer, number in enumerate(row)
            if number and truth != answer
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    mixed = [
        (classes[truth], classes[answer], number, f"{100 * number / total[truth]:.1f}%")
        for number, truth, answer in pairs[:_MIXED_UP]
    ]
    shown = [table(("class", "images", "right"), worst, text=("class",))]
    if mixed:
        shown.append(table(("truth", "answer", "images", "of the class"), mixed, text=("truth", "answer")))
    note = (
        "The classes with the smallest share of right answers, and the pairs mixed up most often, of the test images."
    )
    return [tag("p", note, class_="note"), tag("div", *shown, class_="figures start")]


def _environment(trained: Trained) -> Html:
    rows = [(key, spelled(value)) for key, value in trained.environment.items()]
    return table(("environment", "value"), rows, text=("environment", "value"))


def _settings(trained: Trained) -> Html:
    rows = [(key, spelled(value)) for key, value in trained.settings.to_dict().items()]
    recipe = {"learning_rate": trained.recipe.learning_rate, "weight_decay": trained.recipe.weight_decay}
    recipe["ema_decay"] = trained.recipe.ema_decay
    rows += [(f"{key}, as decided", f"{value:.6g}") for key, value in recipe.items()]
    return table(("setting", "value"), rows, text=("setting", "value"))


def train_command(settings: TrainingSettings, folder: Path) -> str:
    """The command that goes on with a training: the same settings and folder."""
    found, usual = settings.to_dict(), TrainingSettings(network=settings.network, start=settings.start).to_dict()
    words = ["scalesearch", "train"]
    words += [] if settings.network is None else [settings.network]
    if settings.network is not None and (Path(settings.network) / RUN_FILE).exists():
        run = stored_settings(Path(settings.network))
        if run.data == settings.data:
            usual |= images_of(run)
        words += ["--base", run.base] if is_factory(run.base) else []
    words += ["--data", settings.data, "--out", str(folder)]
    for name, value in found.items():
        if name in ("network", "data") or (value == usual[name] and name != "start") or value is None:
            continue
        option = {"start": "from"}.get(name, name)
        words += [f"--{option}", str(value)] if name in TRAINING_OPTIONS else ["--set", f"{name}={value}"]
    return shlex.join(words)
