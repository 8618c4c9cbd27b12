"""What each preset sets; all else keeps its default (spec/settings.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The whole path in seconds, to see that it works: its answer means nothing, and the report says so.
    "smoke": {
        "trials": 5,
        "seeds": 1,
        "epochs": 1,
        "train_images": 256,
        "val_images": 128,
        "measure_seconds": 0.4,
        "proxy_width": 0.1,
        "glyph_classes": 10,
    },
    "quick": {
        "time_budget": 430.0,
        "confirm": 2,
        "glyph_classes": 10,
        "glyph_zoom": 1.7,
        "glyph_bright": True,
        "data_images": 8_000,
    },
    "full": {
        "time_budget": 8 * 3600.0,
        "seeds": 3,
        "confirm": 3,
        "proxy_depth": 1.0,
        "proxy_width": 0.25,
        "shift": 0.06,
    },
}
# With a search of the base before the rest: under half an hour.
SEARCHING: Mapping[str, Mapping[str, Any]] = {"quick": {"time_budget": 1_500.0, "base_share": 0.6}}


def preset_values(name: str, searching: bool) -> dict[str, Any]:
    """The settings of a preset; `searching`: the base is searched too."""
    return {**PRESETS[name], **(SEARCHING.get(name, {}) if searching else {})}
