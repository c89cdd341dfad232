"""A stand-in for labels: objects that both models' boxes show over time, and how well each model agrees with them.

A box that one model has for a moment is a claim; a place where boxes of either follow each other through frames is an
object that was there in between, too. So the tracks of both models' boxes together, with their gaps filled, witness
for or against each of them.

What a still camera sees of the background is the same in every frame, and so is what a model takes it for: such a box
is as steady as any object. But objects come and go, or are there all the time; they don't appear and vanish in one
place, unless an edited film goes on to another shot. Who walks straight at the camera stays in one place, but grows.
Boxes alone don't tell a spot that a model takes for a face, except when the light goes, from a face that it finds,
except when somebody passes in front of it: who sits still and is lost for longer than `patience` is taken for the spot.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics

from .matching import LEAST_IOU, FrameBoxes, overlaps, pair_up
from .recording import Recording
from .tracks import Track, follow, one_per_object, patience

CLAIM = 0.15
"""Least confidence of a box that may be part of a track."""
LEAST_SECONDS = 0.25
"""An object that is seen for less is taken for a mistake."""
LEAST_CERTAINTY = 0.2
"""Of a track: mean confidence of both models over all of its frames, those without a box included."""
LEAST_CERTAIN_PICTURE = 0.35
"""The same for a picture, which has no time to witness."""
LEAST_TRAVEL = 0.2
"""In sizes of itself, of an object that is not there all the time: a slow walker's way in half a second. What does not
move seems to come as far where its boxes scatter by a fifteenth of their size.
"""
LEAST_GROWTH = 0.5
"""Likewise. More, since boxes of what does not move grow and shrink with the light and the focus."""
CROWDING = 2.0
"""How strongly a model is distrusted whose boxes lie over boxes."""
BLOCKS = 12
"""Parts of the material, each of which is left out once to see how much the difference depends on it."""


@dataclass(frozen=True)
class Witness:
    """`frames`: the objects in each frame, as labels. `tracks`: the objects over time; empty for pictures."""

    frames: list[FrameBoxes]
    tracks: list[Track]


@dataclass(frozen=True)
class Agreement:
    """mAP50 of each model on the witness's objects; `error`: standard error of their difference (first - second)."""

    scores: tuple[float, float]
    error: float
    objects: int

    @property
    def difference(self) -> float:
        return self.scores[0] - self.scores[1]


def call_witness(recording: Recording) -> Witness:
    shared = recording.classes.shared
    claims = [[found.among(shared).above(CLAIM) for found in of_model] for of_model in recording.boxes]
    trust = (selectivity(claims[0]), selectivity(claims[1]))
    pooled = [pool(first, second, trust) for first, second in zip(claims[0], claims[1], strict=True)]
    if not recording.moving:
        return Witness([found.above(LEAST_CERTAIN_PICTURE) for found in pooled], [])
    tracks = follow(pooled, patience_frames=patience(recording.rate), cuts=frozenset(recording.cuts))
    least = max(3, round(LEAST_SECONDS * recording.rate))
    lasting = [track for track in tracks if track.span >= least and certainty(track) >= LEAST_CERTAINTY]
    tracks = without_background(recording, lasting)
    return Witness(_by_frame(tracks, [vote(recording, track) for track in tracks], len(recording)), tracks)


def without_background(recording: Recording, tracks: Sequence[Track]) -> list[Track]:
    ends = sorted({0, len(recording), *recording.cuts, *recording.shots})
    slack = patience(recording.rate)
    return [track for track in tracks if _moves(track) or _lasts_a_shot(track, ends, slack)]


def _moves(track: Track) -> bool:
    return track.travel >= LEAST_TRAVEL or track.growth >= LEAST_GROWTH


def _lasts_a_shot(track: Track, ends: Sequence[int], slack: int) -> bool:
    """Whether a track begins with a shot and ends with that or a later one, give or take `slack` frames.

    ends: the first frame of each shot, by rising number, and the one after the last.
    """
    first, last = track.frames[0], track.frames[-1]
    begin, end = ends[bisect_right(ends, first) - 1], ends[bisect_left(ends, last + 1)]
    return first - begin <= slack and end - 1 - last <= slack


def vote(recording: Recording, track: Track) -> int:
    """The class that both models together give an object, each box with its confidence for its own class."""
    votes: dict[int, float] = {}
    for frame, xyxy_4 in zip(track.frames, track.boxes, strict=True):
        for of_model in recording.boxes:
            found = of_model[frame]
            here = overlaps(found.xyxy_N4, xyxy_4[None])[:, 0] >= LEAST_IOU
            for label, confidence in zip(found.label_N[here].tolist(), found.confidence_N[here].tolist(), strict=True):
                votes[label] = votes.get(label, 0.0) + confidence
    shared = {label: weight for label, weight in votes.items() if label in recording.classes.shared}
    return max(shared, key=lambda label: shared[label]) if shared else track.label


def selectivity(frames: Sequence[FrameBoxes]) -> float:
    """How much of its confidence a model spends on boxes that stand free: 1 for one that sees separate things, near 0
    for one that sees something everywhere, whose boxes are as steady as a wall.
    """
    spent = sum(float(found.confidence_N.sum()) for found in frames)
    free = sum(float(_uncrowded(found).confidence_N.sum()) for found in frames)
    return (free / spent) ** CROWDING if spent else 1.0


