"""Frames that may be picked for labelling, kept as JPEGs while the film passes by: a bounded number of the best.

Nothing is known yet of the frames that follow, nor which model is better. So a frame is worth the mistakes of both that
it alone lets expect, less what its neighbours already tell.
"""

from dataclasses import dataclass
from math import exp
from pathlib import Path

import cv2
import numpy as np

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.detect.sources.base import Kind, Medium

from .matching import FrameBoxes
from .mistakes import mistakes_in_frame
from .recording import Seen

CANDIDATES = 8
"""Frames that are kept for each one that is wanted."""
JPEG_QUALITY = 95
NEWS_SECONDS = 0.5
"""People who walk or turn their heads look otherwise after about so long."""
LEAST_WORTH = 0.01
"""Of a frame without an expected mistake: enough that those, too, are spread."""


def news_beside(seconds: float) -> float:
    """The share of a frame's worth that is left when one is labelled so long before or after it."""
    return 1 - exp(-abs(seconds) / NEWS_SECONDS)


def interest(boxes: tuple[FrameBoxes, FrameBoxes], threshold: float, shared: frozenset[int]) -> float:
    """How many mistakes of either model the boxes of one frame let expect, as far as it alone tells."""
    first, second = (found.among(shared) for found in boxes)
    return mistakes_in_frame(first, second, None, threshold) + mistakes_in_frame(second, first, None, threshold)


@dataclass(frozen=True)
class _Candidate:
    index: int
    interest: float
    medium: Medium
    seconds: float

    def news(self, other: "_Candidate") -> float:
        alone = self.medium.kind is Kind.PICTURE or self.medium.name != other.medium.name
        return 1.0 if alone else news_beside(self.seconds - other.seconds)


class Candidates:
    """At most `CANDIDATES` for each frame that is wanted; with one more, the one that is worth least goes."""

    def __init__(self, folder: Path, wanted: int, threshold: float, shared: frozenset[int]) -> None:
        self._folder = folder
        self._most = max(2, wanted * CANDIDATES)
        self._threshold = threshold
        self._shared = shared
        self._kept: list[_Candidate] = []
        self._news: list[float] = []
        """What each kept one and the next leave of each other's worth."""

    def offer(self, index: int, seen: Seen) -> None:
        frame = seen.frame
        new = _Candidate(index, interest(seen.boxes, self._threshold, self._shared), frame.medium, frame.seconds)
        if self._kept:
            self._news.append(new.news(self._kept[-1]))
        self._kept.append(new)
        if len(self._kept) > self._most and self._drop_least() is new:
            return
        write_jpeg(self.path(index), frame.pixels_HWC)

    def _drop_least(self) -> _Candidate:
        beside = np.array([1.0, *self._news, 1.0])
        nearest = np.minimum(beside[:-1], beside[1:])
        worth = (np.array([one.interest for one in self._kept]) + LEAST_WORTH) * nearest
        # Of equals the latest: otherwise each new frame would take the place of the one before it, and none would stay.
        place = len(worth) - 1 - int(np.argmin(worth[::-1]))
        gone = self._kept.pop(place)
        self.path(gone.index).unlink(missing_ok=True)
        del self._news[max(0, place - 1) : place + 1]
        if 0 < place < len(self._kept):
            self._news.insert(place - 1, self._kept[place].news(self._kept[place - 1]))
        return gone

    def path(self, index: int) -> Path:
        return self._folder / f"{index}.jpg"

    @property
    def indices(self) -> list[int]:
        return [candidate.index for candidate in self._kept]


def write_jpeg(path: Path, pixels_HWC: Image) -> None:
    """Raises OSError."""
    _, body = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    path.write_bytes(body.tobytes())
