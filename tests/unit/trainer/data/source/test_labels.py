"""Label files that are right."""

from pathlib import Path

import numpy as np
import pytest

from masktrain_trainer.data.source.labels import label_path, parse_labels

READ = {
    "box": ("1 0.5 0.5 0.25 0.5", [[1, 0.5, 0.5, 0.25, 0.5]]),
    "exponent": ("0 5e-1 0.5 0.25 0.5", [[0, 0.5, 0.5, 0.25, 0.5]]),
    "class as decimal": ("1.0 0.5 0.5 0.25 0.5", [[1, 0.5, 0.5, 0.25, 0.5]]),
    "blank lines": ("\n0 0.5 0.5 0.25 0.5\n\n", [[0, 0.5, 0.5, 0.25, 0.5]]),
    "polygon": ("0 0.25 0.5 0.5 0.25 0.75 1", [[0, 0.5, 0.625, 0.5, 0.75]]),
    "polygon beside a box": (
        "0 0.25 0.5 0.5 0.25 0.75 1\n1 0.5 0.5 0.25 0.5",
        [[0, 0.5, 0.625, 0.5, 0.75], [1, 0.5, 0.5, 0.25, 0.5]],
    ),
    "box over the edge": ("0 0 0 1 1", [[0, 0, 0, 1, 1]]),
    "nothing": ("", np.zeros((0, 5))),
}


@pytest.mark.parametrize(("text", "targets"), READ.values(), ids=READ)
def test_rows(text: str, targets: list[list[float]]) -> None:
    labels = parse_labels(text, 2)
    np.testing.assert_array_equal(labels.targets, targets)
    assert labels.targets.dtype == np.float32
    assert labels.duplicates == 0


def test_a_polygon_keeps_its_outline() -> None:
    labels = parse_labels("1 0.5 0.5 0.25 0.5\n0 0.25 0.5 0.5 0.25 0.75 1", 2)
    box, polygon = labels.outlines
    assert box.shape == (0, 2)
    np.testing.assert_array_equal(polygon, [[0.25, 0.5], [0.5, 0.25], [0.75, 1]])


def test_duplicates_are_removed_in_order() -> None:
    labels = parse_labels("1 .5 .5 .1 .1\n0 .5 .5 .1 .1\n1 0.5 0.50 .1 .1", 2)
    assert labels.targets[:, 0].tolist() == [1, 0]
    assert labels.duplicates == 1


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("images/train/images/a.b.png", "images/train/labels/a.b.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/a_jpg.rf.0123.jpg", "train/a_jpg.rf.0123.txt"),
    ],
)
def test_place_of_labels(image: str, label: str) -> None:
    assert label_path(Path(image)) == Path(label)
