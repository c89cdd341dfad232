"""Numbers are numbers, and turned shapes get the box around them."""

import pytest

from masktrain_trainer.data.convert.annotations import (
    around_ellipse,
    around_turned_box,
    extent,
    number,
)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1, 1.0), (1.5, 1.5), ("2.5", 2.5), (" 2 ", 2.0), (True, None), (None, None), ("", None), ("x", None),
        ([], None), (float("nan"), None), ("inf", None), (10**400, None), ("1" * 5000, None),
    ],
)  # fmt: skip
def test_numbers_are_finite(value: object, read: float | None) -> None:
    assert number(value) == read


def test_boxes_around_shapes() -> None:
    assert around_turned_box((10, 20), (8, 4), 0) == (6, 18, 14, 22)
    assert around_turned_box((10, 20), (8, 4), 90) == pytest.approx((8, 16, 12, 24))
    assert around_turned_box((10, 20), (8, 4), 360 - 90) == pytest.approx((8, 16, 12, 24))
    assert around_ellipse((10, 20), (4, 2), 90) == pytest.approx((8, 16, 12, 24))
    assert around_ellipse((0, 0), (2, 2), 33) == pytest.approx((-2, -2, 2, 2))
    assert extent([1, 2, 5, 1, 3, 9]) == (1, 1, 5, 9)
    assert extent([1, 2, 5, 1]) is None
    assert extent([1, 2, 5, 1, 3, 9, 4]) is None
