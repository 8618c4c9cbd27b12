"""A user's factory: what it is asked, what is counted of it, and every fault that is found before training."""

from __future__ import annotations

import itertools
import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scalesearch import build, cost, load_arch, open_factory, scale
from scalesearch.commands.main import main
from scalesearch.fit.surrogate import place_of
from scalesearch.nets.build import Network
from scalesearch.nets.count import checked_flops, count_fvcore
from scalesearch.nets.factory import _Counter, allow, allowed, make, measure
from scalesearch.nets.probe import uncounted
from scalesearch.search.candidates import nominal_grid, realised
from scalesearch.search.factory_cells import MOST, factory_cells
from scalesearch.search.family import base_for_budget, family
from scalesearch.spec.cost import counted, remember
from scalesearch.spec.errors import CountError, SettingsError, SpaceError, SurrogateError
from scalesearch.spec.factory import FactoryArch, is_factory, read_factory_arch
from scalesearch.spec.files import to_json
from scalesearch.spec.scaling import ROUNDINGS, Coefficients, Multipliers, multiply
from scalesearch.spec.solving import solve_resolution, to_flops
from scalesearch.spec.spaces import DEFAULT_RANGES, Range

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
Write = Callable[[str], str]

# A network that keeps all rules: `depth` convolutions of `width` channels.
SOUND = """
import torch
from torch import nn
import torch.nn.functional as F

def body(depth, width, classes, channels=3):
    w, layers = round(8 * width), []
    for index in range(round(2 * depth)):
        layers += [nn.Conv2d(channels if index == 0 else w, w, 3, 1, 1), nn.BatchNorm2d(w), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(w, classes))

def make(depth, width, resolution=16, classes=10):
    return body(depth, width, classes)
"""
_numbers = itertools.count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module and gives its factory's spelling. Each has a name of its own: Python imports a name once."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(source: str) -> str:
        name = f"factory_under_test_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        return f"{name}:make"

    return written


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> FactoryArch:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return open_factory("my_base:make")


def with_make(body: str) -> str:
    """The sound module with another `make`."""
    return SOUND.split("def make")[0] + body


# ---- what it is asked, and what is counted ----


def test_the_example_is_counted_alike_by_three(example: FactoryArch) -> None:
    for arch in (example, replace(example, depth=1.7, width=0.6, resolution=97, in_channels=1, classes=7)):
        with torch.device("meta"):
            network = make(arch).eval()
            image = torch.empty(1, arch.in_channels, arch.resolution, arch.resolution)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image)
        assert cost(arch).flops == counter.get_total_flops() // 2 == count_fvcore(arch) == checked_flops(arch)
        assert cost(arch).params == sum(parameter.numel() for parameter in network.parameters())
    assert (example.resolution, example.classes, example.in_channels) == (160, 100, 3)
    # By hand: stem, then (in, out, side in, side out) of each of the 2 + 3 + 4 + 3 blocks, hidden 4 × in; classifier.
    blocks = [(16, 24, 80, 40), (24, 24, 40, 40), (24, 48, 40, 20), *[(48, 48, 20, 20)] * 2, (48, 96, 20, 10)]
    blocks += [*[(96, 96, 10, 10)] * 3, (96, 160, 10, 10), *[(160, 160, 10, 10)] * 2]
    by_hand = 27 * 16 * 80**2 + 160 * 100
    for inputs, outputs, before, after in blocks:
        by_hand += 4 * inputs * (inputs * before**2 + 9 * after**2 + outputs * after**2)
    assert cost(example).flops == by_hand == 124_617_600


def test_the_counter_agrees_with_the_cost_model_and_counts_activations() -> None:
    """Shortcuts of shapes on the meta device change no count: EfficientNet-B0 and ResNet-18 (tests/golden)."""
    for name in ("efficientnet_b0", "resnet18", "mobilenet_v2"):
        arch = load_arch(name)
        with torch.device("meta"):
            network = Network(arch).eval()
            image = torch.empty(1, 3, arch.resolution, arch.resolution)
        with torch.no_grad(), _Counter() as counter:
            network(image)
        assert sum(counter.flops.values()) // 2 == cost(arch).flops
        assert counter.activations == cost(arch).activations


