"""Boxes and labels, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from masktrain_trainer.predict.drawing import BoxStyle, LabelledBox, class_colour, draw_boxes

BLACK = np.zeros((120, 200, 3), np.uint8)
BOX = (40.0, 50.0, 140.0, 110.0)


def coloured(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((pixels == class_colour(0)).all(axis=2), np.bool_)


@pytest.mark.parametrize("thickness", [1, 2, 3, 7])
def test_a_line_is_as_thick_as_asked_and_lies_within_the_box(thickness: int) -> None:
    drawn = coloured(draw_boxes(BLACK, [LabelledBox(BOX, 0, "")], BoxStyle(thickness)))
    expected = np.zeros_like(drawn)
    expected[50:111, 40:141] = True
    expected[50 + thickness : 111 - thickness, 40 + thickness : 141 - thickness] = False
    np.testing.assert_array_equal(drawn, expected)


def test_lines_grow_with_the_picture_if_nothing_is_asked_for() -> None:
    def thickness(side: int) -> int:
        black = np.zeros((side, side, 3), np.uint8)
        drawn = draw_boxes(black, [LabelledBox((10, side / 4, side / 2, side / 2), 0, "")])
        return int(coloured(drawn)[round(side / 4) :, side // 4].argmin())

    assert thickness(100) == 2
    assert thickness(2000) == 6


def test_a_label_stands_above_its_box_and_hidden_ones_leave_no_pixel() -> None:
    full, bare, none = (
        draw_boxes(BLACK, [LabelledBox(BOX, 0, style.text("mask", 0.87))], style)
        for style in (BoxStyle(), BoxStyle(confidences=False), BoxStyle(labels=False))
    )
    above = [int(drawn[:50].any(axis=2).any(axis=0).sum()) for drawn in (full, bare, none)]
    assert above[0] > above[1] > above[2] == 0
    inside = [drawn[52:109, 42:139].any() for drawn in (full, bare, none)]
    assert inside == [False] * 3


def test_texts_follow_the_style() -> None:
    assert BoxStyle().text("mask", 0.876) == "mask 0.88"
    assert BoxStyle(confidences=False).text("mask", 0.876) == "mask"
    assert BoxStyle(labels=False).text("mask", 0.876) == ""


def test_a_frame_that_may_not_be_written_to_is_drawn_on_a_copy() -> None:
    frozen = BLACK.copy()
    frozen.setflags(write=False)
    drawn = draw_boxes(frozen, [LabelledBox(BOX, 0, "mask")])
    assert drawn.any()
    assert drawn.flags.writeable
    assert not frozen.any()


def test_a_label_at_the_top_hangs_into_the_box_and_one_at_the_right_is_shifted_left() -> None:
    top = draw_boxes(BLACK, [LabelledBox((10, 2, 150, 100), 0, "mask")], BoxStyle(1))
    assert coloured(top)[3:10, 11:13].all()
    right = draw_boxes(BLACK, [LabelledBox((180, 50, 199, 100), 0, "mask 0.90")], BoxStyle(1))
    assert coloured(right)[40, 130]


far = st.floats(-1e6, 1e6)


@given(far, far, far, far, st.sampled_from(["", "mask 0.90"]), st.sampled_from([None, 1, 9]))
def test_boxes_anywhere_can_be_drawn(
    x1: float, y1: float, x2: float, y2: float, text: str, thickness: int | None
) -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    drawn = draw_boxes(picture, [LabelledBox((x1, y1, x2, y2), 0, text)], BoxStyle(thickness))
    assert drawn.shape == picture.shape
    assert not picture.any()
