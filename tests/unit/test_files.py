"""Archs and search spaces as files: what is written is read back, and every fault is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from scalesearch.spec.blocks import BLOCK_KINDS
from scalesearch.spec.errors import SpaceError
from scalesearch.spec.files import load_arch, load_space, shipped_spaces, to_json, to_toml
from scalesearch.spec.spaces import DEFAULT_RANGES, CoefficientRanges, Range

KINDS = "one of " + ", ".join(f"'{kind}'" for kind in BLOCK_KINDS)
NAME_RULE = "1 to 100 letters, digits, dots, dashes, underscores or pluses, starting with a letter or digit"
NETWORK_KEYS = (
    "activation, classes, drop_path, dropout, fixed, head, in_channels, name, norm_eps, norm_momentum, resolution, "
    "stages, stem"
)
MEMBERS = sorted(member for space in shipped_spaces() for member in load_space(space).members)
BASE = """
[base]
name = "tiny"
resolution = 32
stem = { kind = "conv", channels = 8 }
stages = [
  { kind = "mbconv", channels = 8, expand = 4 },
  { kind = "mbconv", channels = 16, expand = 4, repeats = 2, stride = 2 },
]
"""


def written(folder: Path, text: str, name: str = "net.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path) -> list[str]:
    """Every fault of the file, without the file's name, which must stand before each."""
    with pytest.raises(SpaceError) as raised:
        load_space(path)
    lines = str(raised.value).splitlines()
    assert raised.value.where == str(path)
    assert lines == [f"{path}: {fault}" for fault in raised.value.faults]
    return list(raised.value.faults)


def arch_faults(folder: Path, **changes: Any) -> list[str]:
    """Faults of a sound arch file with these entries changed (None: taken out)."""
    table: dict[str, Any] = {
        "name": "net",
        "resolution": 32,
        "stem": {"kind": "conv", "channels": 8},
        "stages": [{"kind": "mbconv", "channels": 8}],
    }
    table |= changes
    text = json.dumps({key: value for key, value in table.items() if value is not None})
    with pytest.raises(SpaceError) as raised:
        load_arch(written(folder, text, "net.json"))
    return list(raised.value.faults)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_every_member_survives_a_file(tmp_path: Path, name: str, suffix: str) -> None:
    arch = load_arch(name)
    text = to_toml(arch) if suffix == "toml" else to_json(arch)
    again = load_arch(written(tmp_path, text, f"net.{suffix}"))
    assert again == arch
    assert again.digest == arch.digest


def test_names_lead_to_members_and_files_to_bases(tmp_path: Path) -> None:
    assert load_arch("efficientnet_b0") == load_space("efficientnet").base
    assert load_arch(written(tmp_path, BASE)) == load_space(tmp_path / "net.toml").base
    assert load_space(tmp_path / "net.toml").name == "net"


def test_unknown_network_names_the_nearest_or_where_they_are_listed() -> None:
    with pytest.raises(SpaceError) as raised:
        load_arch("efficientnetb3")
    assert str(raised.value) == (
        "efficientnetb3: no such network; did you mean 'efficientnet_b3'?, or give a .toml or .json file"
    )
    with pytest.raises(SpaceError) as raised:
        load_arch("xyz")
    assert str(raised.value) == (
        "xyz: no such network; scalesearch spaces show SPACE lists them, or give a .toml or .json file"
    )


def test_unknown_space_names_the_nearest_or_all() -> None:
    with pytest.raises(SpaceError) as raised:
        load_space("efficentnet")
    assert str(raised.value) == "efficentnet: no such search space; did you mean 'efficientnet'?"
    with pytest.raises(SpaceError) as raised:
        load_space("qq")
    assert str(raised.value) == "qq: no such search space; known are " + ", ".join(shipped_spaces())


def test_unreadable_files(tmp_path: Path) -> None:
    assert faults(tmp_path / "none.toml") == ["cannot be read: No such file or directory"]
    (tmp_path / "folder.json").mkdir()
    assert faults(tmp_path / "folder.json") == ["cannot be read: Is a directory"]


def test_files_that_are_not_what_they_say(tmp_path: Path) -> None:
    (fault,) = faults(written(tmp_path, "name = = 3"))
    assert fault.startswith("is not valid TOML: Invalid value (at line 1, column 8)")
    (fault,) = faults(written(tmp_path, '{"name": ', "net.json"))
    assert fault == "is not valid JSON: Expecting value: line 1 column 10 (char 9)"
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    (fault,) = faults(tmp_path / "latin.toml")
    assert fault.startswith("is not valid TOML: 'utf-8' codec can't decode byte 0xe9")
    (fault,) = faults(written(tmp_path, "[" * 100_000, "deep.json"))
    assert fault.startswith("is not valid JSON: maximum recursion depth exceeded")


