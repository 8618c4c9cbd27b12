"""Recorded searches of a base: from real ledgers into a file and back, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from base_landscapes import SPACE, base_landscape
from base_runs import problem, run
from edits import set_in
from landscapes import write_recording
from report_runs import Builder, candidates
from scripts import load_script

from scalesearch.search.base_landscape import read_base_landscape, record_bases, write_base_landscape
from scalesearch.search.base_run import BaseRun
from scalesearch.search.landscape import read_landscape
from scalesearch.spec.cost import cost
from scalesearch.spec.errors import DataError, RunError

SCRIPT = load_script("benchmarks/record.py")
CHOICES = '[choices]\n"stages.2.kernel" = [3, 5, 7]\n"stages.5.kernel" = [3, 5, 7]\n'


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine networks, which a search exhausts."""
    path = tmp_path_factory.mktemp("spaces") / "nine.toml"
    path.write_text(SPACE.read_text(encoding="utf-8").split("[choices]")[0] + CHOICES, encoding="utf-8")
    return path


def searched(folder: Path, space: Path, **given: Any) -> BaseRun:
    settings = {"target_flops": 15_200_000, "flops_window": 0.2, "strategy": "random", "proxy_width": 1.0}
    posed = problem(space=str(space), proxy_resolution=32, proxy_stem_stride=1, seeds=1, confirm=0, **settings | given)
    return run(folder, posed, networks=400)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, space: Path) -> list[BaseRun]:
    """The same search with two seeds, by two strategies: neither the order nor the strategy is recorded."""
    place = tmp_path_factory.mktemp("searches")
    return [searched(place / "one", space), searched(place / "two", space, seed=1, strategy="evolution")]


def test_a_search_ends_when_every_network_was_tried_once(runs: list[BaseRun]) -> None:
    for found in runs:
        proposed = [record for record in found.trials if record.role == "candidate"]
        assert len(proposed) == len({record.digest for record in proposed}) == 9
        assert found.finished == "9 of 400 planned networks tried: the space has no more within the budget"


def test_two_searches_become_one_landscape(runs: list[BaseRun], tmp_path: Path) -> None:
    found = record_bases(list(reversed(runs)), "what it was")
    assert (found.measured, found.seeds, len(found.networks)) == ("what it was", (0, 1), 9)
    for one in runs:
        known = {record.digest: record for record in one.trials if record.role == "candidate"}
        for network in found.networks:
            (training,) = (own for own in network.trainings if own.seed == one.settings.seed)
            record = known[network.digest]
            assert [epoch.accuracy for epoch in training.epochs] == pytest.approx(
                [epoch["accuracy"] for epoch in record.epochs], rel=1e-5
            )
            reward = found.reward(network.flops, record.accuracy or 0.0)
            assert reward == pytest.approx(record.score)
            assert network.flops == cost(found.space.decode(network.point)).flops
    assert [source.ended for source in found.sources] == [runs[0].finished] * 2
    write_base_landscape(found, tmp_path / "nine.json.gz")
    assert read_base_landscape(tmp_path / "nine.json.gz") == found


