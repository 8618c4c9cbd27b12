"""The training loop on real digits: bit-exact, resumable, and honest about what goes wrong."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scalesearch.fit.batches import augment, split_of
from scalesearch.fit.checkpoint import CheckpointError
from scalesearch.fit.data import DataRequest, Dataset, load_dataset
from scalesearch.fit.recipe import Origin, Recipe, Rung, RungResult
from scalesearch.fit.speed import measure_steps
from scalesearch.fit.step import WeightAverage, make_optimizer, rate_at, set_rate, step_on_batch
from scalesearch.fit.train import train_rung
from scalesearch.nets.build import build
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.errors import RunError, TrainingError

SIDE = 16
NET = Arch(
    name="net",
    resolution=SIDE,
    stem=Stage("conv", channels=8, stride=2),
    stages=(
        Stage("mbconv", channels=8, se=0.25),
        Stage("mbconv", channels=12, repeats=2, stride=2, expand=3),
    ),
    head=Stage("conv", channels=32, kernel=1),
    classes=10,
    in_channels=1,
    dropout=0.1,
    drop_path=0.1,
    norm_momentum=0.1,
)
RECIPE = Recipe(epochs=3, batch=32, learning_rate=0.4, shift=0.06)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return load_dataset(DataRequest("digits", size=SIDE), cache)


def rung(
    digits: Dataset,
    checkpoint: Path,
    start: int = 0,
    stop: int = 3,
    *,
    arch: Arch = NET,
    recipe: Recipe = RECIPE,
    seed: int = 0,
    train_images: int | None = 200,
    val_images: int | None = 120,
) -> Rung:
    return Rung(arch, digits.folder, train_images, val_images, recipe, seed, start, stop, checkpoint)


def losses(*results: RungResult) -> list[tuple[int, float, float, float]]:
    return [(e.epoch, e.train_loss, e.val_loss, e.accuracy) for result in results for e in result.epochs]


def tensors(checkpoint: Path) -> list[tuple[str, torch.Tensor]]:
    found: list[tuple[str, torch.Tensor]] = []

    def collect(where: str, value: object) -> None:
        if isinstance(value, torch.Tensor):
            found.append((where, value))
        elif isinstance(value, dict):
            for key, inner in value.items():
                collect(f"{where}.{key}", inner)

    collect("", torch.load(checkpoint, weights_only=True))
    return found


def assert_equal_checkpoints(left: Path, right: Path) -> None:
    pairs = list(zip(tensors(left), tensors(right), strict=True))
    assert len(pairs) > 50
    for (name, a), (other, b) in pairs:
        assert name == other
        assert torch.equal(a, b), name


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    digits: Dataset, tmp_path: Path, optimizer: str
) -> None:
    recipe = replace(RECIPE, epochs=2, optimizer=optimizer, learning_rate=0.05)
    first, again, other = (
        train_rung(rung(digits, tmp_path / name, stop=2, recipe=recipe, seed=seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert losses(first) == losses(again)
    assert_equal_checkpoints(tmp_path / "a", tmp_path / "b")
    assert losses(first) != losses(other)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_rungs_through_checkpoints_equal_an_uninterrupted_training(
    digits: Dataset, tmp_path: Path, optimizer: str
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=0.05)
    whole = train_rung(rung(digits, tmp_path / "whole", recipe=recipe))
    parts = []
    for start in range(3):
        torch.manual_seed(1234 + start)  # whatever the worker did before must not matter
        torch.rand(7)
        parts.append(train_rung(rung(digits, tmp_path / "parts", start, start + 1, recipe=recipe)))
    assert losses(whole) == losses(*parts)
    assert [epoch.epoch for epoch in whole.epochs] == [1, 2, 3]
    assert_equal_checkpoints(tmp_path / "whole", tmp_path / "parts")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]  # no temporary is left


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"), [("adamw", 0.05, 0.02), ("sgd", 0.8, 5e-5), ("rmsprop", 0.08, 1e-5)]
)
def test_digits_are_learnt(digits: Dataset, tmp_path: Path, optimizer: str, rate: float, decay: float) -> None:
    """Chance is 10 %."""
    recipe = Recipe(epochs=5, batch=32, optimizer=optimizer, learning_rate=rate, weight_decay=decay)
    result = train_rung(rung(digits, tmp_path / "a", stop=5, recipe=recipe, train_images=800, val_images=300))
    assert result.accuracy == result.epochs[-1].accuracy > 0.6
    assert result.epochs[-1].train_loss < result.epochs[0].train_loss
    assert result.epochs[-1].val_loss < math.log(10)
    assert result.accumulation == 1 and result.notes == ()
    assert result.seconds >= sum(epoch.seconds for epoch in result.epochs) > 0
    assert all(epoch.images_per_second == pytest.approx(800 / epoch.seconds) for epoch in result.epochs)
    assert result.peak_memory > 10_000_000


def test_a_loss_that_is_not_finite_names_its_step(digits: Dataset, tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=1e30)
    with pytest.raises(TrainingError) as caught:
        train_rung(rung(digits, tmp_path / "a", recipe=recipe))
    text = str(caught.value)
    assert text.startswith(("the loss became nan in epoch 1, step ", "the loss became inf in epoch 1, step "))
    # 200 images in batches of 32 are 7 steps; the first loss is of the untouched network.
    assert text.endswith(" of 7; lower --set learning_rate (now 1e+30)")
    assert " step 1 " not in text
    assert not (tmp_path / "a").exists()


def test_weights_broken_by_the_last_step_are_no_result(digits: Dataset, tmp_path: Path) -> None:
    """One step per epoch: its loss is finite, but what it leaves behind is not a network."""
    recipe = Recipe(epochs=1, batch=200, learning_rate=1e36)
    with pytest.raises(TrainingError) as caught:
        train_rung(rung(digits, tmp_path / "a", stop=1, recipe=recipe))
    assert str(caught.value) in [
        f"the validation loss became {value} after epoch 1; lower --set learning_rate (now 1e+36)"
        for value in ("nan", "inf")
    ]


@pytest.mark.parametrize("count", [33, 65, 97])
def test_a_rest_of_one_image_does_not_stop_batch_norm(digits: Dataset, tmp_path: Path, count: int) -> None:
    """Down to 1 × 1 px a batch of one image has one value per channel, which batch norm refuses."""
    deep = replace(NET, stages=tuple(replace(stage, stride=4) for stage in NET.stages))
    result = train_rung(rung(digits, tmp_path / "a", stop=1, arch=deep, train_images=count))
    assert math.isfinite(result.epochs[0].train_loss)


def test_batches_have_equal_sizes_and_every_image_once(digits: Dataset, tmp_path: Path) -> None:
    split = split_of(rung(digits, tmp_path, train_images=100), "train", torch.device("cpu"))
    sizes = [len(labels) for _, labels in split.batches(32, np.random.default_rng(0))]
    assert sizes == [25, 25, 25, 25]
    whole = torch.cat([images for images, _ in split.batches(32)])
    shuffled = torch.cat([images for images, _ in split.batches(32, np.random.default_rng(0))])
    assert whole.shape == (100, 1, SIDE, SIDE)
    assert whole.dtype == torch.float32
    assert float(whole.min()) >= -2 and float(whole.max()) <= 2  # black and white are ±2
    assert not torch.equal(whole, shuffled)
    key = [sorted(image.flatten().tolist() for image in images) for images in (whole, shuffled)]
    assert key[0] == key[1]


def test_all_candidates_of_a_seed_see_the_same_images(digits: Dataset, tmp_path: Path) -> None:
    small = rung(digits, tmp_path)
    large = replace(small, arch=replace(NET, stem=replace(NET.stem, channels=16)))
    cpu = torch.device("cpu")
    assert torch.equal(split_of(small, "train", cpu).images, split_of(large, "train", cpu).images)
    other = replace(small, seed=1)
    assert not torch.equal(split_of(small, "train", cpu).images, split_of(other, "train", cpu).images)
    # Accuracies of different seeds are measured on the same images.
    assert torch.equal(split_of(small, "val", cpu).images, split_of(other, "val", cpu).images)


def trained(digits: Dataset, folder: Path) -> Path:
    path = folder / "a.pt"
    train_rung(rung(digits, path, stop=1, train_images=64, val_images=32))
    return path


def test_a_checkpoint_that_cannot_be_used_is_told(digits: Dataset, tmp_path: Path) -> None:
    path = trained(digits, tmp_path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"rubbish" * 100, None):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            train_rung(rung(digits, path, 1, 2))
        assert str(caught.value).startswith(f"{path}: the checkpoint cannot be used: ")
        assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_epoch_or_network_is_told(digits: Dataset, tmp_path: Path) -> None:
    path = trained(digits, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        train_rung(rung(digits, path, 2, 3))
    assert str(caught.value) == f"{path}: the checkpoint cannot be used: it holds epoch 1, epoch 2 is needed"
    wider = replace(NET, stem=replace(NET.stem, channels=16))
    with pytest.raises(CheckpointError, match="the checkpoint cannot be used: Error"):
        train_rung(rung(digits, path, 1, 2, arch=wider))


@pytest.mark.parametrize(("kind", "reason"), [("missing", "No such file or directory"), ("file", "Not a directory")])
def test_a_checkpoint_that_cannot_be_written_stops_the_run(
    digits: Dataset, tmp_path: Path, kind: str, reason: str
) -> None:
    folder = tmp_path / "checkpoints"
    if kind == "file":
        folder.write_text("in the way")
    with pytest.raises(RunError) as caught:
        train_rung(rung(digits, folder / "a.pt", stop=1, train_images=64, val_images=32))
    assert str(caught.value) == f"{folder / 'a.pt'}: the checkpoint cannot be written: {reason}"
    assert list(tmp_path.iterdir()) == ([folder] if kind == "file" else [])


def test_weight_decay_spares_norms_and_biases() -> None:
    network = build(NET)
    weights, others = make_optimizer(network, replace(RECIPE, weight_decay=0.01)).param_groups
    assert (weights["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    decayed = {id(parameter) for parameter in weights["params"]}
    spared = {id(parameter) for parameter in others["params"]}
    kernels = {id(m.weight) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert decayed == kernels
    assert decayed | spared == {id(parameter) for parameter in network.parameters()}
    assert not decayed & spared


def test_the_learning_rate_warms_up_and_follows_a_cosine() -> None:
    """100 steps, 20 of them warm-up; for a batch of 128 the peak is 0.4 · 128 / 256 = 0.2."""
    recipe = Recipe(epochs=1, batch=128, learning_rate=0.4, warmup=0.2)
    optimizer = make_optimizer(build(NET), recipe)
    rates = []
    for step in range(100):
        set_rate(optimizer, rate_at(recipe, step, 100))
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:20] == pytest.approx([0.2 * k / 20 for k in range(1, 21)])
    assert rates[20:] == pytest.approx([0.1 * (1 + math.cos(math.pi * k / 80)) for k in range(80)])
    assert rates[60] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.0001


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_learning_rate_of_the_shortest_trainings(steps: int) -> None:
    optimizer = make_optimizer(build(NET), RECIPE)
    for step in range(steps):
        set_rate(optimizer, rate_at(RECIPE, step, steps))
        assert 0 < optimizer.param_groups[0]["lr"] <= 0.4 * 32 / 256


def test_the_average_by_hand() -> None:
    """0.9 of the old and 0.1 of the new, norm statistics too."""
    network, copy = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
    average = WeightAverage(network, copy)
    assert average.network is copy
    assert copy[0].weight.item() == 1.0
    with torch.no_grad():
        network[0].weight.fill_(3.0)
        network[1].running_mean.fill_(5.0)
    average.update(0.9)
    assert copy[0].weight.item() == pytest.approx(0.9 * 1 + 0.1 * 3)
    assert copy[1].running_mean.item() == pytest.approx(0.1 * 5)
    average.update(0.5)
    assert copy[0].weight.item() == pytest.approx(0.5 * 1.2 + 0.5 * 3)
    assert network[0].weight.item() == 3.0


def test_label_smoothing_by_hand(digits: Dataset) -> None:
    """Logits 0 for 10 classes give log 10 whatever the smoothing; otherwise 0.9 of the truth and 0.1 of the mean."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[2.0], [0.0]]))
    optimizer = torch.optim.SGD(network.parameters(), 0.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    images, labels = torch.ones(1, 1, 1, 1), torch.tensor([0])
    loss = step_on_batch(network, optimizer, scaler, images, labels, replace(RECIPE, label_smoothing=0.1), 1)
    right, wrong = math.log(1 + math.exp(-2)), 2 + math.log(1 + math.exp(-2))
    assert loss == pytest.approx(0.9 * right + 0.1 * (right + wrong) / 2, rel=1e-6)


@pytest.mark.parametrize("count", [8, 7, 1])
def test_halves_give_the_gradient_of_the_whole_batch(count: int) -> None:
    """Exact where nothing depends on the batch; batch norm is left out."""
    torch.manual_seed(0)
    gradients, found = [], []
    start = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 10)).state_dict()
    images, labels = torch.randn(count, 1, 4, 4), torch.randint(10, (count,))
    for accumulation in (1, 2):
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 10))
        network.load_state_dict(start)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        found.append(step_on_batch(network, optimizer, scaler, images, labels, RECIPE, accumulation))
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    for whole, halves in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, halves, rtol=1e-4, atol=1e-6)


