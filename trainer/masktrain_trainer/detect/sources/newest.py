"""Live sources: a thread reads, the newest frame wins, and a connection that is lost is made again."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Protocol

import cv2
import numpy as np

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.errors import InvalidConfiguration

from .base import Frame, Kind, Medium, Skipped, SourceOptions
from .handover import Handover

FIRST_PAUSE_SECONDS = 0.25
"""Before the first try to connect again; doubled with each further one."""
MOST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0
"""A connection that lasted so long is no longer one of a row of failures."""
WHOLE = 0.9
"""Of the frames that are said to come."""
MOST_AHEAD_SECONDS = 10.0
"""A frame that is further ahead of its time belongs to another clock: nobody waits for it."""


@dataclass(frozen=True)
class Patience:
    """In seconds: how long a connection may take to open, and how long each read may block."""

    opening: float
    reading: float


class Connection(Protocol):
    """One connection, from its opening to its loss. One thread uses it, but for `frames_per_second` and `frames`."""

    @property
    def frames_per_second(self) -> float | None:
        """As the stream says, if that can be true."""

    @property
    def frames(self) -> int | None:
        """Of a stream that has an end."""

    @property
    def position(self) -> float | None:
        """Seconds at which the last frame is to be shown, of a stream whose frames may come before their time."""

    def advance(self) -> bool:
        """Take the next frame, blocking. False if there is none, since the end has come or the connection is lost."""

    def pixels(self) -> Image | None:
        """Of the frame taken last: blue, green, red, in memory of their own; None if it cannot be decoded."""

    def close(self) -> None:
        """After which nothing else is called."""


class Feed(Protocol):
    """What can be connected to. `name` and `origin` as in Medium."""

    @property
    def name(self) -> PurePath: ...

    @property
    def origin(self) -> str: ...

    def connect(self, patience: Patience) -> Connection | None:
        """None if that fails."""

    def objection(self, silent_seconds: float | None) -> str:
        """The sentence why no frame came. `silent_seconds`: so long was waited; None if it failed at once."""


def open_live(feed: Feed, options: SourceOptions) -> "LiveSource":
    """Connected, with its first frame. Raises InvalidConfiguration with the feed's objection if none came in time."""
    source = LiveSource(feed, options)
    try:
        source.begin()
    except BaseException:  # also a Ctrl-C: nobody else could end the thread
        source.close()
        raise
    return source