def test_grey_images_are_repeated_for_a_factory_without_channels(write: Write) -> None:
    base = open_factory(write(SOUND))
    grey = build(replace(base, in_channels=1)).eval()
    image = torch.rand(2, 1, 16, 16)
    assert set(grey.state_dict()) == set(build(base).state_dict())
    hooked = grey(image)
    assert hooked.shape == (2, 10)
    for hook in list(grey._forward_pre_hooks):
        del grey._forward_pre_hooks[hook]
    assert torch.allclose(grey(image.expand(-1, 3, -1, -1)), hooked, atol=1e-5)
    assert cost(replace(base, in_channels=1)).flops == cost(base).flops
    with pytest.raises(SpaceError, match="the images have 4 channels; without an argument in_channels it can take 1"):
        make(replace(base, in_channels=4))


@pytest.mark.parametrize("where", ["made", "run"])
def test_a_factory_that_reads_tensors_is_counted_on_the_cpu(write: Write, where: str) -> None:
    made = "    rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]\n    return body(depth, width, classes)\n"
    run = "    return nn.Sequential(Reading(), *body(depth, width, classes))\n"
    reading = open_factory(
        write(
            with_make(
                "class Reading(nn.Module):\n"
                "    def forward(self, x):\n        return x if float(x.sum()) < 1 else -x\n"
                "def make(depth, width, resolution=16, classes=10):\n" + {"made": made, "run": run}[where]
            )
        )
    )
    plain = open_factory(write(SOUND))
    assert cost(reading) == cost(plain)


def test_attention_is_left_out_and_named(write: Write) -> None:
    source = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, depth, width, classes):
        super().__init__()
        w = 8 * round(width)
        self.stem = nn.Conv2d(3, w, 4, 4)
        self.blocks = nn.ModuleList(nn.MultiheadAttention(w, 2, batch_first=True) for _ in range(round(depth)))
        self.head = nn.Linear(w, classes)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block(x, x, x, need_weights=True)[0]
        return self.head(x.mean(1))

def make(depth, width, resolution=16, classes=10):
    return Net(depth, width, classes)
