"""The embedded `digits` set: 1,797 handwritten digits of 8 px, UCI, shipped with scikit-learn."""

from __future__ import annotations

import numpy as np

from scalesearch.fit.data.arrays import array_source
from scalesearch.fit.data.records import DataRequest, Source

_FULL = 16  # the greatest value of a pixel in scikit-learn's array


def digits_source(request: DataRequest) -> Source:
    """Real handwriting, but tiny: good for testing a pipeline, not for judging resolution."""
    from sklearn.datasets import load_digits  # here: it takes a second

    pixels, digits = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / _FULL)).astype(np.uint8)
    labels = digits.astype(np.int64)
    return array_source("digits", "0123456789", (images, labels), None, request, {"source": "digits"}, mirror=False)
