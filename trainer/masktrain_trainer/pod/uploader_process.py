"""Keeping the uploader alive: its crash must never stop training, its success decides whether the job is complete.

Only where another try cannot help does it end for good: a fenced one would be started again for ever, while its gang
goes on with steps that nobody will store.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from enum import StrEnum

from masktrain_trainer.checkpoint.spool import UploaderExit

from .processes import ChildProcess, explain_exit

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


class Order(StrEnum):
    DRAIN = "drain"
    """Upload what waits, then end."""
    COMPLETE = "complete"
    """Also prove best.pt, publish the artifacts, clean up."""


class UploaderProcess:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._order: Order | None = None
        self._child: ChildProcess | None = None
        self._running = asyncio.create_task(self._keep_running())
        self.verdict: UploaderExit | None = None
        """Why it is not started again, once it is not."""

    async def given_up(self) -> None:
        """Return when it has ended for good. To be cancelled where that no longer matters."""
        await asyncio.shield(self._running)

    async def finish(self, order: Order, limit_seconds: float) -> bool:
        """Whether the order was carried out within the limit. The process has ended in any case."""
        self._order = order
        if self._child is not None and not self._child.ended:
            await self._child.order(order)
        try:
            await asyncio.wait_for(self._running, limit_seconds)
        except TimeoutError:
            log.warning("the uploader could not %s within %.0f s", order, limit_seconds)
            return False
        finally:
            await self._kill()
        return self.verdict is UploaderExit.DONE

    async def abandon(self) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self._kill()

    async def _kill(self) -> None:
        if self._child is not None and not self._child.ended:
            self._child.kill()
            await self._child.wait()

    async def _keep_running(self) -> None:
        """Return once an order was carried out or cannot be; until then start the uploader again after every end."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            code = await self._run_once()
            if code in (UploaderExit.FENCED, UploaderExit.NOTHING_TO_PUBLISH) or (
                code == 0 and self._order is not None
            ):
                self.verdict = UploaderExit(code)
                return
            log.warning("the uploader ended with %s; starting it again in %.0f s", explain_exit(code), pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> int:
        self._child = await ChildProcess.start("uploader", self._command, self._environment, commanded=True)
        if self._order is not None:
            await self._child.order(self._order)
        return await self._child.wait()
