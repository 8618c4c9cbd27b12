"""The typefaces that matplotlib ships, and masks of their characters."""

from __future__ import annotations

import hashlib
import importlib.util
import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

from scalesearch.fit.data.records import Images
from scalesearch.spec.errors import DataError

# Digits and letters, less one of each pair that differs by little but size or a serif, as characters
# are drawn at any size: c o p s u v w x y z look like their capitals (k nearly), O like 0, I and l like 1.
CHARACTERS = "".join(char for char in string.digits + string.ascii_letters if char not in "ckopsuvwxyzOIl")

# Symbol fonts are not listed (cmex, cmsy, STIXNonUni, STIXSiz, the Display and LastResort fonts).
FAMILIES: dict[str, tuple[str, ...]] = {
    "DejaVu Sans": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    "DejaVu Sans Mono": (
        "DejaVuSansMono",
        "DejaVuSansMono-Bold",
        "DejaVuSansMono-Oblique",
        "DejaVuSansMono-BoldOblique",
    ),
    "DejaVu Serif": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    "STIX": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    "Computer Modern Roman": ("cmr10", "cmb10", "cmti10", "cmmi10"),
    "Computer Modern Sans": ("cmss10",),
    "Computer Modern Typewriter": ("cmtt10",),
}
HELD_OUT = ("DejaVu Serif", "Computer Modern Typewriter")  # validation only, with holdout_fonts

WIDTH_SHARE = 0.7  # a character's extent is the greater of its ink height and this share of its ink width
_ABSENT = "\U0010fffe"  # a noncharacter: every font draws its .notdef box for it


@dataclass(frozen=True)
class Typeface:
    """A font file that has every character."""

    family: str
    path: Path
    digest: str  # of the file's bytes


def font_folder() -> Path:
    """Folder of matplotlib's TrueType fonts, found without importing matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    origin = "matplotlib (not installed)" if spec is None or spec.origin is None else spec.origin
    return Path(origin).parent / "mpl-data" / "fonts" / "ttf"


def find_typefaces(folder: Path) -> tuple[Typeface, ...]:
    """The listed fonts that lie in the folder and have every character.

    Raises:
        DataError: none for training, or none for validation.
    """
    found = []
    for family, names in FAMILIES.items():
        for name in names:
            path = folder / f"{name}.ttf"
            if path.is_file() and not absent_characters(path):
                content = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
                found.append(Typeface(family, path, content))
    held = [face for face in found if face.family in HELD_OUT]
    if not held or len(held) == len(found):
        raise DataError(
            f"{folder}: glyphs need typefaces that matplotlib ships, one of {' or '.join(HELD_OUT)} and one "
            f"other, found {len(found)}; reinstall matplotlib"
        )
    return tuple(found)


@cache
def absent_characters(path: Path) -> str:
    """The characters for which a font has no drawing of its own: empty, .notdef, or one shared by all."""
    try:
        font = ImageFont.truetype(str(path), 32, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return CHARACTERS  # not a font
    drawings = {char: (font.getmask(char).size, bytes(font.getmask(char))) for char in (_ABSENT, *CHARACTERS)}
    shared = {drawing for drawing in drawings.values() if list(drawings.values()).count(drawing) > 1}
    return "".join(char for char in CHARACTERS if drawings[char] in shared or not any(drawings[char][1]))


def character_masks(faces: tuple[Typeface, ...], characters: str, extent: int) -> Images:
    """Masks (faces, characters, side, side), ink centred, every character `extent` px in extent."""
    side = 2 * int(np.ceil((extent / WIDTH_SHARE + 4) / 2))  # even, with a clear margin
    masks = np.zeros((len(faces), len(characters), side, side), dtype=np.uint8)
    for row, face in enumerate(faces):
        probe = ImageFont.truetype(str(face.path), 200, layout_engine=ImageFont.Layout.BASIC)
        for column, char in enumerate(characters):
            left, top, right, bottom = probe.getmask(char).getbbox()
            points = 200 * extent / max(bottom - top, WIDTH_SHARE * (right - left))
            font = ImageFont.truetype(str(face.path), points, layout_engine=ImageFont.Layout.BASIC)
            mask = font.getmask(char)
            width, height = mask.size
            ink = np.frombuffer(bytes(mask), dtype=np.uint8).reshape(height, width)[:side, :side]
            y, x = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
            masks[row, column, y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return masks
