"""How zero-cost scores rank networks that were trained: of a run, or of a recording.

    python benchmarks/zero_cost.py SOURCE [--json FILE] [--add] [--workers N]

Scores every candidate that has finished a training (about 1.5 s of one core per network of 2M FLOPs and
initialisation) and compares them with its accuracies. A run is only read; a FILE that exists keeps its scores, so that
the command can be interrupted, and given again when more has been trained. `python docs/zero_cost.py` makes the page.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalesearch import Run
from scalesearch.search.executor import LocalExecutor
from scalesearch.search.folder import environment
from scalesearch.search.landscape import read_landscape, with_zero_cost, write_landscape
from scalesearch.search.priors import ALL_ALIKE, judge
from scalesearch.search.problem import pose
from scalesearch.search.ranks import tau_b
from scalesearch.search.records import TrialRecord
from scalesearch.search.zero_cost import IMAGES, INITIALISATIONS, ZeroCost, checked, score_networks
from scalesearch.spec.errors import RunError, ScaleSearchError
from scalesearch.spec.factory import AnyArch
from scalesearch.spec.settings import Settings
from scalesearch.spec.settings import from_dict as settings_from_dict

SHARES = ("depth", "width", "resolution")


@dataclass(frozen=True)
class Trained:
    """A network and its accuracy at the end of each training, by seed."""

    arch: AnyArch
    anchors: Sequence[str]
    shares: Sequence[float]
    activations: int
    accuracies: Mapping[int, float]


@dataclass(frozen=True)
class Source:
    """What SOURCE holds of a finished or unfinished run."""

    path: Path
    settings: Settings
    data_fingerprint: str
    epochs: int
    commit: str | None
    finished: bool
    networks: Mapping[str, Trained]


def opened(path: Path) -> Source:
    """A recording if `path` is a file, else a run's folder. Raises RunError or DataError."""
    source = _recording(path) if path.is_file() else _run(path)
    if len(source.networks) < 3:
        raise RunError(
            f"{path}: ranks need three candidates with a finished training, found {len(source.networks)}; "
            "let the run go on"
        )
    return source


def _recording(path: Path) -> Source:
    found = read_landscape(path)
    networks = {
        network.candidate.digest: Trained(
            network.candidate.arch,
            network.anchors,
            network.candidate.shares,
            network.candidate.activations,
            {training.seed: training.epochs[-1].accuracy for training in network.trainings},
        )
        for network in found.networks
    }
    commit = found.environment.get("commit")
    return Source(
        path, settings_from_dict(found.settings), found.data_fingerprint, found.epochs, commit, True, networks
    )


def _run(path: Path) -> Source:
    run = Run.load(path)
    if run.plan is None:
        raise RunError(f"{path}: nothing was trained in it; scores need a run with images")
    rows: dict[str, list[TrialRecord]] = {}
    for record in run.trials:
        if record.role == "candidate" and record.status == "done":
            rows.setdefault(record.digest, []).append(record)
    networks = {
        digest: Trained(
            own[0].arch,
            own[0].attributes["anchors"],
            own[0].attributes["shares"],
            own[0].activations,
            {record.seed: float(record.accuracy or 0) for record in sorted(own, key=lambda record: record.seed)},
        )
        for digest, own in rows.items()
    }
    commit = run.facts["environment"]["commit"]
    ended = run.finished is not None
    return Source(path, run.settings, run.facts["data_fingerprint"], run.plan.epochs, commit, ended, networks)


def described(digest: str, network: Trained, scores: ZeroCost) -> dict[str, Any]:
    """One network of the JSON file: what it is, its accuracies by seed, its scores by initialisation."""
    return {
        "digest": digest,
        "anchors": list(network.anchors),
        "shares": [round(share, 6) for share in network.shares],
        "resolution": network.arch.resolution,
        "activations": network.activations,
        "accuracies": {str(seed): round(value, 6) for seed, value in network.accuracies.items()},
        "scores": {name: [float(f"{value:.8g}") for value in values] for name, values in scores.items()},
    }


