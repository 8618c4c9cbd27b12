"""The cache: complete or absent, shared, resized once, never pickled; and the resizing itself."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scalesearch.fit.data import DataRequest, Dataset, load_dataset, open_dataset, read_split
from scalesearch.fit.data.resize import CHUNK_BYTES, resize_images
from scalesearch.fit.data.store import FILES
from scalesearch.spec.errors import DataError

LOAD = """
import sys
from pathlib import Path
from scalesearch.fit.data import DataRequest, load_dataset
if __name__ == "__main__":
    source, size, train, cache = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    print(load_dataset(DataRequest(source, size=size, train_images=train, val_images=48), cache).folder)
"""


def start(*arguments: object) -> subprocess.Popen[str]:
    """A process that loads a data set: source, size, train images, cache folder."""
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", x=x, y=np.arange(40) % 4)
    return tmp_path / "set.npz"


@pytest.fixture
def dataset(npz: Path) -> Dataset:
    return load_dataset(DataRequest(str(npz), size=32), npz.parent / "cache")


def test_reopened_in_another_place(dataset: Dataset) -> None:
    assert open_dataset(dataset.folder) == dataset
    record = json.loads((dataset.folder / "meta.json").read_text())
    assert record["fingerprint"] == dataset.fingerprint and set(record["files"]) == set(FILES)
    assert not any(path.name.startswith(".set-") and path.is_dir() for path in dataset.folder.parent.iterdir())


def test_a_relative_cache_is_found_from_elsewhere(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(npz.parent)
    dataset = load_dataset(DataRequest("set.npz", size=32), Path("cache"))
    monkeypatch.chdir("/")
    assert open_dataset(dataset.folder) == dataset


def test_second_load_reuses_the_first(dataset: Dataset, npz: Path) -> None:
    stamp = (dataset.folder / "train.npy").stat().st_mtime_ns
    assert load_dataset(DataRequest(str(npz), size=32), npz.parent / "cache") == dataset
    assert (dataset.folder / "train.npy").stat().st_mtime_ns == stamp


def test_arrays_are_read_only_maps_of_plain_npy(dataset: Dataset) -> None:
    for resolution in (32, 20):
        images, labels = read_split(dataset, "train", resolution)
        assert isinstance(images, np.memmap) and not images.flags.writeable
        assert images.shape == (32, resolution, resolution, 3) and images.dtype == np.uint8
        assert labels.shape == (32,) and labels.dtype == np.int64
    for path in dataset.folder.glob("*.npy"):
        assert path.read_bytes()[:6] == b"\x93NUMPY"
        np.load(path, allow_pickle=False)


def test_a_resolution_is_resized_once(dataset: Dataset) -> None:
    first = read_split(dataset, "val", 20)[0]
    stamp = Path(first.filename).stat().st_mtime_ns  # type: ignore[attr-defined]
    again = read_split(dataset, "val", 20)[0]
    assert np.array_equal(first, again)
    assert Path(again.filename).stat().st_mtime_ns == stamp  # type: ignore[attr-defined]
    master = read_split(dataset, "val", 32)[0]
    assert np.array_equal(first, resize_images(master, 20, 20))


@pytest.mark.parametrize("resolution", [0, 33])
def test_resolution_out_of_range(dataset: Dataset, resolution: int) -> None:
    with pytest.raises(DataError) as caught:
        read_split(dataset, "train", resolution)
    assert "set.npz: a resolution must lie between 1 and the 32 px" in str(caught.value)
    assert f"got {resolution}; load the data with size=" in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_torn_cache_is_refused_and_rebuilt(dataset: Dataset, npz: Path, name: str) -> None:
    content = (dataset.folder / name).read_bytes()
    (dataset.folder / name).write_bytes(content[:-1])
    with pytest.raises(DataError, match=rf"not a complete data cache: {name} has .* bytes, meta.json promises"):
        open_dataset(dataset.folder)
    with pytest.raises(DataError, match="not a complete data cache"):
        read_split(dataset, "train", 16)
    assert load_dataset(DataRequest(str(npz), size=32), npz.parent / "cache") == dataset
    assert (dataset.folder / name).read_bytes() == content


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 0}', None])
def test_a_cache_without_a_sound_meta_file_is_rebuilt(dataset: Dataset, npz: Path, text: str | None) -> None:
    meta = dataset.folder / "meta.json"
    meta.unlink() if text is None else meta.write_text(text)
    with pytest.raises(DataError, match=r"not a complete data cache: .*; delete it and load the data again"):
        open_dataset(dataset.folder)
    assert load_dataset(DataRequest(str(npz), size=32), npz.parent / "cache") == dataset


def test_a_torn_resolution_is_resized_again(dataset: Dataset) -> None:
    images = read_split(dataset, "train", 20)[0]
    path, whole = Path(images.filename), np.array(images)  # type: ignore[attr-defined]
    del images
    for size in (5, path.stat().st_size - 1):
        os.truncate(path, size)
        assert np.array_equal(read_split(dataset, "train", 20)[0], whole)


def test_no_data_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a complete data cache: .*meta.json: No such file or directory"):
        open_dataset(tmp_path)


def test_concurrent_builders_agree(tmp_path: Path) -> None:
    processes = [start("glyphs", 16, 2000, tmp_path / "cache") for _ in range(2)]
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(answers) == 1
    folders = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert folders == [Path(answers.pop())]
    assert open_dataset(folders[0]).train_count == 2000


def test_a_killed_builder_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start("glyphs", 16, 5_000, cache)
    deadline = time.monotonic() + 60
    while not list(cache.glob(".glyphs-*.building-*/train.npy")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(cache.glob("glyphs-*"))
    dataset = load_dataset(DataRequest("glyphs", size=16, train_images=5_000, val_images=48), cache)
    assert read_split(dataset, "train", 16)[0][-1].std() > 0
    assert not list(cache.glob(".glyphs-*.building-*"))


def test_a_file_too_large_for_its_limit(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(DataError) as caught:
            load_dataset(DataRequest("glyphs", train_images=1000, val_images=48), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found, advice = str(caught.value).split(" (")
    assert found == (
        f"{tmp_path / 'cache'}: the cache of decoded images needs 4.3 MB of writable disk, found: File too large"
    )
    assert advice.endswith(" MB free); free space or choose another cache folder")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    request = DataRequest("glyphs", train_images=2000, val_images=48)
    with pytest.raises(DataError) as caught:
        load_dataset(request, small_disk)
    message = str(caught.value)
    assert message.startswith(f"{small_disk}: the cache of decoded images needs 8.4 MB of writable disk, found: ")
    assert "No space left on device (" in message
    assert not [path for path in small_disk.iterdir() if path.is_dir()]
    fitting = load_dataset(DataRequest("glyphs", train_images=150, val_images=48), small_disk)
    with pytest.raises(DataError, match=r"needs 0\.6 MB of writable disk, found: No space left on device"):
        read_split(fitting, "train", 63)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 200
    for images in (stripes, stripes[..., :1]):
        inner = resize_images(images, 16, 16)[:, :, 1:-1].astype(int)  # at the edge the kernel is one-sided
        assert np.abs(inner - 100).max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [16, 33, 48])
def test_resizing_agrees_with_pillow(side: int, channels: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 40, 40, channels), dtype=np.uint8)
    kernel = Image.Resampling.BICUBIC if side > 40 else Image.Resampling.BILINEAR
    for image, ours in zip(images, resize_images(images, side, side), strict=True):
        theirs = Image.fromarray(image if channels == 3 else image[..., 0]).resize((side, side), kernel)
        assert np.abs(np.asarray(theirs).reshape(ours.shape).astype(int) - ours).max() <= 1


def test_chunks_do_not_show() -> None:
    count = CHUNK_BYTES // (64 * 64) + 3
    images = np.random.default_rng(2).integers(0, 256, (count, 64, 64, 1), dtype=np.uint8)
    together = resize_images(images, 24, 24)
    assert np.array_equal(together[-5:], resize_images(images[-5:], 24, 24))
    assert np.array_equal(resize_images(images[:2], 64, 64), images[:2])