def pool(first: FrameBoxes, second: FrameBoxes, trust: tuple[float, float] = (1.0, 1.0)) -> FrameBoxes:
    """One box for each place: the mean of both models' where both have one; a lone one has half of its confidence, and
    of that as much as its model is trusted.
    """
    first, second = one_per_object(first), one_per_object(second)
    pairs = pair_up(overlaps(first.xyxy_N4, second.xyxy_N4), LEAST_IOU)
    rows, columns = ([pair[side] for pair in pairs] for side in (0, 1))
    both = _means(first.where(np.array(rows, np.int64)), second.where(np.array(columns, np.int64)))
    alone = [
        _scaled(boxes.where(np.setdiff1d(np.arange(len(boxes)), taken)), trusted / 2)
        for boxes, taken, trusted in ((first, rows, trust[0]), (second, columns, trust[1]))
    ]
    return _uncrowded(FrameBoxes.joined([both, *alone]))


def _uncrowded(boxes: FrameBoxes) -> FrameBoxes:
    """With less confidence where surer boxes overlap them: things hide each other in part, and a model that sees
    something everywhere has boxes over boxes.
    """
    if len(boxes) < 2:
        return boxes
    ordered = boxes.where(np.argsort(-boxes.confidence_N, kind="stable"))
    free_N = np.prod(1 - np.tril(overlaps(ordered.xyxy_N4, ordered.xyxy_N4), -1), axis=1)
    return FrameBoxes(ordered.xyxy_N4, ordered.confidence_N * free_N, ordered.label_N)


def _means(first: FrameBoxes, second: FrameBoxes) -> FrameBoxes:
    weight = first.confidence_N / np.maximum(first.confidence_N + second.confidence_N, 1e-9)
    boxes = first.xyxy_N4 * weight[:, None] + second.xyxy_N4 * (1 - weight[:, None])
    surer = np.where(first.confidence_N >= second.confidence_N, first.label_N, second.label_N)
    return FrameBoxes(boxes, (first.confidence_N + second.confidence_N) / 2, surer)


def _scaled(boxes: FrameBoxes, share: float) -> FrameBoxes:
    return FrameBoxes(boxes.xyxy_N4, boxes.confidence_N * share, boxes.label_N)


def certainty(track: Track) -> float:
    return sum(track.confidences) / track.span


def _by_frame(tracks: Sequence[Track], labels: Sequence[int], frames: int) -> list[FrameBoxes]:
    found: list[list[tuple[np.ndarray, float, int]]] = [[] for _ in range(frames)]
    for track, label in zip(tracks, labels, strict=True):
        sure = certainty(track)
        for frame, xyxy_4 in track.filled().items():
            found[frame].append((xyxy_4, sure, label))
    return [
        FrameBoxes(
            np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4),
            np.array([sure for _, sure, _ in boxes], np.float32),
            np.array([label for _, _, label in boxes], np.int64),
        )
        for boxes in found
    ]


def agreement(recording: Recording, witness: Witness) -> Agreement:
    """The error is a jackknife's over `BLOCKS` stretches of the material, since neighbouring frames are alike."""
    shared = recording.classes.shared
    statistics = [
        [
            DetectionStatistics.of_image(_detections(found.among(shared)), _labels(objects))
            for found, objects in zip(recording.boxes[model], witness.frames, strict=True)
        ]
        for model in (0, 1)
    ]
    blocks = min(BLOCKS, len(recording))
    block_of = (np.arange(len(recording)) * blocks) // max(1, len(recording))
    scores = [_map50(parts) for parts in statistics]
    differences = [
        _map50(_without(statistics[0], block_of, block)) - _map50(_without(statistics[1], block_of, block))
        for block in range(blocks)
    ]
    error = float(np.sqrt((blocks - 1) * np.var(differences))) if blocks > 1 else float("inf")
    return Agreement((scores[0], scores[1]), error, sum(len(objects) for objects in witness.frames))


def _without(parts: Sequence[DetectionStatistics], block_of: np.ndarray, block: int) -> list[DetectionStatistics]:
    return [part for part, own in zip(parts, block_of, strict=True) if own != block]


def _map50(parts: Sequence[DetectionStatistics]) -> float:
    return DetectionMetrics.from_statistics(DetectionStatistics.concatenate(parts)).map50


def _detections(found: FrameBoxes) -> Tensor:
    columns = (found.xyxy_N4, found.confidence_N[:, None], found.label_N[:, None])
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


def _labels(objects: FrameBoxes) -> Tensor:
    return torch.from_numpy(np.concatenate((objects.label_N[:, None], objects.xyxy_N4), axis=1).astype(np.float32))


def presence(recording: Recording, track: Track, model: int) -> list[bool]:
    """Whether a model shows a box for an object of the witness, for each frame from its first to its last."""
    shown = recording.boxes[model]
    return [
        bool((overlaps(shown[frame].above(recording.confidence).xyxy_N4, box_4[None]) >= LEAST_IOU).any())
        for frame, box_4 in track.filled().items()
    ]
