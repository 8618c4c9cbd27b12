"""Search α, β, γ for a base and a FLOPs budget on your images, and derive the family B0–B7; or search the base first.

Give the same command again to continue an interrupted run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scalesearch.commands.text import absolute, argument, folder, setting, table
from scalesearch.spec.errors import SettingsError
from scalesearch.spec.factory import is_factory
from scalesearch.spec.outline import repeats
from scalesearch.spec.presets import PRESETS
from scalesearch.spec.settings import (
    COEFFICIENTS,
    COSTS,
    DEFAULT_STRATEGY,
    DEVICES,
    EVALUATORS,
    OPTIONS,
    PRUNERS,
    RULES,
    SAMPLERS,
    SEARCH,
    STEPS,
    STRATEGIES,
    Settings,
    make_settings,
)
from scalesearch.spec.settings_text import read_assignments, read_settings_file
from scalesearch.spec.units import FLOPS_DEFINITION

EXAMPLES = f"""examples:
  scalesearch run --target-flops 400M
  scalesearch run --target-flops 400M --data photos/ --time-budget 2h --seeds 3
  scalesearch run --target-flops 1G --sampler tpe --trials 40 --out results/mine
  scalesearch run --target-flops 100M --base my_package.my_module:make
  scalesearch run --target-flops 400M --base search --space mnasnet --time-budget 1h
  scalesearch run --target-flops 400M --base search --only base --strategy evolution
  scalesearch run --target-flops 400M --cost latency
  scalesearch run --target-flops 400M --cost train_step --set objective=efficientnetv2
  scalesearch run --resume --out results/mine
  scalesearch run --target-flops 400M --evaluator imagenet_surrogate
  scalesearch run --evaluator replay --data results/reference/scalebench/scalebench.json.gz

{FLOPS_DEFINITION}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target-flops", type=_reader("target_flops"), metavar="T", help="the base's budget: 400M, 0.4G"
    )
    parser.add_argument(
        "--base",
        metavar="NAME|FILE|FACTORY|search",
        help="the base network (default efficientnet_b0); package.module:function runs that code; search finds one",
    )
    parser.add_argument(
        "--space", metavar="NAME|FILE", help="where a base is searched: a space with choices (default mnasnet)"
    )
    parser.add_argument("--strategy", choices=STRATEGIES, help=f"which base to try next (default {DEFAULT_STRATEGY})")
    parser.add_argument("--only", choices=STEPS, help="end after this step of --base search")
    parser.add_argument(
        "--data", metavar="NAME|PATH", help="glyphs (default), digits, a folder of class folders, .npz, or CIFAR files"
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), help="smoke: seconds, quick (default): minutes, full: hours"
    )
    parser.add_argument(
        "--evaluator",
        choices=tuple(EVALUATORS),
        help="train (default) on your images; imagenet_surrogate: ask a surface fitted to published ImageNet results "
        "of scaled B0s; replay: read trainings from the recording that --data names",
    )
    parser.add_argument(
        "--coefficients",
        choices=COEFFICIENTS,
        help="of the family: fixed (default), or the best at each member's budget (imagenet_surrogate)",
    )
    parser.add_argument("--sampler", choices=SAMPLERS, help="what to train next (default surface)")
    parser.add_argument("--pruner", choices=PRUNERS, help="which trainings to stop early (default none)")
    parser.add_argument(
        "--trials", type=_reader("trials"), metavar="N", help="trainings of candidates: networks × seeds"
    )
    parser.add_argument(
        "--time-budget", type=_reader("time_budget"), metavar="TIME", help="for the whole run: 90s, 10m, 2h"
    )
    parser.add_argument("--seeds", type=_reader("seeds"), metavar="K", help="trainings per network (default 2)")
    parser.add_argument(
        "--workers", type=_workers, metavar="N|auto", help="processes (default: one per core; 1 on a GPU)"
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="a TOML file of settings (experiments/); options come before it"
    )
    parser.add_argument("--storage", metavar="URL", help="any Optuna storage (default: a journal in the run's folder)")
    parser.add_argument("--device", choices=DEVICES, help="default auto")
    parser.add_argument(
        "--cost", choices=COSTS, help="what the score and the Pareto front weigh accuracy against (default flops)"
    )
    parser.add_argument(
        "--w",
        dest="exponent",
        type=argument(_exponent),
        metavar="W|fit",
        help="exponent of the objective (default −0.07); fit: to the run's own accuracy-cost line (--base search)",
    )
    parser.add_argument(
        "--out",
        type=argument(folder),
        metavar="DIR",
        help="the run's folder (default: results/ and a name from the settings)",
    )
    parser.add_argument("--resume", action="store_true", help="continue a run that must exist; needs only --out")
    parser.add_argument(
        "--seed", type=_reader("seed"), metavar="S", help="of data, order and initialisation (default 0)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting: " + ", ".join(_OTHERS)
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the networks that would be tried; train and write nothing"
    )


_OTHERS = tuple(key for key in RULES if key not in OPTIONS)


def execute(arguments: argparse.Namespace) -> None:
    settings, out = read_settings(arguments)
    if arguments.dry_run:
        if settings.base == SEARCH:
            _dry_run_base(settings)
        else:
            _dry_run(settings)
        return
    from scalesearch.commands.progress import Display
    from scalesearch.report.base_page import base_summary, write_base_report
    from scalesearch.report.write import summary, write_report
    from scalesearch.search.base_pipeline import run
    from scalesearch.search.base_run import BaseRun
    from scalesearch.search.folder import default_folder

    place = out or default_folder(settings, Path("results"))
    display = Display()

    def found(base: BaseRun) -> None:
        if base.fresh or "reported" not in base.facts:
            write_base_report(base)
        display.line(base_summary(base))

    try:
        result = run(
            settings, place, display, display.line, storage=arguments.storage, resume=arguments.resume, found=found
        )
    finally:
        display.close()
    if isinstance(result, BaseRun):
        return
    if result.fresh or "reported" not in result.facts:
        write_report(result)
    print(summary(result))


