"""A clock that stands still between events."""

import heapq
import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday, at midnight."""
Act = Callable[[], None]


class Timeline:
    """Seconds since START, and what happens when."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._queue: list[tuple[float, int, Act]] = []
        self._numbers = itertools.count()

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    @property
    def next_event(self) -> float:
        """Infinite if nothing is to happen any more."""
        return self._queue[0][0] if self._queue else math.inf

    def after(self, seconds: float, act: Act) -> None:
        self.at(self.seconds + seconds, act)

    def at(self, seconds: float, act: Act) -> None:
        heapq.heappush(self._queue, (seconds, next(self._numbers), act))

    def run_to(self, seconds: float) -> None:
        """Let everything happen that is due by then; events of the same second in the order they were planned."""
        while self._queue and self._queue[0][0] <= seconds:
            due, _, act = heapq.heappop(self._queue)
            # An event may be planned for a moment that has passed; time does not run backwards for it.
            self.seconds = max(self.seconds, due)
            act()
        self.seconds = max(self.seconds, seconds)
