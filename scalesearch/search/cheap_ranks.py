"""How well a cheap measure of networks ranks them: agreement with accuracies at the end of full trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scalesearch.search.candidates import Shares
from scalesearch.search.ranks import common_seeds, signs, tau_b
from scalesearch.search.stats import Estimate, Scores
from scalesearch.spec.errors import RunError

DIMENSIONS = ("depth", "width", "resolution")


@dataclass(frozen=True, slots=True)
class CheapAgreement:
    """Of one cheap training with the mean of full ones, which are of other seeds.

    `tau` is Kendall's τ_b. `miss` is how much accuracy is lost by taking the network that the cheap training ranks
    first instead of the best, by the other seeds' mean (0 to 1). `bias` is by how many places a network that spends
    all on one dimension is ranked too high: the rank by the cheap measure less the rank by full trainings, fitted
    linearly in the shares (a mixture model; Scheffé 1958).
    """

    tau: Estimate
    miss: Estimate
    bias: Mapping[str, Estimate]
    networks: int
    seeds: tuple[int, ...]


def cheap_agreement(
    cheap: Scores, full: Scores, shares: Mapping[str, Shares], confidence: float = 0.9, draws: int = 1_000
) -> CheapAgreement:
    """How the networks that have all seeds of both tables are ranked; intervals by resampling networks and seeds.

    A seed is compared with the other seeds' full trainings only: a training agrees with its own end for reasons that
    have nothing to do with its network. Raises RunError if less than three networks or two full seeds are there.
    """
    cheap_seeds, full_seeds = common_seeds(cheap), common_seeds(full)
    digests = [
        digest
        for digest in sorted(cheap.keys() & full.keys())
        if cheap[digest].keys() >= set(cheap_seeds) and full[digest].keys() >= set(full_seeds)
    ]
    if len(digests) < 3 or len(full_seeds) < 2:
        raise RunError(
            f"rank agreement needs at least 3 networks in both runs and 2 seeds of full trainings, got {len(digests)} "
            f"and {len(full_seeds)}; let the runs go on"
        )
    early = np.array([[cheap[digest][seed] for seed in cheap_seeds] for digest in digests])
    late = np.array([[full[digest][seed] for seed in full_seeds] for digest in digests])
    places = np.array([shares[digest] for digest in digests])
    others = [[column for column, seed in enumerate(full_seeds) if seed != own] for own in cheap_seeds]

    def measured(rows: npt.NDArray[np.intp], rng: np.random.Generator | None) -> list[float]:
        """τ_b, miss and the three biases, means over seeds; with `rng`, of resampled seeds."""
        columns = range(len(cheap_seeds)) if rng is None else rng.integers(len(cheap_seeds), size=len(cheap_seeds))
        found = []
        for column in columns:
            chosen = others[column] if rng is None else rng.choice(others[column], size=len(others[column]))
            x, y = early[rows, column], late[rows][:, chosen].mean(axis=1)
            rank_gain = (signs(x) - signs(y)).sum(axis=1) / 2  # half the sign sums are ranks from the middle
            slopes = np.linalg.lstsq(places[rows], rank_gain, rcond=None)[0]
            found.append([tau_b(x, y), y.max() - y[x == x.max()].mean(), *slopes])
        return [float(value) for value in np.mean(found, axis=0)]

    rng = np.random.default_rng(0)
    whole = measured(np.arange(len(digests)), None)
    resampled = np.array([measured(rng.integers(len(digests), size=len(digests)), rng) for _ in range(draws)])
    low, high = np.nanquantile(resampled, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    tau, miss, *bias = (Estimate(*map(float, values)) for values in zip(whole, low, high, strict=True))
    return CheapAgreement(tau, miss, dict(zip(DIMENSIONS, bias, strict=True)), len(digests), tuple(cheap_seeds))