def table(networks: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What the networks of the JSON file say of each score; activations and side stand beside as two that are free."""
    accuracies = [{int(seed): value for seed, value in network["accuracies"].items()} for network in networks]
    scores = {name: [network["scores"][name] for network in networks] for name in networks[0]["scores"]}
    for free in ("activations", "resolution"):
        scores[free] = [[network[free]] for network in networks]
    appraisal = judge(scores, accuracies)
    means = [sum(row.values()) / len(row) for row in accuracies]
    shares = {name: [network["shares"][index] for network in networks] for index, name in enumerate(SHARES)}
    rows = []
    for worth in appraisal.worths:
        medians = [statistics.median(values) for values in scores[worth.score]]
        along = {name: tau_b(medians, values, ALL_ALIKE) for name, values in shares.items()}
        rows.append({**asdict(worth), "shares": along})
    return {
        "networks": appraisal.networks,
        "trainings": appraisal.trainings,
        "noise": appraisal.noise.deviation if appraisal.noise.freedom else None,
        "ceiling": None if math.isnan(appraisal.ceiling) else appraisal.ceiling,
        "accuracy": [min(means), max(means)],
        "accuracy_shares": {name: tau_b(means, values, ALL_ALIKE) for name, values in shares.items()},
        "rows": _rounded(rows),
    }


def _rounded(value: Any) -> Any:
    """Four digits after the point, and null for what is not known."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(entry) for entry in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def known_scores(path: Path | None, about: Mapping[str, Any]) -> dict[str, ZeroCost]:
    """The scores that FILE holds, if they are of the same images and as many initialisations."""
    if path is None or not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if {key: stored["about"][key] for key in about} != about:
            return {}
        networks = {network["digest"]: network["scores"] for network in stored["networks"]}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: was not written by this script ({error!r}); give --json another file") from None
    return {digest: checked(f"{path}: {digest}", found, about["initialisations"]) for digest, found in networks.items()}


def measured(source: Source, images: int, initialisations: int, workers: int, path: Path | None) -> dict[str, Any]:
    """The content of the JSON file; written to `path` whenever a network has been scored."""
    about: dict[str, Any] = {
        "data_fingerprint": source.data_fingerprint,
        "images": images,
        "initialisations": initialisations,
    }
    scores = known_scores(path, about)
    missing = [network.arch for digest, network in source.networks.items() if digest not in scores]
    print(f"{len(source.networks)} networks, {len(missing)} of them to be scored", flush=True)
    here = environment("cpu")
    about |= {"source": source.path.name, "source_commit": source.commit, "epochs": source.epochs}
    about |= {"finished": source.finished}
    about |= {"date": time.strftime("%Y-%m-%d"), **{key: here[key] for key in ("machine", "python", "packages")}}

    def result() -> dict[str, Any]:
        there = [(digest, network) for digest, network in source.networks.items() if digest in scores]
        return {"about": about, "networks": [described(digest, own, scores[digest]) for digest, own in there]}

    def keep(arch: AnyArch, found: ZeroCost) -> None:
        scores[arch.digest] = found
        print(f"{len(scores)} of {len(source.networks)}: {arch.digest}", flush=True)
        if path is not None:
            write(path, result())

    if missing:
        executor = LocalExecutor(workers)
        try:
            score_networks(executor, missing, _data(source), images, initialisations, keep)
        finally:
            executor.close()
    found = result()
    return {"about": about, "table": table(found["networks"]), "networks": found["networks"]}


def _data(source: Source) -> Path:
    """The images in the cache. Raises RunError if they are not the ones that were trained on."""
    dataset = pose(source.settings, 1).dataset
    if dataset is None:
        raise RunError(f"{source.path}: its networks were judged by prediction; scores need a run with images")
    if dataset.fingerprint != source.data_fingerprint:
        raise RunError(
            f"{source.path}: the images of {source.settings.data} have changed since they were trained on (fingerprint "
            f"{source.data_fingerprint[:12]} then, {dataset.fingerprint[:12]} now); restore them"
        )
    return dataset.folder


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    # One line per network: small, and a change of one shows as one.
    text = json.dumps({key: value for key, value in content.items() if key != "networks"}, indent=1, ensure_ascii=False)
    lines = ",\n".join("  " + json.dumps(network) for network in content["networks"])
    temporary.write_text(f'{text[:-2]},\n "networks": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    temporary.replace(path)


def printed(found: Mapping[str, Any]) -> list[str]:
    """The table for the terminal."""
    lines = [f"{'score':<12}{'τ_b':>7}  {'90 %':<16}{'given params':>13}{'upper half':>12}{'lost, points':>14}"]
    for row in found["rows"]:
        tau = row["tau"]
        lines.append(
            f"{row['score']:<12}{tau['value']:>7.2f}  [{tau['low']:5.2f}, {tau['high']:5.2f}]  "
            f"{row['partial']['value']:>12.2f}{row['upper_half']:>12.2f}{100 * row['loss']:>14.2f}"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a run's folder, or a recording of one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there; scores in it are used again")
    parser.add_argument("--add", action="store_true", help="write the scores into the recording too")
    parser.add_argument("--images", type=int, default=IMAGES, help="in the batch (default: %(default)s)")
    parser.add_argument(
        "--initialisations", type=int, default=INITIALISATIONS, help="of each network (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.add and not options.source.is_file():
            raise RunError(f"{options.source}: is a run, which is only read; --add needs a recording (record.py)")
        if options.images < 2 or options.initialisations < 1 or options.workers < 1:
            raise RunError("--images must be at least 2, --initialisations and --workers at least 1")
        source = opened(options.source)
        content = measured(source, options.images, options.initialisations, options.workers, options.json)
        if options.add:
            scores = {network["digest"]: network["scores"] for network in content["networks"]}
            write_landscape(with_zero_cost(read_landscape(options.source), scores), options.source)
    except ScaleSearchError as error:
        sys.exit(str(error))
    if options.json is not None:
        write(options.json, content)
    print("\n".join(printed(content["table"])))


if __name__ == "__main__":
    main()
