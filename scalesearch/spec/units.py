"""Reading and writing quantities: FLOPs and durations. Knows nothing of networks."""

from __future__ import annotations

import math
import re

from scalesearch.spec.errors import SettingsError

FLOPS_DEFINITION = (
    "FLOPs are multiply-adds of convolutions and linear layers for one image; biases, normalisation, "
    "activations and pooling are not counted (EfficientNet-B0 at 224 px = 385,814,752)."
)

_FLOPS_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_DURATION_SUFFIXES = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"[0-9](?:[0-9_]*[0-9])?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?"
# A number and the letters behind it; the caller's table decides which letters are a unit.
_QUANTITY = re.compile(rf"\s*([+-]?(?:{_NUMBER}))\s*([a-zA-Z]*)\s*")


def parse_flops(text: str) -> int:
    """FLOPs as written by people: `400M`, `0.4G`, `1.6B`, `4e8`, `400_000_000`.

    Raises SettingsError if the text is not a number with such a suffix, or not positive.
    """
    value = _parse(text, "FLOPs", _FLOPS_SUFFIXES, "like 400M, 0.4G, 1.6B, 4e8 or 400_000_000")
    if value < 1:
        raise SettingsError(f"FLOPs must be at least 1, got {text!r}; write it like 400M")
    return round(value)


def parse_duration(text: str) -> float:
    """Seconds from `90`, `90s`, `10m`, `1.5h`, `2d` or `6m40s`. Raises SettingsError otherwise, or if not positive."""
    compound = re.fullmatch(r"(?:(\d+)h)?(\d+)m(?:(\d+)s)?|(\d+)h(\d+)m", text.strip())
    if compound is not None:  # as format_duration writes it
        hours, minutes, seconds, whole, rest = (int(part or 0) for part in compound.groups())
        text = str((hours + whole) * 3600 + (minutes + rest) * 60 + seconds)
    value = _parse(text, "a duration", _DURATION_SUFFIXES, "like 90s, 10m, 1.5h or 2d")
    if value <= 0:
        raise SettingsError(f"a duration must be positive, got {text!r}; write it like 10m")
    return value


def _parse(text: str, what: str, suffixes: dict[str, float], example: str) -> float:
    match = _QUANTITY.fullmatch(text)
    suffix = "" if match is None else match[2].lower()
    if match is None or suffix not in suffixes:
        raise SettingsError(f"{what} must be a number with a unit {example}, got {text!r}")
    value = float(match[1]) * suffixes[suffix]
    if not math.isfinite(value):
        raise SettingsError(f"{what} must be finite, got {text!r}; write it {example}")
    return value


def format_flops(flops: float) -> str:
    """FLOPs with four significant digits and a unit, e.g. `385.8M`."""
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(flops) >= limit * 0.99995:
            return f"{flops / limit:#.4g}".rstrip(".") + suffix
    return f"{flops:.0f}"


def format_duration(seconds: float) -> str:
    """Seconds as `45s`, `4m05s` or `2h03m`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
