"""Runs for the report's tests: real ledgers with made-up accuracies, nothing trained."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from scalesearch.search.candidates import Candidate, realised
from scalesearch.search.family import family
from scalesearch.search.ledger import Ledger, open_ledger
from scalesearch.search.opening import RUN_FILE
from scalesearch.search.plan import Plan, Speed, proxy_base, proxy_rounding
from scalesearch.search.run import Run, candidate_attributes
from scalesearch.search.samplers import Pool, Seen, make_pool, propose, simplex_to_square
from scalesearch.search.stats import reward
from scalesearch.spec.arch import Arch
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch
from scalesearch.spec.settings import Settings, make_settings
from scalesearch.spec.spaces import CoefficientRanges, Range

PROXY: Mapping[str, Any] = {"proxy_width": 0.1, "proxy_resolution": 64, "pixel_step": 2, "tolerance": 0.03}
RANGES = CoefficientRanges(Range(1.0, 2.0), Range(1.0, 1.45), Range(1.0, 1.45), 0.05)
EPOCHS = 4


@cache
def pool() -> tuple[Arch, Arch, Pool]:
    """B0, its proxy at 64 px, and the networks at twice the proxy's cost."""
    settings = make_settings("quick", target_flops=400_000_000, **PROXY)
    base = load_arch("efficientnet_b0")
    proxy = proxy_base(base, settings, 16, 1)
    return (
        base,
        proxy,
        make_pool(realised(proxy, RANGES, proxy_rounding(settings), settings.tolerance).candidates),
    )


@cache
def candidates(number: int) -> tuple[Candidate, ...]:
    """Anchors first, then the lattice, as a run would try them."""
    chosen: list[Candidate] = []
    while len(chosen) < number:
        found = propose("lattice", pool()[2], [Seen(candidate, None) for candidate in chosen], 0)
        assert found is not None
        chosen.append(found)
    return tuple(chosen)


def epochs_to(accuracy: float, epochs: int) -> list[dict[str, float]]:
    """A learning curve that ends at `accuracy`."""
    return [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "val_loss": 2.1 / epoch,
            "accuracy": accuracy * (1 - 0.5 * (1 - epoch / epochs) ** 2),
            "seconds": 2.0,
            "images_per_second": 500.0,
            "processor_seconds": 2.5,
        }
        for epoch in range(1, epochs + 1)
    ]


