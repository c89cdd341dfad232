"""One look at one job: observe, plan, apply, write the status, tell the events."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from pydantic import ValidationError

from masktrain_operator.api.conditions import ConditionType
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.plan import plan
from masktrain_operator.core.types import Event, Manifest, Plan, PlanSettings

from .apply import Applier
from .caches import KnownObjects
from .client import ApiError, api_message
from .events import EventRecorder
from .observe import Observer
from .status_writer import StatusWriter
from .work_queue import ReconcileError, RetryAfter


class Reconciler:
    """Called by the work queue with the uid of a MaskTrainingJob."""

    def __init__(
        self,
        *,
        known: KnownObjects,
        observer: Observer,
        applier: Applier,
        status: StatusWriter,
        events: EventRecorder,
        settings: PlanSettings,
        wake_pools: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._known = known
        self._observer = observer
        self._applier = applier
        self._status = status
        self._events = events
        self._settings = settings
        self._wake_pools = wake_pools
        self._now = now
        self._admission = asyncio.Lock()

    async def __call__(self, uid: str) -> float | None:
        """Returns the seconds after which the job should be looked at again although nothing was seen to change."""
        training_job = self._known.training_jobs.get(uid)
        if training_job is None or "deletionTimestamp" in training_job["metadata"]:
            self._forget(uid)  # Kubernetes' garbage collector deletes what the job owned
            return None
        try:
            return await self._reconcile(training_job)
        except ApiError as error:
            raise ReconcileError(f"{_display_name(training_job)}: {api_message(error)}") from error

    async def _reconcile(self, training_job: Manifest) -> float | None:
        try:
            job = MaskTrainingJob.parse(training_job)
        except ValidationError as error:
            await self._report_unparsable(training_job, error)
            return None
        async with self._turn(training_job):
            observed = await self._observer.observe(training_job)
            decided = plan(job, observed, self._now(), self._settings)
            await self._apply(training_job, decided)
        if decided.status is not None:
            await self._write_status(training_job, decided.status, decided.requeue_after)
        for event in decided.events:
            await self._events.record(training_job, event)
        return decided.requeue_after

    def _turn(self, training_job: Manifest) -> AbstractAsyncContextManager[object]:
        """Gangs are admitted one at a time: each has to see the room that the one before it took."""
        return self._admission if self._observer.needs_capacity(training_job) else contextlib.nullcontext()

    async def _apply(self, training_job: Manifest, decided: Plan) -> None:
        """A refusal (quota, admission policy) is shown where the user looks, and tried again by the queue."""
        try:
            await self._applier.apply(decided)
        except ApiError as error:
            await self._events.record(training_job, Event("Warning", "ApplyFailed", api_message(error)))
            raise

    async def _write_status(self, training_job: Manifest, status: Manifest, requeue_after: float | None) -> None:
        """Progress that waits for its turn must not make the plan wait for its moment."""
        try:
            is_news = await self._status.write(training_job, status)
        except RetryAfter as wait:
            raise RetryAfter(min(wait.seconds, math.inf if requeue_after is None else requeue_after)) from None
        if is_news and _condition_states(status) != _condition_states(training_job.get("status", {})):
            self._wake_pools()  # the watch takes our own write for old news, and a finished gang has left its nodes

    async def _report_unparsable(self, training_job: Manifest, error: ValidationError) -> None:
        if await self._status.write(training_job, stalled_status(training_job, error, self._now())):
            await self._events.record(training_job, Event("Warning", INVALID_SPEC, unreadable_sentence(error)))

    def _forget(self, uid: str) -> None:
        self._observer.forget(uid)
        self._status.forget(uid)


def _condition_states(status: Manifest) -> set[tuple[str, str]]:
    return {(condition["type"], condition["status"]) for condition in status.get("conditions", ())}


def _display_name(training_job: Manifest) -> str:
    return f"{training_job['metadata']['namespace']}/{training_job['metadata']['name']}"


INVALID_SPEC = "InvalidSpec"


def stalled_status(training_job: Manifest, error: ValidationError, now: datetime) -> Manifest:
    """The resource's status with a Stalled condition that says in one sentence which field is wrong.

    Everything else is left as it is: a job that an older operator started goes on under its own Job.
    """
    status = training_job.get("status", {})
    conditions = status.get("conditions", [])
    before: Manifest = next((condition for condition in conditions if condition["type"] == ConditionType.STALLED), {})
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    stalled = {
        "type": ConditionType.STALLED.value,
        "status": "True",
        "reason": INVALID_SPEC,
        "message": unreadable_sentence(error),
        "observedGeneration": training_job["metadata"].get("generation", 1),
        "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == "True" else moment,
    }
    others = [condition for condition in conditions if condition["type"] != ConditionType.STALLED]
    return {**status, "conditions": [*others, stalled]}


def unreadable_sentence(error: ValidationError) -> str:
    """The first finding, and how many there are."""
    first, *more = error.errors(include_url=False, include_input=False)
    field = ".".join(str(part) for part in first["loc"])
    rest = f" ({len(more)} more findings)" if more else ""
    return f"The operator cannot work with {field}: {first['msg']}{rest}; correct it, or use an operator that knows it."
