"""Asks the rank-0 pod of a running attempt how far it is."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from pydantic import ValidationError

from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import PROGRESS_PORT, Progress

TIMEOUT = aiohttp.ClientTimeout(total=2)
LONGEST_ANSWER = 1 << 20
REUSE = 0.8
"""Share of the interval within which an answer is used again: wake-ups by other events don't ask the pod anew."""


@dataclass(frozen=True)
class ProgressAnswer:
    """What the pod said, or why it could not be read; neither for a pod that is not running yet."""

    progress: Progress | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Kept:
    pod_uid: str
    asked_at: float
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
        kept = self._kept.get(job_uid)
        pod_uid = pod["metadata"]["uid"]
        if kept and kept.pod_uid == pod_uid and self._clock() - kept.asked_at < self._reuse_seconds:
            return kept.answer
        answer = await self._ask(pod)
        self._kept[job_uid] = _Kept(pod_uid, self._clock(), answer)
        return answer

    def forget(self, job_uid: str) -> None:
        self._kept.pop(job_uid, None)

    async def _ask(self, pod: Manifest) -> ProgressAnswer:
        try:
            return ProgressAnswer(progress=await self._get(_url(pod)))
        except (TimeoutError, aiohttp.ClientError, ValidationError, ValueError) as error:
            return ProgressAnswer(error=_sentence(pod, error) if _is_ready(pod) else None)

    async def _get(self, url: str) -> Progress:
        async with self._session.get(url, timeout=TIMEOUT, allow_redirects=False) as response:
            response.raise_for_status()
            return Progress.model_validate_json(await response.content.read(LONGEST_ANSWER))


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
        case asyncio.TimeoutError():
            cause = f"it did not answer within {TIMEOUT.total} s"
        case aiohttp.ClientResponseError(status=status):
            cause = f"it answered with HTTP status {status}"
        case ValidationError():
            cause = "its answer is not a progress report of this version"
        case _:
            cause = str(error)
    return f"Pod {pod['metadata']['name']} could not be asked at {_url(pod)}: {cause}."
