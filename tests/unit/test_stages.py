"""Training in stages: progressive learning's numbers, mixed images and labels, RandAugment, the schedules."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scalesearch.fit import batches
from scalesearch.fit import randaugment as door
from scalesearch.fit.batches import Split
from scalesearch.fit.data import DataRequest, Dataset, load_dataset
from scalesearch.fit.mix import mix, paste
from scalesearch.fit.progressive import Ends, progressive_stages, published
from scalesearch.fit.recipe import Recipe, Rung, TrainingStage
from scalesearch.fit.step import last_rate, rate_at, step_on_batch
from scalesearch.fit.train import Training, train_rung
from scalesearch.nets.build import Residual
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.errors import SettingsError

SIDE = 16
NET = Arch(
    name="net",
    resolution=SIDE,
    stem=Stage("conv", channels=8, stride=2),
    stages=(Stage("mbconv", channels=8, se=0.25), Stage("mbconv", channels=12, stride=2, expand=3)),
    classes=10,
    in_channels=1,
    dropout=0.1,
    drop_path=0.1,
    norm_momentum=0.1,
)
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return load_dataset(DataRequest("digits", size=SIDE), cache)


def test_a_longer_recipe_has_longer_stages() -> None:
    recipe = Recipe(epochs=3, stages=(TrainingStage(1, 0.5), TrainingStage(3)))
    longer = recipe.times(4)
    assert [longer.stage_at(epoch).side for epoch in range(12)] == [0.5] * 4 + [1.0] * 8
    assert (longer.epochs, recipe.times(1)) == (12, recipe) and Recipe(epochs=3).times(2) == Recipe(epochs=6)


def test_a_plain_recipe_is_the_case_of_one_stage(digits: Dataset, tmp_path: Path) -> None:
    plain = Recipe(epochs=2, batch=32)
    staged = replace(plain, stages=(TrainingStage(1), TrainingStage(2)))
    assert plain.all_stages == (TrainingStage(2),)
    assert [staged.stage_at(epoch).stop for epoch in (0, 1)] == [1, 2]
    results = [
        train_rung(Rung(NET, digits.folder, 96, 64, recipe, 0, 0, 2, tmp_path / str(index)))
        for index, recipe in enumerate((plain, staged))
    ]
    found = [[(epoch.train_loss, epoch.val_loss, epoch.accuracy) for epoch in result.epochs] for result in results]
    assert found[0] == found[1]


def test_the_published_ends() -> None:
    """arXiv:2104.00298v1, Table 6: min and max of image size, RandAugment, mixup alpha and dropout rate."""
    table = {
        "s": (128 / 300, (5, 15), (0, 0), (0.1, 0.3)),
        "m": (128 / 380, (5, 20), (0, 0.2), (0.1, 0.4)),
        "l": (128 / 380, (5, 25), (0, 0.4), (0.1, 0.5)),
    }
    assert published() == {
        name: Ends((first, 1.0), magnitude, mixup, dropout)
        for name, (first, magnitude, mixup, dropout) in table.items()
    }


def test_stages_lie_on_a_line_between_the_ends() -> None:
    """Algorithm 1 there: with M = 4 stages, S_i = 128 + (300 - 128) i / 3, and the regularisation alike."""
    stages = progressive_stages(published()["s"], 350, 4)
    assert [stage.stop for stage in stages] == [88, 175, 262, 350]
    assert [stage.pixels(300) for stage in stages] == [128, 185, 243, 300]
    assert [stage.magnitude for stage in stages] == pytest.approx([5, 5 + 10 / 3, 5 + 20 / 3, 15])
    assert [stage.dropout for stage in stages] == pytest.approx([0.1, 0.1 + 0.2 / 3, 0.1 + 0.4 / 3, 0.3])
    assert [stage.mixup for stage in progressive_stages(published()["m"], 8, 3)] == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_fewer_epochs_than_stages_end_at_the_last_ends(epochs: int) -> None:
    stages = progressive_stages(published()["l"], epochs, 4, cutmix=0.5)
    assert [stage.stop for stage in stages] == list(range(1, epochs + 1))
    assert (stages[-1].side, stages[-1].magnitude, stages[-1].dropout) == (1.0, 25, 0.5)
    assert {stage.cutmix for stage in stages} == {0.5}


def test_a_stage_sees_smaller_images_of_the_same_scene(digits: Dataset) -> None:
    split = Split(digits, "train", SIDE, CPU, np.arange(40))
    ((whole, labels),) = split.batches(40, np.random.default_rng(3), 0.06)
    ((small, same),) = split.batches(40, np.random.default_rng(3), 0.06, TrainingStage(1, side=0.5))
    assert whole.shape == (40, 1, 16, 16) and small.shape == (40, 1, 8, 8)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(labels, same)
    # Every second pixel of an antialiased image is near the mean of its four.
    blocks = nn.functional.avg_pool2d(whole, 2)
    assert float((small - blocks).abs().mean()) < 0.15 * float((small - small.mean()).abs().mean())


def test_images_that_do_not_fit_into_memory_are_read_from_the_cache(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = np.arange(5, 45)[::-1].copy()
    inside = Split(digits, "train", SIDE, CPU, chosen)
    monkeypatch.setattr(batches, "machine_bytes", lambda: 1)
    outside = Split(digits, "train", SIDE, CPU, chosen)
    assert len(inside.images) == 40 < len(outside.images)
    for rng in (None, 7):
        pairs = [
            list(split.batches(16, None if rng is None else np.random.default_rng(rng), 0.1))
            for split in (inside, outside)
        ]
        for (images, labels), (others, same) in zip(*pairs, strict=True):
            assert torch.equal(images, others) and torch.equal(labels, same)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.3, 0.7), (0.0, 0.0)])
def test_labels_are_mixed_as_images_are(mixup: float, cutmix: float) -> None:
    """Images filled with the number of their class: the mean of a mixed one is what its target says."""
    rng = np.random.default_rng(0)
    labels = torch.arange(64) % 7
    images = labels.to(torch.float32)[:, None, None, None].expand(-1, 2, 24, 20)
    for _ in range(5):
        mixed, targets = mix(images, labels, 7, rng, mixup, cutmix)
        assert mixed.shape == images.shape and targets.shape == (64, 7)
        torch.testing.assert_close(targets.sum(1), torch.ones(64))
        torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ torch.arange(7.0), atol=1e-4, rtol=1e-4)
    pure = int((targets.max(1).values == 1).sum())
    assert pure == 64 if mixup == cutmix == 0 else pure < 60


def test_a_rectangle_has_the_area_that_was_asked_for() -> None:
    """Where it lies inside; over many places it is a little smaller, never larger."""
    images, others = torch.zeros(2000, 1, 40, 40), torch.ones(2000, 1, 40, 40)
    pasted, kept = paste(images, others, np.full(2000, 0.75), np.random.default_rng(0))
    torch.testing.assert_close(1 - pasted.mean((1, 2, 3)), kept)
    assert float(kept.min()) == pytest.approx(0.75)  # a quarter: 20 px of 40
    assert int((kept < 0.751).sum()) > 300
    assert float(kept.mean()) > 0.8


def test_the_loss_of_a_mixed_target_is_the_mixed_loss() -> None:
    """Cross-entropy is linear in its target, with label smoothing too."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    optimizer, scaler = torch.optim.SGD(network.parameters(), 0.0), torch.amp.GradScaler("cpu", enabled=False)
    images, recipe = torch.randn(2, 1, 2, 2), Recipe(epochs=1)

    def loss(labels: torch.Tensor) -> float:
        return step_on_batch(network, optimizer, scaler, images, labels, recipe, 1)

    shares = torch.tensor([[0.7, 0.3, 0.0], [0.7, 0.0, 0.3]])
    whole = 0.7 * loss(torch.tensor([0, 0])) + 0.3 * loss(torch.tensor([1, 2]))
    assert loss(shares) == pytest.approx(whole, rel=1e-5)
    assert loss(nn.functional.one_hot(torch.tensor([2, 1]), 3).float()) == pytest.approx(loss(torch.tensor([2, 1])))


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_accumulated_parts_take_the_step_of_the_large_batch(parts: int) -> None:
    """A whole step of the optimiser with mixed targets; without batch norm nothing else depends on the batch."""
    torch.manual_seed(0)
    start = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 10)).state_dict()
    images, labels = torch.randn(10, 1, 4, 4), torch.rand(10, 10).softmax(1)
    after = []
    for accumulation in (1, parts):
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 10))
        network.load_state_dict(start)
        optimizer = torch.optim.SGD(network.parameters(), 0.5, momentum=0.9)
        for _ in range(3):
            step_on_batch(
                network,
                optimizer,
                torch.amp.GradScaler("cpu", enabled=False),
                images,
                labels,
                Recipe(epochs=1),
                accumulation,
            )
        after.append(network.state_dict())
    for name, value in after[0].items():
        torch.testing.assert_close(after[1][name], value, rtol=1e-4, atol=1e-6)
        assert not torch.equal(value, start[name])


