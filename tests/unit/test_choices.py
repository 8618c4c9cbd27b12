"""[search] and [choices] of a file: what they mean, and every fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalesearch.spec.base_space import BaseSpace
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.files import load_space
from scalesearch.spec.options import Grid
from scalesearch.spec.regnet import RegNet

BASE = """
[base]
name = "own"
resolution = 32
stem = { kind = "conv", channels = 8 }
stages = [{ kind = "mbconv", channels = 8 }, { kind = "mbconv", channels = 16, stride = 2 }]
[networks.wide]
stages = [{ kind = "mbconv", channels = 64 }]
[networks.grouped]
regnet = { depth = 4, w0 = 8, wa = 8.5, wm = 2.0, group_width = 8 }
"""


def read(folder: Path, text: str) -> BaseSpace:
    path = folder / "own.toml"
    path.write_text(BASE + text, encoding="utf-8")
    found = load_space(path).search
    assert found is not None
    return found


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        read(folder, text)
    return list(caught.value.faults)


def test_without_choices_there_is_nothing_to_search(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(BASE, encoding="utf-8")
    assert load_space(tmp_path / "own.toml").search is None


def test_the_skeleton_may_be_another_of_the_networks(tmp_path: Path) -> None:
    found = read(tmp_path, '[search]\nskeleton = "wide"\n[choices]\n"stages.*.kernel" = [3, 5]\n')
    assert (found.name, found.skeleton.name) == ("own", "wide")
    assert found.choices == {"stages.1.kernel": (3, 5)}  # it has one stage


def test_an_option_may_set_several_keys_of_a_stage(tmp_path: Path) -> None:
    text = '"stages.*" = [{ kind = "conv" }, { kind = "mbconv", expand = 3 }]\n"stages.2" = [{ kind = "separable" }]\n'
    found = read(tmp_path, "[choices]\n" + text)
    assert found.choices == {
        "stages.1": ({"kind": "conv"}, {"kind": "mbconv", "expand": 3}),
        "stages.2": ({"kind": "separable"},),
    }
    assert [stage.kind for stage in found.decode((0, 0)).stages] == ["conv", "separable"]
    assert [stage.expand for stage in found.decode((1, 0)).stages] == [3, 1]


def test_grids_and_a_regnets_numbers(tmp_path: Path) -> None:
    text = """
