"""`BaseRun`: the folder of a base search read back, and the answers derived from its ledger. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scalesearch.search.base_search import (
    CHOSEN,
    ENTRANTS,
    EXPONENT,
    FINAL_ROLE,
    MATCH_ROLE,
    base_of,
    read_base,
    scores_of_role,
)
from scalesearch.search.confirmation import ROLE as CONFIRMATION
from scalesearch.search.confirmation import Confirmation, confirm
from scalesearch.search.ledger import Ledger, open_ledger
from scalesearch.search.opening import read_run_file
from scalesearch.search.records import TrialRecord
from scalesearch.search.stats import Difference, Noise, paired_difference, pareto_front, pooled_noise
from scalesearch.search.stored import Stored
from scalesearch.spec.arch import Arch
from scalesearch.spec.errors import RunError
from scalesearch.spec.settings import Settings
from scalesearch.spec.settings import from_dict as settings_from_dict


@dataclass(frozen=True, slots=True)
class BaseNetwork:
    """A network that was tried, or the reference, and what its proxy's trainings gave.

    `digest` is the proxy's, and networks of one proxy count as one. `choices` is the point of the space, as option by
    choice; empty for the reference. `reward` and `accuracy` are of its first training, whose status is `status`;
    `final` and `fresh` are rewards by seed, of the final and of the confirmation. Accuracies are from 0 to 1.
    """

    digest: str
    part: str  # winner, finalist, reference, or tried
    arch: Arch
    choices: Mapping[str, Any]
    flops: int
    params: int
    proxy_flops: int
    status: str
    accuracy: float | None
    reward: float | None
    final: Mapping[int, float]
    fresh: Mapping[int, float]
    accuracies: Mapping[int, float]  # of all its whole trainings, by seed

    @property
    def mean_accuracy(self) -> float | None:
        """Over all its whole trainings; of a network that was chosen for some of them, too high on average."""
        return sum(self.accuracies.values()) / len(self.accuracies) if self.accuracies else None


class BaseRun(Stored):
    """The folder of a base search. Everything is computed from the ledger when asked for."""

    def __init__(self, folder: Path, ledger: Ledger, fresh: bool = False) -> None:
        super().__init__(folder, ledger, fresh, "search")

    @classmethod
    def load(cls, folder: Path | str, storage: str | None = None) -> BaseRun:
        """Open the folder of a base search. Raises RunError if it is none, or its storage cannot be opened."""
        folder = Path(folder)
        table = read_run_file(folder)
        if "step" not in table:
            raise RunError(f"{folder}: holds no search of a base; give the folder base/ of a run with --base search")
        return cls(folder, open_ledger(folder, table["study"], storage or table["storage"], owned=False))

    @property
    def settings(self) -> Settings:
        """As they were given; an exponent that was to be fitted, once it is."""
        given = settings_from_dict(self.facts["settings"])
        fitted = self.facts.get(EXPONENT)
        return given if given.exponent is not None or fitted is None else replace(given, exponent=fitted["value"])

    @cached_property
    def reference(self) -> Arch:
        return read_base(self.facts["reference"])

    @cached_property
    def networks(self) -> list[BaseNetwork]:
        """All that were tried, and the reference: winner, finalists and reference first, then by falling reward."""
        table: dict[str, list[TrialRecord]] = {}
        for record in self.trials:
            if record.role in ("candidate", FINAL_ROLE, CONFIRMATION):
                table.setdefault(record.digest, []).append(record)
        found = [self._network(digest, records) for digest, records in table.items()]
        order = ("winner", "finalist", "reference", "tried")
        return sorted(found, key=lambda one: (order.index(one.part), -(one.reward or -1.0), one.digest))

    @cached_property
    def winner(self) -> BaseNetwork:
        """What was found. Raises RunError if the search has not come so far."""
        chosen = self.facts.get(CHOSEN)
        if chosen is None:
            raise RunError(
                f"{self.folder}: the final of the search has not ended, so there is no base yet; give its command again"
            )
        return next(one for one in self.networks if one.digest == chosen["winner"])

    @property
    def is_reference(self) -> bool:
        """Whether the winner's proxy is the reference's: the search cannot tell the two apart."""
        return bool(self.facts[CHOSEN]["reference"] == self.winner.digest)

    @cached_property
    def reference_network(self) -> BaseNetwork | None:
        """None where no training of it was begun."""
        return next((one for one in self.networks if one.part == "reference"), None)

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """What fresh seeds say of the winner's lead over the reference; None where there are none of both."""
        if CHOSEN not in self.facts or self.is_reference:
            return None
        winner, reference = self.facts[CHOSEN]["winner"], self.facts[CHOSEN]["reference"]
        fresh: dict[str, Mapping[int, float]] = {winner: {}, reference: {}}
        fresh |= scores_of_role(self.ledger, CONFIRMATION)
        final = scores_of_role(self.ledger, FINAL_ROLE)
        alike = dict.fromkeys({winner, reference, *final}, 1.0)  # no network is known to scatter more than another
        return confirm(winner, reference, fresh, final, alike, self.settings.confidence)

    @cached_property
    def match(self) -> Arch | None:
        """The reference's proxy, scaled to the FLOPs of the winner's; None before there is a winner."""
        stored = self.facts.get(CHOSEN, {}).get("match")  # searches of older versions have none
        return None if stored is None else read_base(stored)

    @cached_property
    def match_confirmation(self) -> Confirmation | None:
        """What fresh seeds say of the winner's accuracy minus the match's; None where there are none of both."""
        if self.match is None or self.is_reference or self.match.digest == self.winner.digest:
            return None
        winner, match = self.winner.digest, self.match.digest
        final, confirmed, matched = (
            scores_of_role(self.ledger, role, "accuracy") for role in (FINAL_ROLE, CONFIRMATION, MATCH_ROLE)
        )
        # A match that is the reference's own proxy was trained as that.
        fresh = {digest: {**confirmed.get(digest, {}), **matched.get(digest, {})} for digest in (winner, match)}
        alike = dict.fromkeys({winner, match, *final}, 1.0)
        return confirm(winner, match, fresh, final, alike, self.settings.confidence)

    @cached_property
    def lead(self) -> Difference | None:
        """Reward of the winner minus the reference's: by fresh seeds, or by the final, which flatters; None if none."""
        if self.confirmation is not None:
            return self.confirmation.lead
        if CHOSEN not in self.facts or self.is_reference:
            return None
        final = scores_of_role(self.ledger, FINAL_ROLE)
        winner, reference = self.facts[CHOSEN]["winner"], self.facts[CHOSEN]["reference"]
        if not {winner, reference} <= final.keys():
            return None
        return paired_difference(final, winner, reference, self.settings.confidence)

    @cached_property
    def noise(self) -> Noise:
        """Of one training's reward, from the seeds of the final."""
        return pooled_noise(scores_of_role(self.ledger, FINAL_ROLE))

    @cached_property
    def front(self) -> list[BaseNetwork]:
        """By first trainings, the proposals that no other beats in accuracy and FLOPs, by rising FLOPs."""
        known = [one for one in self.networks if one.status == "done" and one.accuracy is not None]
        points = [(float(one.flops), one.accuracy or 0.0) for one in known]
        return [known[index] for index in pareto_front(points)]

    @cached_property
    def best_so_far(self) -> list[tuple[int, float, float]]:
        """For each proposal in its order: its number from 1, its reward (NaN without one), and the best until then."""
        found, best = [], float("nan")
        records = [record for record in self.trials if record.role == "candidate"]
        for number, record in enumerate(records, start=1):
            value = float("nan") if record.score is None else record.score
            best = value if best != best else max(best, value) if value == value else best
            found.append((number, value, best))
        return found

    def _network(self, digest: str, records: list[TrialRecord]) -> BaseNetwork:
        first = next((record for record in records if record.role == "candidate"), None)
        named = first or records[0]
        chosen, entrants = self.facts.get(CHOSEN, {}), self.facts.get(ENTRANTS, {}).get("digests", ())
        part = "tried" if first is not None else "reference"
        if digest in entrants:
            part = "winner" if digest == chosen.get("winner") else "finalist"
        scores = {
            role: {r.seed: r.score for r in records if r.role == role and r.score is not None}
            for role in (FINAL_ROLE, CONFIRMATION)
        }
        return BaseNetwork(
            digest=digest,
            part=part,
            arch=base_of(named),
            choices=named.attributes.get("choices", {}),
            flops=named.attributes["base_flops"],
            params=named.attributes["base_params"],
            proxy_flops=named.flops,
            status="" if first is None else first.status,
            accuracy=None if first is None else first.accuracy,
            reward=None if first is None else first.score,
            final=scores[FINAL_ROLE],
            fresh=scores[CONFIRMATION],
            accuracies={r.seed: r.accuracy for r in records if r.status == "done" and r.accuracy is not None},
        )
