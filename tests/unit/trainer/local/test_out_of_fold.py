"""How folds are made, and what predictions say against labels: tables of boxes, no model."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.local.findings import Kind, Picture
from masktrain_trainer.local.out_of_fold import FoldOptions, contradictions, folds_of

NAMES = ["mask", "no mask"]
BOX = (100.0, 100.0, 200.0, 200.0)


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


def labelled(name: str, *boxes: tuple[int, tuple[float, float, float, float]]) -> Picture:
    rows = [
        (label, (x1 + x2) / 800, (y1 + y2) / 800, (x2 - x1) / 400, (y2 - y1) / 400) for label, (x1, y1, x2, y2) in boxes
    ]
    return Picture("train", name, Path(name), 400, 400, np.array(rows, np.float32).reshape(-1, 5))


def seen(label: int, confidence: float, box: tuple[float, float, float, float] = BOX) -> Detection:
    return Detection(label, NAMES[label], confidence, box)


def judged(picture: Picture, *found: Detection) -> list[Kind]:
    """Beside eighty pictures whose labels are all confirmed."""
    others = [labelled(f"{number}.jpg", (label, BOX)) for number in range(40) for label in (0, 1)]
    confirmed = [[seen(other.classes[0], 0.9)] for other in others]
    findings = list(contradictions([*others, picture], [*confirmed, list(found)], NAMES))
    assert all(finding.pictures == [picture] for finding in findings)
    return [finding.kind for finding in findings]


def test_a_label_that_is_confirmed_is_no_finding() -> None:
    assert judged(labelled("a.jpg", (0, BOX)), seen(0, 0.8), seen(1, 0.3)) == []


def test_a_label_of_another_class() -> None:
    """Found as surely as where labels name that class, which is with 0.9 in all other pictures."""
    assert judged(labelled("a.jpg", (0, BOX)), seen(1, 0.9), seen(0, 0.1)) == [Kind.CLASS]
    assert judged(labelled("a.jpg", (0, BOX)), seen(1, 0.8), seen(0, 0.1)) == []


def test_an_object_without_a_label() -> None:
    assert judged(labelled("a.jpg"), seen(1, 0.8)) == [Kind.MISSING]
    assert judged(labelled("a.jpg"), seen(1, 0.3)) == []


@pytest.mark.parametrize("moved", [50.0, 80.0, 110.0])
def test_a_label_beside_its_object(moved: float) -> None:
    beside = (BOX[0] + moved, BOX[1], BOX[2] + moved, BOX[3])
    assert judged(labelled("a.jpg", (0, beside)), seen(0, 0.8)) == [Kind.SHIFTED]


def test_a_label_far_from_any_object_and_an_object_without_one() -> None:
    away = (300.0, 300.0, 380.0, 380.0)
    assert judged(labelled("a.jpg", (0, away)), seen(0, 0.8)) == [Kind.MISSING, Kind.SPURIOUS]


def test_a_label_of_a_class_that_is_seldom_found_is_not_doubted() -> None:
    pictures = [labelled(f"{number}.jpg", (0, BOX)) for number in range(10)]
    assert list(contradictions(pictures, [[] for _ in pictures], NAMES)) == []