class Builder:
    """A run's folder under construction. Trials are queued and told as the engine does it."""

    def __init__(self, folder: Path, seeds: int = 2, epochs: int = EPOCHS, **given: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.epochs, self.seeds = folder, epochs, seeds
        self.curve: Callable[[float, int], list[dict[str, float]]] = epochs_to
        self.settings: Settings = make_settings(
            **{"preset": "quick", "target_flops": 400_000_000, "seeds": seeds, **PROXY, **given}
        )
        self.base, self.proxy, _ = pool()
        self.ledger: Ledger = open_ledger(folder, folder.name, None)
        plan = Plan(10, seeds, epochs, 3000, 1000, 2, "cpu", Speed(1000, 3000, 500, 1500), 200.0, 50.0)
        facts: Mapping[str, Any] = {
            "base": self.base.to_dict(),
            "base_note": "efficientnet_b0 is taken as it is",
            "proxy_base": self.proxy.to_dict(),
            "data_fingerprint": "0123456789abcdef",
            "notes": ["data: glyphs, 16 classes", "proxy: depth × 1, width × 0.1, 224 → 64 px"],
            "environment": {
                "python": "3.11",
                "packages": {"torch": "2.13"},
                "machine": "test",
                "commit": None,
            },
            "plan": plan.to_dict(),
            "settings": self.settings.to_dict(),
        }
        for key, value in facts.items():
            self.ledger.set_fact(key, value)
        table = {"study": folder.name, "storage": None, "settings": self.settings.to_dict()}
        (folder / RUN_FILE).write_text(json.dumps(table), encoding="utf-8")

    def add_base(self, accuracy: float, seed: int = 0) -> None:
        self._train("base", self.proxy, seed, accuracy, {"budget": 1.0}, {})

    def add_candidate(
        self, candidate: Candidate, accuracy: float | None, seed: int = 0, reason: str = "out of memory"
    ) -> None:
        anchors = tuple(name for name, anchor in pool()[2].anchors.items() if anchor.digest == candidate.digest)
        more = candidate_attributes(candidate, anchors)
        self._train("candidate", candidate.arch, seed, accuracy, more, simplex_to_square(candidate.shares), reason)

    def add_pruned(self, candidate: Candidate, accuracy: float) -> None:
        """Stopped after its first rung, with this accuracy."""
        more = candidate_attributes(candidate, ())
        point = simplex_to_square(candidate.shares)
        self._train("candidate", candidate.arch, 0, accuracy, more, point, "pruned by asha", pruned=True)

    def add_member(self, name: str, accuracy: float, seed: int = 0) -> None:
        """A family member of the recommended candidate so far."""
        coefficients = Run(self.folder, self.ledger).coefficients
        members = family(self.proxy, coefficients, proxy_rounding(self.settings), self.settings.members)
        member = next(member for member in members if member.name == name)
        budget = member.cost.flops / cost(self.proxy).flops
        self._train("family", member.arch, seed, accuracy, {"member": name, "budget": budget}, {})

    def finish(self) -> Run:
        run = Run(self.folder, self.ledger)
        if run.candidates:
            self.ledger.set_fact("family_fvcore", {member.arch.digest: member.cost.flops for member in run.family[:3]})
            self.ledger.set_fact("finished", "all planned trainings done")
        return Run.load(self.folder)

    def _train(
        self,
        role: str,
        arch: Arch,
        seed: int,
        accuracy: float | None,
        more: Mapping[str, Any],
        params: Mapping[str, float],
        reason: str = "",
        pruned: bool = False,
    ) -> None:
        found = cost(arch)
        attributes = {
            "role": role, "arch": arch.to_dict(), "digest": arch.digest, "seed": seed, "flops": found.flops,
            "params": found.params, "activations": found.activations, **more,
        }  # fmt: skip
        self.ledger.queue(attributes, params)
        trial = self.ledger.start()
        assert trial is not None
        if accuracy is None:
            self.ledger.fail(trial, reason)
            return
        epochs, half = self.curve(accuracy, self.epochs), self.epochs // 2
        for index, part in enumerate([part for part in (epochs[:half], epochs[half:]) if part]):
            self.ledger.rung_done(
                trial,
                index,
                {"epochs": part, "seconds": 2.5 * len(part), "peak_memory": 600_000_000, "notes": []},
            )
            if pruned:
                self.ledger.prune(trial, reason)
                return
        budget = 2.0 if role == "candidate" else float(more["budget"])
        self.ledger.finish(trial, reward(accuracy, found.flops, cost(self.proxy).flops * budget))


def realistic(
    folder: Path,
    number: int = 10,
    seeds: int = 2,
    members: Sequence[str] = ("B2",),
    noise: float = 0.01,
    **given: Any,
) -> Run:
    """`number` candidates with accuracies from 0.80 to 0.86, best in the middle of the simplex."""
    rng = random.Random(1)
    builder = Builder(folder, seeds, **given)
    truth = [0.86 - 0.08 * (math.dist(c.shares, (0.3, 0.3, 0.4)) / 0.9) for c in candidates(number)]
    for seed in range(seeds):
        builder.add_base(0.795 + rng.gauss(0, noise), seed)
        for candidate, accuracy in zip(candidates(number), truth, strict=True):
            builder.add_candidate(candidate, accuracy + rng.gauss(0, noise), seed)
    for index, name in enumerate(members):
        for seed in range(seeds):
            builder.add_member(name, 0.875 + 0.012 * index + rng.gauss(0, noise), seed)
    return builder.finish()


# Accuracies of five candidates by seed; the last is recommended, the one before is nearest to the paper's point.
FINALS = [(0.80, 0.82), (0.82, 0.84), (0.84, 0.86), (0.86, 0.88), (0.88, 0.90)]


def trained(folder: Path, finals: list[tuple[float, ...]], firsts: list[tuple[float, ...]] | None = None) -> Run:
    """Candidates with these accuracies at the end by seed, and after the first of four epochs."""
    builder = Builder(folder, seeds=len(finals[0]))
    for seed in range(len(finals[0])):
        for index, (candidate, row) in enumerate(zip(candidates(len(finals)), finals, strict=True)):
            first = None if firsts is None else firsts[index][seed]

            def curve(accuracy: float, epochs: int, first: float | None = first) -> list[dict[str, float]]:
                found = epochs_to(accuracy, epochs)
                return found if first is None else [{**found[0], "accuracy": first}, *found[1:]]

            builder.curve = curve
            builder.add_candidate(candidate, row[seed], seed)
    return builder.finish()
