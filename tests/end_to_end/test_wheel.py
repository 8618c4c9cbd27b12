"""The wheel, installed alone into a bare environment and used from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and none of its dependencies."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return place


def scalesearch(bare: Path, *argv: str, **more: str) -> str:
    script = bare / "env" / "bin" / "scalesearch"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(script), *argv], cwd=bare, env={**clean, **more}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_answers_without_its_dependencies(bare: Path) -> None:
    assert json.loads(scalesearch(bare, "cost", "efficientnet_b7", "--json"))["params"] == 66_347_960
    assert "efficientnet" in scalesearch(bare, "spaces", "list")
    assert "φ" in scalesearch(bare, "scale", "efficientnet_b0", "--to-flops", "1.6B")


def test_it_finds_its_files_with_dependencies(bare: Path) -> None:
    """The dependencies come from this environment; the package itself must come from the wheel."""
    shown = scalesearch(
        bare,
        *"run --target-flops 400M --preset smoke --data digits --dry-run".split(),
        PYTHONPATH=sysconfig.get_paths()["purelib"],
        SCALESEARCH_CACHE=str(bare / "cache"),
    )
    assert "resolution only" in shown


def test_what_is_inside(bare: Path) -> None:
    package = next((bare / "env" / "lib").glob("python*/site-packages/scalesearch"))
    assert (package / "search_spaces" / "efficientnet.toml").is_file()
    assert (package / "report" / "published" / "efficientnet_table2.csv").is_file()
    assert not (package.parent / "cli.py").exists()
    assert not (package.parent / "tests").exists()
