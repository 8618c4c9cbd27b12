"""The main job through the console script: its folder, its promises, its refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from tool import SCRIPT, TINY, rows, tool

from scalesearch import Run, load_arch
from scalesearch.nets.count import count_torch

TRIALS = "number digest seed status reason rung accuracy flops params seconds".split()
CANDIDATES = (
    "digest alpha alpha_low alpha_high beta beta_low beta_high gamma gamma_low gamma_high flops nominal_ratio "
    "realised_ratio accuracy_mean accuracy_se seeds score may_be_best"
).split()
FAMILY = "member phi depth width resolution flops flops_fvcore params".split()
FIGURES = {"accuracy_flops", "simplex", "single_dimension", "curves"}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str, float]:
    """The smoke preset on glyphs, as the README gives it: the run's folder, its output and its seconds."""
    place = tmp_path_factory.mktemp("smoke")
    started = time.monotonic()
    done = tool("run", "--target-flops", "400M", "--preset", "smoke", cwd=place, cache=cache)
    assert done.returncode == 0, done.stderr
    (folder,) = (place / "results").iterdir()
    return folder, done.stdout, time.monotonic() - started


def test_it_prints_the_answer(smoke: tuple[Path, str, float]) -> None:
    folder, printed, _ = smoke
    for word in ("α", "β", "γ", "B7", f"{folder.name}/report.html", "fvcore"):
        assert word in printed
    assert max(map(len, printed.splitlines())) <= 200


def test_promised_files(smoke: tuple[Path, str, float]) -> None:
    folder, _, _ = smoke
    for name, columns in (("trials", TRIALS), ("candidates", CANDIDATES), ("family", FAMILY), ("pareto", [])):
        table = rows(folder / f"{name}.csv")
        assert table
        assert set(columns) <= table[0].keys()
    for name in FIGURES:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"https?://(?!www\.w3\.org/)", report)  # names of namespaces are never fetched
    described = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert described["settings"]["target_flops"] == 400_000_000
    assert described["environment"]["packages"]["torch"].startswith("2.")
    assert len(described["data_fingerprint"]) >= 16


def test_the_tables_agree_with_the_networks(smoke: tuple[Path, str, float]) -> None:
    folder, _, _ = smoke
    family = rows(folder / "family.csv")
    assert [row["member"] for row in family] == [f"B{k}" for k in range(8)]
    assert family[0]["flops"] == "385814752"  # tests/golden/complexity.csv
    for row in family:
        assert row["flops"] == row["flops_fvcore"]
    member = load_arch(folder / "family" / "b1.json")
    assert count_torch(member) == int(family[1]["flops"])
    candidates = rows(folder / "candidates.csv")
    assert len(candidates) == len({row["digest"] for row in candidates}) == 5
    for row in candidates:
        assert abs(float(row["realised_ratio"]) - 2) <= 0.06  # 3 % of 2
        for name in ("alpha", "beta", "gamma"):
            assert float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"])
    anchors = " ".join(row["anchors"] for row in candidates)
    assert all(name in anchors for name in ("depth only", "width only", "resolution only", "paper"))
    trials = rows(folder / "trials.csv")
    assert {row["status"] for row in trials} == {"done"}
    # 256 images, 10 classes: trained, but no zero and no hard-coded number
    assert all(0 < float(row["accuracy"]) < 1 and float(row["seconds"]) > 0 for row in trials)


def test_the_python_side_reads_the_run(smoke: tuple[Path, str, float]) -> None:
    folder, _, _ = smoke
    found = Run.load(folder)
    assert found.coefficients == found.candidates[0].candidate.coefficients
    assert len(found.family) == 8
    assert found.pareto
    assert found.finished == "all planned trainings done"


