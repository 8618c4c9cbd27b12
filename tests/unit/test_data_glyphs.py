"""The rendered characters: deterministic, prefix-stable, and such that resolution matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageFont

from scalesearch.fit.data import DataRequest, Dataset, glyphs, load_dataset, read_split
from scalesearch.fit.data.glyphs import glyph_labels
from scalesearch.fit.data.scene import CHUNK, Masks, draw_chunk
from scalesearch.fit.data.typefaces import (
    CHARACTERS,
    FAMILIES,
    HELD_OUT,
    absent_characters,
    character_masks,
    find_typefaces,
    font_folder,
)
from scalesearch.search.problem import load_images
from scalesearch.spec.errors import DataError
from scalesearch.spec.settings import make_settings


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("glyphs")


@pytest.fixture(scope="module")
def dataset(cache: Path) -> Dataset:
    return load_dataset(DataRequest("glyphs", train_images=600, val_images=150), cache)


def test_what_the_set_says_of_itself(dataset: Dataset) -> None:
    assert dataset.name == "glyphs"
    assert (dataset.channels, dataset.size, dataset.mirror) == (1, 64, False)
    assert (dataset.train_count, dataset.val_count) == (600, 150)
    assert "".join(dataset.classes) == CHARACTERS and len(CHARACTERS) == 48
    assert dataset.notes == ("22 typefaces in training, the same 22 in validation",)


def test_a_smaller_set_is_the_beginning_of_a_larger_one(dataset: Dataset, cache: Path) -> None:
    small = load_dataset(DataRequest("glyphs", train_images=CHUNK + 37, val_images=48), cache)
    for split in ("train", "val"):
        images, labels = read_split(small, split, 64)  # type: ignore[arg-type]
        more_images, more_labels = read_split(dataset, split, 64)  # type: ignore[arg-type]
        assert np.array_equal(images, more_images[: len(images)])
        assert np.array_equal(labels, more_labels[: len(labels)])


def test_the_seed_decides_every_byte(dataset: Dataset, cache: Path, tmp_path: Path) -> None:
    again = load_dataset(DataRequest("glyphs", train_images=600, val_images=150), tmp_path)
    other = load_dataset(DataRequest("glyphs", train_images=600, val_images=150, seed=1), cache)
    assert again.fingerprint == dataset.fingerprint != other.fingerprint
    ours, theirs = read_split(dataset, "train", 64)[0], read_split(other, "train", 64)[0]
    assert np.array_equal(ours, read_split(again, "train", 64)[0])
    assert not np.array_equal(ours[0], theirs[0])


def test_processes_render_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "_PIECE", CHUNK)  # else so few images are left to one process
    request = DataRequest("glyphs", size=16, train_images=3 * CHUNK + 5, val_images=150)
    one, two = (load_dataset(request, tmp_path / str(workers), workers) for workers in (1, 2))
    assert one.fingerprint == two.fingerprint


def test_train_and_validation_differ(dataset: Dataset) -> None:
    train, val = read_split(dataset, "train", 64)[0], read_split(dataset, "val", 64)[0]
    seen = {image.tobytes() for image in train}
    assert len(seen) == len(train)
    assert not any(image.tobytes() in seen for image in val)


def test_classes_are_balanced() -> None:
    counts = np.bincount(glyph_labels(0, "train", 48 * 10 + 20, 48), minlength=48)
    assert set(counts) == {10, 11}


def test_held_out_typefaces_are_seen_in_validation_only(dataset: Dataset, cache: Path) -> None:
    held = load_dataset(DataRequest("glyphs", train_images=600, val_images=150, holdout_fonts=True), cache)
    assert held.notes == ("17 typefaces in training, other 5 in validation",)
    assert held.fingerprint != dataset.fingerprint
    assert set(HELD_OUT) < set(FAMILIES)


def test_changed_drawing_code_does_not_find_the_old_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = next(path for path in glyphs._CODE if path.name == "scene.py")
    changed = tmp_path / "scene.py"
    monkeypatch.setattr(glyphs, "_CODE", (changed,))
    folders = []
    for extra in ("", "# changed\n"):
        changed.write_text(scene.read_text(encoding="utf-8") + extra, encoding="utf-8")
        request = DataRequest("glyphs", size=16, train_images=48, val_images=48)
        folders.append(load_dataset(request, tmp_path / "cache").folder)
    assert folders[0] != folders[1]


def test_fewer_classes(cache: Path) -> None:
    dataset = load_dataset(DataRequest("glyphs", train_images=60, val_images=20, classes=10), cache)
    assert "".join(dataset.classes) == "0123456789"
    assert np.bincount(read_split(dataset, "train", 64)[1]).tolist() == [6] * 10


@pytest.mark.parametrize("classes", [1, 49])
def test_classes_out_of_range(cache: Path, classes: int) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(DataRequest("glyphs", classes=classes), cache)
    assert str(caught.value) == f"data: classes: glyphs have 2 to 48 classes, got {classes}"


def test_options_that_do_not_matter_share_the_cache(dataset: Dataset, cache: Path) -> None:
    request = DataRequest("glyphs", train_images=600, val_images=150, val_share=0.5, max_bad_share=0.3)
    assert load_dataset(request, cache).folder == dataset.folder


def test_the_target_is_in_the_middle_of_a_noisy_frame(dataset: Dataset) -> None:
    images = read_split(dataset, "train", 64)[0][..., 0].astype(float)
    assert images.std(axis=(1, 2)).min() > 4  # none is blank
    assert 0.3 < dark_on_light(images) < 0.7  # either polarity


def dark_on_light(images: np.ndarray) -> float:
    """The share of images (n, 64, 64) whose middle is darker than most of the frame."""
    return float((images[:, 24:40, 24:40].mean(axis=(1, 2)) < np.median(images, axis=(1, 2))).mean())


def test_a_run_may_ask_for_bright_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALESEARCH_CACHE", str(tmp_path))
    dark = []
    for bright in (False, True):
        settings = make_settings(
            target_flops=1, glyph_bright=bright, glyph_zoom=1.0, image_size=64, train_images=300, val_images=60
        )
        images = read_split(load_images(settings, 1), "train", 64)[0][..., 0].astype(float)
        dark.append(dark_on_light(images))
    assert 0.3 < dark[0] < 0.7 and dark[1] < 0.1


def target_and_nothing() -> tuple[Masks, Masks]:
    """Characters without distractors, and frames without either."""
    large = torch.from_numpy(character_masks(find_typefaces(font_folder())[:1], CHARACTERS, 48))
    masks = Masks(large, torch.zeros_like(large)[..., ::2, ::2], 48)
    return masks, replace(masks, large=0 * large)


def test_a_target_is_told_by_its_label() -> None:
    """Without distractors' chance: the mean image of a class, all else equal, is its own character."""
    masks, nothing = target_and_nothing()
    labels = np.zeros(CHUNK, dtype=np.int64)
    frames = [draw_chunk(np.random.default_rng(0), labels + label, masks, 64) for label in (0, 1)]
    ground = [draw_chunk(np.random.default_rng(0), labels, nothing, 64)]
    drawn = [np.abs(frame.astype(float) - ground[0]) > 8 for frame in frames]
    assert not np.array_equal(frames[0], frames[1])
    rows = [np.flatnonzero(image.any(axis=1)) for image in drawn[0]]
    heights = np.array([row[-1] - row[0] + 1 for row in rows])
    assert 8 < heights.min() < heights.max() < 40
    assert drawn[0][:, 16:48, 16:48].mean() > 0.05 and drawn[0][:, :6].mean() < 0.01  # near the centre