def test_files_too_large_to_be_a_network(tmp_path: Path) -> None:
    path = written(tmp_path, "#" * 1_000_001)
    assert faults(path) == ["must be at most 1,000,000 bytes, got 1,000,001"]


def test_json_that_holds_no_table(tmp_path: Path) -> None:
    assert faults(written(tmp_path, "[1, 2]", "net.json")) == ["must hold a table, got a list"]


def test_all_faults_at_once(tmp_path: Path) -> None:
    found = arch_faults(
        tmp_path,
        name="a b",
        resolution=0,
        stem=None,
        stages=[{"kind": "mbconv", "channels": 8, "kernal": 3}, 7, {"kind": "dense", "kernel": 4}],
        colour="red",
        activation="gelu",
        dropout=True,
    )
    assert found == [
        f"name: must be {NAME_RULE}, got 'a b'",
        "resolution: must be an integer from 1 to 16384, got 0",
        f"colour: a network has no 'colour'; it has {NETWORK_KEYS}",
        "activation: must be one of 'silu', 'relu', 'relu6', got 'gelu'",
        "dropout: must be a number from 0 to 0.95, got True",
        "stem: is missing; a network needs it",
        "stages.1.kernal: a stage has no 'kernal'; did you mean 'kernel'?",
        "stages.2: must be a table, got 7",
        f"stages.3.kind: must be {KINDS}, got 'dense'",
        "stages.3.kernel: must be an odd integer from 1 to 31, got 4",
        "stages.3.channels: is missing; a stage needs it",
    ]


@pytest.mark.parametrize(
    ("entry", "value", "rule"),
    [
        ("name", "", NAME_RULE),
        ("resolution", 224.0, "an integer from 1 to 16384"),
        ("resolution", True, "an integer from 1 to 16384"),
        ("stem", 3, "a table"),
        ("stages", [], "a list of at least one table"),
        ("stages", {}, "a list of at least one table"),
        ("head", "conv", "a table"),
        ("classes", 1, "an integer from 2 to 1000000"),
        ("in_channels", 1001, "an integer from 1 to 1000"),
        ("drop_path", 1.0, "a number from 0 to 0.95"),
        ("drop_path", False, "a number from 0 to 0.95"),
        ("drop_path", math.nan, "a number from 0 to 0.95"),
        ("dropout", math.inf, "a number from 0 to 0.95"),
        ("norm_eps", 0, "a number from 1e-12 to 1"),
        ("norm_momentum", "0.1", "a number from 1e-06 to 1"),
    ],
)
def test_rules_of_a_network(tmp_path: Path, entry: str, value: object, rule: str) -> None:
    assert arch_faults(tmp_path, **{entry: value}) == [f"{entry}: must be {rule}, got {value!r}"]


@pytest.mark.parametrize(
    ("entry", "value", "rule"),
    [
        ("kind", 3, KINDS),
        ("channels", 0, "an integer from 1 to 100000"),
        ("repeats", 1001, "an integer from 1 to 1000"),
        ("kernel", 33, "an odd integer from 1 to 31"),
        ("stride", 9, "an integer from 1 to 8"),
        ("expand", 0, "a number from 0.1 to 64"),
        ("se", -0.25, "a number from 0 to 1"),
    ],
)
def test_rules_of_a_stage(tmp_path: Path, entry: str, value: object, rule: str) -> None:
    stage = {"kind": "conv", "channels": 8} | {entry: value}
    for where in ("stem", "head"):
        assert arch_faults(tmp_path, **{where: stage}) == [f"{where}.{entry}: must be {rule}, got {value!r}"]
    assert arch_faults(tmp_path, stages=[stage]) == [f"stages.1.{entry}: must be {rule}, got {value!r}"]


def test_long_and_huge_values_are_cut_short(tmp_path: Path) -> None:
    (fault,) = arch_faults(tmp_path, name="x" * 500)
    assert fault.endswith("got '" + "x" * 56 + "...")
    (fault,) = arch_faults(tmp_path, dropout=10**400)  # past what a float holds
    assert fault == "dropout: must be a number from 0 to 0.95, got 1" + "0" * 56 + "..."
    huge = BASE.replace("resolution = 32", "resolution = 0x1" + "0" * 5_000)
    assert faults(written(tmp_path, huge)) == [
        "base.resolution: must be an integer from 1 to 16384, got a number too long to print"
    ]