def test_a_refused_plan_binds_no_folder(tmp_path: Path, cache: Path) -> None:
    """No training fits three seconds; the same folder then takes other settings."""
    command = "run --target-flops 400M --data digits --time-budget 3 --out run"
    refused = tool(*command.split(), cwd=tmp_path, cache=cache)
    assert refused.returncode == 2
    assert "--time-budget 3s: leaves 0 images per training" in refused.stderr
    assert not (tmp_path / "run").exists()
    done = tool("run", *TINY, "--workers", "1", "--trials", "1", "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr


def test_the_same_command_changes_nothing(smoke: tuple[Path, str, float], cache: Path) -> None:
    folder, _, _ = smoke
    before = {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"
    }
    place = folder.parent.parent
    done = tool("run", "--target-flops", "400M", "--preset", "smoke", cwd=place, cache=cache)
    assert done.returncode == 0
    assert "this run is finished (all planned trainings done); nothing was changed" in done.stdout
    resumed = tool("run", "--resume", "--out", folder, cwd=place, cache=cache)
    assert "is finished" in resumed.stdout
    after = {path: path.read_bytes() for path in before}
    assert before == after


def test_other_settings_are_refused_with_the_difference(smoke: tuple[Path, str, float], cache: Path) -> None:
    folder, _, _ = smoke
    command = ["run", "--target-flops", "500M", "--preset", "smoke", "--out", folder, "--seeds", "2"]
    done = tool(*command, cwd=folder.parent, cache=cache)
    assert done.returncode == 2
    assert "seeds: 1 before, 2 now; target_flops: 400000000 before, 500000000 now" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_report_is_rebuilt_from_the_storage(smoke: tuple[Path, str, float], cache: Path) -> None:
    folder, _, _ = smoke
    kept = {name: (folder / name).read_bytes() for name in ("trials.csv", "candidates.csv", "family.csv", "pareto.csv")}
    for name in (*kept, "report.html"):
        (folder / name).unlink()
    done = tool("report", folder, cwd=folder.parent, cache=cache)
    assert done.returncode == 0, done.stderr
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert (folder / "report.html").exists()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """120 RGB images of 3 classes that a network can tell apart: bars, discs, noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (120, 40, 40, 3), dtype=np.uint8)
    labels = np.arange(120) % 3
    across = np.arange(40)
    disc = (across[:, None] - 20) ** 2 + (across[None, :] - 20) ** 2 < 120
    images[labels == 0, :, 15:25] += 120
    images[labels == 1] += (disc[:, :, None] * 120).astype(np.uint8)
    return images, labels


def test_a_folder_of_photographs(tmp_path: Path, cache: Path) -> None:
    """Crops of the two photographs that scikit-learn ships, a temple and a flower, as JPEG and PNG of mixed sizes."""
    rng = np.random.default_rng(0)
    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(60):
            side = int(rng.integers(60, 200))
            top, left = (int(rng.integers(0, length - side)) for length in photograph.shape[:2])
            crop = Image.fromarray(photograph[top : top + side, left : left + side])
            crop.save(tmp_path / "photos" / name / f"{number}.{('png', 'jpg')[number % 2]}")
    done = tool("run", *TINY, "--data", tmp_path / "photos", "--out", tmp_path / "out", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "photos, 2 classes, 64 + 24 images" in done.stdout
    assert len(rows(tmp_path / "out" / "candidates.csv")) == 5


def test_npz(tmp_path: Path, cache: Path, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = drawn
    np.savez(tmp_path / "set.npz", x=images, y=labels)
    done = tool("run", *TINY, "--data", "set.npz", "--target-flops", "1G", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "was scaled to" in done.stdout
    (folder,) = (tmp_path / "results").iterdir()
    assert abs(int(rows(folder / "family.csv")[0]["flops"]) / 1e9 - 1) <= 0.05


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--data", "text.txt"], "text.txt"),
        (["--out", "/proc/scalesearch"], "/proc/scalesearch"),
        (["--out", "text.txt"], "text.txt"),
        (["--storage", "sqlite:////no/such/folder/x.db"], "the storage cannot be opened"),
        (["--resume", "--out", "new"], "--resume new: there is no run to resume"),
        (["--set", "tolerance=0.001", "--set", "proxy_resolution=8"], "no network within 0.1% of twice"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, cache: Path, argv: list[str], words: str) -> None:
    (tmp_path / "text.txt").write_text("not images\n")
    done = tool("run", *TINY, *argv, cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_help_is_quick(tmp_path: Path, cache: Path) -> None:
    """0.15 s on an idle machine, six bare starts of Python; torch alone would take forty. Best of five, in turn."""

    def seconds(*command: str) -> float:
        started = time.perf_counter()
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        return time.perf_counter() - started

    bare, ours = zip(
        *((seconds(sys.executable, "-c", "pass"), seconds(str(SCRIPT), "--help")) for _ in range(5)), strict=True
    )
    assert min(ours) < 15 * min(bare)
