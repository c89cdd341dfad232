"""Boxes of two models on one frame, paired."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.compare.matching import Classes, FrameBoxes, match, overlaps, pair_up
from masktrain_trainer.errors import InvalidConfiguration


def boxes(*rows: tuple[float, float, float, float, float, int]) -> FrameBoxes:
    """Rows of xyxy, confidence, label."""
    return FrameBoxes(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        np.array([row[5] for row in rows], np.int64),
    )


def test_classes_are_matched_by_name_whatever_their_order() -> None:
    classes = Classes.matched(["mask", "no mask"], ["No mask ", "mask", "visor"])
    assert classes.names == ["mask", "no mask", "visor"]
    assert classes.of_models == ([0, 1], [1, 0, 2])
    assert classes.shared == {0, 1}
    assert (classes.only(0), classes.only(1)) == ([], ["visor"])


def test_models_of_other_things_are_refused() -> None:
    with pytest.raises(InvalidConfiguration, match=r"no class in common: mask and cat, dog; compare models"):
        Classes.matched(["mask"], ["cat", "dog"])


A = (0.0, 0.0, 10.0, 10.0)
NEAR_A = (0.0, 1.0, 10.0, 11.0)
FAR = (50.0, 50.0, 60.0, 60.0)


@pytest.mark.parametrize(
    ("first", "second", "same", "other_class", "only"),
    [
        (boxes(), boxes(), [], [], ([], [])),
        (boxes((*A, 0.9, 1)), boxes((*NEAR_A, 0.5, 1)), [(0, 0)], [], ([], [])),
        (boxes((*A, 0.9, 1)), boxes((*NEAR_A, 0.5, 2)), [], [(0, 0)], ([], [])),
        (boxes((*A, 0.9, 1)), boxes((*FAR, 0.5, 1)), [], [], ([0], [0])),
        (boxes((*A, 0.9, 1)), boxes(), [], [], ([0], [])),
        # The box of the same class wins although the other one lies better.
        (boxes((*A, 0.9, 1)), boxes((*A, 0.9, 2), (*NEAR_A, 0.5, 1)), [(0, 1)], [], ([], [0])),
        # Each box has one partner: the better overlap.
        (boxes((*NEAR_A, 0.9, 1), (*A, 0.8, 1)), boxes((*A, 0.7, 1)), [(1, 0)], [], ([0], [])),
    ],
)
def test_a_frame_is_matched(
    first: FrameBoxes,
    second: FrameBoxes,
    same: list[tuple[int, int]],
    other_class: list[tuple[int, int]],
    only: tuple[list[int], list[int]],
) -> None:
    found = match(first, second)
    assert (found.same, found.other_class, found.only) == (same, other_class, only)
    assert found.disagreements == len(other_class) + len(only[0]) + len(only[1])


rows = st.lists(
    st.tuples(*[st.floats(0, 90)] * 2, st.floats(1, 40), st.floats(0.05, 1), st.integers(0, 2)).map(
        lambda row: (row[0], row[1], row[0] + row[2], row[1] + row[2], row[3], row[4])
    ),
    max_size=6,
)


@given(rows, rows)
def test_every_box_is_accounted_for_once_and_sides_may_be_swapped(first: list, second: list) -> None:  # type: ignore[type-arg]
    one, other = match(boxes(*first), boxes(*second)), match(boxes(*second), boxes(*first))
    for side, number in ((0, len(first)), (1, len(second))):
        places = [pair[side] for pair in (*one.same, *one.other_class)] + one.only[side]
        assert sorted(places) == list(range(number))
    assert one.disagreements == other.disagreements


@given(rows)
def test_a_model_agrees_with_itself(found: list) -> None:  # type: ignore[type-arg]
    assert match(boxes(*found), boxes(*found)).disagreements == 0


def test_overlaps_and_pairs_of_nothing() -> None:
    assert overlaps(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert pair_up(np.zeros((0, 3)), 0.5) == []
