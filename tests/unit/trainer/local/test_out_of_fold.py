"""How folds are made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.local.out_of_fold import FoldOptions, folds_of


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(2, 6), st.integers(0, 9))
def test_every_picture_is_in_one_fold_and_with_its_like(groups: list[int], folds: int, seed: int) -> None:
    found = folds_of(groups, folds, seed)
    assert len(found) == folds
    assert sorted(index for fold in found for index in fold) == list(range(len(groups)))
    for group in set(groups):
        assert sum(any(groups[index] == group for index in fold) for fold in found) == 1


def test_folds_are_of_like_size() -> None:
    assert {len(fold) for fold in folds_of(list(range(31)), 3, 0)} == {10, 11}


@pytest.mark.parametrize(("pictures", "epochs"), [(10, 300), (333, 120), (100_000, 10)])
def test_small_sets_are_shown_more_often(pictures: int, epochs: int) -> None:
    assert FoldOptions(passes=40_000).epochs_for(pictures) == epochs
    assert FoldOptions(epochs=7).epochs_for(pictures) == 7
