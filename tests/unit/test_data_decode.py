"""One image file in every guise: depth, alpha, palette, orientation, size, damage."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scalesearch.fit.data import DataRequest, Dataset, load_dataset, read_split
from scalesearch.fit.data.decode import decode_image, readable_suffixes, strict_decoding


def decoded(path: Path, size: int = 16) -> np.ndarray:
    out = np.zeros((size, size, 3), dtype=np.uint8)
    with strict_decoding():
        result = decode_image(path, out)
    assert not isinstance(result, str), result
    return out


def reason(path: Path, size: int = 16) -> str:
    with strict_decoding():
        result = decode_image(path, np.zeros((size, size, 3), dtype=np.uint8))
    assert isinstance(result, str)
    return result


def load(root: Path, **options: Any) -> Dataset:
    return load_dataset(DataRequest(str(root), **{"size": 16, **options}), root.parent / "cache")


def two_classes(root: Path, images: list[Image.Image], suffix: str = "png", **options: Any) -> Path:
    for name in "ab":
        (root / name).mkdir(parents=True)
        for number, image in enumerate(images):
            image.save(root / name / f"{number}.{suffix}", **options)
    return root


def ramp(limit: int, dtype: type, size: int = 16) -> np.ndarray:
    return np.linspace(0, limit, size, dtype=np.float64)[None].repeat(size, axis=0).round().astype(dtype)


GREY = ramp(255, np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_keep_their_range(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(ramp(65535, np.uint16)).save(path)
    with Image.open(path) as stored:
        assert stored.mode.startswith("I;16")
    assert np.abs(decoded(path)[..., 0].astype(int) - GREY).max() <= 1


def test_32_bit_integers_and_floats(tmp_path: Path) -> None:
    for number, array in enumerate(
        [ramp(65535, np.int32), ramp(255, np.float32), np.float32(GREY / 255), ramp(65535, np.uint16)]
    ):
        Image.fromarray(array).save(tmp_path / f"{number}.tiff")
        assert np.abs(decoded(tmp_path / f"{number}.tiff")[..., 1].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("array", [ramp(70000, np.int32), ramp(9, np.int32) - 4, ramp(900, np.float32) * np.nan])
def test_values_of_unknown_scale_are_bad(tmp_path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(tmp_path / "deep.tiff")
    assert "the scale is unknown" in reason(tmp_path / "deep.tiff")


def test_deep_images_are_noted(tmp_path: Path) -> None:
    dataset = load(two_classes(tmp_path / "set", [Image.fromarray(ramp(65535, np.uint16))] * 3))
    assert dataset.channels == 1
    assert dataset.notes == ("images of more than 8 bits were scaled to 8 bits (6 files)",)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_blended_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    image.paste((0, 0, 0, 128), (0, 0, 8, 16))
    image.convert(mode).save(tmp_path / "clear.png")
    pixels = decoded(tmp_path / "clear.png")
    assert abs(int(pixels[8, 2, 0]) - 127) <= 1 and pixels[8, 13].tolist() == [255, 255, 255]


def test_transparent_palette_is_blended_on_white_and_noted(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 8, 16))
    dataset = load(two_classes(tmp_path / "set", [image] * 2, "gif", transparency=0))
    pixels = read_split(dataset, "train", 16)[0][0]
    assert pixels[8, 2].tolist() == [200, 100, 50] and pixels[8, 13].tolist() == [255, 255, 255]
    assert dataset.notes == ("transparent images were blended on white (4 files)",)


def test_opaque_palette_and_cmyk_and_bilevel_become_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (254, 0, 0))
    red.convert("P").save(tmp_path / "palette.png")
    red.convert("CMYK").save(tmp_path / "cmyk.tiff")
    Image.new("1", (16, 16), 1).save(tmp_path / "bilevel.png")
    assert np.abs(decoded(tmp_path / "palette.png")[5, 5].astype(int) - [254, 0, 0]).max() < 3
    assert decoded(tmp_path / "cmyk.tiff")[5, 5].tolist() == [254, 0, 0]
    assert decoded(tmp_path / "bilevel.png")[5, 5].tolist() == [255, 255, 255]


def test_grey_sets_have_one_channel_also_when_stored_in_colour(tmp_path: Path) -> None:
    grey = Image.fromarray(GREY)
    dataset = load(two_classes(tmp_path / "set", [grey, grey.convert("RGB")] * 2))
    images, _ = read_split(dataset, "train", 16)
    assert dataset.channels == 1 and images.shape[1:] == (16, 16, 1)
    assert np.array_equal(images[0, ..., 0], GREY)
    Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / "set" / "a" / "0.png")
    assert load(tmp_path / "set").channels == 3


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8] = 250  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned clockwise: bright on the right
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = decoded(tmp_path / "turned.jpg")
    assert upright[:, 10:].min() > 240 and upright[:, :6].max() < 15


def test_sizes_are_noted_as_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    wide, tall = Image.new("RGB", (40, 20)), Image.new("RGB", (30, 10))
    root = two_classes(tmp_path / "set", [wide, wide], "jpg")
    tall.save(root / "a" / "turned.jpg", exif=exif)
    dataset = load(root)
    assert dataset.notes == (
        "images of 2 sizes, shorter sides 10 to 20 px",
        "images that are not square were cropped to the central square",
        "some images are 10 px and were enlarged to 16 px",
    )


def test_mixed_sizes_are_cropped_to_the_middle(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 40), (255, 0, 0))
    image.paste((0, 200, 0), (30, 0, 70, 40))
    image.save(tmp_path / "wide.png")
    image.rotate(90, expand=True).save(tmp_path / "tall.png")
    for name in ("wide", "tall"):
        assert np.all(decoded(tmp_path / f"{name}.png")[1:-1, 1:-1] == [0, 200, 0])


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256), dtype=np.uint8)
    stripes[:, ::2] = 254
    for name in ("fine.png", "fine.jpg"):
        Image.fromarray(stripes).save(tmp_path / name, quality=95)
        assert np.abs(decoded(tmp_path / name).astype(int) - 127).max() <= 3


def test_large_jpeg_decoded_at_a_fraction_looks_the_same(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(640), np.arange(480))
    smooth = np.stack([x * 255 / 640, y * 255 / 480, (x + y) * 255 / 1120], axis=-1).astype(np.uint8)
    for name in ("big.jpg", "big.png"):
        Image.fromarray(smooth).save(tmp_path / name, quality=95)
    difference = decoded(tmp_path / "big.jpg", 32).astype(int) - decoded(tmp_path / "big.png", 32)
    assert np.abs(difference).max() <= 6


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    root = two_classes(tmp_path / "set", frames[:1] * 2, "gif", save_all=True, append_images=frames[1:])
    dataset = load(root)
    assert np.abs(read_split(dataset, "val", 16)[0][0, 5, 5].astype(int) - [255, 0, 0]).max() < 3
    assert dataset.notes == ("images with several frames: the first was taken (4 files)",)


def test_decompression_bomb_is_bad_whatever_the_warning_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (400, 400)).save(tmp_path / "bomb.png")
    for limit in (100_000, 50_000):  # Pillow warns beyond the limit, and refuses beyond twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert "decompression bomb" in reason(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "bmp"])
def test_truncated_files_are_bad(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert ": " in reason(path) and "\n" not in reason(path)


def test_damaged_exif_does_not_lose_the_image(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(
        tmp_path / "odd.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\xff" + b"\x99" * 40
    )
    assert decoded(tmp_path / "odd.jpg")[5, 5, 0] > 250


def test_suffixes() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".bmp", ".gif", ".ppm"} <= readable_suffixes()
    assert not {".txt", ".eps", ".pdf", ".h5", ".py", ""} & readable_suffixes()


def test_a_picture_is_told_by_its_content_but_never_by_postscript(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "png.jpg", format="PNG")
    assert decoded(tmp_path / "png.jpg")[5, 5].tolist() == [255, 0, 0]
    Image.new("RGB", (16, 16)).save(tmp_path / "eps.jpg", format="EPS")
    assert "cannot identify" in reason(tmp_path / "eps.jpg")
