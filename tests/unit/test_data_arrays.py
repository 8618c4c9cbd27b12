"""The embedded digits, .npz files and CIFAR binary files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scalesearch.fit.data import DataRequest, Dataset, load_dataset, read_split
from scalesearch.spec.errors import DataError


def colours(count: int, side: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset(DataRequest(str(path), **{"size": 12, **options}), path.parent / "cache")


def fault(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# digits


def test_digits(tmp_path: Path) -> None:
    dataset = load_dataset(DataRequest("digits", size=32, val_share=0.25), tmp_path)
    assert (dataset.train_count + dataset.val_count, dataset.channels, dataset.mirror) == (1797, 1, False)
    assert dataset.classes == tuple("0123456789")
    assert dataset.notes == ("images are 8 px and were enlarged to 32 px",)
    images, labels = read_split(dataset, "val", 32)
    assert images.shape == (dataset.val_count, 32, 32, 1) and images.max() == 255 and images.min() == 0
    counts = np.bincount(labels)
    assert counts.min() >= 43 and counts.max() <= 46  # a quarter of 174 to 183


def test_digits_at_their_own_size_are_untouched(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    dataset = load_dataset(DataRequest("digits", size=8, train_images=100, val_images=50), tmp_path)
    assert (dataset.train_count, dataset.val_count, dataset.notes) == (100, 50, ())
    originals = {np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images}
    assert all(image.tobytes() in originals for image in read_split(dataset, "train", 8)[0])


# .npz


def test_npz_with_its_own_validation(tmp_path: Path) -> None:
    x, x_val, y, y_val = colours(20), colours(6, seed=1), np.arange(20) % 3 * 5 - 5, np.arange(6) % 3 * 5 - 5
    np.savez(tmp_path / "set.npz", x=x, y=y, x_val=x_val, y_val=y_val)
    dataset = load(tmp_path / "set.npz")
    assert dataset.classes == ("-5", "0", "5") and dataset.channels == 3
    for split, images, labels in (("train", x, y), ("val", x_val, y_val)):
        stored, codes = read_split(dataset, split, 12)  # type: ignore[arg-type]
        assert np.array_equal(stored, images)
        assert np.array_equal(codes * 5 - 5, labels)


def test_npz_grey_with_names_is_split_and_capped(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", x=colours(40)[..., 0], y=np.array(["cat", "dog"] * 20))
    dataset = load(tmp_path / "set.npz", val_share=0.25, train_images=11, size=24)
    assert (dataset.classes, dataset.channels) == (("cat", "dog"), 1)
    assert (dataset.train_count, dataset.val_count) == (11, 10)
    assert dataset.notes == ("images are 12 px and were enlarged to 24 px",)


def test_npz_that_is_not_square_is_cropped_to_the_middle(tmp_path: Path) -> None:
    x = np.zeros((4, 10, 30), dtype=np.uint8)
    x[:, :, 10:20] = 200
    np.savez(tmp_path / "set.npz", x=x, y=[0, 1, 0, 1])
    dataset = load(tmp_path / "set.npz", size=10, val_share=0.5)
    assert np.all(read_split(dataset, "train", 10)[0] == 200)
    assert dataset.notes == ("images of 30x10 px (width x height) were cropped to the central square",)


def test_npz_key_follows_the_content_not_the_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", x=colours(8), y=np.arange(8) % 2)
    first, second = load(tmp_path / "a.npz"), load(tmp_path / "b.npz")
    assert first.fingerprint == second.fingerprint
    np.savez(tmp_path / "a.npz", x=colours(8, seed=9), y=np.arange(8) % 2)
    assert load(tmp_path / "a.npz").fingerprint != first.fingerprint


X, Y = colours(6), np.arange(6) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": Y}, "x is missing, found y; rename or add the array"),
        ({"x": X}, "y is missing, found x"),
        ({"x": X, "y": Y, "x_val": X}, "y_val is missing, found x, x_val, y"),
        ({"x": X / 255, "y": Y}, "x must be uint8 (0 to 255), found float64; scale and convert it"),
        ({"x": X[0, 0], "y": Y[:1]}, "(N, H, W, 3), found (12, 3); put the channels last"),
        ({"x": X.transpose(0, 3, 1, 2), "y": Y}, "found (6, 3, 12, 12); put the channels last"),
        ({"x": X[:0], "y": Y[:0]}, "found (0, 12, 12, 3)"),
        (
            {"x": X, "y": Y[:5]},
            "x and y must have the same length, found 6 and 5; give every image one label",
        ),
        ({"x": X, "y": Y / 2}, "y must be integers or strings, found float64; convert it"),
        ({"x": X, "y": Y[:, None]}, "y must have the shape (N,), found (6, 1)"),
        ({"x": X, "y": Y, "x_val": X[..., 0], "y_val": Y}, "found (6, 12, 12, 3) and (6, 12, 12, 1), int64"),
        (
            {"x": X, "y": Y, "x_val": X, "y_val": Y.astype(str)},
            "found (6, 12, 12, 3) and (6, 12, 12, 3), int64 and <U",
        ),
        ({"x": X, "y": Y * 0}, "needs at least 2 classes, found '0'"),
        ({"x": X, "y": np.arange(6)}, "needs at least 2 images of each class, class '0' has 1; add images"),
        ({"x": X, "y": Y, "x_val": X[:2], "y_val": Y[:2] * 0}, "val has no image of '1', which train has"),
        ({"x": X, "y": Y, "x_val": X, "y_val": Y + 1}, "train has no image of '2', which val has"),
        (
            {"x": X, "y": Y.astype(object)},
            "found: a pickled object array, which is never loaded; write it with",
        ),
    ],
)
def test_npz_faults(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    found = fault(path)
    assert found.startswith(f"{path}: ") and message in found


def test_npz_that_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(pickle.dumps([1]))
    assert "must be a zip archive of plain arrays, found: not a zip archive" in fault(tmp_path / "set.npz")


def test_npz_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=X, y=Y)
    content = bytearray(path.read_bytes())
    content[60:200] = bytes(140)
    path.write_bytes(content)
    assert "must be a zip archive of plain arrays, found: " in fault(path)
    path.write_bytes(content[:300])
    assert "found: not a zip archive" in fault(path)


# CIFAR


def records(labels: list[int], label_bytes: int = 1, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    codes = np.array(labels, dtype=np.uint8)[:, None].repeat(label_bytes, axis=1)
    if label_bytes == 2:
        codes[:, 0] = 7  # the coarse label, which is not the class
    return np.concatenate([codes, pixels], axis=1).tobytes()


def cifar_10(folder: Path) -> Path:
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(records([*range(10)], seed=number))
    (folder / "test_batch.bin").write_bytes(records([*range(9, -1, -1)]))
    return folder


def test_cifar_10(tmp_path: Path) -> None:
    folder = cifar_10(tmp_path / "cifar-10-batches-bin")
    dataset = load(folder, size=32)
    assert (dataset.train_count, dataset.val_count, dataset.channels, dataset.mirror) == (50, 10, 3, True)
    assert dataset.classes[:2] == ("airplane", "automobile") and dataset.notes == ()
    images, labels = read_split(dataset, "val", 32)
    assert labels.tolist() == [*range(9, -1, -1)]
    planes = np.frombuffer((folder / "test_batch.bin").read_bytes()[1:3073], dtype=np.uint8).reshape(3, 32, 32)
    assert np.array_equal(images[0], planes.transpose(1, 2, 0))


def test_cifar_10_with_its_names_and_missing_files(tmp_path: Path) -> None:
    folder = cifar_10(tmp_path / "set")
    (folder / "data_batch_4.bin").unlink()
    (folder / "batches.meta.txt").write_text("\n".join("ABCDEFGHIJ") + "\n\n")
    dataset = load(folder)
    assert dataset.classes == tuple("ABCDEFGHIJ")
    assert dataset.notes == ("4 of the 5 training files of CIFAR-10 are present",)
    assert (dataset.train_count, dataset.val_count) == (40, 10)


def test_one_cifar_file_is_split(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(records([*range(10)] * 4))
    dataset = load(path, val_share=0.25)
    assert (dataset.train_count, dataset.val_count, dataset.notes) == (30, 10, ())


def test_cifar_100_takes_the_fine_label(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("train.bin", "test.bin"):
        (tmp_path / "set" / name).write_bytes(records([*range(100)], label_bytes=2))
    dataset = load(tmp_path / "set", size=32)
    assert dataset.classes == tuple(f"{number:02}" for number in range(100))
    assert read_split(dataset, "train", 32)[1].tolist() == [*range(100)]


def test_cifar_faults(tmp_path: Path) -> None:
    folder = cifar_10(tmp_path / "set")
    broken = folder / "data_batch_3.bin"
    content = broken.read_bytes()
    broken.write_bytes(content[:-5])
    assert fault(folder) == (
        f"{broken}: a binary file of CIFAR-10 is a multiple of 3073 bytes, found 30725; "
        "download it again (the binary version)"
    )
    broken.write_bytes(b"")
    assert "found 0; download it again" in fault(folder)
    broken.write_bytes(records([0, 1, 77]))
    assert "labels of CIFAR-10 are 0 to 9, found 77; check that this is a file of that set" in fault(folder)


def test_cifar_with_fewer_images_than_classes(tmp_path: Path) -> None:
    folder = cifar_10(tmp_path / "set")
    (folder / "test_batch.bin").write_bytes(records([0, 1, 2]))
    assert "val has 3 images for 10 classes; add images or raise val_images" in fault(folder)


def test_cifar_test_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(records([0, 1]))
    assert "CIFAR-10 needs a training file, found only test_batch.bin; add data_batch_1.bin" in fault(path)


@pytest.mark.parametrize("names", [["data_batch_1", "batches.meta"], ["train", "test", "meta"]])
def test_cifar_pickles_are_refused_and_the_binary_version_named(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "cifar-python"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(pickle.dumps({"data": [1]}))
    message = fault(folder)
    assert "pickles are never loaded, found " in message and "use the binary version (" in message
    if names[0] == "data_batch_1":
        assert "pickles are never loaded" in fault(folder / "data_batch_1")
