"""Where out-of-fold predictions speak against the labels of their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.model.boxes import pairwise_iou
from masktrain_trainer.predict.drawing import LabelledBox

from .findings import Finding, Kind, Picture, at, marked

SAME_PLACE = 0.5
"""IoU from which a prediction is about a label, as in mAP50."""
ANY_OVERLAP = 0.1
NEARBY = 1.5
"""Times a box's longer side: so far its object may be away before it is taken for another one."""
CLASS_LEAD, MISSING_CONFIDENCE, SHIFTED_CONFIDENCE = 0.7, 0.5, 0.35
UNSEEN_CONFIDENCE, LEAST_RECALL = 0.1, 0.95
"""A label is doubted where nothing is found at all, in a class whose labels are found otherwise."""


@dataclass(frozen=True)
class _Compared:
    """Labels (N) and predictions (M) of a picture. `own_N`: the highest confidence for a label's class among the
    predictions in its place; `any_N`: of whatever overlaps it.
    """

    picture: Picture
    found: Sequence[Detection]
    iou_NM: npt.NDArray[np.float64]
    same_class_NM: npt.NDArray[np.bool_]
    confidence_M: npt.NDArray[np.float64]
    own_N: npt.NDArray[np.float64]
    any_N: npt.NDArray[np.float64]


def contradictions(
    pictures: Sequence[Picture], found: Sequence[Sequence[Detection]], names: Sequence[str]
) -> Iterator[Finding]:
    """Where out-of-fold predictions speak against the labels of their pictures."""
    compared = [_compare(picture, detections) for picture, detections in zip(pictures, found, strict=True)]
    recall_C, usual_C = _recall(compared, len(names)), _usual_confidence(compared, len(names))
    for one in compared:
        yield from _contradictions(one, recall_C, usual_C, names)


