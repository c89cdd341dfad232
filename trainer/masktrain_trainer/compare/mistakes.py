"""How many mistakes of a model a frame lets expect, when nobody knows the truth.

Three witnesses speak for an object at a place: the model itself, the other model, and the frames before and after.
Each sees what the others overlook, so a place is believed unless all of them are wrong about it: what one doubts and
the others confirm is no doubt any more. A place that is believed and where the model shows nothing is likely a miss,
one that it shows and that is not believed is likely a false box, and where the witnesses' classes differ its class is
likely wrong.
"""

from collections.abc import Iterable
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


def expected_mistakes(recording: Recording, witness: Witness, model: int, frames: Iterable[int]) -> dict[int, float]:
    """In each of `frames`, counted as a person with the labels would: boxes that are wrong, and that are missing."""
    shared = recording.classes.shared
    mine, others = recording.boxes[model], recording.boxes[1 - model]
    return {
        frame: mistakes_in_frame(
            mine[frame].among(shared), others[frame].among(shared), witness.frames[frame], recording.confidence
        )
        for frame in frames
    }


def mistakes_in_frame(mine: FrameBoxes, other: FrameBoxes, objects: FrameBoxes | None, threshold: float) -> float:
    """`objects`: what the frames before and after show, each as sure as its confidence says; None: nobody knows yet."""
    return sum(place.mistakes for place in places(mine, other, objects, threshold))


def places(mine: FrameBoxes, other: FrameBoxes, objects: FrameBoxes | None, threshold: float) -> list[Place]:
    """By whole frames at once: a frame may hold hundreds of faint boxes, and each frame of a film is looked at."""
    spoken = [mine, other] if objects is None else [mine, other, objects]
    boxes = FrameBoxes.joined(spoken)
    witness_N = np.repeat(np.arange(len(spoken)), [len(of_one) for of_one in spoken])
    place_N = _places(boxes, witness_N == 2)
    count = int(place_N.max(initial=-1)) + 1
    shown_N = (witness_N == 0) & (boxes.confidence_N > threshold)
    loudest = np.zeros((len(spoken), count))
    np.maximum.at(loudest, (witness_N, place_N), boxes.confidence_N)
    belief = 1 - np.prod(1 - loudest, axis=0)
    classes, class_N = np.unique(boxes.label_N, return_inverse=True)
    shows = np.zeros((count, len(classes)), bool)
    shows[place_N[shown_N], class_N[shown_N]] = True
    agreeing = np.bincount(place_N, boxes.confidence_N * shows[place_N, class_N], count)
    known = agreeing / np.maximum(np.bincount(place_N, boxes.confidence_N, count), 1e-9)
    shown = np.bincount(place_N[shown_N], minlength=count)
    return [Place(*place) for place in zip(belief.tolist(), known.tolist(), shown.tolist(), strict=True)]


def _places(boxes: FrameBoxes, apart_N: Array) -> Array:
    """For each box the number of its place. Each of `apart_N` is a place of its own; the others join the place that
    they overlap most, the surest first, or make one.
    """
    iou_NN = overlaps(boxes.xyxy_N4, boxes.xyxy_N4)
    near: list[list[int]] = [[] for _ in range(len(boxes))]
    for row, column in np.argwhere(iou_NN >= LEAST_IOU).tolist():
        near[row].append(column)
    place_of_head: dict[int, int] = {}
    place_N = np.zeros(len(boxes), np.int64)
    for index in np.lexsort((-boxes.confidence_N, ~apart_N)).tolist():
        heads = [] if apart_N[index] else [head for head in near[index] if head in place_of_head]
        if heads:
            place_N[index] = place_of_head[max(heads, key=lambda head: (iou_NN[index, head], -place_of_head[head]))]
        else:
            place_N[index] = place_of_head[index] = len(place_of_head)
    return place_N
