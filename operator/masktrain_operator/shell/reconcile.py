"""One look at one job: observe, plan, apply, write the status, record the events."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.plan import plan, plan_deleted, plan_unreadable
from masktrain_operator.core.types import Manifest, Observed, Plan, PlanSettings, Refusal
from masktrain_trainer.config.explain import first_problem

from .apply import Applier
from .caches import KnownObjects
from .client import JOBS, ApiError, api_message, is_too_large
from .events import EventRecorder
from .observe import Observer
from .status_writer import StatusWriter
from .work_queue import ReconcileError, RetryAfter

UNACCOUNTED = timedelta(minutes=10)
"""For so long no node is kept for a job whose status could not be written; each look tries to, and begins it anew."""


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
        left = [training_job] if training_job is not None else self._left_by(uid)
        if not left:
            self._forget(uid)
            return None
        try:
            if training_job is None or "deletionTimestamp" in training_job["metadata"]:
                return _earliest(*[await self._end(each) for each in left])
            return await self._reconcile(await self._observer.whole(training_job))
        except ApiError as error:
            raise ReconcileError(f"{_display_name(left[0])}: {api_message(error)}") from error

    def _left_by(self, uid: str) -> list[Manifest]:
        """Stand for a MaskTrainingJob that is gone and of whose Jobs some are still there; empty without any.

        They were seen to be its own before it went. The garbage collector deletes them, too, but not those that were
        to be orphans, and not the pods of a Job that a finalizer keeps.
        """
        # Nothing tells any more in which namespace it was, and somebody else's Job may claim to be its own.
        namespaces = {job["metadata"]["namespace"] for job in self._known.jobs.owned_by(uid)}
        return [{"metadata": {"uid": uid, "namespace": name, "name": uid}} for name in sorted(namespaces)]

    async def _reconcile(self, training_job: Manifest) -> float | None:
        try:
            job = MaskTrainingJob.parse(training_job)
        except ValidationError as error:
            status = MaskTrainingJobStatus.read(training_job.get("status", {}))
            generation = training_job["metadata"].get("generation", 1)
            sentence = (
                f"The operator cannot work with {first_problem(error)}; correct it, or use an operator that knows it."
            )
            decided = plan_unreadable(status, generation, sentence, self._now())
        else:
            again = await self._observer.ask_first(training_job)
            async with self._turn(training_job):
                decided = await self._plan_and_apply(job, training_job)
            if again is None and self._observer.is_unasked(training_job):
                again = 0.0  # a pool came in between
            decided = replace(decided, requeue_after=_earliest(decided.requeue_after, again))
        if decided.status is not None:
            await self._write_status(training_job, decided.status, decided.requeue_after)
        # After the status, whose refusal ends this look: the next plan then tells them, and nobody reads them twice.
        for event in decided.events:
            await self._events.record(training_job, event)
        return decided.requeue_after

    async def _end(self, training_job: Manifest) -> float | None:
        """Nothing is asked about a resource that is going or gone, and nothing told of it any more."""
        uid, finalizers = training_job["metadata"]["uid"], training_job["metadata"].get("finalizers", ())
        self._observer.forget(uid)
        self._status.forget(uid)
        jobs, pods = self._known.jobs_of(training_job), self._known.pods_of(training_job)
        seen = Observed(jobs=jobs, pods=pods, refusals=self._applier.refusals(uid))
        decided = plan_deleted(finalizers, seen, self._now())
        if not await self._applier.apply(uid, decided):
            again = replace(seen, refusals=self._applier.refusals(uid))
            decided = plan_deleted(finalizers, again, self._now())
        return decided.requeue_after

    async def _plan_and_apply(self, job: MaskTrainingJob, training_job: Manifest) -> Plan:
        """The plan whose status is to be written: after a refusal the one that knows of it."""
        uid = job.metadata.uid
        observed = await self._observer.observe(training_job)
        would_be = observed.refusals
        observed = replace(observed, refusals=(*would_be, *self._applier.refusals(uid)))
        decided = plan(job, observed, self._now(), self._settings)
        if await self._applier.apply(uid, decided):
            return decided
        refusals = self._applier.refusals(uid)
        self._observer.saw_refusals(training_job, refusals)
        # From the same observation: what was created meanwhile is not seen yet, and is planned for again, not applied.
        return plan(job, replace(observed, refusals=(*would_be, *refusals)), self._now(), self._settings)

    def _turn(self, training_job: Manifest) -> AbstractAsyncContextManager[object]:
        """Gangs are admitted one at a time: each has to see which nodes the one before it took."""
        return self._admission if self._observer.needs_capacity(training_job) else contextlib.nullcontext()

    async def _write_status(self, training_job: Manifest, status: Manifest, requeue_after: float | None) -> None:
        """Progress that waits for its turn must not make the plan wait for its moment."""
        try:
            is_news = await self._status.write(training_job, status)
        # The writer asks for its turn; a deadline of the job may come first.
        except RetryAfter as wait:
            raise RetryAfter(min(wait.seconds, math.inf if requeue_after is None else requeue_after)) from None
        except ApiError as error:
            if is_too_large(error):
                await self._end_unaccounted(training_job, error)
            raise
        if is_news and _condition_states(status) != _condition_states(training_job.get("status", {})):
            self._wake_pools()  # the watch takes our own write for old news, and a finished gang has left its nodes

    async def _end_unaccounted(self, training_job: Manifest, error: ApiError) -> None:
        """Who fills the object up to the last byte has no account of time and money any more: nothing of it goes on."""
        uid, name, now = training_job["metadata"]["uid"], training_job["metadata"]["name"], self._now()
        refusal = Refusal("create", JOBS.kind, name, "TooLarge", api_message(error), now + UNACCOUNTED)
        self._observer.saw_refusals(training_job, (refusal,))
        jobs, pods = self._known.jobs_of(training_job), self._known.pods_of(training_job)
        seen = Observed(jobs=jobs, pods=pods, refusals=self._applier.refusals(uid))
        await self._applier.apply(uid, plan_deleted((), seen, now))

    def _forget(self, uid: str) -> None:
        self._observer.forget(uid)
        self._applier.forget(uid)
        self._status.forget(uid)


def _earliest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)


def _condition_states(status: Manifest) -> set[tuple[str | None, str | None]]:
    return {(condition.get("type"), condition.get("status")) for condition in status.get("conditions", ())}


def _display_name(training_job: Manifest) -> str:
    return f"{training_job['metadata']['namespace']}/{training_job['metadata']['name']}"
