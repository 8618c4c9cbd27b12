"""A trained network as the start of another training: its weights, but for the classifier of other classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from scalesearch.fit.checkpoint import load_checkpoint
from scalesearch.fit.data import Dataset
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
    data: str  # the name of the images, and their fingerprint; empty in files of older versions
    fingerprint: str

    @property
    def digest(self) -> str:
        """Of the weights."""
        found = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.weights.items()):
            found.update(name.encode())
            found.update(tensor.contiguous().numpy().tobytes())
        return found.hexdigest()


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
    data, fingerprint = (str(state.get(key, "")) for key in ("data", "fingerprint"))
    return Pretrained(arch, tuple(state["classes"]), weights, data, fingerprint)


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


def described(path: Path, found: Pretrained, dataset: Dataset) -> list[str]:
    """What is taken over and what is new, in sentences, and whether the test may have been trained on."""
    classes, before = len(dataset.classes), len(found.classes)
    if dataset.classes == found.classes:
        notes = [f"all weights start from {path}, classifier too: the {classes} classes are the same"]
    else:
        same = "other" if classes == before else f"{before} before, {classes} now"
        notes = [f"weights start from {path}; the classifier is new, because the classes are not the same ({same})"]
    if dataset.name == found.data and dataset.fingerprint != found.fingerprint:
        notes.append(
            f"{path} was trained on {dataset.name} too, but on other images or another split: some of this test's "
            "images may be among those that it was trained on"
        )
    return notes
