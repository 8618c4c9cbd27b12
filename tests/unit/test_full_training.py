"""Full training: stages, checkpoints, early stop, test, fine-tuning; what its folder holds, and what is refused."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_runs import Builder, candidates
from torch import nn

from scalesearch import build, load_arch
from scalesearch.commands.main import main
from scalesearch.commands.train import add_arguments, read_settings
from scalesearch.fit import worker
from scalesearch.fit.batches import Split
from scalesearch.fit.checkpoint import CheckpointError
from scalesearch.fit.data import DataRequest, Dataset, load_dataset
from scalesearch.fit.full import FullTraining, Job, judge, stalled
from scalesearch.fit.pretrained import read_pretrained, start_from
from scalesearch.fit.recipe import Epoch, Recipe, TrainingStage
from scalesearch.report.training import train_command
from scalesearch.search import full_training, training_problem
from scalesearch.search.full_training import plan, train
from scalesearch.search.training_folder import begin, read_trained
from scalesearch.search.training_problem import network_of, pose
from scalesearch.spec.arch import Arch
from scalesearch.spec.errors import RunError, SettingsError, TrainingError
from scalesearch.spec.files import to_toml
from scalesearch.spec.schema import read_stored
from scalesearch.spec.training_settings import TrainingSettings, from_dict, make_training_settings

NET = """
name = "net"
resolution = 16
in_channels = 1
dropout = 0.1
drop_path = 0.1
stem = { kind = "conv", channels = 8, stride = 2 }
stages = [{ kind = "mbconv", channels = 8, se = 0.25 }, { kind = "mbconv", channels = 12, stride = 2, expand = 3 }]
"""
STAGES = (TrainingStage(2, 0.5, mixup=0.2, dropout=0.1), TrainingStage(4, cutmix=0.4, dropout=0.3))
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return load_dataset(DataRequest("digits", size=16, train_images=400, val_images=100), cache)


@pytest.fixture
def net(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network's file; images go to the tests' cache, results to a folder of their own, calibration is short."""
    monkeypatch.setattr(full_training, "CALIBRATION_SECONDS", 0.2)
    monkeypatch.setattr(worker, "keep_memory", lambda: None)  # of this process, for other tests
    monkeypatch.setenv("SCALESEARCH_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.toml"
    path.write_text(NET)
    return path


def settings(net: Path | None, **given: Any) -> TrainingSettings:
    usual = {"data": "digits", "epochs": 2, "batch": 32, "data_images": 300, "threads": 1, "learning_rate": 0.1}
    return make_training_settings(**{"network": None if net is None else str(net), **usual, **given})


def job(digits: Dataset, net: Path, checkpoint: Path | None = None, **given: Any) -> Job:
    arch = replace(load_arch(net), classes=10, norm_momentum=0.1)
    recipe = Recipe(epochs=4, batch=64, optimizer="adamw", ema_decay=0.9, stages=STAGES)
    return Job(arch, digits.folder, **{"recipe": recipe, "seed": 3, "device": "cpu", "checkpoint": checkpoint, **given})


def measured(history: list[Epoch]) -> list[tuple[int, float, float, float]]:
    return [(epoch.epoch, epoch.train_loss, epoch.val_loss, epoch.accuracy) for epoch in history]


def test_a_training_that_is_resumed_gives_the_same_bits(digits: Dataset, net: Path, tmp_path: Path) -> None:
    """Over the stages' border, with mixup, CutMix, dropout and stochastic depth."""
    whole = FullTraining(job(digits, net, tmp_path / "whole.pt"))
    for _ in range(4):
        whole.next_epoch()
    for number in range(4):
        torch.rand(number)  # whatever happened before must not matter
        part = FullTraining(job(digits, net, tmp_path / "part.pt"))
        assert len(part.history) == number
        part.next_epoch()
    assert measured(part.history) == measured(whole.history)
    one, other = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "part"))
    assert one["best"]["epoch"] == other["best"]["epoch"]
    for place in (("network",), ("ema",), ("best", "weights")):
        left, right = one, other
        for key in place:
            left, right = left[key], right[key]
        assert all(torch.equal(value, right[name]) for name, value in left.items())
    assert part.test().confusion.tolist() == whole.test().confusion.tolist()