def test_a_bright_target_is_never_darker_than_its_ground() -> None:
    masks, nothing = target_and_nothing()
    labels = np.zeros(CHUNK, dtype=np.int64)

    def ink(bright: bool) -> np.ndarray:
        """Mean ink (n,) of each image, less its ground's."""
        with_target, without = (
            draw_chunk(np.random.default_rng(0), labels, one, 64, bright=bright).astype(float)
            for one in (masks, nothing)
        )
        return (with_target - without).mean(axis=(1, 2))

    either, bright = ink(False), ink(True)
    assert 0.3 < (either < 0).mean() < 0.7
    assert bright.min() > 1
    assert bright[either > 0] == pytest.approx(either[either > 0])  # all else is as before


def test_every_typeface_has_every_character_as_a_drawing_of_its_own() -> None:
    faces = find_typefaces(font_folder())
    assert len(faces) == sum(map(len, FAMILIES.values())) == 22
    masks = character_masks(faces, CHARACTERS, 40)
    for row in masks:
        assert len({mask.tobytes() for mask in row}) == len(CHARACTERS)
    extents = np.maximum(_reach(masks, axis=3), 0.7 * _reach(masks, axis=2))
    assert abs(extents - 40).max() <= 3  # hinting moves edges by a pixel or so


def _reach(masks: np.ndarray, axis: int) -> np.ndarray:
    """Rows (axis=3) or columns (axis=2) from the first to the last with ink."""
    ink = (masks > 0).any(axis=axis)
    return ink.shape[-1] - ink.argmax(axis=-1) - ink[..., ::-1].argmax(axis=-1)


@pytest.mark.parametrize("name", ["STIXNonUni.ttf", "DejaVuSansDisplay.ttf", "LastResortHE-Regular.ttf"])
def test_symbol_fonts_lack_characters(name: str) -> None:
    path = font_folder() / name
    if not path.exists():
        pytest.skip(f"this matplotlib has no {name}")
    assert ImageFont.truetype(str(path), 20)
    assert absent_characters(path) == CHARACTERS


def test_missing_typefaces_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"glyphs need typefaces that matplotlib ships.*found 0; reinstall"):
        find_typefaces(tmp_path)


def test_a_damaged_typeface_is_left_out(tmp_path: Path) -> None:
    for name in ("DejaVuSans.ttf", "DejaVuSerif.ttf"):
        (tmp_path / name).write_bytes((font_folder() / name).read_bytes())
    (tmp_path / "cmr10.ttf").write_bytes(b"no font")
    assert [face.path.name for face in find_typefaces(tmp_path)] == ["DejaVuSans.ttf", "DejaVuSerif.ttf"]


def test_fewer_images_than_characters_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"glyphs: .* train has 47 images for 48 classes"):
        load_dataset(DataRequest("glyphs", train_images=47, val_images=48), tmp_path)
