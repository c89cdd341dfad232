"""Objects followed from frame to frame, by one model's boxes or by those of both: blinking, class switches, jitter."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .matching import FrameBoxes, overlaps, pair_up

LEAST_IOU = 0.3
"""Between the place where a track is expected and a box, to be the same object."""
PATIENCE_SECONDS = 0.6
"""So long an object may be missing and is still the same one."""
LEAST_PATIENCE = 3
STEADIED = 5
"""Boxes of which the median says where a track is."""

Array = NDArray[Any]


@dataclass
class Track:
    """One object's boxes by rising frame; frames without one are gaps."""

    frames: list[int] = field(default_factory=list)
    boxes: list[Array] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def add(self, frame: int, xyxy_4: Array, confidence: float, label: int) -> None:
        self.frames.append(frame)
        self.boxes.append(xyxy_4)
        self.confidences.append(confidence)
        self.labels.append(label)

    def expected(self, frame: int) -> Array:
        """Where it should be: on along the way of its last frames."""
        last = self.boxes[-1]
        if len(self.frames) < 2:
            return last
        earlier = max(-5, -len(self.frames))
        way = (last - self.boxes[earlier]) / (self.frames[-1] - self.frames[earlier])
        # A size that grows for long would leave the picture; only the centre goes on.
        centre = (way[:2] + way[2:]) / 2
        return np.asarray(last + np.concatenate((centre, centre)) * (frame - self.frames[-1]))

    @property
    def span(self) -> int:
        """Frames from its first to its last."""
        return self.frames[-1] - self.frames[0] + 1

    @property
    def missing(self) -> int:
        """Frames in between that have no box."""
        return self.span - len(self.frames)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """First and last frame of each stretch without a box: the blinking."""
        return [(before + 1, after - 1) for before, after in pairwise(self.frames) if after - before > 1]

    @property
    def switches(self) -> int:
        """How often its class changes."""
        return sum(before != after for before, after in pairwise(self.labels))

    @property
    def label(self) -> int:
        """The class with most confidence in all."""
        weights: Counter[int] = Counter()
        for label, confidence in zip(self.labels, self.confidences, strict=True):
            # In thousandths, since a Counter's values are whole.
            weights[label] += round(1000 * confidence)
        return weights.most_common(1)[0][0]

    @property
    def jitter(self) -> float:
        """How far a box lies from half-way between its neighbours, as a share of its size; 0 for a steady way."""
        boxes = np.array(self.boxes, np.float64)
        steps = np.diff(self.frames)
        inner = np.flatnonzero((steps[:-1] == 1) & (steps[1:] == 1)) + 1
        if not len(inner):
            return 0.0
        off = np.abs(boxes[inner] - (boxes[inner - 1] + boxes[inner + 1]) / 2).mean(axis=1)
        return float(np.median(off / _sizes(boxes[inner])))

    @property
    def travel(self) -> float:
        """How far its middle comes, as a multiple of its size."""
        boxes = self._steadied()
        return float(np.ptp((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0).max() / _sizes(boxes).mean())

    @property
    def growth(self) -> float:
        """How much larger it is at one time than at another, as a multiple of its mean size."""
        sizes = _sizes(self._steadied())
        return float(np.ptp(sizes) / sizes.mean())

    def _steadied(self) -> Array:
        """Medians of a few boxes each: those of what stays where it is scatter, and the longer the farther."""
        boxes = np.array(self.boxes, np.float64)
        each = max(1, min(STEADIED, len(boxes) // 3))
        whole = len(boxes) // each * each
        return np.asarray(np.median(boxes[:whole].reshape(-1, each, 4), axis=1))

    def filled(self) -> dict[int, Array]:
        """A box for each frame from its first to its last, those of gaps in between their neighbours."""
        frames = np.arange(self.frames[0], self.frames[-1] + 1)
        boxes = np.array(self.boxes, np.float64)
        sides = [np.interp(frames, self.frames, boxes[:, side]) for side in range(4)]
        return dict(zip(frames.tolist(), np.stack(sides, axis=1), strict=True))


def _sizes(xyxy_N4: Array) -> Array:
    """Of a square of the same area, in pixels, none below 1."""
    return np.asarray(np.sqrt(np.clip(np.prod(xyxy_N4[:, 2:] - xyxy_N4[:, :2], axis=1), 1, None)))


def patience(frames_per_second: float) -> int:
    return max(LEAST_PATIENCE, round(PATIENCE_SECONDS * frames_per_second))


def follow(frames: Sequence[FrameBoxes], *, patience_frames: int, cuts: frozenset[int] = frozenset()) -> list[Track]:
    """Tracks of the boxes of consecutive frames, whatever their class; no track goes on over a frame of `cuts`.

    Greedy: the best overlap between the places that are expected and the boxes first.
    """
    finished: list[Track] = []
    alive: list[Track] = []
    for number, found in enumerate(frames):
        lost = [track for track in alive if number in cuts or number - track.frames[-1] > patience_frames]
        if lost:
            finished += lost
            alive = [track for track in alive if not any(track is gone for gone in lost)]
        alive += _continued(alive, number, one_per_object(found))
    return sorted([*finished, *alive], key=lambda track: track.frames[0])


def _continued(alive: list[Track], number: int, found: FrameBoxes) -> list[Track]:
    """Add the boxes of a frame to their tracks; returns new tracks of those that belong to none."""
    expected = np.array([track.expected(number) for track in alive]).reshape(-1, 4)
    pairs = pair_up(overlaps(expected, found.xyxy_N4), LEAST_IOU)
    for row, column in pairs:
        alive[row].add(number, *_box(found, column))
    new = sorted(set(range(len(found))) - {column for _, column in pairs})
    tracks = []
    for column in new:
        track = Track()
        track.add(number, *_box(found, column))
        tracks.append(track)
    return tracks


def _box(found: FrameBoxes, index: int) -> tuple[Array, float, int]:
    return found.xyxy_N4[index], float(found.confidence_N[index]), int(found.label_N[index])


def one_per_object(found: FrameBoxes, most_iou: float = 0.6) -> FrameBoxes:
    """Of boxes of several classes at one place the most confident."""
    if len(found) < 2:
        return found
    best_first = found.where(np.argsort(-found.confidence_N, kind="stable"))
    iou_NN = overlaps(best_first.xyxy_N4, best_first.xyxy_N4)
    kept: list[int] = []
    for index in range(len(best_first)):
        if not kept or iou_NN[index, kept].max() <= most_iou:
            kept.append(index)
    return best_first.where(np.array(kept))


@dataclass(frozen=True)
class Steadiness:
    """How one model's boxes behave over time. `tracks` are objects that it saw in at least two frames.

    blinks: stretches without a box inside the life of a track. missing: frames in them, as a share of all frames of
    tracks. isolated: boxes that no frame before or after confirms. jitter: as `Track.jitter`, the median of tracks.
    """

    tracks: int
    boxes: int
    blinks: int
    missing: float
    isolated: int
    switches: int
    jitter: float

    @property
    def blinks_per_track(self) -> float:
        return self.blinks / self.tracks if self.tracks else 0.0

    @property
    def isolated_share(self) -> float:
        return self.isolated / self.boxes if self.boxes else 0.0


def steadiness(tracks: Sequence[Track]) -> Steadiness:
    lasting = [track for track in tracks if len(track.frames) > 1]
    frames = sum(track.span for track in lasting)
    return Steadiness(
        tracks=len(lasting),
        boxes=sum(len(track.frames) for track in tracks),
        blinks=sum(len(track.gaps) for track in lasting),
        missing=sum(track.missing for track in lasting) / frames if frames else 0.0,
        isolated=len(tracks) - len(lasting),
        switches=sum(track.switches for track in lasting),
        jitter=float(np.median([track.jitter for track in lasting])) if lasting else 0.0,
    )
