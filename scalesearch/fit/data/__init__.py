"""Image data sets: rendered, shipped or from disk, decoded once into a memory-mapped uint8 cache.

This folder knows pixels and labels. It knows nothing of networks, training or search.
"""

from __future__ import annotations

from scalesearch.fit.data.load import load_dataset, open_dataset, read_split
from scalesearch.fit.data.records import DataRequest, Dataset
from scalesearch.fit.data.splits import subset_indices

__all__ = ["DataRequest", "Dataset", "load_dataset", "open_dataset", "read_split", "subset_indices"]