class LiveSource:
    """Frames of one feed. `Frame.number` counts those that nobody took, too.

    A feed that has an end gives every frame and is never connected to again.

    `close()` ends the iteration at once. The thread that reads ends within a read's patience, a third of
    `timeout_seconds` and at most 10 s, because a blocked read cannot be cut short; nothing waits for it.
    """

    def __init__(self, feed: Feed, options: SourceOptions) -> None:
        self._feed = feed
        self._options = options
        reading = min(10.0, options.timeout_seconds / 3)
        self._patience = Patience(options.timeout_seconds, reading)
        self._handover = Handover()
        self._change = self._handover.change
        self._medium: Medium | None = None
        # The reading thread's own.
        self._number = 0
        self._began = 0.0
        self._seen = 0.0
        self._lost = False
        self._pause = FIRST_PAUSE_SECONDS
        self._clock: float | None = None

    @property
    def live(self) -> bool:
        return self._medium is None or self._medium.frames is None

    @property
    def frames(self) -> int | None:
        return None if self._medium is None else self._medium.frames

    def begin(self) -> None:
        """Start to read, and wait for the first frame."""
        started = time.monotonic()
        threading.Thread(target=self._read, name=f"reader of {self._feed.name}", daemon=True).start()
        with self._change:
            self._change.wait_for(lambda: self._medium or self._handover.ended, self._options.timeout_seconds)
            if self._medium is not None:
                return
        # The backend's own clock may have ended the wait a moment before this one.
        waited = time.monotonic() - started >= 0.95 * self._options.timeout_seconds
        raise InvalidConfiguration(self._feed.objection(self._options.timeout_seconds if waited else None))

    def close(self) -> None:
        self._handover.close()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        for item in self._handover:
            yield item if isinstance(item, Skipped) else replace(item, pixels_HWC=_red_first(item.pixels_HWC))

    # The rest runs in the reading thread.

    def _read(self) -> None:
        try:
            connection = self._feed.connect(self._patience)
            while connection is not None:
                connected = time.monotonic()
                self._drain(connection)
                connection.close()
                if connection.frames is not None or self._closed or self._medium is None:
                    self._end(connection.frames)
                    return
                connection = self._again(connected)
        finally:
            self._handover.end()

    def _end(self, frames: int | None) -> None:
        """What has an end may break off before it. The number of frames is made of a length and a rate."""
        if not self._closed and frames is not None and self._number < WHOLE * frames:
            self._tell(f"broke off after {self._number} of about {frames} frames.")

    def _drain(self, connection: Connection) -> None:
        """Read until the end, the loss or `close()`."""
        self._clock = None
        while not self._closed and connection.advance():
            if self._number % self._options.stride == 0:
                pixels = connection.pixels()
                if pixels is None:
                    return
                self._publish(connection, pixels)
            self._number += 1

    def _publish(self, connection: Connection, pixels_HWC: Image) -> None:
        with self._change:
            if connection.frames is not None:
                self._change.wait_for(lambda: self._handover.empty_of_frames or self._closed)
            elif connection.position is not None:
                self._wait_until_due(connection.position)
            if self._closed:
                return
            now = time.monotonic()
            if self._medium is None:
                self._medium = self._describe(connection)
                self._began = now
            elif self._lost:
                self._tell(f"stopped sending; connected again after {now - self._seen:.0f} s.")
            self._lost = False
            self._seen = now
            exact = connection.position if connection.frames is not None else None
            seconds = now - self._began if exact is None else exact
            self._handover.put(Frame(self._medium, self._number, seconds, pixels_HWC))

    def _describe(self, connection: Connection) -> Medium:
        stride, rate, frames = self._options.stride, connection.frames_per_second, connection.frames
        return Medium(
            self._feed.name,
            Kind.LIVE if frames is None else Kind.VIDEO,
            self._feed.origin,
            None if rate is None else rate / stride,
            None if frames is None else -(-frames // stride),
        )

    def _wait_until_due(self, position: float) -> None:
        """Whole seconds of HLS come at once: the newest of them would be all that is ever seen."""
        now = time.monotonic()
        ahead = 0.0 if self._clock is None else self._clock + position - now
        if 0.0 < ahead < MOST_AHEAD_SECONDS:
            self._change.wait_for(lambda: self._closed, ahead)
        else:
            self._clock = now - position

    def _again(self, connected: float) -> Connection | None:
        """A new connection; None if none came in time, or if the stream meanwhile has an end."""
        if self._seen - connected > STEADY_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        self._lost = True
        deadline = self._seen + self._options.timeout_seconds
        while not self._closed_within(min(self._pause, deadline - time.monotonic())):
            self._pause = min(2 * self._pause, MOST_PAUSE_SECONDS)
            left = deadline - time.monotonic()
            if left <= 0:
                self._tell(f"stopped sending and did not come back within {self._options.timeout_seconds:g} s.")
                return None
            connection = self._feed.connect(Patience(min(left, 10.0), self._patience.reading))
            if connection is not None and connection.frames is None:
                return connection
            if connection is not None:
                connection.close()
                self._tell("has come to its end.")
                return None
        return None

    def _closed_within(self, seconds: float) -> bool:
        with self._change:
            return self._change.wait_for(lambda: self._closed, seconds)

    def _tell(self, what: str) -> None:
        self._handover.put(Skipped(f"{self._feed.origin} {what}"))

    @property
    def _closed(self) -> bool:
        return self._handover.closed


def _red_first(pixels_HWC: Image) -> Image:
    return cv2.cvtColor(pixels_HWC, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
