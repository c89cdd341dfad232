"""Noticing that training stands still, by clocks that differ with what a rank is doing.

A rank that waits in a collective for a slower one stands still too, so each limit allows for the slowest rank.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .heartbeat import Activity, Beat, read_heartbeat
from .launch import RENDEZVOUS_TIMEOUT_SECONDS
from .run_directory import RunDirectory

_LOOK_SECONDS = 1.0
_LEAST_START_SECONDS = 600
_LEAST_VALIDATION_SECONDS = 600


@dataclass(frozen=True)
class Standstill:
    local_rank: int
    activity: Activity | None
    seconds: float

    def __str__(self) -> str:
        doing = "waiting for the other pods" if self.activity is None else self.activity.name.lower()
        return f"local rank {self.local_rank} has stood still for {self.seconds:.0f} s while {doing}"


@dataclass(frozen=True)
class HangLimits:
    """Seconds that a rank may stand still. `None` as activity is the rendezvous, before a worker beats at all."""

    training: float

    def of(self, activity: Activity | None) -> float:
        slower = {
            None: RENDEZVOUS_TIMEOUT_SECONDS + 60,
            Activity.STARTING: max(self.training, _LEAST_START_SECONDS),
            Activity.VALIDATING: max(2 * self.training, _LEAST_VALIDATION_SECONDS),
            Activity.SAVING: max(2 * self.training, _LEAST_VALIDATION_SECONDS),
        }
        return slower.get(activity, self.training)


class HangDetector:
    """Pure but for what it remembers: the last change of each rank's counter, by the caller's clock."""

    def __init__(self, limits: HangLimits, local_ranks: Iterable[int], now: float) -> None:
        self._limits = limits
        self._seen: dict[int, tuple[Beat | None, float]] = dict.fromkeys(local_ranks, (None, now))

    def observe(self, beats: Mapping[int, Beat | None], now: float) -> None:
        for rank, beat in beats.items():
            known, _ = self._seen[rank]
            if beat is not None and (known is None or beat.counter != known.counter):
                self._seen[rank] = (beat, now)

    def standstill(self, now: float) -> Standstill | None:
        """The rank that has stood still longest among those over their limit."""
        over = [found for rank in self._seen if (found := self._over_limit(rank, now))]
        return max(over, key=lambda found: found.seconds, default=None)

    def _over_limit(self, rank: int, now: float) -> Standstill | None:
        beat, since = self._seen[rank]
        activity = beat.activity if beat else None
        return Standstill(rank, activity, now - since) if now - since > self._limits.of(activity) else None


async def wait_for_standstill(
    run: RunDirectory, local_ranks: Iterable[int], limits: HangLimits, clock: Callable[[], float] = time.monotonic
) -> Standstill:
    """Return only if a rank hangs."""
    ranks = list(local_ranks)
    detector = HangDetector(limits, ranks, clock())
    while True:
        detector.observe({rank: read_heartbeat(run.heartbeat(rank)) for rank in ranks}, clock())
        if found := detector.standstill(clock()):
            return found
        await asyncio.sleep(_LOOK_SECONDS)
