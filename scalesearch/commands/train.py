"""Train one network in full: a run's member, a shipped network or a file; then test it.

Give the same command again to continue an interrupted training.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scalesearch.commands.text import absolute, argument, folder, setting
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import is_factory
from scalesearch.spec.settings import DEVICES
from scalesearch.spec.settings_text import read_assignments
from scalesearch.spec.training_settings import (
    TRAINING_OPTIONS,
    TRAINING_RULES,
    TrainingSettings,
    make_training_settings,
)

EXAMPLES = """examples:
  scalesearch train results/mine
  scalesearch train results/mine --member B3 --data photos/ --epochs 100 --set patience=15
  scalesearch train efficientnet_b0 --set resolution=64 --set progressive=s
  scalesearch train efficientnetv2_s --data photos/ --set schedule=exponential --set mixup=0.2 --dry-run
  scalesearch train --from results/train-mine-photos-s0/model.pt --data other_photos/ --epochs 15
"""
_OTHERS = tuple(key for key in TRAINING_RULES if key not in TRAINING_OPTIONS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    read = {name: argument(setting(rule)) for name, rule in TRAINING_RULES.items()}
    parser.add_argument(
        "network",
        nargs="?",
        metavar="RUN|ARCH",
        help="a run's folder, a shipped name, a .toml/.json file, or a factory of yours; may be left out with --from",
    )
    parser.add_argument(
        "--member", type=read["member"], metavar="B3", help="of a run's family (default B1, the recommended network)"
    )
    parser.add_argument(
        "--data",
        metavar="NAME|PATH",
        help="glyphs, digits, a folder of class folders, .npz, or CIFAR files (default: the run's, else glyphs)",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="CHECKPOINT",
        help="fine-tune: start from model.pt of an earlier training, with a new classifier if the classes differ",
    )
    parser.add_argument("--epochs", type=read["epochs"], metavar="N", help="at most (default 30)")
    parser.add_argument("--device", choices=DEVICES, help="default auto")
    parser.add_argument("--seed", type=read["seed"], metavar="S", help="of data, order and initialisation (default 0)")
    parser.add_argument(
        "--base", metavar="FACTORY", help="the factory that RUN began with: training its members runs its code"
    )
    parser.add_argument(
        "--out", type=argument(folder), metavar="DIR", help="the training's folder (default: results/train-…)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting: " + ", ".join(_OTHERS)
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be trained and about how long; train and write nothing"
    )


def execute(arguments: argparse.Namespace) -> None:
    settings = read_settings(arguments)
    from scalesearch.fit.worker import keep_memory
    from scalesearch.report.training import summary, write_training
    from scalesearch.search.full_training import plan, train
    from scalesearch.search.training_folder import default_folder
    from scalesearch.search.training_problem import pose

    keep_memory()
    _check_code(settings, arguments.base)
    posed = pose(settings)
    if arguments.dry_run:
        for line in plan(posed, settings):
            print(line)
        return
    place = arguments.out or default_folder(settings, posed.arch, Path("results"))
    trained = train(settings, place, posed, lambda line: print(line, flush=True))
    write_training(trained)
    print(summary(trained))


def read_settings(arguments: argparse.Namespace) -> TrainingSettings:
    """Settings from the options. Raises SettingsError."""
    given: dict[str, Any] = {
        name: getattr(arguments, name) for name in TRAINING_OPTIONS if getattr(arguments, name) is not None
    }
    given |= read_assignments(arguments.set, TRAINING_OPTIONS, TRAINING_RULES)
    # A path must mean the same file when the training is gone on with from elsewhere; names stay names.
    if given.get("data", "glyphs") not in ("glyphs", "digits", ""):
        given["data"] = absolute(given["data"])
    network = given.get("network", "")
    if Path(network).suffix in (".toml", ".json") or (network and Path(network).is_dir()):
        given["network"] = absolute(network)
    if network and _is_run(network):
        from scalesearch.search.opening import stored_settings
        from scalesearch.search.training_problem import images_of

        images = images_of(stored_settings(Path(network)))
        if given.get("data", images["data"]) == images["data"]:
            given = images | given
    if "start" in given:
        given["start"] = absolute(given["start"])
    return make_training_settings(**given)


def _is_run(network: str) -> bool:
    from scalesearch.search.opening import RUN_FILE

    return (Path(network) / RUN_FILE).exists()


def _check_code(settings: TrainingSettings, typed: str | None) -> None:
    """A run's folder may come from anywhere: the code that it names is run only if the command names it too."""
    from scalesearch.commands.report import check_base
    from scalesearch.search.run import Run

    if settings.network is None or not _is_run(settings.network):
        if typed is not None:
            raise SettingsError(f"--base {typed}: is of a run, got no run's folder; leave it out")
        return
    run = Run.load(settings.network)
    if typed is not None:
        check_base(run, typed)
    elif is_factory(run.settings.base):
        raise SettingsError(
            f"{run.folder}: its networks are made by the code of {run.settings.base}; if that may run, say so with "
            f"--base {run.settings.base}"
        )
