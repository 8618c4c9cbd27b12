"""The page on bases of one's own: its file loads, its functions are factories, its sentences hold."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from scalesearch import cost, load_arch
from scalesearch.nets.count import checked_flops
from scalesearch.nets.factory import ARGUMENTS
from scalesearch.search.factory_cells import MOST, STEPS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your_own_base.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_file_loads_and_counts(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "mixed.toml").write_text(text, encoding="utf-8")
    arch = load_arch(tmp_path / "mixed.toml")
    assert {stage.kind for stage in arch.stages} == {"basic", "mbconv", "bottleneck"}
    assert checked_flops(arch) == cost(arch).flops


def test_its_functions_take_what_a_factory_takes() -> None:
    found = [
        node
        for text in blocks("python")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == "make"
    ]
    assert len(found) == 3
    for function in found:
        names = [argument.arg for argument in function.args.args]
        assert tuple(names[:4]) == ARGUMENTS
        assert names[4:] in ([], ["in_channels"])


def test_its_numbers() -> None:
    assert f"{STEPS + 1} steps" in PAGE
    assert f"at most {MOST} networks per dimension" in PAGE
