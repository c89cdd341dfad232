"""Reading, letterboxing and detecting at the same time: a thread reads ahead while the network computes.

OpenCV, Pillow and torch let other threads run while they work, so that one of them decodes while another multiplies.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from .background import in_background, leave
from .detector import Detection, Detector, PendingDetections, Prepared, by_shape
from .outputs.base import Detected
from .sources.base import Frame, Skipped, Source
from .sources.handover import Handover

T = TypeVar("T")

MOST_BYTES = 128 << 20
"""Of the pictures of a batch: a single one may have more."""
_WINDOWS_AHEAD = 2


def read_ahead(items: Iterable[T], depth: int, stop: Callable[[], None] | None = None) -> Generator[T, None, None]:
    """The same items, up to `depth` of them taken in a thread before they are asked for.

    Errors of the thread are raised here, after the items before them. Whoever leaves early closes what this returns:
    then `stop` is called, or the items' own `close` if it is no generator's, and the thread has ended when it returns,
    unless a read of a disk or a network holds it that cannot be cut short.
    """
    shelf = _Shelf[T](depth)
    reading = in_background(lambda: shelf.fill(items), "read ahead")
    try:
        yield from shelf.taken()
    finally:
        shelf.close()
        stop = stop or _closing(items)
        if stop is not None and not reading.done():
            stop()
        leave(reading)
    reading.result()


def _closing(items: object) -> Callable[[], None] | None:
    """A generator that runs in another thread cannot be closed from this one; that thread does it."""
    close = None if isinstance(items, Generator) else getattr(items, "close", None)
    return close if callable(close) else None


class _Shelf(Generic[T]):
    """Between the thread that puts and the one that takes."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        # Guards all below; notified of every change.
        self._change = threading.Condition()
        self._items: deque[T] = deque()
        self._ended = False
        self._closed = False

    def fill(self, items: Iterable[T]) -> None:
        """In the thread that reads."""
        iterator = iter(items)
        try:
            for item in iterator:
                if not self._put(item):
                    break
        finally:
            if isinstance(iterator, Generator):
                iterator.close()
            with self._change:
                self._ended = True
                self._change.notify_all()

    def taken(self) -> Iterator[T]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._items or self._ended)
                if not self._items:
                    return
                item = self._items.popleft()
                self._change.notify_all()
            yield item

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._items.clear()
            self._change.notify_all()

    def _put(self, item: T) -> bool:
        """False if nobody takes it any more."""
        with self._change:
            self._change.wait_for(lambda: len(self._items) < self._depth or self._closed)
            if not self._closed:
                self._items.append(item)
                self._change.notify_all()
            return not self._closed


def detect_frames(source: Source, detector: Detector) -> Generator[Detected | Skipped, None, None]:
    """What is found in each frame of a source, in its order; the network runs in the caller's thread.

    Of live sources the newest frame of each medium is taken when the network is free, and what came between is passed
    over. The source is closed at the end, also when whoever takes the frames leaves early.
    """
    try:
        yield from _detect_live(source, detector) if source.live else _detect_all(source, detector)
    finally:
        source.close()


@dataclass(frozen=True)
class _Ready:
    frame: Frame
    prepared: Prepared


_Window = Sequence[_Ready | Skipped]
"""Frames that are detected together, with what was passed over between them."""


def _detect_all(source: Source, detector: Detector) -> Iterator[Detected | Skipped]:
    depth = max(_WINDOWS_AHEAD, detector.in_flight)
    started: deque[_Started] = deque()
    with closing(read_ahead(_windows(source, detector), depth, stop=source.close)) as windows:
        for window in windows:
            started.append(_Started.of(window, detector))
            if len(started) >= detector.in_flight:
                yield from started.popleft().results()
        while started:
            yield from started.popleft().results()


def _windows(source: Source, detector: Detector) -> Iterator[_Window]:
    """In the thread that reads."""
    items = iter(source)
    while window := list(_window(items, detector)):
        yield window


def _window(items: Iterator[Frame | Skipped], detector: Detector) -> Iterator[_Ready | Skipped]:
    held = 0
    for item in islice(items, detector.batch_size):
        if isinstance(item, Skipped):
            yield item
            continue
        yield _Ready(item, detector.prepare(item.pixels_HWC))
        held += item.pixels_HWC.nbytes
        if held >= MOST_BYTES:
            return


@dataclass(frozen=True)
class _Started:
    """A window whose batches the network has; one for each shape."""

    window: _Window
    batches: Sequence[tuple[Sequence[int], PendingDetections]]

    @classmethod
    def of(cls, window: _Window, detector: Detector) -> "_Started":
        places = [place for place, item in enumerate(window) if isinstance(item, _Ready)]
        prepared = [item.prepared for item in window if isinstance(item, _Ready)]
        alike = by_shape(prepared)
        batches = [
            ([places[one] for one in group], detector.start([prepared[one] for one in group])) for group in alike
        ]
        return cls(window, batches)

    def results(self) -> Iterator[Detected | Skipped]:
        found: dict[int, list[Detection]] = {}
        for places, pending in self.batches:
            found.update(zip(places, pending(), strict=True))
        for place, item in enumerate(self.window):
            yield item if isinstance(item, Skipped) else Detected(item.frame, found[place])


def _detect_live(source: Source, detector: Detector) -> Iterator[Detected | Skipped]:
    handover = Handover()
    reading = in_background(lambda: _read_into(handover, source), "newest frames")
    try:
        for sentences, frames in handover.together():
            yield from sentences
            ready = [_Ready(frame, detector.prepare(frame.pixels_HWC)) for frame in frames]
            yield from _Started.of(ready, detector).results()
    finally:
        source.close()
        leave(reading)
    reading.result()


def _read_into(handover: Handover, source: Source) -> None:
    """In a thread of its own, until the source ends."""
    try:
        for item in source:
            handover.put(item)
    finally:
        handover.end()