def test_randaugment_is_resumed_too(digits: Dataset, net: Path, tmp_path: Path) -> None:
    pytest.importorskip("kornia")
    recipe = Recipe(epochs=2, batch=256, optimizer="adamw", stages=(TrainingStage(2, magnitude=9.0),))
    whole = FullTraining(job(digits, net, recipe=recipe))
    whole.next_epoch()
    whole.next_epoch()
    for _ in range(2):
        part = FullTraining(job(digits, net, tmp_path / "part.pt", recipe=recipe))
        part.next_epoch()
    assert measured(part.history) == measured(whole.history)


def test_validation_images_are_of_training_and_the_test_is_on_others(digits: Dataset, net: Path) -> None:
    training = FullTraining(job(digits, net, validation_share=0.2))
    stored = {split: np.load(digits.folder / f"{split}.npy") for split in ("train", "val")}

    def rows(split: Split) -> list[bytes]:
        return sorted(image.numpy().tobytes() for image in split.images)

    both = rows(training.train) + rows(training.val)
    assert sorted(both) == sorted(image.tobytes() for image in stored["train"])
    assert training.val.count == pytest.approx(0.2 * digits.train_count, rel=0.02)
    training.next_epoch()
    assert training.test().images == len(stored["val"]) == digits.val_count


