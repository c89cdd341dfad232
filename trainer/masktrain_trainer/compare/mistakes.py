"""How many mistakes of a model a frame lets expect, when nobody knows the truth.

Three witnesses speak for an object at a place: the model itself, the other model, and the frames before and after.
Each sees what the others overlook, so a place is believed unless all of them are wrong about it: what one doubts and
the others confirm is no doubt any more. A place that is believed and where the model shows nothing is likely a miss,
one that it shows and that is not believed is likely a false box, and where the witnesses' classes differ its class is
likely wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .matching import LEAST_IOU, FrameBoxes, overlaps
from .recording import Recording
from .witness import Witness

Array = NDArray[Any]


@dataclass(frozen=True)
class Place:
    """Where in a frame a witness sees something.

    belief: from 0 to 1, that there is an object. known: from 0 to 1, that it is of one of the classes that the model
    shows there. shown: how many boxes of the model are shown there.
    """

    belief: float
    known: float
    shown: int

    @property
    def mistakes(self) -> float:
        """Of several boxes at one place one at most can be right; one of another class is wrong and missing as well."""
        if not self.shown:
            return self.belief
        right = self.belief * self.known
        return self.shown - right + self.belief * (1 - self.known)


def expected_mistakes(recording: Recording, witness: Witness, model: int) -> list[float]:
    """For each frame, counted as a person with the labels would: boxes that are wrong, and boxes that are missing."""
    shared = recording.classes.shared
    mine, others = recording.boxes[model], recording.boxes[1 - model]
    return [
        mistakes_in_frame(own.among(shared), other.among(shared), objects, recording.confidence)
        for own, other, objects in zip(mine, others, witness.frames, strict=True)
    ]


def mistakes_in_frame(mine: FrameBoxes, other: FrameBoxes, objects: FrameBoxes | None, threshold: float) -> float:
    """`objects`: what the frames before and after show, each as sure as its confidence says; None: nobody knows yet."""
    return sum(place.mistakes for place in places(mine, other, objects, threshold))


def places(mine: FrameBoxes, other: FrameBoxes, objects: FrameBoxes | None, threshold: float) -> Iterator[Place]:
    spoken = (mine, other) if objects is None else (mine, other, objects)
    confidence_N, label_N = (
        np.concatenate([getattr(boxes, name) for boxes in spoken]) for name in ("confidence_N", "label_N")
    )
    witness_N = np.repeat(np.arange(len(spoken)), [len(boxes) for boxes in spoken])
    shown_N = (witness_N == 0) & (confidence_N > threshold)
    for indices in _clusters(np.concatenate([boxes.xyxy_N4 for boxes in spoken]), confidence_N, witness_N == 2):
        loudest = [confidence_N[indices][witness_N[indices] == one].max(initial=0) for one in range(len(spoken))]
        shown = indices[shown_N[indices]]
        agreeing = np.isin(label_N[indices], label_N[shown])
        known = float(confidence_N[indices][agreeing].sum() / max(1e-9, confidence_N[indices].sum()))
        yield Place(1 - float(np.prod(1 - np.array(loudest))), known, len(shown))


def _clusters(xyxy_N4: Array, confidence_N: Array, apart_N: Array) -> list[Array]:
    """Indices of the boxes at each place. Each of `apart_N` is a place of its own; the others join the place that they
    overlap most, the surest first, or make one.
    """
    iou_NN = overlaps(xyxy_N4, xyxy_N4)
    heads: list[int] = []
    members: list[list[int]] = []
    for index in np.lexsort((-confidence_N, ~apart_N)).tolist():
        best = int(np.argmax(iou_NN[index, heads])) if heads and not apart_N[index] else -1
        if best >= 0 and iou_NN[index, heads[best]] >= LEAST_IOU:
            members[best].append(index)
        else:
            heads.append(index)
            members.append([index])
    return [np.array(of_place) for of_place in members]
