"""The house's rules that a machine can check: layers, doors of heavy dependencies, size of files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "scalesearch"
LAYERS = ("spec", "nets", "fit", "search", "report", "commands")
# Who may import what, beside the standard library; paths are prefixes inside the package.
DOORS = {
    "torch": ("nets/", "fit/", "search/opening.py", "search/folder.py", "search/controller.py"),
    "numpy": ("nets/", "fit/", "search/", "report/"),
    "optuna": ("search/",),
    "fvcore": ("nets/count.py",),
    "pandas": ("report/",),
    "matplotlib": ("report/",),
    "sklearn": ("fit/data/digits.py",),
    "scipy": (
        "fit/surrogate.py",
        "search/surface.py",
        "search/gaussian.py",
        "search/executor.py",
        "search/ranks.py",
        "search/stats.py",
        "report/figures/",
    ),
    "threadpoolctl": ("search/executor.py",),
    "PIL": ("fit/data/",),
    "kornia": ("fit/randaugment.py",),
    "tensorboard": (),  # torch.utils.tensorboard brings it in, in fit/events.py
}
LONGEST_FILE = 350


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: imports are absolute here"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    if layer not in LAYERS:
        return  # scalesearch/__init__.py is the list of what is public
    above = LAYERS[LAYERS.index(layer) + 1 :]
    wrong = [name for name in imported(path) if name.startswith("scalesearch.") and name.split(".")[1] in above]
    assert not wrong, f"{path}: {layer} imports from a layer above it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_dependencies_have_one_door(path: Path) -> None:
    inside = path.relative_to(PACKAGE).as_posix()
    for name in imported(path):
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or inside.startswith(doors), f"{inside} imports {name}; its doors are {doors}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_spec_needs_the_standard_library_only() -> None:
    modules = {name.split(".")[0] for path in (PACKAGE / "spec").glob("*.py") for name in imported(path)}
    assert modules <= sys.stdlib_module_names | {"scalesearch"}


def test_the_command_line_answers_without_torch() -> None:
    """`--help`, `cost`, `scale` and `spaces` must not pay for torch, numpy or pandas."""
    code = (
        "import sys; from scalesearch.commands.main import main, make_parser; "
        "main(['cost', 'efficientnet_b0', '--json']); main(['scale', 'efficientnet_b0', '--to-flops', '1.6B']); "
        "main(['spaces', 'list']); make_parser().format_help(); "
        "sys.exit(sorted({'torch', 'numpy', 'pandas', 'optuna', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