def test_the_best_epoch_is_kept_and_tested(digits: Dataset, net: Path, tmp_path: Path) -> None:
    """All weights are lost before the last epoch, whose rate is next to nothing."""
    recipe = Recipe(epochs=6, batch=16, optimizer="adamw", learning_rate=0.1, ema_decay=0.8, warmup=0.0)
    training = FullTraining(job(digits, net, tmp_path / "a.pt", recipe=recipe))
    for _ in range(5):
        training.next_epoch()
    best = training.best
    training._training.recipe = replace(recipe, learning_rate=1e-6)
    with torch.no_grad():
        for parameter in training._training.network.parameters():
            parameter.zero_()
    last = training.next_epoch()
    assert best.accuracy > 0.3 > last.accuracy
    assert training.best is best
    training.write_model(tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert (state["epoch"], state["accuracy"]) == (best.epoch, best.accuracy)
    network = build(read_stored(state["arch"]))
    network.load_state_dict(state["weights"])
    again = judge(network, training.val)
    assert again.accuracy == pytest.approx(best.accuracy, abs=1e-9)
    assert training.test().accuracy > 0.25


class Fixed(nn.Module):
    """Gives the logits that it was made with, whatever it sees."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(images)]


def test_the_test_by_hand(digits: Dataset) -> None:
    """Three images of classes a, b, c: the first is right, the second wrong but among five, the third not even that."""
    split = Split(digits, "val", 16, CPU, np.arange(3))
    split.labels = torch.tensor([1, 2, 3])
    logits = torch.zeros(3, 10)
    logits[0, 1] = 5.0
    logits[1, 4], logits[1, 2] = 3.0, 2.0
    logits[2, [0, 4, 5, 6, 7]] = 1.0
    logits[2, 0] = 2.0
    found = judge(Fixed(logits), split)
    assert (found.images, found.accuracy) == (3, pytest.approx(1 / 3))
    assert found.top5 == pytest.approx(2 / 3)
    expected = np.zeros((10, 10), dtype=int)
    expected[1, 1] = expected[2, 4] = expected[3, 0] = 1
    assert found.confusion.tolist() == expected.tolist()
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, split.labels)))


def test_patience() -> None:
    def history(*accuracies: float) -> list[Epoch]:
        return [Epoch(index, 1.0, 1.0, value, 1.0, 1.0, 1.0) for index, value in enumerate(accuracies, 1)]

    assert not stalled([], 1) and not stalled(history(0.5, 0.4, 0.3), None)
    assert not stalled(history(0.5, 0.4), 2) and stalled(history(0.5, 0.4, 0.5), 2)
    assert not stalled(history(0.5, 0.4, 0.6), 2)


def test_early_stop_ends_with_a_test_and_the_folder_says_so(net: Path, tmp_path: Path) -> None:
    given = settings(net, epochs=30, patience=2, learning_rate=1e-6)
    folder, said = tmp_path / "out", list[str]()
    trained = train(given, folder, pose(given), said.append)
    assert trained.tested is not None
    ended = f"stopped after epoch {len(trained.epochs)} of 30: validation accuracy had not risen for 2 epochs"
    assert trained.tested.ended == ended
    assert len(trained.epochs) == trained.tested.epoch + 2 < 30
    assert any(line.startswith("plan: 30 epochs of 270 images in batches of 32; ") for line in said)
    assert sum(map(sum, trained.tested.confusion)) == trained.tested.images == 60
    again = train(given, folder, pose(given), said.append)
    assert said[-1] == f"{folder}: this training has ended; nothing was trained"
    assert again == trained
    assert json.loads((folder / "test.json").read_text())["accuracy"] == trained.tested.accuracy


def test_a_folder_of_another_training_is_refused(net: Path, tmp_path: Path) -> None:
    given, folder = settings(net), tmp_path / "out"
    train(given, folder, pose(given))
    other = replace(given, epochs=3)
    with pytest.raises(RunError) as caught:
        train(other, folder, pose(other))
    text = "holds a training with other settings (epochs: 2 before, 3 now); give the same ones, or another --out"
    assert str(caught.value) == f"{folder}: {text}"
    net.write_text(NET.replace("channels = 12", "channels = 16"))
    with pytest.raises(RunError, match=r"net.toml has changed since the training began \(it is another network\)"):
        train(given, folder, pose(given))
    net.write_text(NET)
    posed = pose(given)
    with pytest.raises(RunError, match=r"the images of digits have changed since the run began \(fingerprint"):
        train(given, folder, replace(posed, dataset=replace(posed.dataset, fingerprint="0" * 32)))
    with pytest.raises(RunError, match="was begun by another version of scalesearch, which makes another recipe"):
        train(given, folder, replace(posed, recipe=replace(posed.recipe, momentum=0.8)))
    (folder / "checkpoint.pt").write_bytes(b"rubbish")
    (folder / "test.json").unlink()
    with pytest.raises(CheckpointError) as damaged:
        train(given, folder, posed)
    assert str(damaged.value).startswith(f"{folder / 'checkpoint.pt'}: the checkpoint cannot be used: ")
    assert str(damaged.value).endswith("; remove it to begin anew")
    (folder / "train.json").unlink()
    with pytest.raises(RunError, match=r"holds a checkpoint.pt without train.json; give another --out"):
        train(given, folder, posed)


def test_folders_that_hold_nothing_readable(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a training's folder: it has no train.json"):
        read_trained(tmp_path)
    for content in ("{", "[]"):
        (tmp_path / "train.json").write_text(content)
        with pytest.raises(RunError, match=r"cannot be read|was not written by scalesearch"):
            read_trained(tmp_path)


def test_memory_that_does_not_suffice_is_told(digits: Dataset, net: Path) -> None:
    """A machine with too little memory is not to be had in a test; the step raises what torch raises there."""
    training = FullTraining(job(digits, net))

    def fail(epoch: int) -> Epoch:
        raise torch.OutOfMemoryError("CUDA out of memory")

    training._training.epoch = fail  # type: ignore[method-assign]
    with pytest.raises(TrainingError) as caught:
        training.next_epoch()
    assert str(caught.value) == (
        "out of memory with batches of 64 in 1 part: CUDA out of memory; give --set accumulation=2, which changes "
        "nothing but batch norm's statistics, or lower --set batch"
    )


def test_every_setting_reaches_the_training(net: Path) -> None:
    """None at its default, so that one that is dropped on its way is missed."""
    given = settings(
        net, epochs=7, device="cpu", seed=4, batch=24, accumulation=3, optimizer="sgd", learning_rate=0.3,
        weight_decay=0.004, schedule="exponential", decay=0.8, decay_epochs=1.5, warmup=0.2, ema_decay=0.7,
        label_smoothing=0.15, shift=0.11, randaugment=3.0, mixup=0.3, cutmix=0.6, dropout=0.25, drop_path=0.35,
        norm_momentum=0.07, validation_share=0.2, resolution=20,
    )  # fmt: skip
    posed = pose(given)
    assert posed.recipe == Recipe(
        epochs=7, batch=24, optimizer="sgd", learning_rate=0.3, weight_decay=0.004, label_smoothing=0.15, warmup=0.2,
        ema_decay=0.7, shift=0.11, schedule="exponential", decay=0.8, decay_epochs=1.5,
        stages=(TrainingStage(7, 1.0, 3.0, 0.3, 0.6),),
    )  # fmt: skip
    found = full_training._open(posed, given, None).job
    assert (found.recipe, found.accumulation, found.seed, found.validation_share) == (posed.recipe, 3, 4, 0.2)
    assert (found.arch.resolution, found.device) == (20, "cpu")
    assert isinstance(found.arch, Arch)
    assert (found.arch.dropout, found.arch.drop_path, found.arch.norm_momentum) == (0.25, 0.35, 0.07)
    staged = pose(replace(given, progressive="l", training_stages=3, first_side=9)).recipe.stages
    assert [(stage.pixels(20), stage.cutmix, stage.stop) for stage in staged] == [
        (9, 0.6, 2),
        (15, 0.6, 5),
        (20, 0.6, 7),
    ]
    assert (staged[-1].magnitude, staged[-1].mixup, staged[-1].dropout) == (3.0, 0.3, 0.25)
    request = training_problem._request(replace(given, holdout_fonts=True, max_bad_share=0.3, glyph_bright=True), 20)
    assert (request.size, request.holdout_fonts, request.max_bad_share, request.bright) == (20, True, 0.3, True)


def test_the_average_follows_its_recursion(digits: Dataset, net: Path) -> None:
    """Average ← d·average + (1 − d)·weights, d = min(decay, (1 + step) / (10 + step))."""
    training = FullTraining(job(digits, net, recipe=Recipe(epochs=2, batch=64, ema_decay=0.15)))._training
    own = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
    for step, _ in enumerate(training.steps(0)):
        decay = min(0.15, (1 + step) / (10 + step))
        for name, tensor in training.network.state_dict().items():
            own[name] = decay * own[name] + (1 - decay) * tensor if tensor.is_floating_point() else tensor.clone()
    found = training.ema.state_dict()
    floats = [name for name, tensor in found.items() if tensor.is_floating_point()]
    assert all(torch.allclose(found[name], own[name], atol=1e-6) for name in floats)
    name = "sections.classifier.2.weight"
    assert not torch.allclose(found[name], training.network.state_dict()[name], atol=1e-6)


def test_evaluation_needs_no_more_memory_than_a_step(
    digits: Dataset, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with too little memory is not to be had in a test; whatever sees more images fails as torch does."""
    training = FullTraining(job(digits, net, recipe=Recipe(epochs=1, batch=40), accumulation=2))
    whole, most = torch.nn.functional.conv2d, [20]

    def limited(images: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        if len(images) > most[0]:
            raise torch.OutOfMemoryError("out")
        return whole(images, *arguments, **named)

    monkeypatch.setattr(torch.nn.functional, "conv2d", limited)
    training.next_epoch()
    assert training.test().images == 100
    most[0] = 5
    for work in (training.test, lambda: training.measure(0.01)):
        with pytest.raises(TrainingError, match="out of memory with batches of 40 in 2 parts"):
            work()


def test_early_stop_waits_for_the_last_stage() -> None:
    epochs = [Epoch(number, 1.0, 1.0, 0.9 if number == 1 else 0.5, 1.0, 1.0, 1.0) for number in range(1, 8)]
    assert stalled(epochs[:4], 3) and not stalled(epochs[:4], 3, since=3)
    assert not stalled(epochs[:5], 3, since=3) and stalled(epochs[:6], 3, since=3)


def test_the_split_is_the_same_for_every_seed(net: Path) -> None:
    one, other = (pose(settings(net, seed=seed)) for seed in (0, 1))
    assert one.dataset.fingerprint == other.dataset.fingerprint
    first, second = (
        full_training._open(posed, settings(net, seed=seed), None) for seed, posed in enumerate((one, other))
    )
    for name in ("train", "val"):
        assert torch.equal(getattr(first, name).images, getattr(second, name).images)


def test_settings_that_a_message_advises_are_taken_while_nothing_is_trained(net: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    begin(settings(net), folder, pose(settings(net)))  # and then, say, the calibration ran out of memory
    better = settings(net, learning_rate=0.05, accumulation=2)
    train(better, folder, pose(better))
    assert read_trained(folder).settings == better
    (folder / "test.json").unlink()
    more = replace(better, accumulation=4)
    train(more, folder, pose(more))
    assert read_trained(folder).settings == more
    with pytest.raises(RunError, match=r"other settings \(learning_rate: 0.05 before, 0.1 now\)"):
        train(settings(net, accumulation=2), folder, pose(settings(net, accumulation=2)))


def test_an_unfinished_runs_member_is_told(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=1)
    for index, candidate in enumerate(candidates(4)):
        builder.add_candidate(candidate, 0.8 + index / 100)
    builder.finish()
    facts = builder.ledger.facts()
    _, _, notes = network_of(settings(builder.folder))
    said = "the run has not ended: what it recommends may still change"
    assert (said in notes) == ("finished" not in facts)
    builder.ledger.set_fact("finished", None if "finished" in facts else "done")
    _, _, notes = network_of(settings(builder.folder))
    assert (said in notes) == ("finished" in facts)


def test_a_run_gives_its_members(net: Path, tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=1)
    for index, candidate in enumerate(candidates(4)):
        builder.add_candidate(candidate, 0.8 + index / 100)
    run = builder.finish()
    members = {member.name: member.arch for member in run.family}
    arch, found, notes = network_of(settings(builder.folder))
    assert (arch, found) == (members["B1"], None)
    assert len(notes) == 1
    assert notes[0].startswith(f"network: B1 of {builder.folder}, the recommended network: ")
    _, _, notes = network_of(settings(builder.folder, data=run.settings.data))
    assert notes[1] == "the run chose it by accuracies on the held-out split of the same data: the test has seen that"
    assert network_of(settings(builder.folder, member="B3"))[0] == members["B3"]
    with pytest.raises(SettingsError, match=r"--member B9: the family of .* is B0, B1, .*; give one of them"):
        network_of(settings(builder.folder, member="B9"))
    with pytest.raises(SettingsError, match=r"--member B2: is of a run, got .*net.toml, a network"):
        network_of(settings(net, member="B2"))
    with pytest.raises(RunError, match=r"is not a run's folder"):
        network_of(settings(tmp_path))


def test_a_runs_images_are_taken_unless_others_are_named(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", seeds=1)
    for index, candidate in enumerate(candidates(4)):
        builder.add_candidate(candidate, 0.8 + index / 100)
    run, parser = builder.finish(), argparse.ArgumentParser()
    add_arguments(parser)

    def read(*words: str) -> TrainingSettings:
        return read_settings(parser.parse_args([str(builder.folder), *words]))

    own = (run.settings.data, run.settings.glyph_classes, run.settings.glyph_zoom, run.settings.glyph_bright)
    for found in (read(), read("--data", run.settings.data)):
        assert (found.data, found.glyph_classes, found.glyph_zoom, found.glyph_bright) == own
    assert own != ("glyphs", 48, 1.0, False)
    assert read("--set", "glyph_classes=7").glyph_classes == 7
    other = read("--data", "digits" if own[0] == "glyphs" else "glyphs")
    assert (other.glyph_classes, other.glyph_zoom, other.glyph_bright) == (48, 1.0, False)


def test_what_is_decided_from_network_and_steps(net: Path) -> None:
    posed = pose(settings(net, progressive="m", epochs=8, randaugment=0, dropout=0.2, drop_path=0.3, first_side=8))
    assert (posed.arch.classes, posed.arch.in_channels, posed.arch.resolution) == (10, 1, 16)
    assert posed.arch.drop_path == 0.3 and posed.arch.norm_momentum == 0.1  # 9 steps an epoch
    stages = posed.recipe.stages
    assert [stage.pixels(16) for stage in stages] == [8, 11, 13, 16]
    assert {stage.magnitude for stage in stages} == {0}
    assert [stage.dropout for stage in stages] == pytest.approx([0.1, 0.4 / 3, 0.5 / 3, 0.2])
    assert posed.recipe.ema_decay == pytest.approx(1 - 1 / 7.2)  # a tenth of 8 epochs of 9 steps
    assert "stage 2, epochs 3 to 4: 11 px, mixup 0.0666667, dropout 0.133333" in posed.notes
    plain = pose(settings(net, learning_rate=None)).recipe
    assert (plain.learning_rate, plain.weight_decay) == (0.016, 1e-5)  # tensorflow/tpu efficientnet main.py
    assert plain.stages == (TrainingStage(2),)
    assert pose(settings(net, resolution=24)).arch.resolution == 24


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 0}, "epochs: must be an integer from 1 to 100,000, got 0"),
        ({"member": "b3"}, "member: must be B0, B1, …, got 'b3'"),
        ({"schedule": "steps", "batch": 1}, "schedule: must be one of cosine, exponential, got 'steps'"),
        ({"first_side": 8}, "first_side: is of a progressive training, got --set progressive=none; give s, m or l"),
        ({"network": None}, "a network is missing; give a run's folder, a shipped name or a file, or --from CHECK"),
        ({"patience": 0}, "patience: must be an integer from 1 to 100,000, got 0"),
        ({"epoch": 3}, "there is no setting 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_settings_that_break_their_rule(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_training_settings(**{"network": "net.toml", **given})
    assert words in str(caught.value)


def test_a_first_side_larger_than_the_networks_is_refused(net: Path) -> None:
    with pytest.raises(SettingsError, match="first_side: must be at most the network's side, 16 px, got 20"):
        pose(settings(net, progressive="s", first_side=20, randaugment=0))


def test_settings_come_back_from_a_file() -> None:
    given = make_training_settings(network="b.toml", progressive="l", first_side=9)
    assert from_dict(given.to_dict()) == given
    with pytest.raises(SettingsError, match="do not fit this version of scalesearch: it does not know other"):
        from_dict({**given.to_dict(), "other": 1})


def test_the_plan_trains_and_writes_nothing(net: Path, tmp_path: Path) -> None:
    given = settings(net, progressive="s", randaugment=0, epochs=4)
    before = set(tmp_path.rglob("*"))
    lines = plan(pose(given), given)
    assert set(tmp_path.rglob("*")) == before
    assert lines[-1].startswith("plan: 4 epochs of 270 images in batches of 32; ")
    assert "images/s measured in training by stage, " in lines[-1]
    assert ", cpu: about " in lines[-1]


@pytest.fixture
def model(net: Path, tmp_path: Path) -> Path:
    given = settings(net, epochs=3)
    train(given, tmp_path / "first", pose(given))
    return tmp_path / "first" / "model.pt"


def shapes(path: Path, classes: int, channels: int = 1) -> Path:
    """Bars at `classes` heights: another data set, learnt in no time."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % classes
    images = rng.integers(0, 60, (240, 16, 16, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 16 // classes : (label + 1) * 16 // classes] = 220
    np.savez(path, x=images, y=np.array([f"bar{label}" for label in labels]))
    return path


def test_fine_tuning_takes_all_but_the_classifier(model: Path, tmp_path: Path) -> None:
    data = shapes(tmp_path / "bars.npz", 4)
    given = settings(None, data=str(data), start=str(model), epochs=1, data_images=None, learning_rate=1e-6)
    posed = pose(given)
    assert posed.arch.name == "net" and posed.arch.classes == 4
    words = "the classifier is new, because the classes are not the same (10 before, 4 now)"
    assert f"weights start from {model}; {words}" in posed.notes
    assert posed.pretrained is not None
    start = start_from(posed.pretrained, posed.arch, posed.dataset.classes)
    old = torch.load(model, weights_only=True)["weights"]
    changed = [name for name, value in start.items() if value.shape != old[name].shape]
    assert changed == ["sections.classifier.2.weight", "sections.classifier.2.bias"]
    assert not any(start[name].any() for name in changed)  # undecided
    assert all(torch.equal(value, old[name]) for name, value in start.items() if name not in changed)
    assert read_pretrained(model.with_name("checkpoint.pt")).arch == read_pretrained(model).arch
    assert pose(replace(given, learning_rate=None)).recipe.learning_rate == pytest.approx(0.016 / 32)
    trained = train(given, tmp_path / "second", posed)
    # At a rate of next to nothing the trained layers are still those of the first network.
    found = torch.load(tmp_path / "second" / "model.pt", weights_only=True)["weights"]
    name = "sections.stem.0.weight"
    assert torch.allclose(found[name], old[name], atol=1e-4)
    assert trained.classes == ("bar0", "bar1", "bar2", "bar3")


def test_fine_tuning_on_the_same_classes_keeps_the_classifier(net: Path, model: Path) -> None:
    posed = pose(settings(net, start=str(model)))
    assert f"all weights start from {model}, classifier too: the 10 classes are the same" in posed.notes
    assert posed.pretrained is not None
    start = start_from(posed.pretrained, posed.arch, posed.dataset.classes)
    old = torch.load(model, weights_only=True)["weights"]
    assert all(torch.equal(value, old[name]) for name, value in start.items())


def test_what_cannot_be_fine_tuned(net: Path, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(to_toml(replace(load_arch(net), name="other", activation="relu")))
    with pytest.raises(SettingsError) as caught:
        pose(settings(other, start=str(model)))
    assert str(caught.value) == (
        f"--from {model}: holds net, got other, which has other layers; leave the network out, or give that one"
    )
    colour = shapes(tmp_path / "colour.npz", 3, channels=3)
    with pytest.raises(SettingsError, match=r"was trained on images of 1 channels, got 3; convert the images"):
        pose(settings(None, start=str(model), data=str(colour), data_images=None))
    with pytest.raises(RunError, match=r"--from .*gone.pt: the checkpoint cannot be used: .*No such file"):
        pose(settings(None, start=str(tmp_path / "gone.pt")))
    torch.save({"epoch": 1, "ema": {}}, tmp_path / "proxy.pt")
    with pytest.raises(RunError, match=r"must be model.pt or checkpoint.pt of a `scalesearch train` folder"):
        pose(settings(None, start=str(tmp_path / "proxy.pt")))
    with pytest.raises(SettingsError, match=r"--member B1: is of a run, got no run's folder"):
        pose(settings(None, start=str(model), member="B1"))


def test_the_command_trains_and_reports(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "--data digits --epochs 3 --set batch=32 --set data_images=300 --set threads=1 --set randaugment=0".split()
    command = ["train", str(net), *more, "--set", "progressive=s", "--set", "training_stages=2"]
    assert main([*command, "--dry-run"]) == 0
    assert "plan: 3 epochs of 270 images" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert main(command) == 0
    shown = capsys.readouterr().out
    folder = tmp_path / "results" / "train-net-digits-s0"
    assert "stage 2, epochs 3 to 3: 16 px, dropout 0.3" in shown
    assert "[1/3] 7 px, loss " in shown and "[3/3] 16 px, loss " in shown
    assert "held-out split" in shown and "top-5" in shown
    assert "report: results/train-net-digits-s0/report.html" in shown
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["stage"], row["side"]) for row in rows] == [
        ("1", "1", "7"),
        ("2", "1", "7"),
        ("3", "2", "16"),
    ]
    assert all(float(row["seconds"]) > 0 and 0 <= float(row["accuracy"]) <= 1 for row in rows)
    with (folder / "confusion.csv").open() as file:
        head, *body = list(csv.reader(file))
    assert head == ["truth", *"0123456789"] and [row[0] for row in body] == list("0123456789")
    trained = read_trained(folder)
    assert trained.tested is not None
    assert [[int(cell) for cell in row[1:]] for row in body] == [list(row) for row in trained.tested.confusion]
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in (
        "Training of net on digits",
        "Test accuracy ",
        "What is mistaken for what",
        "progressive",
        "data:image/svg",
    ):
        assert words in page
    assert (folder / "figures" / "training.png").stat().st_size > 1000
    # The command that the page gives goes on with this folder, and finds it ended.
    again = train_command(trained.settings, Path("results/train-net-digits-s0"))
    assert again in page.replace("&#x27;", "'")
    assert main(again.split()[1:]) == 0
    assert "this training has ended; nothing was trained" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--data", "digits"], "a network is missing"),
        (["efficientnet_b9"], "no such network; did you mean"),
        (["efficientnet_b0", "--epochs", "0"], "argument --epochs: must be an integer from 1 to 100,000, got '0'"),
        (["efficientnet_b0", "--set", "epochs=3"], "--set epochs=3: has an option of its own, --epochs"),
        (["efficientnet_b0", "--set", "lr=3"], "--set lr=3: there is no setting 'lr'"),
        (["efficientnet_b0", "--base", "a.b:c"], "--base a.b:c: is of a run, got no run's folder; leave it out"),
        (["efficientnet_b0", "--data", "nowhere"], "data must be glyphs, digits or an existing path"),
    ],
)
def test_commands_that_are_refused(argv: list[str], words: str, net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["train", *argv])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr().err
    assert code == 2 and words in printed
    assert len(printed.strip().splitlines()) == 1


def test_tensorboard_has_every_epoch_once_after_a_resume(net: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    given, folder = settings(net, epochs=3), tmp_path / "out"
    posed = pose(given)
    train(given, folder, posed)
    (folder / "test.json").unlink()  # as if it had been killed before the test
    trained = train(given, folder, posed)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "loss/train", "loss/validation", "accuracy/validation", "learning_rate", "side", "images_per_second",
    }  # fmt: skip
    found = [(event.step, event.value) for event in events.Scalars("accuracy/validation")]
    assert found == [(epoch.epoch, pytest.approx(epoch.accuracy)) for epoch in trained.epochs]
