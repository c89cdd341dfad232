"""Decides when which job is reconciled: never twice at once, never forgotten, never in a hot loop.

The order of things follows the work queue of Kubernetes' own controllers: a key that is woken while it waits is
reconciled once; a key that is woken while it is being reconciled is reconciled again afterwards; a failure is tried
again after an exponential back-off. Unlike there, keys wait in lanes that are served in turn: whoever fills his own
keeps nobody else waiting.
"""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

logger = logging.getLogger(__name__)

Reconcile = Callable[[str], Awaitable[float | None]]


class RetryAfter(Exception):
    """Raised by a reconcile that wants to be called again in `seconds`, without being counted as failed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:.1f} s")
        self.seconds = seconds


class ReconcileError(Exception):
    """A failure that one sentence explains, logged without a traceback."""


PASSING = (ReconcileError, aiohttp.ClientError, OSError)
"""Failures of the world around; all others are faults of the operator, or come of what it cannot cope with."""


@dataclass(frozen=True)
class Backoff:
    """Doubling delays; `jitter` is the share of a delay that is random, so that failed jobs spread out."""

    first_seconds: float = 0.5
    limit_seconds: float = 120.0
    jitter: float = 0.2

    def delay(self, failures: int) -> float:
        exact = min(self.limit_seconds, self.first_seconds * 2.0 ** min(failures - 1, 32))
        # Downwards, so that the limit holds.
        return exact * (1 - self.jitter * random.random())  # noqa: S311 (not a secret)


class WorkQueue:
    """Keys waiting to be reconciled. Belongs to one event loop; nothing in it may be used from other threads."""

    def __init__(
        self,
        reconcile: Reconcile,
        *,
        workers: int = 1,
        backoff: Backoff | None = None,
        lane_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`reconcile(key)` returns the seconds after which it wants to be called again, or None."""
        self._lane_of = lane_of
        self._reconcile = reconcile
        self._backoff = backoff or Backoff()
        self._worker_count = workers
        self._workers: list[asyncio.Task[None]] = []
        self._ready = asyncio.Semaphore(0)
        self._lanes: dict[str, deque[str]] = {}
        """Keys that are ready; the lane whose turn it is comes first."""
        self._taken_at = -math.inf
        self._ready_since: dict[str, float] = {}
        self._running_since: dict[str, float] = {}
        self._woken_while_running: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._faults: dict[str, int] = {}
        self.has_succeeded = False
        """Whether any key has been reconciled."""

    def start(self) -> None:
        """Start the workers."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"reconcile worker {number}") for number in range(self._worker_count)
        ]

    async def stop(self) -> None:
        """Cancel the workers, also in the middle of a reconcile, and every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers = []

    def wake(self, key: str) -> None:
        """Reconcile the key as soon as possible."""
        if key in self._running_since:
            # What it has read may be older than what woke it.
            self._woken_while_running.add(key)
        elif key not in self._ready_since:
            self._ready_since[key] = self._now()
            self._lanes.setdefault(self._lane_of(key), deque()).append(key)
            self._ready.release()

    def wake_after(self, key: str, seconds: float) -> None:
        """Reconcile the key in `seconds`, or at its next wake-up, whichever comes first."""
        # The newest wish counts: it comes from the plan that knows most.
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._ring, key)

    def forget(self, key: str) -> None:
        """Drop what is kept about a key that no longer exists."""
        self._cancel_timer(key)
        self._failures.pop(key, None)
        self._faults.pop(key, None)

    def oldest_age(self) -> float:
        """Seconds that the key in work or ready the longest has been so; 0 with nothing to do."""
        now = self._now()
        return now - min((*self._ready_since.values(), *self._running_since.values()), default=now)

    def standstill(self) -> float:
        """Seconds that a key has been in work, or that none was taken although some are ready.

        Not how long they wait for their turn: whoever creates jobs decides how many there are.
        """
        now = self._now()
        waits = [max(self._taken_at, min(self._ready_since.values()))] if self._ready_since else []
        return now - min((*self._running_since.values(), *waits), default=now)

    def most_faults(self) -> int:
        """How often in a row the worst key has failed for a reason that waiting does not cure."""
        return max(self._faults.values(), default=0)

    def alive(self) -> bool:
        """Whether every worker is running."""
        return bool(self._workers) and not any(worker.done() for worker in self._workers)

    def __len__(self) -> int:
        return len(self._ready_since)

    async def _work(self) -> None:
        while True:
            await self._ready.acquire()
            key = self._next()
            # Before the work: whatever happens from here on wakes it anew.
            del self._ready_since[key]
            self._cancel_timer(key)
            self._running_since[key] = self._now()
            try:
                await self._attempt(key)
            finally:
                del self._running_since[key]
            self._wake_again(key)

    def _next(self) -> str:
        """The first key of the lane whose turn it is, which then is the last one's."""
        lane, keys = next(iter(self._lanes.items()))
        key = keys.popleft()
        del self._lanes[lane]
        if keys:
            self._lanes[lane] = keys
        self._taken_at = self._now()
        return key

    async def _attempt(self, key: str) -> None:
        try:
            again_after = await self._reconcile(key)
        except RetryAfter as request:
            self._forget_faults(key)
            self.wake_after(key, request.seconds)
        except Exception as error:  # noqa: BLE001 - whatever went wrong with one job, the others go on
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            self._forget_faults(key)
            if again_after is not None:
                self.wake_after(key, again_after)

    def _forget_faults(self, key: str) -> None:
        self.has_succeeded = True
        self._faults.pop(key, None)

    def _failed(self, key: str, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        if not isinstance(error, PASSING):
            self._faults[key] = self._faults.get(key, 0) + 1
        delay = self._backoff.delay(failures)
        trace = None if isinstance(error, ReconcileError) else error
        logger.error("Reconcile failed, next try in %.1f s: %s", delay, error or key, exc_info=trace)
        self.wake_after(key, delay)

    def _wake_again(self, key: str) -> None:
        if key in self._woken_while_running:
            self._woken_while_running.discard(key)
            self.wake(key)

    def _ring(self, key: str) -> None:
        self._timers.pop(key, None)
        self.wake(key)

    def _cancel_timer(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
