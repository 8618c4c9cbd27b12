"""CIFAR-10 and CIFAR-100, binary version: records of label bytes and 3 x 32 x 32 pixel bytes.

Format: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalesearch.fit.data.arrays import Pair, array_source
from scalesearch.fit.data.records import DataRequest, Source
from scalesearch.spec.errors import DataError

_PIXELS = 3 * 32 * 32
_CLASSES_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class _Kind:
    """One of the two sets; the class is the last of the label bytes (CIFAR-100: coarse, fine)."""

    name: str
    label_bytes: int
    train: tuple[str, ...]
    test: str
    names_file: str
    classes: tuple[str, ...]
    pickles: frozenset[str]  # what the Python version of the set has in its place


_KINDS = (
    _Kind(
        "CIFAR-10",
        1,
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        _CLASSES_10,
        frozenset({*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"}),
    ),
    _Kind(
        "CIFAR-100",
        2,
        ("train.bin",),
        "test.bin",
        "fine_label_names.txt",
        tuple(f"{number:02}" for number in range(100)),
        frozenset({"train", "test", "meta"}),
    ),
)


@dataclass(frozen=True)
class CifarFiles:
    """The binary files of one set."""

    kind: _Kind
    train: tuple[Path, ...]
    test: Path | None


def find_cifar(path: Path) -> CifarFiles | None:
    """The CIFAR files at a path (a folder, or one file), None if it is something else.

    Raises:
        DataError: the Python version of the set, which is pickled; or test files only.
    """
    folder = path if path.is_dir() else path.parent
    names = {entry.name for entry in path.iterdir() if entry.is_file()} if path.is_dir() else {path.name}
    for kind in _KINDS:
        train = tuple(folder / name for name in kind.train if name in names)
        if train:
            return CifarFiles(kind, train, folder / kind.test if kind.test in names else None)
        if kind.test in names:
            raise DataError(
                f"{path}: {kind.name} needs a training file, found only {kind.test}; "
                f"add {kind.train[0]} beside it and pass the folder"
            )
        pickled = names & kind.pickles
        # A lone file called "train" may be anything; of CIFAR-100's names a folder must have at least two.
        if len(pickled) >= (1 if kind.name == "CIFAR-10" else 2):
            raise DataError(
                f"{path}: pickles are never loaded, found {sorted(pickled)[0]} of the Python version of "
                f"{kind.name}; use the binary version ({kind.train[0]} ...) from https://www.cs.toronto.edu/~kriz/cifar.html"
            )
    return None


def cifar_source(path: Path, files: CifarFiles, request: DataRequest) -> Source:
    """The images of CIFAR binary files; without the test file, an automatic split of the training files.

    Raises:
        DataError: a file is not whole records, or a label is out of range.
    """
    kind = files.kind
    hasher = hashlib.blake2b(digest_size=16)
    pairs = []
    for file in (*files.train, *([files.test] if files.test else [])):
        content = _read(file)
        hasher.update(f"{file.name} {len(content)} ".encode() + content)
        pairs.append(_decode(file, content, kind))
    test = pairs.pop() if files.test else None
    train = np.concatenate([images for images, _ in pairs]), np.concatenate([labels for _, labels in pairs])
    notes: tuple[str, ...] = ()
    if path.is_dir() and len(files.train) < len(kind.train):
        notes = (f"{len(files.train)} of the {len(kind.train)} training files of {kind.name} are present",)
    classes = _class_names(files.train[0].parent / kind.names_file, kind)
    recipe = {"source": kind.name, "content": hasher.hexdigest(), "classes": classes}
    return array_source(str(path), classes, train, test, request, recipe, notes=notes)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: data must be readable, found: {error.strerror}; check the file") from error


def _decode(file: Path, content: bytes, kind: _Kind) -> Pair:
    record = kind.label_bytes + _PIXELS
    if not content or len(content) % record:
        raise DataError(
            f"{file}: a binary file of {kind.name} is a multiple of {record} bytes, found {len(content)}; "
            "download it again (the binary version)"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    labels = records[:, kind.label_bytes - 1].astype(np.int64)
    if labels.max() >= len(kind.classes):
        raise DataError(
            f"{file}: labels of {kind.name} are 0 to {len(kind.classes) - 1}, found {labels.max()}; "
            "check that this is a file of that set"
        )
    return records[:, kind.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _class_names(file: Path, kind: _Kind) -> tuple[str, ...]:
    """The names in the file that comes with the set, if it is there and complete."""
    try:
        names = tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError):
        return kind.classes
    return names if len(names) == len(kind.classes) else kind.classes