def test_the_script_tells_searches_of_a_base_from_other_runs(
    runs: list[BaseRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deep" / "nine.json.gz"
    SCRIPT.main([*(str(one.folder) for one in runs), str(file)])
    assert "9 networks, 18 trainings of 3 epochs, " in capsys.readouterr().out
    assert read_base_landscape(file) == record_bases(runs, SCRIPT.MEASURED)
    packed = file.read_bytes()
    SCRIPT.main([*(str(one.folder) for one in runs), str(file)])
    assert file.read_bytes() == packed
    builder = Builder(tmp_path / "plain", seeds=1)
    builder.add_candidate(candidates(1)[0], 0.8)
    builder.finish()
    with pytest.raises(
        SystemExit, match=r"plain: holds a search of coefficients, which is recorded by itself; give one"
    ):
        SCRIPT.main([str(runs[0].folder), str(builder.folder), str(file)])
    SCRIPT.main([str(builder.folder), str(tmp_path / "plain.json.gz")])
    assert len(read_landscape(tmp_path / "plain.json.gz").networks) == 1
    with pytest.raises(SystemExit, match="must differ in --seed, got \\[0, 0\\]; give each run once"):
        SCRIPT.main([str(runs[0].folder), str(runs[0].folder), str(file)])


def test_searches_that_do_not_go_together_are_refused(runs: list[BaseRun], tmp_path: Path, space: Path) -> None:
    other = searched(tmp_path / "other", space, seed=1, batch=64)
    with pytest.raises(RunError, match=r"other: was not searched as .*one, batch differ; record runs that differ"):
        record_bases([runs[0], other], "")
    assert other.facts.pop("finished", None) is not None
    with pytest.raises(RunError, match=r"other: the search has not finished; continue it, or pack it with --partial$"):
        record_bases([other], "")
    assert len(record_bases([other], "", partial=True).networks) == 9
    other.facts["space"] = "0" * 16
    with pytest.raises(RunError, match=r"other: the space .*nine\.toml has changed since it was searched; restore it$"):
        record_bases([other], "", partial=True)
    other.facts["settings"] = replace(other.settings, cost="params").to_dict()
    with pytest.raises(RunError, match=r"other: its rewards weigh params, and a recording knows FLOPs; record"):
        record_bases([other], "", partial=True)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (set_in("settings", "colour", value=1), "settings and space: the stored settings do not fit this version"),
        (set_in("settings", "base", value="efficientnet_b0"), "settings and space: "),
        (set_in("settings", "exponent", value=None), "must be those of a search of a base by FLOPs, with its exponent"),
        (set_in("space", "text", value="[base]\n"), "settings and space: small_b0.toml: "),
        (set_in("space", "file", value=3), "settings and space: 3: is not valid"),
        (set_in("classes", value=0), "classes: must be an integer from 1 to 1,000,000, got 0"),
        (set_in("sources", value=[]), "sources: must hold at least one, each with a seed of its own"),
        (set_in("sources", 1, "seed", value=0), "sources: must hold at least one, each with a seed of its own"),
        (set_in("sources", 0, "plan", "epochs", value=-1), "plan.epochs: must be an integer from 1 to 100,000,000"),
        (set_in("sources", 0, "plan", "epochs", value=7), "sources: plans must have the same epochs and val_images"),
        (set_in("networks", value=[]), "networks: must hold at least one, got none"),
        (set_in("networks", 0, "point", value=[9] * 12), "networks[0].point: small_b0: a point must be 12 indices"),
        (set_in("networks", 0, "point", value=[0] * 12), "networks[0].point: must be within the budget of settings"),
        (set_in("networks", 0, "digest", value="00"), "networks[0].digest: must be its network's, "),
        (set_in("networks", 0, "proxy_flops", value=1), "networks[0].proxy_flops: must be its network's, "),
        (set_in("networks", 0, "trainings", value=[]), "networks[0].trainings: must hold at least one, got none"),
        (set_in("networks", 0, "trainings", 0, "seed", value=5), "seeds must be those of sources, [0, 1], got [5]"),
        (set_in("networks", 0, "trainings", 0, "accuracy", 1, value=1.5), ".accuracy: must be from 0 to 1, got 1.5"),
        (lambda table: table.pop("measured"), "its tables do not fit this version: 'measured' is missing"),
        (lambda table: table["networks"].append(table["networks"][0]), "must be distinct, and two are the same"),
    ],
)
def test_a_faulty_file_is_refused(edit: Callable[[dict[str, Any]], None], words: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json.gz"
    landscape = base_landscape(seeds=2, noise=0.1, window=0.001)
    write_base_landscape(landscape, path)
    assert read_base_landscape(path) == landscape
    table = json.loads(gzip.decompress(path.read_bytes()))
    edit(table)
    path.write_bytes(gzip.compress(json.dumps(table).encode()))
    with pytest.raises(DataError) as caught:
        read_base_landscape(path)
    assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value)
    assert str(caught.value).endswith("; restore the file, or pack the run again with benchmarks/record.py")


def test_the_two_kinds_of_recording_are_not_taken_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "base.json.gz"
    write_base_landscape(base_landscape(window=0.001), path)
    with pytest.raises(DataError, match="must be 'scalesearch recording', got 'scalesearch base recording'; pack one"):
        read_landscape(path)
    with pytest.raises(DataError, match="must be 'scalesearch base recording', got 'scalesearch recording'; pack one"):
        read_base_landscape(write_recording(tmp_path, 4, 2))
