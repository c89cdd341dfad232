"""What all viewers of the live page share: what is detected now, its counts, and the settings that they move."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.errors import InvalidConfiguration, UserError
from masktrain_trainer.predict.drawing import BoxStyle, LabelledBox, draw_boxes
from masktrain_trainer.predict.fonts import drawable_names

from .detector import Detection, Detector
from .outputs.base import Detected
from .pipeline import detect_frames
from .sources.base import Frame, Kind, Medium, Skipped, Source

LONGEST_SIDE = 1920
"""Pixels of what is sent: more than a window shows costs every viewer time."""
JPEG_QUALITY = 80
SECONDS_A_PICTURE = 1.0
"""So long each picture of a folder stays."""
RATE_SECONDS = 2.0
"""Frames/s is a mean of so long."""

Fraction = Annotated[float, Field(ge=0.01, le=1, allow_inf_nan=False)]


class Settings(BaseModel):
    """What viewers may set. `hidden`: indexes of classes that are found and counted, but not drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    confidence: Fraction = 0.25
    iou: Fraction = 0.45
    hidden: frozenset[Annotated[int, Field(ge=0)]] = frozenset()
    labels: bool = True
    confidences: bool = True


class Count(NamedTuple):
    """Boxes of a class in the newest frame, and in all frames so far."""

    now: int
    total: int


class State(BaseModel):
    """What the page tells beside the picture; classes without any box yet are left out of `counts`.

    `ended`: why nothing comes any more. `notice`: the last thing that the source passed over.
    """

    running: bool
    ended: str | None
    notice: str | None
    source: str
    model: str
    frames: int
    frames_in_all: int | None
    frames_per_second: float
    viewers: int
    counts: dict[int, Count]
    settings: Settings


class Picture(NamedTuple):
    """`version` changes with whatever can be seen in it."""

    version: int
    jpeg: bytes