def _compare(picture: Picture, found: Sequence[Detection]) -> _Compared:
    iou_NM = pairwise_iou(torch.from_numpy(picture.corners), _corners(found)).numpy()
    classes_N = np.array(picture.classes, int)
    classes_M = np.array([detection.class_index for detection in found], int)
    confidence_M = np.array([detection.confidence for detection in found], np.float64)
    same_class_NM, same_place_NM = classes_N[:, None] == classes_M[None], iou_NM >= SAME_PLACE

    def highest(counts_NM: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        highest_N: npt.NDArray[np.float64] = np.where(counts_NM, confidence_M[None], 0.0).max(axis=1, initial=0.0)
        return highest_N

    return _Compared(
        picture,
        found,
        iou_NM,
        same_class_NM,
        confidence_M,
        own_N=highest(same_class_NM & same_place_NM),
        any_N=highest(iou_NM >= ANY_OVERLAP),
    )


def _recall(compared: Sequence[_Compared], classes: int) -> npt.NDArray[np.float64]:
    """Share of each class's labels in whose place its class was found."""
    seen, all_of = np.zeros(classes), np.zeros(classes)
    for one in compared:
        np.add.at(all_of, one.picture.classes, 1)
        np.add.at(seen, one.picture.classes, one.own_N >= 2 * UNSEEN_CONFIDENCE)
    return seen / np.maximum(all_of, 1)


def _usual_confidence(compared: Sequence[_Compared], classes: int) -> npt.NDArray[np.float64]:
    """With which each class is found, on average, where a label says so: confident learning's threshold of a class."""
    total, count = np.zeros(classes), np.zeros(classes)
    for one in compared:
        np.add.at(total, one.picture.classes, one.own_N)
        np.add.at(count, one.picture.classes, one.own_N > 0)
    return total / np.maximum(count, 1)


def _contradictions(
    one: _Compared, recall_C: npt.NDArray[np.float64], usual_C: npt.NDArray[np.float64], names: Sequence[str]
) -> Iterator[Finding]:
    doubted = [index for index in range(len(one.picture.classes)) if one.own_N[index] < UNSEEN_CONFIDENCE]
    unlabelled = [
        number
        for number in range(len(one.found))
        if not (one.iou_NM[:, number] >= SAME_PLACE).any() and one.confidence_M[number] >= SHIFTED_CONFIDENCE
    ]
    for index in range(len(one.picture.classes)):
        other = _other_class(one, index)
        if other is not None and _is_convincing(other, float(one.own_N[index]), usual_C):
            yield _as_other_class(one, index, other, names)
            doubted = [other for other in doubted if other != index]
    for number in unlabelled:
        label = _moved(one, number, doubted)
        if label is not None:
            doubted.remove(label)
            yield _shifted(one, label, number, names)
        elif one.confidence_M[number] >= MISSING_CONFIDENCE:
            yield _missing(one, number)
    for index in doubted:
        recall = recall_C[one.picture.classes[index]]
        if one.any_N[index] < UNSEEN_CONFIDENCE and recall >= LEAST_RECALL:
            yield _spurious(one, index, float(recall), names)


def _moved(one: _Compared, number: int, doubted: Sequence[int]) -> int | None:
    """The doubted label of the prediction's class that lies nearest, if it is near and of like size."""
    x1, y1, x2, y2 = one.found[number].xyxy
    found_sides = np.array([x2 - x1, y2 - y1])
    best, nearest = None, np.inf
    for index in doubted:
        left, top, right, bottom = one.picture.corners[index]
        sides = np.array([right - left, bottom - top])
        away = float(np.hypot((left + right - x1 - x2) / 2, (top + bottom - y1 - y2) / 2)) / float(sides.max())
        alike = bool((sides < 2 * found_sides).all() and (found_sides < 2 * sides).all())
        if one.same_class_NM[index, number] and alike and away <= NEARBY and away < nearest:
            best, nearest = index, away
    return best


def _other_class(one: _Compared, index: int) -> Detection | None:
    """What is found in a label's place with the highest confidence, of all other classes."""
    candidates = np.where(~one.same_class_NM[index] & (one.iou_NM[index] >= SAME_PLACE), one.confidence_M, 0.0)
    return one.found[int(candidates.argmax())] if candidates.any() else None


def _is_convincing(other: Detection, own: float, usual_C: npt.NDArray[np.float64]) -> bool:
    """Whether a class is found as surely as where labels name it, and much more so than the label's own."""
    return other.confidence - own >= CLASS_LEAD and other.confidence >= usual_C[other.class_index]


def _as_other_class(one: _Compared, index: int, other: Detection, names: Sequence[str]) -> Finding:
    label, own = one.picture.classes[index], float(one.own_N[index])
    return Finding(
        Kind.CLASS,
        f"{one.picture.name}: the box {names[label]!r} {at(one.picture.corners[index])} looks like {other.name!r} "
        f"({other.confidence:.2f}, as {names[label]!r} {own:.2f}).",
        other.confidence - own,
        [one.picture],
        [marked(one.picture, index, names), _predicted(other)],
    )


def _shifted(one: _Compared, index: int, number: int, names: Sequence[str]) -> Finding:
    label, found = one.picture.classes[index], one.found[number]
    return Finding(
        Kind.SHIFTED,
        f"{one.picture.name}: the box {names[label]!r} {at(one.picture.corners[index])} has nothing in it that looks "
        f"like one, but there is one {at(found.xyxy)} ({found.confidence:.2f}).",
        found.confidence,
        [one.picture],
        [marked(one.picture, index, names), _predicted(found)],
    )


def _missing(one: _Compared, number: int) -> Finding:
    found = one.found[number]
    return Finding(
        Kind.MISSING,
        f"{one.picture.name}: {found.name!r} {at(found.xyxy)} has no box ({found.confidence:.2f}).",
        found.confidence,
        [one.picture],
        [_predicted(found)],
    )


def _spurious(one: _Compared, index: int, recall: float, names: Sequence[str]) -> Finding:
    label = one.picture.classes[index]
    return Finding(
        Kind.SPURIOUS,
        f"{one.picture.name}: nothing is found in the box {names[label]!r} {at(one.picture.corners[index])}; of its "
        f"class {recall:.0%} are found.",
        recall,
        [one.picture],
        [marked(one.picture, index, names)],
    )


def _predicted(found: Detection) -> LabelledBox:
    return LabelledBox(found.xyxy, found.class_index, f"found: {found.name} {found.confidence:.2f}")


def agreed(found: Sequence[Detection], again: Sequence[Detection]) -> list[Detection]:
    """Two looks at one picture made one: what both have, with the mean of box and confidence, and the rest at half.

    A small model is often sure of something only as long as it is not mirrored.
    """
    iou_NM = pairwise_iou(_corners(found), _corners(again)).numpy()
    left = set(range(len(again)))
    both: list[Detection] = []
    for index, one in enumerate(found):
        alike = [
            other
            for other in left
            if again[other].class_index == one.class_index and iou_NM[index, other] >= SAME_PLACE
        ]
        partner = max(alike, key=lambda other: float(iou_NM[index, other]), default=None)
        left.discard(-1 if partner is None else partner)
        both.append(_mean(one, None if partner is None else again[partner]))
    both += [_mean(again[other], None) for other in sorted(left)]
    return sorted(both, key=lambda detection: -detection.confidence)


def _mean(one: Detection, other: Detection | None) -> Detection:
    if other is None:
        return replace(one, confidence=one.confidence / 2)
    x1, y1, x2, y2 = ((first + second) / 2 for first, second in zip(one.xyxy, other.xyxy, strict=True))
    return replace(one, confidence=(one.confidence + other.confidence) / 2, xyxy=(x1, y1, x2, y2))


def _corners(found: Sequence[Detection]) -> torch.Tensor:
    return torch.tensor([detection.xyxy for detection in found], dtype=torch.float64).reshape(-1, 4)


def mirrored(detection: Detection, width: int) -> Detection:
    """Back in a picture of that many pixels, if it was found in its mirror image."""
    x1, y1, x2, y2 = detection.xyxy
    return replace(detection, xyxy=(width - x2, y1, width - x1, y2))
