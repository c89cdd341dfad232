"""Rows of label files: taken as they are, clipped, or dropped with a reason, and never a row that is in no count."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.data.source.labels import (
    CLIP_LIMIT,
    LARGEST_CLASS,
    DroppedRow,
    LabelViolation,
    UnnamedClass,
    parse_labels,
    read_labels,
)

READ = {
    "box": ("1 0.5 0.5 0.25 0.5", [[1, 0.5, 0.5, 0.25, 0.5]]),
    "exponent": ("0 5e-1 0.5 0.25 0.5", [[0, 0.5, 0.5, 0.25, 0.5]]),
    "class as decimal": ("1.0 0.5 0.5 0.25 0.5", [[1, 0.5, 0.5, 0.25, 0.5]]),
    "blank lines": ("\n0 0.5 0.5 0.25 0.5\n\n", [[0, 0.5, 0.5, 0.25, 0.5]]),
    "tabs and Windows line ends": ("0\t0.5\t0.5\t0.25\t0.5 \t\r\n\r\n \u00a0\r\n", [[0, 0.5, 0.5, 0.25, 0.5]]),
    "polygon": ("0 0.25 0.5 0.5 0.25 0.75 1", [[0, 0.5, 0.625, 0.5, 0.75]]),
    "polygon beside a box": (
        "0 0.25 0.5 0.5 0.25 0.75 1\n1 0.5 0.5 0.25 0.5",
        [[0, 0.5, 0.625, 0.5, 0.75], [1, 0.5, 0.5, 0.25, 0.5]],
    ),
    "box over the edge": ("0 0 0 1 1", [[0, 0, 0, 1, 1]]),
    "a wire": ("0 0.5 0.5 0.96875 0.0078125", [[0, 0.5, 0.5, 0.96875, 0.0078125]]),
    "nothing": ("", np.zeros((0, 5))),
    # Tools compute in float32 or print a digit too many.
    "rounded in float64": ("0 0.5 0.5 1.0000000000000002 1.0", [[0, 0.5, 0.5, 1, 1]]),
    "rounded to eight digits": ("0 0.5 0.5 1.00000001 0.5", [[0, 0.5, 0.5, 1, 0.5]]),
    "the next float32 above 1": ("0 0.5 0.5 1.0000001192092896 0.5", [[0, 0.5, 0.5, 1, 0.5]]),
    "rounded below 0": ("0 -1e-17 0.5 0.25 0.5", [[0, 0, 0.5, 0.25, 0.5]]),
    "minus 0": ("0 -0.0 0.5 0.25 0.5", [[0, 0, 0.5, 0.25, 0.5]]),
    "a rounded polygon": ("0 0 0 1.0000000000000002 0 1 1.00000001", [[0, 0.5, 0.5, 1, 1]]),
}


@pytest.mark.parametrize(("text", "targets"), READ.values(), ids=READ)
def test_rows(text: str, targets: list[list[float]]) -> None:
    labels = parse_labels(text, 2)
    np.testing.assert_array_equal(labels.targets, targets)
    assert labels.targets.dtype == np.float32
    assert (labels.duplicates, labels.dropped, labels.clipped) == (0, 0, 0)


CLIPPED = {
    "wider than the picture": ("0 0.5 0.5 1.000001 0.5", [0, 0.5, 0.5, 1, 0.5]),
    "at the limit": ("0 0.5 0.5 1.01 1.01", [0, 0.5, 0.5, 1, 1]),
    "centre right of the picture": ("0 1.005 0.5 0.05 0.5", [0, 0.99, 0.5, 0.02, 0.5]),
    "centre above the picture": ("0 0.5 -0.01 0.5 0.1", [0, 0.5, 0.02, 0.5, 0.04]),
    "a corner of a polygon": ("0 0.5 0.5 1.005 0.5 1 1", [0, 0.75, 0.75, 0.5, 0.5]),
}


@pytest.mark.parametrize(("text", "target"), CLIPPED.values(), ids=CLIPPED)
def test_a_box_a_little_beyond_the_picture_is_clipped(text: str, target: list[float]) -> None:
    labels = parse_labels(text, 2)
    np.testing.assert_allclose(labels.targets, [target], atol=1e-6)
    assert (labels.clipped, labels.dropped) == (1, 0)


def test_an_outline_is_clipped_with_its_box() -> None:
    (outline,) = parse_labels("0 0.5 0.5 1.005 0.5 1 -0.01", 2).outlines
    np.testing.assert_array_equal(outline, [[0.5, 0.5], [1, 0.5], [1, 0]])


def test_a_polygon_keeps_its_outline() -> None:
    labels = parse_labels("1 0.5 0.5 0.25 0.5\n0 0.25 0.5 0.5 0.25 0.75 1", 2)
    box, polygon = labels.outlines
    assert box.shape == (0, 2)
    np.testing.assert_array_equal(polygon, [[0.25, 0.5], [0.5, 0.25], [0.75, 1]])


def test_duplicates_are_removed_in_order() -> None:
    labels = parse_labels("1 .5 .5 .1 .1\n0 .5 .5 .1 .1\n1 0.5 0.50 .1 .1", 2)
    assert labels.targets[:, 0].tolist() == [1, 0]
    assert labels.duplicates == 1


GOOD_ROW = "0 .5 .5 .1 .1"
WITHOUT_AREA = {
    "a click without a drag": ("0 .5 .5 0 0", "is a box without width or height"),
    "no width": ("0 .3 .3 0.0 .1", "is a box without width or height"),
    "a width that float32 does not have": ("0 .3 .3 1e-60 .1", "is a box without width or height"),
    "a negative width": ("0 .3 .3 -.005 .1", "is a box without width or height"),
    "a polygon of one point": ("1 .3 .3 .3 .3 .3 .3 .3 .3", "is a box without width or height"),
    "a flat polygon": ("0 .1 .1 .2 .1 .3 .1", "is a box without width or height"),
    "beside the picture": ("0 1.008 .5 .01 .1", "is a box outside its picture"),
}
UNREADABLE = {
    "in pixels": ("0 320 200 50 40", "has the coordinate 320, outside 0 to 1 (in pixels?)"),
    "above the limit": ("0 .5 .5 1.0101 .1", "has the coordinate 1.0101, outside 0 to 1"),
    "below the limit": ("0 -.1 .5 .1 .1", "has the coordinate -.1, outside 0 to 1"),
    "NaN": ("0 nan .5 .1 .1", "has the coordinate nan, outside 0 to 1"),
    "infinite": ("0 inf .5 .1 .1", "has the coordinate inf, outside 0 to 1"),
    "a class without name": ("2 .5 .5 .1 .1", "has class 2, but data.yaml names classes 0 to 1"),
    "a class below 0": ("-1 .5 .5 .1 .1", "has class -1, but data.yaml names classes 0 to 1"),
    "half a class": ("0.5 .5 .5 .1 .1", "has the class 0.5, which is not a whole number"),
    "a class that is no number": ("nan .5 .5 .1 .1", "has the class nan, which is not a whole number"),
    "a class by name": ("cat .5 .5 .1 .1", "has the text 'cat' instead of a number"),
    "decimal commas": ("0 0,5 0,5 0,2 0,2", "has the text '0,5' instead of a number"),
    "four columns": ("0 .5 .5 .1", "has 4 columns instead of 5 (class x y w h)"),
    "with a confidence": ("0 .5 .5 .1 .1 .9", "has 6 columns instead of 5 (class x y w h)"),
    "a polygon cut short": ("1 .2 .2 .4 .2 .3 .5 .6", "has 8 columns instead of 5 (class x y w h)"),
}


@pytest.mark.parametrize(("row", "reason"), (WITHOUT_AREA | UNREADABLE).values(), ids=WITHOUT_AREA | UNREADABLE)
def test_a_bad_row_costs_itself(row: str, reason: str) -> None:
    labels = parse_labels(f"{GOOD_ROW}\n\n{row}\n1 .5 .5 .2 .2", 2)
    assert labels.targets[:, 0].tolist() == [0, 1]
    assert (labels.dropped, labels.examples) == (1, [DroppedRow(3, reason)])
    assert not labels.hides_objects


@pytest.mark.parametrize("row", [row for row, _ in WITHOUT_AREA.values()], ids=WITHOUT_AREA)
def test_a_picture_of_rows_that_show_nothing_is_one_without_objects(row: str) -> None:
    assert not parse_labels(row, 2).hides_objects


@pytest.mark.parametrize("row", [row for row, _ in UNREADABLE.values()], ids=UNREADABLE)
def test_a_picture_none_of_whose_objects_can_be_read_is_not(row: str) -> None:
    assert parse_labels(f"{row}\n0 .5 .5 0 0", 2).hides_objects


def test_of_a_million_bad_rows_the_first_are_named() -> None:
    labels = parse_labels("x\n" * 10_000, 2)
    assert labels.dropped == labels.rows == 10_000
    assert [example.line for example in labels.examples] == [1, 2, 3]


def test_the_highest_class_without_name_is_known_with_its_line() -> None:
    assert parse_labels("5 .5 .5 .1 .1\n7 .5 .5 .1 .1\n6 .5 .5 .1 .1", 5).unnamed == UnnamedClass(7, 2)
    assert parse_labels("-1 .5 .5 .1 .1\n4 .5 .5 .1 .1", 5).unnamed is None


def test_one_class_is_named_as_one() -> None:
    assert parse_labels("1 .5 .5 .1 .1", 1).examples[0].reason == "has class 1, but data.yaml names class 0 only"


@pytest.mark.parametrize("number", ["0", "4", "1e6", str(LARGEST_CLASS)])
def test_any_class_is_taken_where_all_become_one(number: str) -> None:
    labels = parse_labels(f"{number} .5 .5 .1 .1", None)
    assert labels.targets[:, 0].tolist() == [float(number)]


@pytest.mark.parametrize("number", ["-1", "1.5", "1e300", "inf", "mask"])
def test_what_is_no_class_is_taken_nowhere(number: str) -> None:
    assert parse_labels(f"{number} .5 .5 .1 .1", None).dropped == 1


POSE = ".4 .4 .6 .4 .5 .5 .5 .6"
POSE_WITH_VISIBILITY = ".4 .4 2 .6 .4 2 .5 .5 1 0 0 0"


@pytest.mark.parametrize(("points", "columns"), [(POSE, 8), (POSE_WITH_VISIBILITY, 12)])
def test_the_box_before_key_points_is_taken(points: str, columns: int) -> None:
    labels = parse_labels(f"1 .5 .5 .25 .5 {points}\n0 .5 .5 .5 .25", 2, columns)
    assert labels.targets.tolist() == [[1, 0.5, 0.5, 0.25, 0.5], [0, 0.5, 0.5, 0.5, 0.25]]
    assert [len(outline) for outline in labels.outlines] == [0, 0]
    assert (labels.keypoints, labels.dropped) == (1, 0)


def test_a_key_point_outside_the_picture_does_not_matter() -> None:
    assert parse_labels("1 .5 .5 .25 .5 -3 7", 2, 2).dropped == 0


def test_of_a_pose_data_set_no_other_row_is_taken_for_a_polygon() -> None:
    labels = parse_labels(f"1 .5 .5 .25 .5 {POSE}", 2, 12)
    expected = "has 13 columns instead of 5 (class x y w h) or 17 (with the key points of kpt_shape)"
    assert [example.reason for example in labels.examples] == [expected]


def test_no_label_file_is_a_picture_without_objects(tmp_path: Path) -> None:
    assert read_labels(None, 2).rows == read_labels(tmp_path / "gone.txt", 2).rows == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_label_file_in_another_encoding_says_which_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("0 .5 .5 .1 .1 # café".encode(encoding) + b"\xff")
    with pytest.raises(LabelViolation, match=r"is not a text file in UTF-8; save it as UTF-8"):
        read_labels(tmp_path / "a.txt", 2)


NUMBERS = st.floats() | st.floats(-CLIP_LIMIT, 1 + CLIP_LIMIT) | st.integers(-2, 5) | st.integers()
WORDS = NUMBERS.map(str) | st.text(max_size=5) | st.sampled_from(["0", "1", "0.5", "1.00000001", "-0.0", "1e-60"])
LINES = st.lists(WORDS, max_size=9).map(" ".join) | st.text(max_size=20)
TEXTS = st.lists(LINES, max_size=8).map("\n".join) | st.text()


@given(text=TEXTS, classes=st.none() | st.integers(1, 5), keypoint_columns=st.none() | st.integers(1, 4))
def test_every_row_of_any_text_is_taken_or_counted(
    text: str, classes: int | None, keypoint_columns: int | None
) -> None:
    labels = parse_labels(text, classes, keypoint_columns)
    assert labels.rows == sum(bool(line.strip()) for line in text.splitlines())
    assert len(labels.outlines) == len(labels.targets)
    assert bool(labels.examples) == (labels.dropped > 0)
    coordinates = labels.targets[:, 1:]
    assert ((coordinates >= 0) & (coordinates <= 1)).all()
    assert (coordinates[:, 2:] > 0).all()
    assert all(str(example.reason).isprintable() for example in labels.examples)
