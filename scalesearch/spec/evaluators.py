"""What each evaluator takes of the settings: values of its own, and the ones that it has a use for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# An evaluator's own values instead of a preset's.
EVALUATORS: Mapping[str, Mapping[str, Any]] = {
    "train": {},
    # Judges the full-size networks themselves: the proxy is the base.
    "imagenet_surrogate": {
        "data": "imagenet", "seeds": 1, "proxy_depth": 1.0, "proxy_width": 1.0, "proxy_resolution": 224,
        "proxy_stem_stride": None,
    },
    # `data` is the file of a recording, whose own settings take the place of a preset's: RECORDED.
    "replay": {"time_budget": None, "confirm": 2},
}  # fmt: skip

# All that is not named here has no effect with the evaluator, and is refused.
USED_BY: Mapping[str, tuple[str, ...]] = {
    "imagenet_surrogate": (
        "target_flops", "base", "evaluator", "coefficients", "seed", "confidence", "rounding", "tolerance",
        "members",
    ),
}  # fmt: skip

# What the networks of a recording and their trainings are: a replay has it from the file.
RECORDED = (
    "target_flops", "base", "rounding", "tolerance", "grid_tolerance", "proxy_depth", "proxy_width",
    "proxy_resolution", "proxy_stem_stride", "pixel_step", "epochs", "train_images", "val_images", "batch",
    "optimizer", "learning_rate", "shift", "progressive", "image_size", "data_images", "glyph_classes", "glyph_zoom",
    "glyph_bright", "holdout_fonts", "max_bad_share",
)  # fmt: skip
# What nothing of a replay depends on.
IDLE_IN_REPLAY = (
    "preset", "workers", "device", "cost", "measure_seconds", "coefficients", "inherit", "exponent", "space",
    "strategy", "flops_window", "max_params", "max_activations", "max_latency_ms", "max_memory_mb", "base_share",
    "only",
)  # fmt: skip
