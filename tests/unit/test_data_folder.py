"""Folders of class folders: layouts, splits, faults."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scalesearch.fit.data import DataRequest, Dataset, load_dataset, read_split
from scalesearch.spec.errors import DataError


def picture(path: Path, seed: int, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def classes(root: Path, names: str = "ab", count: int = 5, mode: str = "RGB") -> Path:
    for label, name in enumerate(names):
        for number in range(count):
            picture(root / name / f"{number}.png", seed=100 * label + number, mode=mode)
    return root


def load(root: Path, **options: Any) -> Dataset:
    workers = options.pop("workers", 1)
    return load_dataset(DataRequest(str(root), **{"size": 16, **options}), root.parent / "cache", workers)


def fault(root: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_pixels_and_labels_arrive(tmp_path: Path) -> None:
    root = classes(tmp_path / "animals", "cba", count=5)
    dataset = load(root, val_share=0.2)
    assert (dataset.name, dataset.classes, dataset.mirror) == ("animals", ("a", "b", "c"), True)
    assert (dataset.train_count, dataset.val_count, dataset.skipped) == (12, 3, ())
    originals = {}
    for path in root.glob("*/*.png"):
        with Image.open(path) as image:
            originals[np.asarray(image).tobytes()] = path.parent.name
    for split, counts in (("train", [4, 4, 4]), ("val", [1, 1, 1])):
        images, labels = read_split(dataset, split, 16)  # type: ignore[arg-type]
        assert np.bincount(labels).tolist() == counts
        assert [originals.pop(stored.tobytes()) for stored in images] == [dataset.classes[i] for i in labels]
    assert not originals


def test_threads_decode_the_same(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", "ab", count=30)
    one = load(root)
    shutil.rmtree(tmp_path / "cache")
    assert load(root, workers=4) == one


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test", "Val"])
def test_split_folders(tmp_path: Path, val: str) -> None:
    classes(tmp_path / "set" / "train", "ab", count=3)
    classes(tmp_path / "set" / val, "ab", count=2)
    dataset = load(tmp_path / "set")
    assert (dataset.classes, dataset.train_count, dataset.val_count) == (("a", "b"), 6, 4)


def test_val_comes_before_test(tmp_path: Path) -> None:
    for name, count in (("train", 3), ("val", 2), ("test", 4)):
        classes(tmp_path / "set" / name, "ab", count=count)
    assert load(tmp_path / "set").val_count == 4


def test_train_alone_is_split(tmp_path: Path) -> None:
    classes(tmp_path / "set" / "train", "ab", count=4)
    dataset = load(tmp_path / "set", val_share=0.5)
    assert (dataset.train_count, dataset.val_count) == (4, 4)
    assert dataset.notes == ("no validation folder: a share of train was split off",)


def test_test_images_without_labels_are_left_out(tmp_path: Path) -> None:
    classes(tmp_path / "set" / "train", "ab", count=5)
    picture(tmp_path / "set" / "test" / "1.png", seed=1)
    dataset = load(tmp_path / "set")
    assert (dataset.train_count, dataset.val_count) == (8, 2)
    assert "test has no class folders and was left out" in dataset.notes


def test_validation_images_without_labels_are_an_error(tmp_path: Path) -> None:
    classes(tmp_path / "set" / "train", "ab", count=5)
    picture(tmp_path / "set" / "val" / "1.png", seed=1)
    assert f"{tmp_path / 'set' / 'val'}: images must lie in one sub-folder per class" in fault(tmp_path / "set")


def test_train_and_bus_are_vehicles(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        for number in range(3):
            picture(tmp_path / "set" / name / f"{number}.png", number)
    assert load(tmp_path / "set").classes == ("bus", "train")


def test_caps_are_stratified_and_only_matter_where_they_bite(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", "ab", count=20)
    dataset = load(root, train_images=10, val_images=4)
    assert np.bincount(read_split(dataset, "train", 16)[1]).tolist() == [5, 5]
    assert np.bincount(read_split(dataset, "val", 16)[1]).tolist() == [2, 2]
    assert load(root).folder == load(root, train_images=1000).folder != dataset.folder
    assert load(root).fingerprint != load(root, seed=1).fingerprint


def test_content_decides_the_key(tmp_path: Path) -> None:
    root = classes(tmp_path / "set")
    before = load(root)
    shutil.copytree(root, tmp_path / "copy")
    assert load(tmp_path / "copy").fingerprint == before.fingerprint
    picture(root / "a" / "0.png", seed=999)
    after = load(root)
    assert after.folder != before.folder and after.fingerprint != before.fingerprint


def test_what_is_no_image_is_ignored(tmp_path: Path) -> None:
    root = classes(tmp_path / "set")
    (root / "a" / "notes.txt").write_text("hello")
    (root / "a" / ".hidden.png").write_bytes(b"broken")
    (root / "README.md").write_text("hello")
    (root / ".git").mkdir()
    (root / "__MACOSX").mkdir()
    picture(root / "a" / "deeper" / "more.png", seed=7)
    picture(root / "stray.png", seed=8)
    dataset = load(root)
    assert dataset.train_count + dataset.val_count == 11 and dataset.skipped == ()
    assert dataset.notes == ("1 images directly in set belong to no class and were left out",)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = classes(tmp_path / "set")
    picture(root / "b" / "a.png", seed=6)
    (root / "a" / "loop").symlink_to(root / "a")
    (root / "b" / "up").symlink_to(root / "b", target_is_directory=True)
    picture(tmp_path / "elsewhere" / "far.png", seed=5)
    (root / "b" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "z.png").symlink_to(tmp_path / "nowhere.png")
    dataset = load(root, max_bad_share=0.1)
    assert dataset.train_count + dataset.val_count == 12
    assert [file for file, _ in dataset.skipped] == ["b/z.png"]


def test_bad_files_are_listed_counted_and_left_out(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", count=10)
    (root / "a" / "3.png").write_bytes(b"this is no picture")
    content = (root / "b" / "4.png").read_bytes()
    (root / "b" / "4.png").write_bytes(content[: len(content) // 2])
    dataset = load(root, max_bad_share=0.1)
    assert dataset.train_count + dataset.val_count == 18
    assert [file for file, _ in sorted(dataset.skipped)] == ["a/3.png", "b/4.png"]
    assert sorted(dataset.skipped)[0][1].startswith("UnidentifiedImageError: cannot identify image file")
    assert "truncated" in sorted(dataset.skipped)[1][1]
    assert "2 files could not be decoded and were left out" in dataset.notes
    assert len(np.unique(read_split(dataset, "train", 16)[0].sum(axis=(1, 2, 3)))) == dataset.train_count


def test_too_many_bad_files_are_refused_also_from_the_cache(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", count=10)
    for number in range(4):
        (root / "a" / f"{number}.png").write_bytes(b"this is no picture")
    for _ in range(2):
        message = fault(root, max_bad_share=0.1)
        assert message.startswith(f"{root}: at most 10.0% of the files may be undecodable, found 4 of 20 (20.0%): ")
        assert message.count("UnidentifiedImageError") == 3
        assert "; and 1 more; repair or remove them, or raise max_bad_share" in message
        load(root, max_bad_share=0.2)  # now there is a cache


def test_a_class_of_bad_files_only(tmp_path: Path) -> None:
    root = classes(tmp_path / "set")
    for path in (root / "a").iterdir():
        path.write_bytes(b"")
    message = fault(root, max_bad_share=1.0)
    assert "val has 1 images for 2 classes" in message or "no image of 'a'" in message
    assert "; 5 files could not be decoded: a/" in message and "; and 2 more" in message


def test_path_that_does_not_exist(tmp_path: Path) -> None:
    assert fault(tmp_path / "nothing") == (
        f"{tmp_path / 'nothing'}: data must be glyphs, digits or an existing path, found nothing there; "
        "check the spelling"
    )


def test_path_that_no_system_can_have(tmp_path: Path) -> None:
    assert "data must be readable, found: File name too long" in fault(tmp_path / ("x" * 300))


def test_pipe_as_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "found neither a file nor a folder" in fault(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["notes.txt", "archive.bin", "labels"])
def test_file_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a,b\n1,2\n")
    message = fault(tmp_path / name)
    assert "a data file must be .npz or a CIFAR binary file (data_batch_1.bin, train.bin, ...)" in message
    assert f"found {name}; convert it, or put the images in a folder" in message


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert "images must lie in one sub-folder per class, found no images and no sub-folder" in fault(tmp_path / "set")


def test_images_without_class_folders(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "set" / f"{number}.png", number)
    assert "one sub-folder per class, found 3 images and no sub-folder; make a sub-folder" in fault(tmp_path / "set")


def test_one_class(tmp_path: Path) -> None:
    assert "needs at least 2 classes, found 'a'; add a class" in fault(classes(tmp_path / "set", "a"))


def test_empty_class_folder(tmp_path: Path) -> None:
    root = classes(tmp_path / "set")
    (root / "c").mkdir()
    (root / "c" / "notes.txt").write_text("none yet")
    assert fault(root) == (
        f"{root}: every class folder must hold an image that Pillow can read, found none in 'c'; "
        "add images or remove the folder"
    )


def test_class_with_one_image_cannot_be_split(tmp_path: Path) -> None:
    root = classes(tmp_path / "set")
    picture(root / "c" / "only.png", 1)
    assert "at least 2 images of each class, class 'c' has 1; add images, remove the class" in fault(root)


def test_fewer_images_than_classes(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", "abc")
    assert "train has 2 images for 3 classes; add images or raise train_images" in fault(root, train_images=2)


def test_classes_of_train_and_val_differ(tmp_path: Path) -> None:
    classes(tmp_path / "set" / "train", "ab")
    classes(tmp_path / "set" / "val", "abc")
    root = tmp_path / "set"
    assert f"{root}: train and val must hold the same classes, train has no image of 'c', which val has" in fault(root)
    shutil.rmtree(root / "val" / "c")
    shutil.rmtree(root / "val" / "b")
    assert "val has no image of 'b', which train has; add such images or remove the class" in fault(root)


def test_val_without_train(tmp_path: Path) -> None:
    classes(tmp_path / "set" / "val", "ab")
    assert "a validation folder needs a train folder beside it, found only val" in fault(tmp_path / "set")


@contextmanager
def ordinary_user() -> Iterator[Path]:
    """A folder of, and the rights of, a user who is not root."""
    folder = Path(tempfile.mkdtemp(prefix="scalesearch-"))
    folder.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def test_unreadable_folders_and_files() -> None:
    with ordinary_user() as folder:
        root = classes(folder / "set")
        (root / "a").chmod(0)
        assert fault(root) == (
            f"{root / 'a'}: data must be readable, found: Permission denied; check path and permissions"
        )
        (root / "a").chmod(stat.S_IRWXU)
        (root / "a" / "0.png").chmod(0)
        dataset = load(root, max_bad_share=0.1)
        assert [file for file, _ in dataset.skipped] == ["a/0.png"]
        assert dataset.skipped[0][1].startswith("PermissionError: ")
        root.chmod(0)
        assert "data must be readable, found: Permission denied" in fault(root)


def test_unreadable_npz() -> None:
    with ordinary_user() as folder:
        path = folder / "set.npz"
        np.savez(path, x=np.zeros((4, 8, 8), np.uint8), y=[0, 1, 0, 1])
        path.chmod(0)
        assert fault(path) == f"{path}: data must be readable, found: Permission denied; check path and permissions"


def test_cache_that_cannot_be_written() -> None:
    with ordinary_user() as folder:
        root = classes(folder / "set")
        (folder / "cache").mkdir(mode=0o500)
        message = fault(root)
        assert message.startswith(f"{folder / 'cache'}: the cache of decoded images needs 0.0 MB of writable disk, ")
        assert "found: Permission denied (" in message and "choose another cache folder" in message
        with pytest.raises(DataError, match=r"deep/er: the cache .* found: Permission denied; free space"):
            load_dataset(DataRequest(str(root)), folder / "cache" / "deep" / "er")


def test_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert "of writable disk, found: File exists (" in fault(classes(tmp_path / "set"))
