"""What predictions say against labels: tables of boxes, no model."""

from pathlib import Path

import numpy as np
import pytest

from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.local.contradictions import agreed, contradictions, mirrored
from masktrain_trainer.local.findings import Kind, Picture

NAMES = ["mask", "no mask"]
BOX = (100.0, 100.0, 200.0, 200.0)


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


def test_two_looks_that_agree_are_one_of_their_means() -> None:
    one, other = seen(0, 0.9, (100, 100, 200, 200)), seen(0, 0.5, (110, 100, 210, 200))
    assert agreed([one], [other]) == [seen(0, 0.7, (105, 100, 205, 200))]


def test_what_one_look_alone_has_counts_half() -> None:
    far, other_class = seen(0, 0.8, (300, 300, 390, 390)), seen(1, 0.6)
    assert agreed([seen(0, 0.9)], [far, other_class]) == [seen(0, 0.45), replaced(far, 0.4), seen(1, 0.3)]
    assert agreed([], []) == []


def test_a_detection_has_one_partner_at_most() -> None:
    found = agreed([seen(0, 0.8), seen(0, 0.6, (102, 100, 202, 200))], [seen(0, 0.8)])
    assert [round(detection.confidence, 3) for detection in found] == [0.8, 0.3]


def replaced(detection: Detection, confidence: float) -> Detection:
    return Detection(detection.class_index, detection.name, confidence, detection.xyxy)


def test_a_box_of_the_mirror_image_lies_where_it_was() -> None:
    assert mirrored(seen(0, 0.9, (10, 20, 40, 60)), 400).xyxy == (360, 20, 390, 60)
    assert mirrored(mirrored(seen(0, 0.9), 400), 400) == seen(0, 0.9)