def test_a_space_needs_a_base(tmp_path: Path) -> None:
    found = faults(written(tmp_path, 'descripton = "x"'))
    assert found == [
        "descripton: a search space has no 'descripton'; did you mean 'description'?",
        "base: is missing; a search space needs it",
    ]
    text = 'description = 3\nbase = "b0"\nmembers = 1\ncoefficients = 2\nchoices = []'
    assert faults(written(tmp_path, text)) == [
        "description: must be text, got 3",
        "base: must be a table, got 'b0'",
        "members: must be a table, got 1",
        "coefficients: must be a table, got 2",
        "choices: must be a table, got []",
    ]


def test_faults_of_members(tmp_path: Path) -> None:
    text = """
[members]
"a b" = { depth = 1.0, width = 1.0, resolution = 32 }
deep = { depth = 0, width = "wide", resolution = 32.5 }
short = { depth = 1.1, resolutoin = 40 }
flat = 3
"""
    assert faults(written(tmp_path, BASE + text)) == [
        f"members.a b: a name must be {NAME_RULE}",
        "members.deep.depth: must be a number from 0.01 to 100, got 0",
        "members.deep.width: must be a number from 0.01 to 100, got 'wide'",
        "members.deep.resolution: must be an integer from 1 to 16384, got 32.5",
        "members.short.resolutoin: a member has no 'resolutoin'; did you mean 'resolution'?",
        "members.short.width: is missing; a member needs it",
        "members.short.resolution: is missing; a member needs it",
        "members.flat: must be a table, got 3",
    ]


def test_members_are_the_base_multiplied(tmp_path: Path) -> None:
    text = "[members]\nbig = { depth = 1.5, width = 2, resolution = 40, dropout = 0.5 }\n"
    space = load_space(written(tmp_path, BASE + text))
    big = space.members["big"]
    assert (big.name, big.resolution, big.dropout) == ("big", 40, 0.5)
    assert [(stage.channels, stage.repeats) for stage in big.stages] == [(16, 2), (32, 3)]
    assert big.stem.channels == 16
    assert space.base.dropout == 0.0


def test_ranges_of_the_coefficients(tmp_path: Path) -> None:
    assert load_space(written(tmp_path, BASE)).ranges == DEFAULT_RANGES
    text = "[coefficients]\nalpha = [1, 1.5]\nstep = 0.1\n"
    expected = CoefficientRanges(Range(1.0, 1.5), DEFAULT_RANGES.beta, DEFAULT_RANGES.gamma, 0.1)
    assert load_space(written(tmp_path, BASE + text)).ranges == expected


@pytest.mark.parametrize("bounds", ["[1.5, 1.2]", "[0.9, 1.2]", "[1.0, 4.1]", "[1.0]", "1.2", "[1.0, nan]", '["1", 2]'])
def test_faulty_ranges(tmp_path: Path, bounds: str) -> None:
    (fault,) = faults(written(tmp_path, BASE + f"[coefficients]\nbeta = {bounds}\n"))
    assert fault.startswith("coefficients.beta: must be [low, high] with 1 <= low <= high <= 4, got ")


def test_faulty_step(tmp_path: Path) -> None:
    text = "[coefficients]\nstep = 0\nq = [1, 2]\n"
    assert faults(written(tmp_path, BASE + text)) == [
        "coefficients.step: must be a number from 0.001 to 1, got 0",
        "coefficients.q: it has no 'q'; it has alpha, beta, gamma, step",
    ]


def test_choices_spell_out_the_stages(tmp_path: Path) -> None:
    text = """
[choices]
"stages.*.kernel" = [3, 5]
"stages.1.kernel" = [3]
"stages.2.se" = [0, 0.25]
activation = ["relu"]
"""
    space = load_space(written(tmp_path, BASE + text))
    assert space.search is not None
    assert space.search.choices == {
        "stages.1.kernel": (3,),
        "stages.2.kernel": (3, 5),
        "stages.2.se": (0, 0.25),
        "activation": ("relu",),
    }
    assert space.search.size == 4


def test_the_later_choice_overrides_the_earlier(tmp_path: Path) -> None:
    text = '[choices]\n"stages.1.kernel" = [3]\n"stages.*.kernel" = [5, 7]\n'
    search = load_space(written(tmp_path, BASE + text)).search
    assert search is not None
    assert search.choices == {"stages.1.kernel": (5, 7), "stages.2.kernel": (5, 7)}


