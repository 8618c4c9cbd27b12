"""A trained network as the start of another training: its weights, but for the classifier of other classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from scalesearch.fit.checkpoint import load_checkpoint
from scalesearch.fit.step import first_line
from scalesearch.nets.build import build, start_undecided
from scalesearch.spec.arch import Arch
from scalesearch.spec.errors import RunError, SettingsError
from scalesearch.spec.schema import read_stored

_CLASSIFIER = "sections.classifier."
# What may differ between the trained network and the one that goes on from it: no tensor's shape depends on it, but
# for the classifier's.
_FREE = ("name", "classes", "resolution", "dropout", "drop_path", "norm_momentum", "fixed")


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What a checkpoint of `scalesearch train` holds: the network, its classes, the weights of its best epoch."""

    arch: Arch
    classes: tuple[str, ...]
    weights: dict[str, Tensor]


def read_pretrained(path: Path) -> Pretrained:
    """Raises RunError if the file cannot be read or holds no network that can be gone on from."""
    try:
        state = load_checkpoint(path)
    except Exception as error:  # a damaged file can fail in as many ways as it can be damaged
        raise RunError(f"--from {path}: the checkpoint cannot be used: {first_line(error)}") from None
    weights = state.get("best", state).get("weights") if isinstance(state, dict) else None
    if weights is None or not {"arch", "classes"} <= state.keys():
        raise RunError(
            f"--from {path}: must be model.pt or checkpoint.pt of a `scalesearch train` folder, got a file without "
            "the network's description; train a network first"
        )
    arch = read_stored(state["arch"])
    if not isinstance(arch, Arch):
        raise RunError(
            f"--from {path}: must hold a network that scalesearch builds, got a factory's, whose classifier is not "
            "known; train that one from scratch"
        )
    return Pretrained(arch, tuple(state["classes"]), weights)


def require_same_layers(path: Path, source: Arch, target: Arch) -> None:
    """Raises SettingsError if the weights of `source` do not fit `target` (its classifier aside)."""
    kept = {field: getattr(source, field) for field in _FREE}
    if source.in_channels != target.in_channels:
        raise SettingsError(
            f"--from {path}: was trained on images of {source.in_channels} channels, got {target.in_channels}; convert "
            "the images"
        )
    if replace(target, **kept) != source:
        raise SettingsError(
            f"--from {path}: holds {source.name}, got {target.name}, which has other layers; leave the network out, "
            "or give that one"
        )


def start_from(found: Pretrained, arch: Arch, classes: tuple[str, ...]) -> dict[str, Tensor]:
    """A state dict of `arch` with the trained weights; a new classifier is undecided, as in any training."""
    if classes == found.classes:
        return found.weights
    network = build(arch)
    start_undecided(network)
    new = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(_CLASSIFIER)}
    return {**found.weights, **new}


def described(path: Path, found: Pretrained, classes: tuple[str, ...]) -> str:
    """What is taken over and what is new, in a sentence."""
    if classes == found.classes:
        return f"all weights start from {path}, classifier too: the {len(classes)} classes are the same"
    same = "other" if len(classes) == len(found.classes) else f"{len(found.classes)} before, {len(classes)} now"
    return f"weights start from {path}; the classifier is new, because the classes are not the same ({same})"