def read_settings(arguments: argparse.Namespace) -> tuple[Settings, Path | None]:
    """Settings from the options, or of the run that --resume names. Raises SettingsError."""
    given: dict[str, Any] = {} if arguments.settings is None else read_settings_file(arguments.settings)
    given |= {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    given |= read_assignments(arguments.set, OPTIONS, RULES)
    if arguments.resume and not given.keys() - {"base"}:
        if arguments.out is None:
            raise SettingsError("--resume: needs --out DIR, or the options that the run was started with")
        settings = _stored(arguments.out)
        _check_base(settings.base, given.get("base"), arguments.out)
        return settings, arguments.out
    if "target_flops" not in given and given.get("evaluator") != "replay":  # a recording has its own
        raise SettingsError("--target-flops: is missing; give the base's budget, like --target-flops 400M")
    # A path must mean the same file when the run is resumed from elsewhere; names stay names.
    if given.get("data", "glyphs") not in ("glyphs", "digits", ""):
        given["data"] = absolute(given["data"])
    for name in ("base", "space"):
        if Path(given.get(name, "")).suffix in (".toml", ".json"):
            given[name] = absolute(given[name])
    for name, word in (("workers", "auto"), ("exponent", "fit")):
        if given.get(name) == word:
            given[name] = None
    return make_settings(**given), arguments.out


def _stored(folder: Path) -> Settings:
    """Of the run in a folder, or of the search of a base that it has only come to yet."""
    from scalesearch.search.base_pipeline import FOLDER
    from scalesearch.search.opening import RUN_FILE, stored_settings

    begun = not (folder / RUN_FILE).exists() and (folder / FOLDER / RUN_FILE).exists()
    return stored_settings(folder / FOLDER if begun else folder)


def _check_base(stored: str, typed: str | None, folder: Path) -> None:
    """A run's folder may come from anywhere: the code that it names is run only if the command names it too."""
    if typed is None and is_factory(stored):
        raise SettingsError(
            f"--resume {folder}: going on runs the code of {stored}; if you want that, say so with --base {stored}"
        )
    if typed is not None and typed != stored:
        raise SettingsError(f"--base {typed}: the base of the run in {folder} is {stored}; give that, or another --out")


def _dry_run(settings: Settings) -> None:
    from scalesearch.search.evaluators import EVALUATORS
    from scalesearch.search.opening import choose_workers
    from scalesearch.search.plan import fewest_networks
    from scalesearch.search.problem import describe_power

    evaluator = EVALUATORS[settings.evaluator]
    problem = evaluator.pose(settings, choose_workers(settings)[0])
    for line in evaluator.describe(problem, settings):
        print(line)
    if settings.evaluator == "train":  # the others train nothing
        print(describe_power(fewest_networks(settings, len(problem.pool.candidates)), settings))
    anchors = {candidate.digest: name for name, candidate in problem.pool.anchors.items()}
    rows = []
    for candidate in sorted(problem.feasible.candidates, key=lambda found: found.shares, reverse=True):
        rows.append(
            (
                anchors.get(candidate.digest, ""),
                repeats(candidate.arch),
                *(
                    f"{side.value:.3f} ({side.low:.3f}–{side.high:.3f})"
                    for side in (candidate.alpha, candidate.beta, candidate.gamma)
                ),
                candidate.arch.resolution,
                f"{candidate.coefficients.nominal_ratio:.3f}",
                f"{candidate.ratio:.3f}",
                " ".join(f"{share:.2f}" for share in candidate.shares),
            )
        )
    print(table(("", "repeats", "α", "β", "γ", "px", "nominal", "realised", "shares d w r"), rows, left=2))
    if problem.feasible.rejected:
        ratios = sorted((ratio for _, ratio in problem.feasible.rejected), key=lambda ratio: abs(ratio - 2))
        print(
            f"cannot get there: {len(ratios)} pairs, the nearest at {', '.join(f'{ratio:.3f}' for ratio in ratios[:5])}"
        )


def _dry_run_base(settings: Settings) -> None:
    from scalesearch.search.base_problem import describe, pose
    from scalesearch.search.base_search import later_trainings
    from scalesearch.search.opening import choose_workers
    from scalesearch.search.plan import FEWEST_NETWORKS, UNTIMED_NETWORKS

    for line in describe(pose(settings, choose_workers(settings)[0])):
        print(line)
    networks = f"{UNTIMED_NETWORKS}"
    if settings.trials is not None:
        networks = f"{settings.trials}"
    elif settings.time_budget is not None:
        networks = f"at least {FEWEST_NETWORKS}, as many as the speed measured here allows"
    print(
        f"plan: {networks} networks trained once, then {later_trainings(settings)} trainings of the best and the "
        "reference" + ("" if settings.only else "; coefficients and family of what is found follow")
    )


def _reader(name: str) -> Any:
    return argument(setting(RULES[name]))


def _workers(text: str) -> Any:
    return "auto" if text == "auto" else _reader("workers")(text)


def _exponent(text: str) -> Any:
    return "fit" if text == "fit" else _reader("exponent")(text)
