"""How many mistakes a frame's boxes let expect, by what the other model and the frames around it say."""

import numpy as np
import pytest

from masktrain_trainer.compare.matching import FrameBoxes, match
from masktrain_trainer.compare.mistakes import expected_mistakes, places
from masktrain_trainer.compare.witness import call_witness

from .staged import Skill, imagined, labels, staged, truth

THRESHOLD = 0.25


def one(confidence: float, label: int = 0, x: float = 0) -> FrameBoxes:
    return FrameBoxes(np.array([[x, 0, x + 9, 9]], np.float32), np.array([confidence], np.float32), np.array([label]))


NOTHING = FrameBoxes()


def mistakes(mine: FrameBoxes, other: FrameBoxes, objects: FrameBoxes) -> float:
    return sum(place.mistakes for place in places(mine, other, objects, THRESHOLD))


@pytest.mark.parametrize(
    ("mine", "other", "objects", "expected"),
    [
        pytest.param(one(1), one(1), one(1), 0, id="all see the same"),
        pytest.param(one(0.5), one(0.5), one(0.5), 1 / 8, id="all doubt the same, and each confirms the others"),
        pytest.param(NOTHING, one(0.5), one(0.5), 3 / 4, id="missed"),
        pytest.param(one(0.6), NOTHING, NOTHING, 0.4, id="seen by nobody else"),
        pytest.param(one(1), one(1, label=1), one(1, label=1), 4 / 3, id="called otherwise: wrong and missing"),
        pytest.param(
            FrameBoxes.joined([one(1), one(1, label=1)]), one(1), one(1), 1, id="two at one place: one is too many"
        ),
        pytest.param(one(0.6), one(0.6, x=50), NOTHING, 1, id="two places, each believed by one alone"),
        pytest.param(NOTHING, NOTHING, NOTHING, 0, id="nothing"),
    ],
)
def test_what_the_witnesses_make_of_a_frame(
    mine: FrameBoxes, other: FrameBoxes, objects: FrameBoxes, expected: float
) -> None:
    assert mistakes(mine, other, objects) == pytest.approx(expected, abs=1e-6)


def test_the_less_sure_a_shown_box_the_likelier_a_mistake() -> None:
    sure, doubted = mistakes(one(0.9), one(0.9), one(0.9)), mistakes(one(0.3), one(0.3), one(0.9))
    assert sure < doubted < mistakes(one(0.3), NOTHING, NOTHING)


def test_boxes_below_the_threshold_are_not_shown() -> None:
    assert mistakes(one(0.2), NOTHING, NOTHING) == pytest.approx(0.2)


def test_a_miss_is_worth_more_than_a_box_that_all_confirm() -> None:
    assert mistakes(NOTHING, one(0.5), one(0.5)) > 3 * mistakes(one(0.6), one(0.5), one(0.5))


def test_expected_mistakes_are_where_the_mistakes_are() -> None:
    objects = truth(160, 4)
    found = [imagined(objects, Skill(0.6, 0.12, 0.15, 0.5), 1), imagined(objects, Skill(0.5, 0.14, 0.2, 0.5), 2)]
    recording = staged(found[0], found[1])
    made = []
    for boxes, row in zip(found[0], objects, strict=True):
        compared = match(boxes.above(THRESHOLD), labels(row))
        made.append(len(compared.only[0]) + len(compared.only[1]) + 2 * len(compared.other_class))
    expected = expected_mistakes(recording, call_witness(recording), 0, range(len(made)))
    assert np.corrcoef(list(expected.values()), made)[0, 1] > 0.6