def test_the_exponential_schedule_is_a_staircase() -> None:
    """0.97 every 2.4 epochs (arXiv:1905.11946v5, section 5.2), after a warm-up of a tenth; 10 steps an epoch."""
    recipe = Recipe(epochs=20, batch=256, learning_rate=0.4, warmup=0.1, schedule="exponential")
    rates = [rate_at(recipe, step, 200) for step in range(200)]
    assert rates[:20] == pytest.approx([0.4 * (step + 1) / 20 for step in range(20)])
    assert rates[20:24] == pytest.approx([0.4] * 4)
    assert rates[24:48] == pytest.approx([0.4 * 0.97] * 24)
    assert rates[199] == pytest.approx(0.4 * 0.97**8)  # 19.9 / 2.4 = 8.3
    assert last_rate(recipe, 20) == pytest.approx(rates[199])
    assert last_rate(replace(recipe, schedule="cosine"), 11) == pytest.approx(0.2, rel=0.01)  # halfway from 2 to 20


def test_every_training_starts_as_the_identity_and_undecided(digits: Dataset) -> None:
    split = Split(digits, "train", SIDE, CPU, np.arange(32))
    fresh = Training(NET, Recipe(epochs=1), 0, split, split, CPU)
    for network in (fresh.network, fresh.ema):
        (block,) = (module for module in network.modules() if isinstance(module, Residual))
        assert not [layer for layer in block.layers if isinstance(layer, nn.BatchNorm2d)][-1].weight.any()
        assert not network(torch.randn(4, 1, SIDE, SIDE)).any()
    given = {name: torch.ones_like(value) for name, value in fresh.network.state_dict().items()}
    started = Training(NET, Recipe(epochs=1), 0, split, split, CPU, start=given)
    assert all(bool((value == 1).all()) for value in started.network.state_dict().values())


