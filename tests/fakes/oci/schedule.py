"""What will happen to the cloud's resources, and when."""

import heapq
import itertools
from collections.abc import Callable

from tests.fakes.oci.clock import Clock

Transition = Callable[[], None]


class Schedule:
    """Transitions in order of their time. Nothing runs by itself: whoever looks at the cloud settles it first."""

    def __init__(self, clock: Clock) -> None:
        """Use `clock` to know what is due."""
        self._clock = clock
        self._due: list[tuple[float, int, Transition]] = []
        self._numbers = itertools.count()
        self._running_at: float | None = None
        self.on_change: Transition = lambda: None

    def now(self) -> float:
        """The time; while a transition runs, the time at which that fell due."""
        return self._clock.now() if self._running_at is None else self._running_at

    def after(self, seconds: float, transition: Transition) -> None:
        """Let `transition` happen `seconds` from now."""
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
