"""One pass over a source with two models: what both saw in each frame, how fast each was, and how the frames look."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.detect.detector import DetectionOptions, Detector
from masktrain_trainer.detect.sources.base import Frame, Kind, Skipped
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.models import Model

from .matching import Classes, FrameBoxes, FrameMatch, match

FAINT = 0.05
"""Least confidence of boxes that are recorded: what a model nearly sees tells of doubt, and of its whole curve."""
PICTURES_PER_SECOND = 2.0
"""At which pictures are shown one after the other."""
ASSUMED_RATE = 25.0
"""Of a stream that does not say it."""
LEAST_LIKENESS = 0.7
"""Correlation of two pictures that follow each other in one shot, as thumbnails; it is about 0 for those of different
shots, and more where both show a head in the middle."""
_THUMBNAIL, _ROUGH = 32, 128

Pair = tuple[FrameBoxes, FrameBoxes]


@dataclass(frozen=True)
class Seen:
    """A frame, and what the first and the second model found in it, faint boxes included."""

    frame: Frame
    boxes: Pair


@dataclass(frozen=True)
class Moment:
    """A frame of which only the place is remembered: `number` and `seconds` as in `Frame`."""

    medium: str
    number: int
    seconds: float
    size: tuple[int, int]
    """Height and width."""


@dataclass
class Recording:
    """All frames of a pass. `confidence`: above it a box is shown and counted.

    `seconds`: what each model took for each frame. `cuts`: frames with which another medium begins.
    `shots`: frames with which an edited film goes on to another picture, within one medium. `moving`: whether the
    frames follow each other in time, as those of a video do and pictures of a folder do not.
    """

    titles: tuple[str, str]
    classes: Classes
    confidence: float
    rate: float = PICTURES_PER_SECOND
    moving: bool = False
    moments: list[Moment] = field(default_factory=list)
    boxes: tuple[list[FrameBoxes], list[FrameBoxes]] = field(default_factory=lambda: ([], []))
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    cuts: set[int] = field(default_factory=set)
    shots: set[int] = field(default_factory=set)
    _glance: NDArray[Any] = field(default_factory=lambda: np.zeros((_THUMBNAIL, _THUMBNAIL)), init=False, repr=False)
    """The last frame as a thumbnail."""

    def __len__(self) -> int:
        return len(self.moments)

    def shown(self, model: int) -> list[FrameBoxes]:
        """Boxes above the threshold, of all classes."""
        return [found.above(self.confidence) for found in self.boxes[model]]

    def compared(self, model: int) -> list[FrameBoxes]:
        """Boxes above the threshold of classes that both models know."""
        return [found.among(self.classes.shared) for found in self.shown(model)]

    def matches(self) -> list[FrameMatch]:
        return [match(*pair) for pair in zip(self.compared(0), self.compared(1), strict=True)]

    def frames_per_second(self, model: int) -> float:
        """Of one frame after the other, by the median, which the first ones' warming up does not move."""
        return 1 / max(float(np.median(self.seconds[model])), 1e-9) if self.seconds[model] else 0.0

    def place(self, index: int) -> float:
        """Seconds into the videos that show all frames one after the other."""
        return index / self.rate

    def add(self, seen: Seen) -> None:
        frame = seen.frame
        name = str(frame.medium.name)
        if not self.moments:
            self.moving = frame.medium.kind is not Kind.PICTURE
            self.rate = frame.medium.frames_per_second or (ASSUMED_RATE if self.moving else PICTURES_PER_SECOND)
        elif self.moments[-1].medium != name:
            self.cuts.add(len(self.moments))
        if self.moving:
            glance = _thumbnail(frame.pixels_HWC)
            if self.moments and len(self) not in self.cuts and (glance * self._glance).sum() < LEAST_LIKENESS:
                self.shots.add(len(self))
            self._glance = glance
        height, width = frame.pixels_HWC.shape[:2]
        self.moments.append(Moment(name, frame.ordinal, frame.seconds, (height, width)))
        for kept, found in zip(self.boxes, seen.boxes, strict=True):
            kept.append(found)


def _thumbnail(pixels_HWC: Image) -> NDArray[Any]:
    """Brightness, however strong the light is: of mean 0 and length 1."""
    # Of a large picture every so many-th pixel is enough, and a tenth of the work.
    every = max(1, min(pixels_HWC.shape[:2]) // _ROUGH)
    rough = np.ascontiguousarray(pixels_HWC[::every, ::every])
    grey = cv2.cvtColor(cv2.resize(rough, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    bright = np.asarray(grey, np.float32) - grey.mean()
    return np.asarray(bright / max(float(np.linalg.norm(bright)), 1e-9))


class TwoModels:
    """Both models with the same options, on one frame after the other; `seconds`: what each took for each frame."""

    def __init__(self, models: tuple[Model, Model], classes: Classes, options: DetectionOptions) -> None:
        self._detectors = [Detector(model, options) for model in models]
        self._classes = classes
        self.seconds: tuple[list[float], list[float]] = ([], [])
        self._turn = False

    def __call__(self, frame: Frame) -> Seen:
        found: list[FrameBoxes] = [FrameBoxes(), FrameBoxes()]
        # In turn, so that neither always finds the frame in the processor's cache.
        self._turn = not self._turn
        for side in (0, 1) if self._turn else (1, 0):
            started = time.perf_counter()
            (detections,) = self._detectors[side]([frame.pixels_HWC])
            self.seconds[side].append(time.perf_counter() - started)
            found[side] = FrameBoxes.of(detections, self._classes.of_models[side])
        return Seen(frame, (found[0], found[1]))


def detect_both(frames: Iterator[Frame | Skipped], models: TwoModels) -> Iterator[Seen | Skipped]:
    for item in frames:
        yield item if isinstance(item, Skipped) else models(item)


def beginning(items: Iterator[Frame | Skipped], seconds: float | None) -> Iterator[Frame | Skipped]:
    """So many seconds of the videos in all. Pictures have no time: all of them come.

    Raises InvalidConfiguration for several live streams, whose frames come in turn.
    """
    before, medium, latest = 0.0, None, 0.0
    for item in items:
        if isinstance(item, Frame):
            if medium is not None and item.medium != medium:
                if item.medium.kind is Kind.LIVE:
                    raise InvalidConfiguration("The source holds several live streams; compare on one at a time.")
                before += latest
            medium, latest = item.medium, item.seconds
            if seconds is not None and before + latest >= seconds:
                return
        yield item
