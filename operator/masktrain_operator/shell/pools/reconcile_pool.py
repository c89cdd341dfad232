"""One reconcile of one node pool: ask Oracle, plan, apply, write the status, emit the events."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from kubernetes.aio.dynamic.exceptions import ConflictError
from pydantic import ValidationError

from masktrain_operator.api.labels import POOL_FINALIZER
from masktrain_operator.api.pool_status import GPUNodePoolStatus, PoolConditionType, PoolReason
from masktrain_operator.api.status import ConditionStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.conditions import with_invalid_spec, with_refusal, with_refused_writes
from masktrain_operator.core.pools.events import removal_events
from masktrain_operator.core.pools.failures.outcomes import after_calls
from masktrain_operator.core.pools.oke import OkeError
from masktrain_operator.core.pools.plan_pool import has_nodes_to_remove, is_out_of_patience, needs_finalizer, plan_pool
from masktrain_operator.core.pools.types import PoolContext, PoolPlan
from masktrain_operator.core.status.conditions import find_condition
from masktrain_operator.core.types import Event, Manifest
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import NODE_POOLS, ApiError, KubernetesClient, api_message
from masktrain_operator.shell.events import EventRecorder
from masktrain_operator.shell.oci.access import OciError, OciErrorKind
from masktrain_operator.shell.oci.client import NodePools, PoolClients
from masktrain_operator.shell.status_writer import StatusWriter
from masktrain_operator.shell.work_queue import ReconcileError, RetryAfter
from masktrain_trainer.config.explain import first_problem

from .apply_pool import PoolApplier
from .observe_pool import PoolObservation, PoolObserver
from .pool_cache import PoolCache

logger = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
"""Events in quick succession do not make the operator ask Oracle each time."""
AGAIN_SECONDS = {OciErrorKind.STALE: 1.0, OciErrorKind.BUSY: 10.0}
SILENT = "Oracle does not show its nodes, its conditions say why"
OTHERWISE_AGAIN_SECONDS = 30.0
PASSING = (OciErrorKind.STALE, OciErrorKind.BUSY)
"""Nothing that a person would want to know."""


class PoolReconciler:
    """Called by the work queue with the uid of a GPUNodePool."""

    def __init__(
        self,
        *,
        client: KubernetesClient,
        known: KnownObjects,
        pools: PoolCache,
        clients: PoolClients,
        observer: PoolObserver,
        applier: PoolApplier,
        status: StatusWriter,
        events: EventRecorder,
        wake_waiting_jobs: Callable[[], None],
        looked: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`looked` is told of each pool that Oracle has shown, and for which all that is due was tried."""
        self._client = client
        self._known = known
        self._pools = pools
        self._looked = looked
        self._clients = clients
        self._observer = observer
        self._applier = applier
        self._status = status
        self._events = events
        self._wake_waiting_jobs = wake_waiting_jobs
        self._clock = clock

    async def __call__(self, uid: str) -> float | None:
        """Returns the seconds after which the pool should be looked at again although nothing is seen to change."""
        body = self._known.node_pools.get(uid)
        if body is None:
            self._forget(uid)
            return None
        try:
            pool = GPUNodePool.parse(body)
        except ValidationError as error:
            await self._report_unreadable(body, error)
            return None
        try:
            return await self._reconcile(body, pool)
        except ApiError as error:
            raise ReconcileError(f"GPUNodePool {body['metadata']['name']}: {api_message(error)}") from error

    async def _reconcile(self, body: Manifest, pool: GPUNodePool) -> float | None:
        try:
            oracle = await self._clients.of(pool)
            observation = await self._look(pool, oracle)
        except OciError as error:
            return await self._unanswered(body, pool, error)
        context = self._pools.context(pool, observation)
        if needs_finalizer(context):
            refused = await self._set_finalizers(body, [*pool.metadata.finalizers, POOL_FINALIZER])
            if not refused:
                raise RetryAfter(0)
            # Without it the pool could vanish before the nodes that would be added now.
            await self._write(body, with_refused_writes(pool.status, refused, context.now))
            return OTHERWISE_AGAIN_SECONDS
        return await self._carry_out(body, context, plan_pool(context), oracle)

    async def _look(self, pool: GPUNodePool, oracle: NodePools) -> PoolObservation:
        observation = self._pools.observation(pool.metadata.uid)
        if (
            observation is not None
            and self._clock() - observation.at <= FRESH_SECONDS
            and self._observer.is_current(pool, observation)
        ):
            return observation
        observation = await self._observer.look(pool, oracle)
        self._pools.put(pool.metadata.uid, observation)
        return observation

    async def _carry_out(self, body: Manifest, context: PoolContext, plan: PoolPlan, oracle: NodePools) -> float | None:
        pool = context.pool
        applied = await self._applier.apply(pool, plan, oracle)
        has_changed = bool(applied.outcome.accepted) or applied.outcome.resized
        if applied.denials or has_changed:
            self._pools.expire(pool.metadata.uid)
        status = applied.status
        if status is not None:
            status = after_calls(context, plan, status, applied.outcome)
            status = with_refused_writes(status, applied.refused, context.now)
        denied = [error for error in applied.denials if error.kind not in PASSING]
        if status is not None and denied and not has_changed:
            status = _with_denial(status, denied[0], context.now)
        await self._write(body, status)
        told = (*plan.events, *_write_events(pool.status, applied.refused), *removal_events(plan, status))
        for event in (*told, *_denial_events(pool.status, denied)):
            await self._events.record(body, event)
        refused = list(applied.refused)
        # Last: without its finalizer the object is gone, and with it the place for status and events.
        if plan.finalize:
            refused += await self._set_finalizers(body, [f for f in pool.metadata.finalizers if f != POOL_FINALIZER])
        self._wake_waiting_jobs()
        self._looked(pool.metadata.uid)
        # Oracle announces nothing: what was just begun there has to be looked for.
        if has_changed:
            return FRESH_SECONDS
        if applied.denials:
            return min(AGAIN_SECONDS.get(error.kind, OTHERWISE_AGAIN_SECONDS) for error in applied.denials)
        return max(plan.requeue_after or 0.0, OTHERWISE_AGAIN_SECONDS) if refused else plan.requeue_after

    async def _unanswered(self, body: Manifest, pool: GPUNodePool, error: OciError) -> float | None:
        """Oracle does not show the pool. A pool that is deleted is let go if it is gone there, or after its limit."""
        # Jobs of every team repeat it: Oracle's identifiers and the operator's Secrets are for who may see the pool.
        self._pools.put_silence(pool.metadata.uid, SILENT)
        self._wake_waiting_jobs()
        if pool.metadata.deletion_timestamp is not None:
            waited = is_out_of_patience(pool, self._pools.now())
            if error.kind is OciErrorKind.NOT_FOUND or waited or not has_nodes_to_remove(pool.status):
                others = [f for f in pool.metadata.finalizers if f != POOL_FINALIZER]
                refused = await self._set_finalizers(body, others)
                if not refused:
                    return None
                return await self._refused(body, with_refused_writes(pool.status, refused, self._pools.now()), error)
        return await self._refused(body, pool.status, error)

    async def _refused(self, body: Manifest, status: GPUNodePoolStatus, error: OciError) -> float:
        """Write the refusal. Raises RetryAfter for what passes by itself."""
        again = AGAIN_SECONDS.get(error.kind, OTHERWISE_AGAIN_SECONDS)
        if error.kind in PASSING:
            logger.info("%s Again in %.0f s.", error.sentence, again)
            raise RetryAfter(again)
        known = GPUNodePool.parse(body).status
        await self._write(body, _with_denial(status, error, self._pools.now()))
        for event in _denial_events(known, [error]):
            await self._events.record(body, event)
        return again

    async def _write(self, body: Manifest, status: GPUNodePoolStatus | None) -> None:
        if status is not None:
            await self._status.write(body, status.to_manifest())

    async def _report_unreadable(self, body: Manifest, error: ValidationError) -> None:
        """Nothing is done for the pool until its spec, or the operator, is another one."""
        status = GPUNodePoolStatus.read(body.get("status", {}))
        sentence = f"The spec cannot be read by this version of the operator: {first_problem(error)}."
        status = with_invalid_spec(status, body["metadata"].get("generation", 1), sentence, self._pools.now())
        if await self._status.write(body, status.to_manifest()):
            await self._events.record(body, Event("Warning", PoolReason.INVALID_SPEC, sentence))

    async def _set_finalizers(self, body: Manifest, finalizers: list[str]) -> tuple[str, ...]:
        """Bound to the version that was read, because a list in a merge patch replaces all of it.

        Returns why the API server refuses, if it does.
        """
        name = body["metadata"]["name"]
        newest = await self._client.get(NODE_POOLS, None, name)
        if newest is None or newest["metadata"]["uid"] != body["metadata"]["uid"]:
            return ()
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": newest["metadata"]["resourceVersion"]}}
        try:
            self._known.put(NODE_POOLS, await self._client.merge_patch(NODE_POOLS, None, name, patch))
        except ConflictError:
            raise RetryAfter(0) from None  # somebody changed it since it was read
        except ApiError as error:
            return (f"The finalizer of the pool cannot be changed: {api_message(error).rstrip('.')}.",)
        return ()

    def _forget(self, uid: str) -> None:
        self._pools.forget(uid)
        self._clients.forget(uid)
        self._status.forget(uid)


def _with_denial(status: GPUNodePoolStatus, error: OciError, now: datetime) -> GPUNodePoolStatus:
    found = OkeError(error.kind.value, error.sentence, error.request_id)
    return with_refusal(status, found, error.kind.value, now)


def _denial_events(before: GPUNodePoolStatus, denied: Sequence[OciError]) -> list[Event]:
    """Told once, and not at each of the tries, which go on for as long as Oracle refuses."""
    known = before.last_error
    is_news = bool(denied) and (known is None or known.message != denied[0].sentence)
    return [Event("Warning", f"Oracle{denied[0].kind}", denied[0].sentence)] if is_news else []


def _write_events(before: GPUNodePoolStatus, refused: Sequence[str]) -> list[Event]:
    """Told once, not at every try."""
    known = find_condition(before, PoolConditionType.WRITE_REFUSED)
    message = " ".join(refused)
    is_news = bool(refused) and (known is None or known.message != message or known.status != ConditionStatus.TRUE)
    return [Event("Warning", PoolReason.WRITE_REFUSED, message)] if is_news else []
