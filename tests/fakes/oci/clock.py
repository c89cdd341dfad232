"""The time the cloud lives in: the machine's own, or one that a test moves."""

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