class Fixed(np.random.Generator):
    """A generator whose draws are written down."""

    def __init__(self, shifts: list[list[int]], flips: list[float]) -> None:
        super().__init__(np.random.PCG64(0))
        self.shifts, self.flips = np.array(shifts), np.array(flips)
        self.asked: list[tuple[int, int]] = []

    def integers(self, low: int, high: int, size: object) -> np.ndarray:  # type: ignore[override]
        self.asked.append((low, high))
        return self.shifts

    def random(self, size: object) -> np.ndarray:  # type: ignore[override]
        return self.flips


def test_images_move_by_the_drawn_offsets_and_edges_are_repeated() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4, 1)
    rng = Fixed([[1, 0, -1], [0, -1, 1]], [])
    moved = augment(image.expand(3, 4, 4, 1), rng, 0.25, mirror=False)
    assert rng.asked == [(-1, 2)]  # up to a quarter of 4 px, both ways, the end exclusive
    assert moved.shape == (3, 4, 4, 1)
    assert moved.dtype == torch.uint8
    down, right, both = moved[..., 0].tolist()
    assert down == [[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15], [12, 13, 14, 15]]
    assert right == [[0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10], [12, 12, 13, 14]]
    assert both == [[1, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]


def test_images_are_mirrored_only_where_that_keeps_their_class() -> None:
    image = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 4, 1).expand(2, 4, 4, 1)
    still = [[0, 0], [0, 0]]
    moved = augment(image, Fixed(still, [0.4, 0.6]), 0.25, mirror=True)
    assert moved[0, 0, :, 0].tolist() == [3, 2, 1, 0]
    assert moved[1, 0, :, 0].tolist() == [0, 1, 2, 3]
    assert torch.equal(augment(image, Fixed(still, [0.4, 0.6]), 0.25, mirror=False), image)


