"""Requests, stratified subsets and splits."""

from __future__ import annotations

import numpy as np
import pytest

from scalesearch.fit.data import DataRequest, subset_indices
from scalesearch.fit.data.splits import check_classes, split_indices
from scalesearch.spec.errors import DataError


def uneven_labels() -> np.ndarray:
    return np.random.default_rng(1).permutation(np.repeat(np.arange(4), (400, 200, 100, 3)))


def test_subsets_are_sorted_stratified_and_nested() -> None:
    labels = uneven_labels()
    small, large = (subset_indices(labels, count, seed=3) for count in (70, 351))
    assert len(small) == 70 and len(large) == 351
    assert np.all(np.diff(large) > 0)
    assert set(small) <= set(large)
    assert np.abs(np.bincount(labels[large]) - np.array([200, 100, 50, 2])).max() <= 2


def test_a_subset_shows_every_class_as_soon_as_it_can() -> None:
    labels = uneven_labels()
    for count in (4, 5, 20):
        assert set(labels[subset_indices(labels, count, seed=0)]) == {0, 1, 2, 3}


def test_subset_depends_on_the_seed_only() -> None:
    labels = uneven_labels()
    assert np.array_equal(subset_indices(labels, 50, 1), subset_indices(labels, 50, 1))
    assert not np.array_equal(subset_indices(labels, 50, 1), subset_indices(labels, 50, 2))


@pytest.mark.parametrize("count", [None, 703, 10_000])
def test_subset_of_all(count: int | None) -> None:
    assert np.array_equal(subset_indices(uneven_labels(), count, seed=0), np.arange(703))


def test_subset_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"data subset: the count must be at least 1, got 0"):
        subset_indices(uneven_labels(), 0, seed=0)


@pytest.mark.parametrize("share", [0.001, 0.2, 0.999])
def test_split_leaves_every_class_on_both_sides(share: float) -> None:
    labels = uneven_labels()
    train, val = split_indices(labels, share, seed=5)
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels)))
    assert set(labels[train]) == set(labels[val]) == {0, 1, 2, 3}
    if share == 0.2:
        assert np.bincount(labels[val]).tolist() == [80, 40, 20, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ""}, "data: source: must be glyphs, digits or a path, got ''"),
        ({"size": 7}, "data: size: must be 8 to 2048 px, got 7"),
        ({"size": 4000}, "data: size: must be 8 to 2048 px, got 4000"),
        ({"train_images": 0}, "data: train_images: must be at least 1, got 0"),
        ({"val_images": -1}, "data: val_images: must be at least 1, got -1"),
        ({"val_share": 1.0}, "data: val_share: must lie between 0 and 1, got 1.0"),
        ({"max_bad_share": 1.5}, "data: max_bad_share: must be 0 to 1, got 1.5"),
        ({"seed": -1}, "data: seed: must be at least 0, got -1"),
    ],
)
def test_request_states_the_rule_it_breaks(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        DataRequest(**{"source": "glyphs", **change})  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("classes", "train", "val", "message"),
    [
        ("a", [0, 0], [0], "needs at least 2 classes, found 'a'"),
        ("abc", [0, 1], [0, 1, 2], "train has 2 images for 3 classes; add images or raise train_images"),
        ("abc", [0, 1, 2], [0, 1], "val has 2 images for 3 classes; add images or raise val_images"),
        ("abcde", [0] * 5, [0, 1, 2, 3, 4], "train has no image of 'b', 'c', 'd' and 1 more, which val has"),
        ("ab", [0, 1], [1, 1], "val has no image of 'a', which train has"),
    ],
)
def test_each_split_must_show_each_class(classes: str, train: list[int], val: list[int], message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_classes("here", classes, np.array(train), np.array(val))
    assert str(caught.value).startswith("here: ") and message in str(caught.value)
