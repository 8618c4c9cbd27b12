"""Zero-cost scores of many networks, computed on the workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesearch.fit.zero_cost import ZERO_COST, score_network
from scalesearch.search.executor import Executor, run_all
from scalesearch.spec.errors import RunError
from scalesearch.spec.factory import AnyArch

IMAGES = 128  # as Mellor et al. 2021; Abdelfattah et al. 2021 take 64
INITIALISATIONS = 5

ZeroCost = Mapping[str, Sequence[float]]  # score -> its value for initialisation seed 0, 1, …


def score_networks(
    executor: Executor,
    archs: Sequence[AnyArch],
    data: Path,
    images: int = IMAGES,
    initialisations: int = INITIALISATIONS,
    done: Callable[[AnyArch, ZeroCost], None] = lambda arch, found: None,
) -> dict[str, ZeroCost]:
    """All scores of every network, by digest, on the same `images` of the training split in the cache folder `data`.

    `done` hears of each as it comes, so that an interruption loses the last few. Raises TrainingError for a score that
    is not a finite number, or WorkerDied.
    """
    scores: dict[str, ZeroCost] = {}
    for first in range(0, len(archs), executor.workers):
        some = archs[first : first + executor.workers]
        calls = [(arch, data, images, initialisations) for arch in some]
        for arch, found in zip(some, run_all(executor, score_network, calls), strict=True):
            scores[arch.digest] = found
            done(arch, found)
    return scores


def checked(where: str, stored: Any, initialisations: int) -> ZeroCost:
    """Scores of one network as read from a file at `where`. Raises RunError if they are not what was asked for."""
    if not isinstance(stored, dict) or set(stored) != set(ZERO_COST):
        found = ", ".join(sorted(map(str, stored))) if isinstance(stored, dict) else type(stored).__name__
        raise RunError(f"{where}: must hold the scores {', '.join(ZERO_COST)}, found {found or 'none'}; score it anew")
    for name, values in stored.items():
        numbers = isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
        if not numbers or len(values) != initialisations:
            raise RunError(
                f"{where}: {name} must be a list of {initialisations} numbers, one per initialisation, "
                f"got {values!r}; score it anew"
            )
    return stored
