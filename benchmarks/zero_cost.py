"""How zero-cost scores rank the networks of a run: `python benchmarks/zero_cost.py RUN [--json FILE]`.

Scores every candidate of the run that has finished a training (about 1.5 s of one core per network of 2M FLOPs and
initialisation) and compares them with its accuracies. The run is only read; a FILE that exists keeps its scores, so
that the command can be interrupted, and given again when more has been trained. `python docs/zero_cost.py` then makes
the page.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scalesearch import Run
from scalesearch.search.executor import LocalExecutor
from scalesearch.search.folder import environment
from scalesearch.search.ledger import TrialRecord
from scalesearch.search.priors import judge, tau_b
from scalesearch.search.problem import pose
from scalesearch.search.zero_cost import IMAGES, INITIALISATIONS, ZeroCost, checked, score_networks
from scalesearch.spec.errors import RunError, ScaleSearchError
from scalesearch.spec.factory import AnyArch

SHARES = ("depth", "width", "resolution")


def finished(run: Run) -> dict[str, list[TrialRecord]]:
    """The candidates with a finished training, by digest. Raises RunError if there are fewer than three."""
    found: dict[str, list[TrialRecord]] = {}
    for record in run.trials:
        if record.role == "candidate" and record.status == "done":
            found.setdefault(record.digest, []).append(record)
    if len(found) < 3:
        raise RunError(
            f"{run.folder}: ranks need three candidates with a finished training, found {len(found)}; let the run go on"
        )
    return found


def described(records: list[TrialRecord], scores: ZeroCost) -> dict[str, Any]:
    """One network of the JSON file: what it is, its accuracies by seed, its scores by initialisation."""
    first = records[0]
    return {
        "digest": first.digest,
        "anchors": first.attributes["anchors"],
        "shares": first.attributes["shares"],
        "resolution": first.arch.resolution,
        "activations": first.activations,
        "accuracies": {str(record.seed): record.accuracy for record in sorted(records, key=lambda r: r.seed)},
        "scores": {name: [float(f"{value:.8g}") for value in values] for name, values in scores.items()},
    }


def table(networks: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What the networks of the JSON file say of each score; activations and side stand beside as two that are free."""
    accuracies = [{int(seed): value for seed, value in network["accuracies"].items()} for network in networks]
    scores = {name: [network["scores"][name] for network in networks] for name in networks[0]["scores"]}
    for free in ("activations", "resolution"):
        scores[free] = [[network[free]] for network in networks]
    verdict = judge(scores, accuracies)
    means = [sum(row.values()) / len(row) for row in accuracies]
    shares = {name: [network["shares"][index] for network in networks] for index, name in enumerate(SHARES)}
    rows = []
    for worth in verdict.worths:
        medians = [statistics.median(values) for values in scores[worth.score]]
        rows.append({**asdict(worth), "shares": {name: tau_b(medians, values) for name, values in shares.items()}})
    return {
        "networks": verdict.networks,
        "trainings": verdict.trainings,
        "noise": verdict.noise.deviation if verdict.noise.freedom else None,
        "ceiling": None if math.isnan(verdict.ceiling) else verdict.ceiling,
        "accuracy": [min(means), max(means)],
        "accuracy_shares": {name: tau_b(means, values) for name, values in shares.items()},
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


def measured(run: Run, images: int, initialisations: int, workers: int, path: Path | None) -> dict[str, Any]:
    """The content of the JSON file; written to `path` whenever a network has been scored."""
    records = finished(run)
    about: dict[str, Any] = {
        "data_fingerprint": run.facts["data_fingerprint"],
        "images": images,
        "initialisations": initialisations,
    }
    scores = known_scores(path, about)
    missing = [rows[0].arch for digest, rows in records.items() if digest not in scores]
    print(f"{len(records)} networks, {len(missing)} of them to be scored", flush=True)

    def result() -> dict[str, Any]:
        networks = [described(rows, scores[digest]) for digest, rows in records.items() if digest in scores]
        source = {
            "run": run.folder.name,
            "finished": run.finished,
            "run_commit": run.facts["environment"]["commit"],
            "epochs": run.plan.epochs if run.plan else None,
            "date": time.strftime("%Y-%m-%d"),
        }
        here = environment("cpu")
        machine = {key: here[key] for key in ("machine", "python", "packages")}
        return {"about": {**about, **source, **machine}, "networks": networks}

    def keep(arch: AnyArch, found: ZeroCost) -> None:
        scores[arch.digest] = found
        print(f"{len(scores)} {arch.digest} {time.process_time():.0f}", flush=True)
        write(path, result())

    if missing:
        executor = LocalExecutor(workers)
        try:
            score_networks(executor, missing, _data(run), images, initialisations, keep)
        finally:
            executor.close()
    found = result()
    return {**found, "table": table(found["networks"])}


def _data(run: Run) -> Path:
    """The run's images in the cache. Raises RunError if they are not the ones that it trained on."""
    dataset = pose(run.settings, 1).dataset
    if dataset is None:
        raise RunError(f"{run.folder}: its networks were judged by prediction; scores need a run with images")
    if dataset.fingerprint != run.facts["data_fingerprint"]:
        raise RunError(
            f"{run.folder}: the images of {run.settings.data} have changed since it trained on them (fingerprint "
            f"{run.facts['data_fingerprint'][:12]} then, {dataset.fingerprint[:12]} now); restore them"
        )
    return dataset.folder


def write(path: Path | None, content: Mapping[str, Any]) -> None:
    if path is None:
        return
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


def main() -> None:
    parser = argparse.ArgumentParser(description="How zero-cost scores rank the networks of a run.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder; it is only read")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there; scores in it are used again")
    parser.add_argument("--images", type=int, default=IMAGES, help="in the batch (default: %(default)s)")
    parser.add_argument(
        "--initialisations", type=int, default=INITIALISATIONS, help="of each network (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread (default: %(default)s)")
    options = parser.parse_args()
    try:
        content = measured(
            Run.load(options.run),
            max(2, options.images),
            max(1, options.initialisations),
            options.workers,
            options.json,
        )
    except ScaleSearchError as error:
        sys.exit(f"error: {error}")
    write(options.json, content)
    print("\n".join(printed(content["table"])))


if __name__ == "__main__":
    main()