[search]
skeleton = "grouped"
stages = [1, 3]
[choices]
"regnet.wa" = { from = 8, to = 16, step = 0.5, scale = "log" }
"regnet.depth" = { from = 2, to = 6, step = 2 }
resolution = { from = 16, to = 48, step = 16 }
"""
    found = read(tmp_path, text)
    assert found.choices == {
        "regnet.wa": Grid(8, 16, 0.5, log=True),
        "regnet.depth": Grid(2, 6, 2),
        "resolution": Grid(16, 48, 16),
    }
    assert found.regnet == RegNet(4, 8, 8.5, 2.0, 8)
    assert found.stages == (1, 3)
    made = found.decode((0, 1, 1))  # widths 8, 16, 24, 32 before they are quantised to 8, 16, 32, 32
    assert [(stage.channels, stage.repeats) for stage in made.stages] == [(8, 1), (16, 1), (32, 2)]
    assert made.resolution == 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[choices]\n"regnet.x.wa" = [3]\n"stages.*.foo.kernel" = [3]\n"regnet.a.b.c" = [1]\n',
            [
                "choices.regnet.x.wa: must be regnet.key; take out what follows",
                "choices.stages.*.foo.kernel: must be stages.N, stages.N.key or regnet.key; take out what follows",
                "choices.regnet.a.b.c: must be stages.N, stages.N.key or regnet.key; take out what follows",
            ],
        ),
        (
            '[search]\nskeleton = "wode"\n[choices]\ndropout = [0]\n',
            ["search.skeleton: must be one of the networks, got 'wode'; did you mean 'wide'?"],
        ),
        (
            "[search]\nstages = [4, 2]\nskeletn = 3\n[choices]\ndropout = [0]\n",
            [
                "search.stages: must be [least, most] with 1 <= least <= most <= 1000, got [4, 2]",
                "search.skeletn: it has no 'skeletn'; did you mean 'skeleton'?",
            ],
        ),
        (
            "[search]\nstages = [1, 2]\n",
            ["search: there are no [choices] that it could be of; add them, or take it out"],
        ),
        (
            "[search]\nstages = [1, 2]\n[choices]\ndropout = [0]\n",
            ["search.stages: counts the stages of a RegNet's numbers, and no choice varies them; take it out"],
        ),
        (
            '[choices]\n"regnet.wa" = [8]\n',
            ["choices.regnet.wa: the skeleton's stages are not given by a RegNet's numbers; vary the stages"],
        ),
        (
            '[search]\nskeleton = "grouped"\n[choices]\n"regnet.wa" = [8]\n"stages.*.se" = [0, 0.25]\n',
            ["choices: the stages follow from regnet; vary regnet or the stages, not both"],
        ),
        (
            '[search]\nskeleton = "grouped"\n[choices]\n"regnet.wb" = [8]\n"regnet.w0" = [8, 4]\n',
            [
                "choices.regnet.wb: a RegNet has no 'wb'; it has depth, group_width, se, stride, w0, wa, wm",
                "choices.regnet.w0: must be an integer from 8 to 10000, got 4",
            ],
        ),
        (
            '[choices]\n"stages.1" = ["conv", {}]\n"stages.2" = [{ kernal = 3 }]\n',
            [
                "choices.stages.1: must be a table of a stage's keys, got 'conv'; or name one key",
                "choices.stages.1: must be a table of a stage's keys, got {}; or name one key",
                "choices.stages.2.kernal: a stage has no 'kernal'; did you mean 'kernel'?",
            ],
        ),
        (
            '[choices]\n"stages.1" = [{ kind = "mbconv", expand = 3 }]\n"stages.1.expand" = [1]\n',
            ["choices.stages.1.expand: choices.stages.1 sets it already; leave one of the two out"],
        ),
        (
            '[choices]\n"stages.1" = [{ kind = "conv", expand = 3 }]\n',
            [
                "choices.stages.1.expand: a stage of kind 'conv' has no 'expand'; "
                "it has kind, channels, repeats, kernel, stride"
            ],
        ),
        (
            '[choices]\n"stages.1" = [{ kind = "conv" }]\n"stages.1.se" = [0.25]\n',
            ["choices.stages.1.se: a stage of kind 'conv' has no 'se'; it has kind, channels, repeats, kernel, stride"],
        ),
        (
            "[choices]\nresolution = { from = 16, to = 48 }\n",
            ["choices.resolution.step: is missing; a grid needs it"],
        ),
        (
            "[choices]\nresolution = { from = 16, to = 48, step = 5 }\ndropout = { from = 0.5, to = 0, step = 0.1 }\n",
            [
                "choices.resolution: must go up in at most 100,000 whole steps, got 6.4 of 5 from 16 to 48",
                "choices.dropout: must go up in at most 100,000 whole steps, got -5 of 0.1 from 0.5 to 0",
            ],
        ),
        (
            '[choices]\ndropout = { from = 0, to = 0.5, step = 0.1, scale = "log" }\n',
            ["choices.dropout.from: must be above 0 on a logarithmic scale, got 0"],
        ),
        (
            '[choices]\n"stages.*.kernel" = { from = 3, to = 7, step = 1 }\n',
            [
                "choices.stages.*.kernel: must be an odd integer from 1 to 31, got 4",
                "choices.stages.*.kernel: must be an odd integer from 1 to 31, got 6",
            ],
        ),
    ],
)
def test_faults(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert faults(tmp_path, text) == expected


def test_a_faulty_skeleton_is_one_fault(tmp_path: Path) -> None:
    text = '[networks.odd]\nclasses = 1\n[search]\nskeleton = "odd"\n[choices]\ndropout = [0]\n'
    assert faults(tmp_path, text) == ["networks.odd.classes: must be an integer from 2 to 1000000, got 1"]
