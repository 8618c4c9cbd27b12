"""MnasNet's controller: a recurrent network that writes a point of a space choice by choice, trained by its rewards.

Tan et al. 2019 (arXiv:1807.11626v3, section 4.2) maximise the expected reward with proximal policy optimisation (PPO,
Schulman et al. 2017); size and rates of their controller are not published, and those here are ours. Its state is a
function of the rewards in their order and of the seed, so that a resumed search has the same controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

Point = tuple[int, ...]
Batch = tuple[tuple[Point, float], ...]  # points and their rewards

BATCH = 8  # proposals that one update is made of
EPOCHS = 4  # passes of an update over its batch
HIDDEN = 64
RATE = 3e-3
CLIP = 0.2  # of the probability ratio, Schulman et al. 2017, equation 7
ENTROPY = 0.01  # weight of the entropy bonus, the same paper's equation 9
MEMORY = 0.8  # of the running mean of rewards that a reward is compared with


class Controller(nn.Module):
    """An LSTM over the choices; a choice reads the option that was taken before it."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(HIDDEN))
        self.cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.options = nn.ModuleList(nn.Embedding(size, HIDDEN) for size in sizes)
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, size) for size in sizes)
        for head in self.heads:
            assert isinstance(head, nn.Linear)  # what a ModuleList holds, torch does not type
            nn.init.zeros_(head.weight)  # every option as likely at first
            nn.init.zeros_(head.bias)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of points (n, choices), each summed over the choices: (n,) and (n,)."""
        total, entropy = torch.zeros(len(points)), torch.zeros(len(points))
        step, state = self.start.expand(len(points), -1), None
        for place, (embed, head) in enumerate(zip(self.options, self.heads, strict=True)):
            state = self.cell(step, state)
            logs = torch.log_softmax(head(state[0]), dim=1)
            total = total + logs.gather(1, points[:, place : place + 1])[:, 0]
            entropy = entropy - (logs.exp() * logs).sum(dim=1)
            step = embed(points[:, place])
        return total, entropy

    @torch.no_grad()
    def sample(self, seed: int) -> Point:
        generator = torch.Generator().manual_seed(seed)
        step, state, point = self.start[None], None, list[int]()
        for embed, head in zip(self.options, self.heads, strict=True):
            state = self.cell(step, state)
            drawn = torch.multinomial(torch.softmax(head(state[0]), dim=1), 1, generator=generator)[:, 0]
            point.append(int(drawn))
            step = embed(drawn)
        return tuple(point)


class _State(NamedTuple):
    controller: Controller
    optimiser: torch.optim.Adam
    mean: float | None  # of the rewards, running; None before the first


def sample_controller(sizes: tuple[int, ...], batches: tuple[Batch, ...], seed: int, draw: int) -> Point:
    """A point by the controller that `batches` have trained, in their order; `sizes` are the options per choice.

    `seed` is of its initial weights, `draw` of this point.
    """
    return _trained(sizes, batches, seed).controller.sample(draw)


# The latest search's controller with what has trained it. It saves time and changes no answer.
_latest: dict[tuple[tuple[int, ...], int], tuple[tuple[Batch, ...], _State]] = {}


def _trained(sizes: tuple[int, ...], batches: tuple[Batch, ...], seed: int) -> _State:
    """From the latest state of the same search, if it was made by the first of these batches; else from the start."""
    known, state = _latest.pop((sizes, seed), ((), None))
    if state is None or batches[: len(known)] != known:
        known, state = (), _fresh(sizes, seed)
    for batch in batches[len(known) :]:
        state = _updated(state, batch)
    _latest.clear()
    _latest[sizes, seed] = batches, state
    return state


def _fresh(sizes: tuple[int, ...], seed: int) -> _State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        controller = Controller(sizes)
    return _State(controller, torch.optim.Adam(controller.parameters(), lr=RATE), None)


def _updated(before: _State, batch: Batch) -> _State:
    """After one update by PPO on these rewards, if there are any, in place."""
    if not batch:
        return before
    controller, optimiser, _ = before
    points = torch.tensor([point for point, _ in batch])
    values = torch.tensor([reward for _, reward in batch])
    mean = float(values.mean())
    baseline = mean if before.mean is None else MEMORY * before.mean + (1 - MEMORY) * mean
    spread = float(values.std()) if len(batch) > 1 else 0.0
    advantage = (values - baseline) / (spread + 1e-8) if spread else torch.zeros(len(batch))
    with torch.no_grad():
        old, _ = controller(points)
    for _ in range(EPOCHS):
        new, entropy = controller(points)
        ratio = (new - old).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        loss = -(gain + ENTROPY * entropy).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return _State(controller, optimiser, baseline)