def test_augmentation_keeps_channels_together_and_uses_all_offsets() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (400, 8, 8, 1), dtype=np.uint8)).expand(400, 8, 8, 3)
    moved = augment(images, rng, 0.13, mirror=True)
    assert moved.shape == (400, 8, 8, 3)
    assert torch.equal(moved[..., 0], moved[..., 1]) and torch.equal(moved[..., 0], moved[..., 2])
    centre = {
        (down, right, flip)
        for index in range(400)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        for flip in (False, True)
        if torch.equal(
            moved[index, 3:5, 3:5, 0],
            (images[index].flip(1) if flip else images[index])[3 + down : 5 + down, 3 + right : 5 + right, 0],
        )
    }
    assert len(centre) == 18


def test_memory_that_never_suffices_is_told(digits: Dataset, tmp_path: Path) -> None:
    """A classifier of 10⁵ · 10⁹ weights is 400 TB: more than a process can address."""
    huge = replace(NET, head=Stage("conv", channels=100_000, kernel=1), classes=10**9)
    with pytest.raises(TrainingError) as caught:
        train_rung(rung(digits, tmp_path / "a", arch=huge))
    text = str(caught.value)
    assert text.startswith("out of memory with batches of 32 and of 16: ")
    assert text.endswith("; lower --set batch")
    with pytest.raises(TrainingError, match=r"^out of memory with batches of 32: .*; lower --set batch$"):
        measure_steps(huge, RECIPE, "cpu", 0.1)