class Show:
    """A source's detections for all who look. `run` belongs into a thread of its own; the rest is for any thread."""

    def __init__(self, source: Source, detector: Detector, names: list[str], style: BoxStyle) -> None:
        self._source, self._detector, self._names, self._style = source, detector, names, style
        self._drawable = drawable_names(names)
        thresholds = detector.thresholds
        self._settings = Settings.model_construct(
            confidence=thresholds.confidence, iou=thresholds.iou, labels=style.labels, confidences=style.confidences
        )
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._looked, self._running, self._stale = source.live, True, False
        self._shown: Detected | None = None
        self._version, self._frames = 0, 0
        self._totals: Counter[int] = Counter()
        self._moments: deque[float] = deque(maxlen=120)
        self._notice: str | None = None
        self._ended: str | None = None
        self._picture: Picture | None = None
        self._tell: Callable[[], None] | None = None

    @property
    def names(self) -> dict[int, str]:
        """Of the classes that may be found, by index."""
        wanted = self._detector.thresholds.classes
        return {index: name for index, name in enumerate(self._names) if wanted is None or index in wanted}

    @property
    def title(self) -> str:
        return self._detector.model.title

    @property
    def ended(self) -> str | None:
        """The sentence with which it ended."""
        return self._ended

    def run(self) -> None:
        """Until the source ends, or fails with a UserError, or `end` is called."""
        pace = _Pace()
        try:
            self._wait(lambda: self._looked)
            for item in detect_frames(self._source, self._detector):
                if self._ended is not None:
                    return
                if isinstance(item, Skipped):
                    self._notice = item.sentence
                    continue
                self._wait(lambda: False, timeout=pace.seconds_until(item.frame, time.monotonic()))
                self._show(item)
            self._wait(lambda: False, timeout=pace.seconds_left(time.monotonic()))
            self.end("The source has ended.")
        except UserError as error:
            self.end(str(error))
            raise
        finally:
            self.end("Detecting has failed; the terminal says why.")

    def end(self, sentence: str) -> None:
        """The first sentence stays."""
        with self._changed:
            self._ended = self._ended or sentence
            self._news()

    def listen(self, tell: Callable[[], None] | None) -> None:
        """Have `tell` called, from any thread, when there is another picture or an end."""
        with self._changed:
            self._tell = tell

    def look(self) -> None:
        """Somebody looks: the first frame of a video is for somebody."""
        with self._changed:
            self._looked = True
            self._changed.notify_all()

    def set_running(self, running: bool) -> None:
        with self._changed:
            self._running = running
            self._moments.clear()
            self._changed.notify_all()

    def change(self, change: Settings) -> None:
        """Take what is set in `change`. Raises InvalidConfiguration for a class that the model hasn't."""
        given = {name: getattr(change, name) for name in change.model_fields_set}
        if unknown := sorted(change.hidden - self.names.keys()):
            raise InvalidConfiguration(f"hidden: there is no class {unknown[0]}.")
        with self._changed:
            self._settings = self._settings.model_copy(update=given)
            limits = replace(self._detector.thresholds, confidence=self._settings.confidence, iou=self._settings.iou)
            self._stale = self._stale or limits != self._detector.thresholds
            self._detector.thresholds = limits
            self._news()

    def state(self, viewers: int) -> State:
        with self._changed:
            now = _counted(self._shown.detections if self._shown else ())
            return State(
                running=self._running and self._ended is None,
                ended=self._ended,
                notice=self._notice,
                source=self._shown.frame.medium.origin if self._shown else "",
                model=self.title,
                frames=self._frames,
                frames_in_all=self._source.frames,
                frames_per_second=_rate(self._moments, time.monotonic()),
                viewers=viewers,
                counts={index: Count(now[index], total) for index, total in sorted((now | self._totals).items())},
                settings=self._settings,
            )

    def picture(self) -> Picture | None:
        """The newest one, None before the first. Who comes while it is drawn gets the same."""
        with self._encoding:
            with self._changed:
                shown, settings, version = self._shown, self._settings, self._version
            if shown is None:
                return None
            if self._picture is None or self._picture.version != version:
                self._picture = Picture(version, _jpeg(self._drawn(shown, settings)))
            return self._picture

    def _drawn(self, shown: Detected, settings: Settings) -> Image:
        style = replace(self._style, labels=settings.labels, confidences=settings.confidences)
        boxes = [
            LabelledBox(found.xyxy, found.class_index, style.text(self._drawable[found.class_index], found.confidence))
            for found in shown.detections
            if found.class_index not in settings.hidden
        ]
        return draw_boxes(shown.frame.pixels_HWC, boxes, style)

    def _show(self, detected: Detected) -> None:
        """While it is stopped, the frame that everybody sees is detected again when thresholds change."""
        while self._ended is None:
            with self._changed:
                self._changed.wait_for(lambda: self._running or self._stale or self._ended is not None)
                if self._running:
                    self._take(detected)
                    return
                self._stale, shown = False, self._shown
            if shown is not None and self._ended is None:
                (detections,) = self._detector([shown.frame.pixels_HWC])
                with self._changed:
                    self._shown = replace(shown, detections=detections)
                    self._news()

    def _take(self, detected: Detected) -> None:
        self._shown = detected
        self._frames += 1
        self._totals.update(found.class_index for found in detected.detections)
        self._moments.append(time.monotonic())
        self._news()

    def _news(self) -> None:
        self._version += 1
        self._changed.notify_all()
        if self._tell is not None:
            self._tell()

    def _wait(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._ended is not None, timeout)


class _Pace:
    """Videos at their own speed, or slower if the machine is; pictures for a moment each; live frames at once."""

    def __init__(self) -> None:
        self._medium: Medium | None = None
        self._due = 0.0
        self._seconds = 0.0

    def seconds_until(self, frame: Frame, now: float) -> float:
        """How long the frame has to wait. Time that was lost, or in which all stood still, is not caught up with."""
        if frame.medium.kind is Kind.LIVE:
            return 0.0
        if frame.medium == self._medium:
            pause = frame.seconds - self._seconds
        else:
            pause = SECONDS_A_PICTURE if self._is_picture else 0.0
        self._medium, self._seconds = frame.medium, frame.seconds
        self._due = max(self._due + pause, now)
        return self._due - now

    def seconds_left(self, now: float) -> float:
        """After the last frame."""
        return max(0.0, self._due + SECONDS_A_PICTURE - now) if self._is_picture else 0.0

    @property
    def _is_picture(self) -> bool:
        return self._medium is not None and self._medium.kind is Kind.PICTURE


def _counted(detections: Sequence[Detection]) -> Counter[int]:
    return Counter(found.class_index for found in detections)


def _rate(moments: deque[float], now: float) -> float:
    """Frames a second of late; 0 with fewer than two."""
    late = [moment for moment in moments if now - moment <= RATE_SECONDS]
    return (len(late) - 1) / (late[-1] - late[0]) if len(late) > 1 and late[-1] > late[0] else 0.0


def _jpeg(pixels_HWC: Image) -> bytes:
    height, width = pixels_HWC.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels_HWC = cv2.resize(pixels_HWC, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    bgr_HWC = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()