def test_dropout_rises_with_the_stages(digits: Dataset) -> None:
    stages = (TrainingStage(1, dropout=0.2), TrainingStage(2, dropout=0.5))
    split = Split(digits, "train", SIDE, CPU, np.arange(32))
    training = Training(NET, Recipe(epochs=2, batch=32, stages=stages), 0, split, split, CPU)
    found = []
    for epoch in range(2):
        training.epoch(epoch)
        found.append([module.p for module in training.network.modules() if isinstance(module, nn.Dropout)])
    assert found == [[0.2], [0.5]]


def test_randaugment_without_kornia_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "find_spec", lambda name: None)
    with pytest.raises(SettingsError) as caught:
        door.require_kornia("progressive=s")
    assert str(caught.value) == (
        "progressive=s: RandAugment needs kornia, which is not installed; pip install 'scalesearch[train]', or give "
        "--set randaugment=0"
    )


class TestRandAugment:
    """By the real kornia, where it is installed, as it is with `scalesearch[test]`."""

    @pytest.fixture(autouse=True)
    def kornia(self) -> None:
        pytest.importorskip("kornia")

    def test_images_stay_images_and_follow_from_the_seed(self) -> None:
        for channels in (1, 3):
            images = torch.rand(20, channels, 12, 12)
            before = images.clone()
            found = []
            for seed in (0, 0, 1):
                torch.manual_seed(seed)
                found.append(door.randaugment(images, 9.0))
            assert torch.equal(images, before)
            assert all(result.shape == images.shape for result in found)
            assert min(float(result.min()) for result in found) >= 0
            assert max(float(result.max()) for result in found) <= 1
            assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])

    def test_parts_of_a_batch_have_operations_of_their_own(self) -> None:
        images = torch.rand(1, 3, 12, 12).expand(4 * door.PART, -1, -1, -1)
        torch.manual_seed(0)
        changed = door.randaugment(images, 9.0)
        firsts = changed[:: door.PART]
        assert len({tuple(image.flatten().tolist()) for image in firsts}) == 4

    @pytest.mark.parametrize("name", sorted({name for name, *ends in door._POLICY if ends != [0, 1]}))
    def test_every_operation_grows_with_the_magnitude(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(door, "_POLICY", tuple(entry for entry in door._POLICY if entry[0] == name))
        monkeypatch.setattr(door, "OPERATIONS", 1)
        torch.manual_seed(0)
        # A smooth picture in the middle of the range, with colours: what an operation changes is its strength.
        images = nn.functional.interpolate(0.3 + 0.4 * torch.rand(32, 3, 9, 9), (20, 20), mode="bicubic").clamp(0, 1)
        changes = []
        for magnitude in (1.0, 10.0, 25.0):
            door._augmentation.cache_clear()
            torch.manual_seed(1)
            changes.append(float((door.randaugment(images, magnitude) - images).abs().mean()))
        door._augmentation.cache_clear()
        assert changes[0] < changes[1] <= changes[2]
        assert changes[2] > 0.005

    def test_a_stage_augments(self, digits: Dataset) -> None:
        split = Split(digits, "train", SIDE, CPU, np.arange(40))
        torch.manual_seed(0)
        ((plain, _),) = split.batches(40, np.random.default_rng(3))
        ((changed, labels),) = split.batches(40, np.random.default_rng(3), 0.0, TrainingStage(1, 1.0, 12.0, 0.2))
        assert changed.shape == plain.shape and labels.shape == (40, 10)
        assert float(changed.min()) >= -2.001 and float(changed.max()) <= 2.001
        assert math.isfinite(float(changed.mean())) and not torch.allclose(plain, changed, atol=0.1)