LIMITED = """
import json, resource, sys
from pathlib import Path
import torch
from scalesearch.fit.recipe import Recipe, Rung
from scalesearch.fit.train import train_rung
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.errors import ScaleSearchError

def outcome(batch):
    rung = Rung(arch, Path(sys.argv[1]), 256, 16, Recipe(epochs=1, batch=batch), 0, 0, 1, Path(sys.argv[2]))
    try:
        result = train_rung(rung)
    except ScaleSearchError as error:
        return [type(error).__name__, str(error)]
    return [result.accumulation, *result.notes]

def limit(kind, value):
    resource.setrlimit(kind, (value, resource.RLIM_INFINITY))

if __name__ == "__main__":
    torch.set_num_threads(1)
    inner = Stage("conv", channels=16, kernel=1)
    arch = Arch("wide", 56, Stage("conv", channels=16), (inner,), classes=10, in_channels=1)
    outcomes = [outcome(32)]
    for megabytes in (325, 290, 20):
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit(resource.RLIMIT_AS, size + megabytes * 1_000_000)
        outcomes.append(outcome(256))
        limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
    limit(resource.RLIMIT_FSIZE, 3_000)  # a full disk, as far as writing goes
    outcomes.append(outcome(32))
    print(json.dumps(outcomes))
"""