def test_faults_of_choices(tmp_path: Path) -> None:
    text = """
[choices]
"stages.*.kernel" = [3, 4]
"stages.3.kernel" = [3]
"stages.0.kernel" = [3]
"stages.x.kernel" = [3]
"stages.1.kernal" = [3]
"stages.2.se" = []
resolution = 32
dropout = [0.1, 2]
stem = [{}, {}]
"""
    assert faults(written(tmp_path, BASE + text)) == [
        "choices.stages.*.kernel: must be an odd integer from 1 to 31, got 4",
        "choices.stages.3.kernel: the skeleton has stages 1 to 2, got '3'",
        "choices.stages.0.kernel: the skeleton has stages 1 to 2, got '0'",
        "choices.stages.x.kernel: the skeleton has stages 1 to 2, got 'x'",
        "choices.stages.1.kernal: a stage has no 'kernal'; did you mean 'kernel'?",
        "choices.stages.2.se: must be a list of at least one value, or a grid, got []",
        "choices.resolution: must be a list of at least one value, or a grid, got 32",
        "choices.dropout: must be a number from 0 to 0.95, got 2",
        "choices.stem: a choice has no 'stem'; "
        "it has activation, drop_path, dropout, norm_eps, norm_momentum, resolution",
    ]


def test_choices_are_not_judged_by_a_faulty_base(tmp_path: Path) -> None:
    text = BASE.replace("resolution = 32", "resolution = 0") + '[choices]\n"stages.2.kernel" = [3]\n'
    assert faults(written(tmp_path, text)) == ["base.resolution: must be an integer from 1 to 16384, got 0"]


def test_the_shipped_space_is_what_it_says() -> None:
    space = load_space("efficientnet").search
    assert space is not None
    assert space.choices["stages.1.expand"] == (1,)
    assert space.choices["stages.7.expand"] == (3, 6)
    # 7 stages: kernel 2^7, squeeze-and-excitation 2^7, expansion 2^6 (the first stage has none), channels 3^7,
    # repeats 2^2 · 3^5 (not below one).
    assert space.size == 2**20 * 3**7 * 2**2 * 3**5
    assert space.per_stage() == (24, 72, 72, 72, 72, 72, 48)


def test_members_too_large_for_a_network(tmp_path: Path) -> None:
    """What a multiple would be must itself be a network that can be written and read back."""
    large = """
[base]
name = "tiny"
resolution = 32
stem = { kind = "conv", channels = 8 }
stages = [{ kind = "conv", channels = 8, repeats = 300 }, { kind = "conv", channels = 90_000 }]
[members]
deep = { depth = 100, width = 1, resolution = 32 }
deeper = { depth = 10, width = 1, resolution = 32 }
wide = { depth = 1, width = 100, resolution = 32 }
"""
    assert faults(written(tmp_path, large)) == [
        "members.deep.depth: tiny: depth × 100 asks for 3.01e+04 blocks; at most 20,000 are allowed; lower α or φ",
        "members.deeper.stages.1.repeats: must be an integer from 1 to 1000, got 3000",
        "members.wide.stages.2.channels: must be an integer from 1 to 100000, got 9000000",
    ]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    text = """
[networks.small]
resolution = 16
[networks.tiny]
resolution = 24
[members]
small = { depth = 1, width = 2, resolution = 32 }
tiny = { depth = 1, width = 2, resolution = 32 }
[aliases]
tiny = "small"
other = "small"
"""
    assert faults(written(tmp_path, BASE + text)) == [
        "networks.tiny: the base has this name already; choose another",
        "members.small: one of [networks] has this name already; choose another",
        "members.tiny: the base has this name, and these multiples make another network; choose another",
        "aliases.tiny: one of the networks has this name already; choose another",
    ]


def test_a_member_that_is_the_base_may_have_its_name(tmp_path: Path) -> None:
    text = "[members]\ntiny = { depth = 1, width = 1, resolution = 32 }\n"
    space = load_space(written(tmp_path, BASE + text))
    assert space.members == {"tiny": space.base}
    assert space.multipliers["tiny"].depth == 1


def test_a_network_is_called_as_its_table(tmp_path: Path) -> None:
    text = '[networks.big]\nname = "small"\nresolution = 64\n'
    assert faults(written(tmp_path, BASE + text)) == [
        "networks.big.name: the network is called 'big', as its table; take 'small' out"
    ]
    assert load_space(written(tmp_path, BASE + text.replace('name = "small"', ""))).members["big"].name == "big"


