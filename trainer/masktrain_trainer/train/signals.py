"""A pod's end as the kubelet announces it: SIGTERM now, SIGKILL when the grace is over."""

import asyncio
import signal
import time
from collections.abc import Callable


class StopRequest:
    """Set by the first SIGTERM or SIGINT; later ones change nothing, because the grace runs from the first."""

    def __init__(self, grace_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._event = asyncio.Event()
        self._deadline = float("inf")

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request)

    def request(self) -> None:
        if not self._event.is_set():
            self._deadline = self._clock() + self._grace_seconds
            self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()

    def seconds_left(self, *, reserve: float) -> float:
        """Seconds until `reserve` seconds before the kubelet kills the pod; infinite without a request."""
        return max(0.0, self._deadline - reserve - self._clock())