"""
    base = open_factory(write(source))  # fvcore counts the same, or this raises
    # Stem 3·8·4²·16 positions; in- and out-projections 4·8²·16 tokens; classifier 8·10.
    assert cost(base).flops == 3 * 8 * 16 * 16 + 4 * 8 * 8 * 16 + 80
    # Two products of 2 heads, 16 × 16 tokens and 4 channels each.
    assert sum(measure(base).uncounted.values()) == 2 * 2 * 16 * 16 * 4
    assert uncounted(base).startswith("not counted: ")
    assert f"{4096 / cost(base).flops:.1%} more" in uncounted(base)


def test_batch_norm_is_not_needed(write: Write) -> None:
    assert cost(open_factory(write(SOUND.replace("nn.BatchNorm2d(w), ", "")))).params > 0


def test_counting_leaves_the_random_state_alone(write: Write) -> None:
    factory = write(SOUND)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    checked_flops(open_factory(factory))
    assert torch.equal(torch.rand(3), expected)


# ---- faults ----

FAULTS = {
    "import": ("import no_such_module_here\n", "cannot be imported: ModuleNotFoundError: No module named"),
    "exits": ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
    "missing": ("x = 1\n", "has no 'make'"),
    "constant": ("make = 3\n", "must be a function, got a int"),
    "signature": ("def make(depth, width, resolution): ...\n", "got an unexpected keyword argument 'classes'"),
    "more": ("def make(depth, width, resolution, classes, beta): ...\n", "missing a required argument: 'beta'"),
    "default": ("def make(depth, width, resolution=0.5, classes=3): ...\n", "default of resolution must be an integer"),
    "raises": (
        "def make(depth, width, resolution=16, classes=10):\n    raise ValueError('width must\\nbe even')\n",
        "make(depth=1, width=1, resolution=16, classes=10) raised ValueError: width must be even",
    ),
    "no module": (
        "def make(depth, width, resolution=16, classes=10):\n    return [1]\n",
        "must make a torch.nn.Module, got a list",
    ),
    "ignores width": (
        with_make("def make(depth, width, resolution=16, classes=10):\n    return body(depth, 1, classes)\n"),
        "ignores width: width 1 and 2 give the same network of 930 parameters",
    ),
    "ignores depth": (
        with_make("def make(depth, width, resolution=16, classes=10):\n    return body(1, width, classes)\n"),
        "ignores depth: depth 1 and 2 give the same network of 930 parameters",
    ),
    "shrinks": (
        with_make("def make(depth, width, resolution=16, classes=10):\n    return body(depth, 3 / width, classes)\n"),
        "must cost more at width 2 than at width 1, got ",
    ),
    "ignores resolution": (
        with_make(
            "def make(depth, width, resolution=16, classes=10):\n"
            "    return nn.Sequential(nn.AdaptiveAvgPool2d(8), body(depth, width, classes))\n"
        ),
        "ignores resolution: 16 and 32 px cost ",
    ),
    "fixed resolution": (
        with_make(
            "def make(depth, width, resolution=16, classes=10):\n"
            "    net = body(depth, width, classes)\n"
            "    return nn.Sequential(*net[:-3], nn.Flatten(), nn.LazyLinear(classes) if False else\n"
            "                         nn.Linear(round(8 * width) * 256, classes))\n"
        ),
        "resolution=17, classes=10) cannot take images of 17 px: its network raised RuntimeError",
    ),
    "classes": (
        with_make("def make(depth, width, resolution=16, classes=10):\n    return body(depth, width, 10)\n"),
        "must give logits of shape (1, 7) for one image, as classes asks, got (1, 10)",
    ),
    "maps": (
        with_make("def make(depth, width, resolution=16, classes=10):\n    return body(depth, width, classes)[:-3]\n"),
        "must give logits of shape (1, 10) for one image, as classes asks, got (1, 8, 16, 16)",
    ),
    "auxiliary": (
        with_make(
            "class Two(nn.Module):\n"
            "    def __init__(self, net):\n        super().__init__(); self.net = net\n"
            "    def forward(self, x):\n        y = self.net(x)\n        return (y, y) if self.training else y\n"
            "def make(depth, width, resolution=16, classes=10):\n    return Two(body(depth, width, classes))\n"
        ),
        "in training mode must give logits of shape (2, 10) for two images, got tuple",
    ),
    "lazy": (
        with_make(
            "def make(depth, width, resolution=16, classes=10):\n"
            "    net = body(depth, width, classes)\n"
            "    return nn.Sequential(*net[:-1], nn.LazyLinear(classes))\n"
        ),
        "makes lazy modules",
    ),
    "another each time": (
        "calls = []\n"
        + with_make(
            "def make(depth, width, resolution=16, classes=10):\n"
            "    calls.append(0)\n    return body(depth, width + len(calls), classes)\n"
        ).replace("import torch\n", "import torch\ncalls = []\n", 1),
        "makes another network each time for the same arguments: ",
    ),
    "drawn": (
        with_make(
            "def make(depth, width, resolution=16, classes=10):\n"
            "    return body(depth, width * int(torch.randint(1, 50, ())), classes)\n"
        ),
        "makes another network each time for the same arguments: ",
    ),
    "nothing": (
        with_make(
            "def make(depth, width, resolution=16, classes=3):\n"
            "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        ),
        "makes a network without convolutions and linear layers",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_factory_is_one_clear_line(fault: str, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    source, words = FAULTS[fault]
    factory = write(source)
    assert main(["spaces", "check", factory]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"scalesearch spaces: error: {factory}: ")
    assert words in line


def test_a_layer_that_the_counters_see_differently(write: Write) -> None:
    source = with_make(
        "class Bare(nn.Module):\n"
        "    def __init__(self, inputs, outputs):\n"
        "        super().__init__(); self.weight = nn.Parameter(torch.zeros(inputs, outputs))\n"
        "    def forward(self, x):\n        return x @ self.weight\n"
        "def make(depth, width, resolution=16, classes=10):\n"
        "    return nn.Sequential(*body(depth, width, classes)[:-1], Bare(round(8 * width), classes))\n"
    )
    with pytest.raises(CountError) as raised:
        open_factory(write(source))
    text = str(raised.value)
    assert "PyTorch counts 202,832 FLOPs of convolutions and linear layers, fvcore 202,752" in text
    assert "other products, by fvcore: matmul 80, by PyTorch: none" in text
    assert "write layers with weights as nn.Conv2d and nn.Linear" in text


def test_a_sound_one_passes_the_check(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    factory = write(SOUND)
    assert main(["spaces", "check", factory]) == 0
    # Convolutions 3·3·(3 + 8)·8 at 256 positions, classifier 80; their biases and two norms beside.
    flops = 9 * 11 * 8 * 256 + 80
    params = 9 * 11 * 8 + 16 + 32 + 90
    assert f"{factory}: no faults; 16 px, {flops:,} FLOPs, {params:,} parameters" in capsys.readouterr().out


# ---- whose code may run ----


def test_code_runs_only_where_a_person_has_named_it(write: Write) -> None:
    factory = write("import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n" + SOUND)
    arch = FactoryArch("x", factory, "0" * 16, 16, classes=10)
    with pytest.raises(SpaceError, match=f"may not run unless a command names it; give --base {factory}"):
        build(arch)
    with pytest.raises(SettingsError, match=f"counting it would run the code of {factory}"):
        cost(arch)
    module = factory.split(":")[0]
    assert module not in sys.modules
    assert factory not in allowed()
    allow(factory)
    build(arch)
    assert module in sys.modules


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_no_file_names_code(write: Write, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = open_factory(write(SOUND))
    path = tmp_path / f"b1{suffix}"
    text = to_json(base)
    if suffix == ".toml":
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in base.to_dict().items())
    path.write_text(text, encoding="utf-8")
    for command in (["cost"], ["scale", "--phi", "1"], ["run", "--target-flops", "1M", "--base"]):
        assert main([*command, str(path)]) == 2
        assert (
            f"{path}: factory: a file cannot name Python code to run, got '{base.factory}'" in capsys.readouterr().err
        )
    nested = tmp_path / f"space{suffix}"
    nested.write_text(
        json.dumps({"base": base.to_dict()}) if suffix == ".json" else f"[base]\n{text}", encoding="utf-8"
    )
    assert main(["spaces", "check", str(nested)]) == 2
    assert "base.factory: a file cannot name Python code to run" in capsys.readouterr().err


def test_spellings() -> None:
    assert all(map(is_factory, ("a:b", "a.b_1:make", "_x.Y:Z")))
    assert not any(map(is_factory, ("a", "a:", ":b", "a.b", "a/b.py:make", "a:b:c", "a:b.c", "a b:c", "1a:b", 3)))
    with pytest.raises(SpaceError, match=r"a factory is spelled package\.module:function"):
        load_arch("a/b.py:make")


# ---- the record ----


def test_the_record_is_read_back_and_checked() -> None:
    arch = FactoryArch("x", "a.b:make", "0123456789abcdef", 36, 0.5, 1.5, 10, 1)
    assert read_factory_arch(json.loads(to_json(arch))) == arch
    assert replace(arch, name="y").digest == arch.digest
    assert len({replace(arch, **{key: 2}).digest for key in ("depth", "width", "resolution", "classes")}) == 4
    for wrong in (
        {"depth": 0},
        {"width": "1"},
        {"depth": float("nan")},
        {"resolution": 1.5},
        {"factory": "os.system"},
        {"name": 3},
        {"extra": 1},
    ):
        assert read_factory_arch({**arch.to_dict(), **wrong}) is None


def test_faults_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(SpaceError("here", ["one", "two"])))
    assert (error.where, error.faults, str(error)) == ("here", ("one", "two"), "here: one\nhere: two")


def test_counts_are_remembered_by_fingerprint() -> None:
    arch = FactoryArch("x", "never.imported:make", "feedfeedfeedfeed", 36)
    with pytest.raises(SettingsError, match="not counted yet"):
        cost(arch)
    remember("feedfeedfeedfeed", {arch.digest: [100, 20, 3]})
    assert (cost(arch).flops, cost(arch).params, cost(arch).activations) == (100, 20, 3)
    assert counted("feedfeedfeedfeed") == {arch.digest: [100, 20, 3]}
    with pytest.raises(SettingsError, match="not counted yet"):
        cost(replace(arch, fingerprint="0000000000000000"))


def test_the_fingerprint_follows_the_code(write: Write) -> None:
    one, same, other = (open_factory(write(text)) for text in (SOUND, SOUND, SOUND.replace("8 * width", "9 * width")))
    assert one.fingerprint == same.fingerprint != other.fingerprint


# ---- scaling and search ----


def test_multipliers_are_multiplied_and_the_side_is_rounded(example: FactoryArch) -> None:
    grown = multiply(multiply(example, Multipliers(1.2, 1.1, 1.15)), Multipliers(1.2, 1.1, 1.0))
    assert (grown.depth, grown.width, grown.resolution) == (1.44, 1.21, 184)
    assert scale(example, Coefficients(1.2, 1.1, 1.15), 0.0).digest == example.digest
    assert multiply(example, Multipliers(1 / 3, 1, 1)).depth == 0.3333
    with pytest.raises(SettingsError, match=r"width × 200 is asked of my_base:make; at most 100 is allowed"):
        multiply(example, Multipliers(1, 200, 1))


def test_budgets_and_families(example: FactoryArch) -> None:
    paper, rounding = Coefficients(1.2, 1.1, 1.15), ROUNDINGS["official"]
    found = to_flops(example, 250_000_000, paper, rounding, tolerance=0.1)
    assert abs(cost(found.arch).flops - 250_000_000) <= 25_000_000
    base, note = base_for_budget(example, 60_000_000, paper, rounding)
    assert abs(cost(base).flops / 60_000_000 - 1) <= 0.05
    assert "was scaled to" in note
    members = family(base, paper, rounding, 2)
    assert [member.name for member in members] == ["B0", "B1", "B2"]
    assert all(checked_flops(member.arch) == member.cost.flops for member in members)
    assert members[2].budget_ratio == pytest.approx(1, abs=0.15)
    larger = solve_resolution(example, 2 * cost(example).flops, 160, 300)
    assert (larger.depth, larger.width) == (1, 1)
    assert cost(larger).flops == pytest.approx(2 * cost(example).flops, rel=0.03)


def test_cells_are_the_networks_that_every_multiplier_gives(example: FactoryArch) -> None:
    """Against a finer sweep of its own: every structure that it meets, and no other."""
    proxy = replace(example, depth=0.5, width=0.1, resolution=36, classes=10, in_channels=1)
    for dimension, bounds in (("depth", Range(1.0, 2.0)), ("width", Range(1.0, 1.6))):
        cells = factory_cells(proxy, dimension, bounds)

        def built(factor: float, dimension: str = dimension) -> object:
            value = float(f"{getattr(proxy, dimension) * factor:.4g}")
            return measure(replace(proxy, **{dimension: value})).structure

        met = {built(bounds.low + (bounds.high - bounds.low) * index / 100) for index in range(101)}
        assert {built(value) for value, _, _ in cells} == met
        for value, low, high in cells:
            assert low <= value <= high
            assert built(low) == built(value) == built(high)
        assert cells[0][1] == bounds.low
        assert cells[-1][2] == bounds.high


def test_too_many_cells_are_thinned_evenly(write: Write) -> None:
    base = open_factory(write(SOUND.replace("8 * width", "100 * width")))
    cells = factory_cells(base, "width", Range(1.0, 1.6))
    assert len(cells) == MOST
    assert (cells[0][1], cells[-1][2]) == (1.0, 1.6)
    steps = [after[0] - before[0] for before, after in itertools.pairwise(cells)]
    assert max(steps) < 2 * min(steps)


def test_candidates_cost_twice_the_base(example: FactoryArch) -> None:
    proxy = replace(example, depth=0.5, width=0.1, resolution=36, classes=10, in_channels=1)
    found = realised(proxy, DEFAULT_RANGES, ROUNDINGS["official"], 0.03)
    assert len(found.candidates) >= 5
    assert len({candidate.digest for candidate in found.candidates}) == len(found.candidates)
    for candidate in found.candidates:
        assert abs(candidate.flops - 2 * cost(proxy).flops) <= 0.03 * 2 * cost(proxy).flops
        assert count_fvcore(candidate.arch) == candidate.flops
        assert sum(candidate.shares) == pytest.approx(1)
        made = scale(proxy, candidate.coefficients, 1.0)  # as quoted, it realises the same network
        assert (measure(made).structure, made.resolution) == (
            measure(candidate.arch).structure,
            candidate.arch.resolution,
        )


def test_the_nominal_grid_keeps_each_network_once(example: FactoryArch) -> None:
    proxy = replace(example, depth=0.5, width=0.1, resolution=36, classes=10, in_channels=1)
    found = nominal_grid(proxy, DEFAULT_RANGES, ROUNDINGS["official"], 0.1).candidates
    made = {(measure(one.arch).structure, one.arch.resolution) for one in found}
    assert len(found) == len(made) < 108


def test_the_command_line_scales_it(example: FactoryArch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "my_base:make", "--phi", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["arch"]["depth"], printed["arch"]["width"], printed["resolution"]) == (1.2, 1.1, 184)
    assert printed["flops"] == count_fvcore(scale(example, Coefficients(1.2, 1.1, 1.15), 1))
    assert main(["cost", "my_base:make", "--resolution", "96"]) == 0
    assert "PyTorch's formulas and fvcore count the same FLOPs" in capsys.readouterr().out
    assert main(["scale", "my_base:make", "--phi", "1", "--write", str(tmp_path / "x.json")]) == 2
    assert "a factory's network is code, which a file cannot hold" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_training_step_and_a_state_dict_round_trip(example: FactoryArch) -> None:
    for side in (32, 45):
        arch = replace(example, width=0.25, resolution=side, classes=5)
        network = build(arch).to(memory_format=torch.channels_last)
        logits = network(torch.rand(4, 3, side, side))
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        again = build(arch)
        again.load_state_dict(network.state_dict())
        image = torch.rand(1, 3, side, side)
        assert torch.allclose(again.eval()(image), network.eval()(image), atol=1e-6)


def test_the_surrogate_refuses_it_without_running_it(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    factory = write("raise RuntimeError('was run')\n")
    assert main(["run", "--target-flops", "1M", "--base", factory, "--evaluator", "imagenet_surrogate"]) == 2
    assert f"{factory}: is a factory, and imagenet_surrogate knows only scaled" in capsys.readouterr().err
    with pytest.raises(SurrogateError, match="is made by a factory"):
        place_of(FactoryArch("x", factory, "0" * 16, 224))