def test_a_batch_that_does_not_fit_is_done_in_halves_and_a_full_disk_is_told(cache: Path, tmp_path: Path) -> None:
    """Under real limits of the kernel: of memory from ample to hopeless, then of file size."""
    data = load_dataset(DataRequest("digits", size=56, train_images=256, val_images=64), cache)
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    checkpoint = tmp_path / "a.pt"
    done = subprocess.run(
        [sys.executable, str(script), str(data.folder), str(checkpoint)],
        capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    free, *limited, full = json.loads(done.stdout)
    assert free == [1]
    assert [2, "out of memory: batch 256 done as 2 halves"] in limited
    name, text = limited[-1]
    assert name == "TrainingError"
    assert text.startswith("out of memory with batches of 256 and of 128: ")
    name, text = full
    assert name == "RunError"
    assert text.startswith(f"{checkpoint}: the checkpoint cannot be written: File too large")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "limited.py"]


def test_a_network_that_inherits_starts_from_the_weights_of_the_average(digits: Dataset, tmp_path: Path) -> None:
    """At a rate of next to nothing, the base's accuracy is kept; the seed decides what is new, also without a rate."""
    recipe = Recipe(epochs=5, batch=32, learning_rate=0.05)
    base = train_rung(rung(digits, tmp_path / "base", stop=5, recipe=recipe, train_images=800, val_images=300))
    assert base.accuracy > 0.5
    larger = replace(
        NET, name="larger", stages=(NET.stages[0], Stage("mbconv", channels=14, repeats=3, stride=2, expand=3))
    )
    still = Recipe(epochs=1, batch=32, learning_rate=1e-12)
    found = []
    for seed in (0, 1):
        first = rung(digits, tmp_path / f"larger{seed}", stop=1, arch=larger, recipe=still, seed=seed, val_images=300)
        found.append(train_rung(replace(first, origin=Origin(NET, tmp_path / "base"))))
    for result in found:
        # The norms' statistics are of other images, and of batches, after the epoch.
        assert result.accuracy == pytest.approx(base.accuracy, abs=0.1)
    one, other = (dict(tensors(tmp_path / f"larger{seed}")) for seed in (0, 1))
    name = ".network.sections.stage2.2.layers.0.weight"
    assert name in one and not torch.allclose(one[name], other[name], rtol=0.01)