def test_names_can_be_asked_for(tmp_path: Path) -> None:
    text = """
[networks."a.json"]
resolution = 16
[members]
"b.toml" = { depth = 1, width = 2, resolution = 32 }
[aliases]
"a b" = "tiny"
"x.toml" = "tiny"
"RegNetX-1.6GF" = "tiny"
gone = "tinny"
number = 3
"""
    rule = "a name must not end in .toml or .json, which stand for files"
    assert faults(written(tmp_path, BASE + text)) == [
        f"networks.a.json: {rule}, got 'a.json'",
        f"members.b.toml: {rule}, got 'b.toml'",
        f"aliases.a b: a name must be {NAME_RULE}",
        f"aliases.x.toml: {rule}, got 'x.toml'",
        "aliases.gone: must name one of the networks, got 'tinny'; did you mean 'tiny'?",
        "aliases.number: must name one of the networks, got 3; known are tiny, a.json",
    ]
    text = '[aliases]\n"RegNetX-1.6GF" = "tiny"\n'
    assert load_space(written(tmp_path, BASE + text)).aliases == {"RegNetX-1.6GF": "tiny"}
    assert faults(written(tmp_path, BASE.replace('"tiny"', '"tiny.toml"'))) == [f"base.name: {rule}, got 'tiny.toml'"]


MIXED = """
[base]
name = "mixed"
resolution = 32
stem = { kind = "conv", channels = 8 }
stages = [
  { kind = "basic", channels = 8 },
  { kind = "bottleneck", channels = 8 },
  { kind = "mbconv", channels = 8, expand = 4 },
]
[choices]
"""
BASIC = "kind, channels, repeats, kernel, stride"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('"stages.1.se" = [0, 0.25]', [f"1.se: a stage of kind 'basic' has no 'se'; it has {BASIC}"]),
        ('"stages.*.group_width" = [8]\n"stages.3.kind" = ["bottleneck"]', ["1.group_width: a stage of kind 'basic'"]),
        (
            '"stages.1.kind" = ["basic", "conv_pool"]',
            ["1.kind: 'conv_pool' must be the stem, of one block; elsewhere depth shrinks the maps"],
        ),
        (
            '"stages.2.group_width" = [3, 4]',
            ["2.group_width: must divide the 8 hidden channels (channels × ratio), got 3"],
        ),
        (  # neither of the ratios goes with 3 per group
            '"stages.2.group_width" = [2, 3]\n"stages.2.ratio" = [0.5, 1]',
            ["2.group_width: must divide the 4 hidden channels (channels × ratio), got 3"],
        ),
        (  # 12 channels go with neither group width
            '"stages.2.group_width" = [8, 5]\n"stages.2.channels" = [8, 10, 12]',
            ["2.group_width: must divide the 12 hidden channels (channels × ratio), got 8"],
        ),
        ('"stages.3.kind" = ["basic"]\n"stages.3.se" = [0.25]', ["3.se: a stage of kind 'basic' has no 'se'"]),
    ],
)
def test_a_choice_must_make_a_sound_stage(tmp_path: Path, lines: str, expected: list[str]) -> None:
    found = faults(written(tmp_path, MIXED + lines + "\n"))
    assert len(found) == len(expected)
    for fault, start in zip(found, expected, strict=True):
        assert fault.startswith(f"choices.stages.{start}")


@pytest.mark.parametrize(
    ("lines", "networks"),
    [
        # a kind leaves out the keys of the base that it does not have
        ('"stages.3.kind" = ["basic", "mbconv", "separable"]\n"stages.3.expand" = [3, 6]', 6),
        ('"stages.2.group_width" = [8, 5]\n"stages.2.channels" = [8, 10]', 4),  # each goes with one of the other
        ('"stages.*.kernel" = [3, 5]\n"stages.2.se" = [0, 0.25]', 16),
        ('"stages.*.channels" = [9]\n"stages.2.group_width" = [3]', 1),
        # a later line takes the place of one that would not do
        ('"stages.*.channels" = [10]\n"stages.2.group_width" = [3]\n"stages.2.channels" = [9]', 1),
    ],
)
def test_choices_that_make_sound_stages(tmp_path: Path, lines: str, networks: int) -> None:
    search = load_space(written(tmp_path, MIXED + lines + "\n")).search
    assert search is not None
    assert search.size == networks
