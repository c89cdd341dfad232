"""Asks the rank-0 pod of a running attempt how far it is."""

import json
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
NOT_A_REPORT = "its answer is not a progress report of this version"
REUSE = 0.8
"""Share of the interval within which an answer is used again: wake-ups by other events don't ask the pod anew."""


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
        self, session: aiohttp.ClientSession, interval_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._reuse_seconds = interval_seconds * REUSE
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    async def read(self, job_uid: str, pod: Manifest | None) -> ProgressAnswer:
        """The answer of that pod, at most one interval old."""
        if pod is None or not _is_running(pod):
            return ProgressAnswer()
        now = self._clock()
        kept = self._kept.get(job_uid)
        if kept is None or kept.pod_uid != pod["metadata"]["uid"]:
            kept = _Kept(pod["metadata"]["uid"], asked_at=-math.inf, heard_at=now, answer=ProgressAnswer())
        if now - kept.asked_at >= self._reuse_seconds:
            kept = self._kept[job_uid] = await self._ask(pod, kept, now)
        return kept.answer

    def forget(self, job_uid: str) -> None:
        self._kept.pop(job_uid, None)

    async def _ask(self, pod: Manifest, kept: _Kept, now: float) -> _Kept:
        try:
            progress = await self._get(_url(pod))
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
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
        case _:
            cause = str(error)
    return f"Pod {pod['metadata']['name']} could not be asked at {_url(pod)}: {cause}."
