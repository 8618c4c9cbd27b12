"""What a request names: an embedded set, a folder, or a file."""

from __future__ import annotations

from pathlib import Path

from scalesearch.fit.data.cifar import cifar_source, find_cifar
from scalesearch.fit.data.digits import digits_source
from scalesearch.fit.data.folder import folder_source
from scalesearch.fit.data.glyphs import glyph_source
from scalesearch.fit.data.npz import npz_source
from scalesearch.fit.data.records import DataRequest, Source
from scalesearch.spec.errors import DataError

EMBEDDED = {"glyphs": glyph_source, "digits": digits_source}


def find_source(request: DataRequest) -> Source:
    """The source of a request, examined but not decoded.

    Raises:
        DataError: it does not exist, or is nothing that can be read as labelled images.
    """
    if request.source in EMBEDDED:
        return EMBEDDED[request.source](request)
    path = Path(request.source).expanduser()
    try:
        kind = "folder" if path.is_dir() else "file" if path.is_file() else "nothing"
        if kind == "nothing":
            raise DataError(
                f"{path}: data must be {', '.join(EMBEDDED)} or an existing path, found {_what(path)}; "
                "check the spelling"
            )
        if files := find_cifar(path):
            return cifar_source(path, files, request)
        if kind == "folder":
            return folder_source(path, request)
        if path.suffix.lower() == ".npz":
            return npz_source(path, request)
    except OSError as error:
        raise DataError(
            f"{error.filename or path}: data must be readable, found: {error.strerror or error}; "
            "check path and permissions"
        ) from error
    raise DataError(
        f"{path}: a data file must be .npz or a CIFAR binary file (data_batch_1.bin, train.bin, ...), "
        f"found {path.name}; convert it, or put the images in a folder with one sub-folder per class"
    )


def _what(path: Path) -> str:
    return "neither a file nor a folder" if path.exists() else "nothing there"
