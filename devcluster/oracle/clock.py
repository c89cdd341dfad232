"""The time the cloud lives in, the machine's own or one that a test moves, and what will happen when."""

import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch. One that is not `automatic` moves only when told to."""

    @property
    def automatic(self) -> bool: ...

    def now(self) -> float: ...


class SystemClock:
    """The machine's time."""

    automatic = True

    def now(self) -> float:
        return time.time()


class FakeClock:
    """Stands still until moved, so a test of an hour takes no time."""

    automatic = False

    def __init__(self, start: float | None = None) -> None:
        """Begin at `start`, by default at the machine's time."""
        self._now = time.time() if start is None else start
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on; what falls due in between has happened on return, each thing at its own time."""
        self._now += seconds
        for listener in self._listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each move."""
        self._listeners.append(listener)


def rfc3339(seconds: float | None) -> str | None:
    """A time as Oracle's APIs write it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Transition = Callable[[], None]


class Schedule:
    """Transitions in order of their time. Nothing runs by itself: whoever looks at the cloud settles it first."""

    def __init__(self, clock: Clock) -> None:
        """Use `clock` to know what is due."""
        self._clock = clock
        self._due: list[tuple[float, int, Transition]] = []
        self._numbers = itertools.count()
        # Set while a late transition runs, so that what it plans counts from when it was due and not from when anybody
        # looked.
        self._running_at: float | None = None
        self.on_change: Transition = lambda: None

    def now(self) -> float:
        """The time; while a transition runs, the time at which that fell due."""
        return self._clock.now() if self._running_at is None else self._running_at

    def after(self, seconds: float, transition: Transition) -> None:
        """Let `transition` happen `seconds` from now."""
        # The number keeps the order of what falls due at the same time; functions cannot be compared.
        heapq.heappush(self._due, (self.now() + seconds, next(self._numbers), transition))
        self.on_change()

    def settle(self) -> None:
        """Let everything happen that is due."""
        while self._due and self._due[0][0] <= self._clock.now():
            self._running_at, _, transition = heapq.heappop(self._due)
            try:
                transition()
            finally:
                self._running_at = None

    def seconds_to_next(self) -> float | None:
        """How long until something falls due; None when nothing is planned."""
        return max(0.0, self._due[0][0] - self._clock.now()) if self._due else None
