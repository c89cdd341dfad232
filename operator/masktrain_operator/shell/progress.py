"""Asks the rank-0 pod of a running attempt how far it is.

Whoever runs the pod decides what it answers, and when: a question is a task of its own that no reconcile waits for any
longer than a pod of good will needs, and whatever the answer is, it is one about progress and nothing else.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import aiohttp

from masktrain_operator.api.status import read_leniently
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import PROGRESS_PORT, Progress

# A worker of the queue waits for it: silent pods must not hold up other jobs for longer.
TIMEOUT = aiohttp.ClientTimeout(total=2)
LONGEST_ANSWER = 1 << 18
PATIENCE_SECONDS = 10
"""A pod that has been silent for less is not reported: it may be ending, which its Ready condition shows late."""
UNDERSTOOD = (TimeoutError, aiohttp.ClientError, ValueError, RecursionError)
NOT_A_REPORT = "its answer is not a progress report of this version"
REUSE = 0.8
"""Share of the interval within which an answer is used again: wake-ups by other events don't ask the pod anew."""


WAIT_SECONDS = 0.25
"""A pod that is well answers in a few milliseconds; the answer of another one wakes its job when it comes."""
MOST_WAITING = 4
"""Reconciles that wait for an answer at the same time, far fewer than there are workers."""
Wake = Callable[[str], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProgressAnswer:
    """What the pod said last, or why it can't be read for some time; neither for a pod that is not running yet."""

    progress: Progress | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Kept:
    pod_uid: str
    asked_at: float
    heard_at: float
    answer: ProgressAnswer


class ProgressReader:
    """Keeps the last answer for each job, so that no pod is asked more often than once in an interval."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        wake: Wake,
    ) -> None:
        """`wake(job_uid)` is called when an answer has come for which its `read` did not wait."""
        self._wake = wake
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._waiting = 0
        self._session = session
        self._reuse_seconds = interval_seconds * REUSE
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    async def read(self, job_uid: str, pod: Manifest | None, *, waits: bool = True) -> ProgressAnswer:
        """The last answer of that pod: at most one interval old, unless the pod takes its time.

        Without `waits` a new answer comes with the next look, for whoever keeps others waiting meanwhile.
        """
        if pod is None or not _is_running(pod):
            return ProgressAnswer()
        now = self._clock()
        kept = self._kept.get(job_uid)
        if kept is None or kept.pod_uid != pod["metadata"]["uid"]:
            self.forget(job_uid)
            kept = self._kept[job_uid] = _Kept(
                pod["metadata"]["uid"], asked_at=-math.inf, heard_at=now, answer=ProgressAnswer()
            )
        if now - kept.asked_at >= self._reuse_seconds and job_uid not in self._asking:
            await self._wait_for(job_uid, asyncio.create_task(self._keep(job_uid, pod, kept, now)), waits=waits)
        return self._kept[job_uid].answer if job_uid in self._kept else kept.answer

    def forget(self, job_uid: str) -> None:
        self._kept.pop(job_uid, None)
        asking = self._asking.pop(job_uid, None)
        if asking is not None:
            asking.cancel()

    def close(self) -> None:
        """Give up every question."""
        for job_uid in list(self._kept):
            self.forget(job_uid)

    async def _wait_for(self, job_uid: str, task: asyncio.Task[None], *, waits: bool) -> None:
        """For a moment, unless too many wait already."""
        self._asking[job_uid] = task
        if waits and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                await asyncio.wait({task}, timeout=WAIT_SECONDS)
            finally:
                self._waiting -= 1
        if not task.done():
            task.add_done_callback(lambda ended: None if ended.cancelled() else self._wake(job_uid))

    async def _keep(self, job_uid: str, pod: Manifest, kept: _Kept, now: float) -> None:
        answered = await self._ask(pod, kept, now)
        self._kept[job_uid] = answered
        del self._asking[job_uid]

    async def _ask(self, pod: Manifest, kept: _Kept, now: float) -> _Kept:
        try:
            progress = await self._get(_url(pod))
        # Whatever it is that a pod makes of its answer, limits and the end of the job must not hang on it.
        except Exception as error:
            if not isinstance(error, UNDERSTOOD):
                logger.exception("The answer of pod %s could not be read.", pod["metadata"]["name"])
            # A pod that is not ready has told the kubelet so; that shows in the status already.
            silent = _is_ready(pod) and now - kept.heard_at >= PATIENCE_SECONDS
            answer = replace(kept.answer, error=_sentence(pod, error) if silent else None)
            return replace(kept, asked_at=now, answer=answer)
        return _Kept(kept.pod_uid, asked_at=now, heard_at=now, answer=ProgressAnswer(progress))

    async def _get(self, url: str) -> Progress:
        # A redirect could lead the operator anywhere in its network.
        async with self._session.get(url, timeout=TIMEOUT, allow_redirects=False) as response:
            response.raise_for_status()
            # Of another version it may say more, or the same in other words: what can be understood counts.
            progress = read_leniently(Progress, json.loads(await _read_bounded(response.content)))
        if progress is None:
            raise ValueError(NOT_A_REPORT)
        return progress


async def _read_bounded(content: aiohttp.StreamReader) -> bytes:
    """A trainer image may be anybody's: its answer must not fill the operator's memory."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise ValueError(f"its answer is longer than {LONGEST_ANSWER} bytes")
    return bytes(body)


def _url(pod: Manifest) -> str:
    address = pod["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{PROGRESS_PORT}/progress"


def _is_running(pod: Manifest) -> bool:
    status = pod.get("status", {})
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def _is_ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _sentence(pod: Manifest, error: Exception) -> str:
    match error:
        case TimeoutError():
            cause = f"it did not answer within {TIMEOUT.total} s"
        case aiohttp.ClientConnectorError():
            cause = f"{error.os_error.strerror or error.os_error}"
        case aiohttp.ClientResponseError(status=status):
            cause = f"it answered with HTTP status {status}"
        case json.JSONDecodeError():
            cause = NOT_A_REPORT
        case aiohttp.ClientError() | ValueError():
            cause = str(error)
        case _:
            cause = NOT_A_REPORT
    return f"Pod {pod['metadata']['name']} could not be asked at {_url(pod)}: {cause}."
