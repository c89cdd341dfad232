"""Wires the shell together and owns its life: connections, caches, work queue, periodic resync."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import aiohttp

from masktrain_operator.core.types import Manifest
from masktrain_operator.shell.oci.client import PoolClients
from masktrain_operator.shell.pools.pool_cache import PoolCache

from .apply import Applier
from .caches import KnownObjects, owner_uid
from .client import (
    CONNECTION_ERRORS,
    NODE_POOLS,
    WATCHED_FOR_POOLS,
    ApiError,
    KubernetesClient,
    ResourceKind,
    connect,
    refusal_sentence,
)
from .events import EventRecorder
from .lease import renew_for_ever
from .metrics import ClusterCollector, Metrics, serve_metrics
from .observe import Observer
from .pools.apply_pool import PoolApplier
from .pools.observe_pool import PoolObserver
from .pools.reconcile_pool import PoolReconciler
from .progress import ProgressReader
from .reconcile import Reconciler
from .settings import Settings
from .status_writer import StatusWriter, WriteRate
from .work_queue import WorkQueue

logger = logging.getLogger(__name__)

POOL_WORKERS = 4
STUCK_SECONDS = 180
"""A job that waits or is worked on for longer than this, past every timeout of its requests, means a stuck operator."""


class Unhealthy(Exception):
    """The operator should be restarted; the message says why."""


class CannotStart(Exception):
    """The API server could not be reached or refused; the message says why."""


class Controller:
    """Told of every event by the handlers; from there on everything goes through the work queue."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = KnownObjects(with_pools=settings.node_pools)
        self._pools = PoolCache(self._known, lambda: datetime.now(UTC))
        self._metrics = Metrics()
        self._tasks: list[asyncio.Task[None]] = []
        self._open = AsyncExitStack()

    async def start(self) -> None:
        """Fill the caches, then start working. Raises CannotStart with a sentence; it may be called again then."""
        try:
            await self._start()
        except CONNECTION_ERRORS as error:
            await self.stop()
            raise CannotStart(refusal_sentence(error)) from None

    async def _start(self) -> None:
        self._tasks.clear()
        api_client = await connect()
        self._open.push_async_callback(api_client.close)
        self._client = KubernetesClient(api_client)
        session = await self._open.enter_async_context(aiohttp.ClientSession())
        self._queue = WorkQueue(self._metrics.measured(self._reconciler(session)), workers=self._settings.workers)
        self._pool_queue = WorkQueue(self._pool_reconciler(), workers=POOL_WORKERS)
        await self._known.refresh(self._client, self._settings.watch_namespaces)
        await self._serve_metrics()
        self._start_work()

    @property
    def watched(self) -> Iterable[ResourceKind]:
        """The kinds whose events it wants to be told."""
        return self._known.listed

    async def stop(self) -> None:
        """Drop what is in work; the next start finds what was done and does the rest."""
        await self._open.aclose()

    def saw(self, kind: ResourceKind, event_type: str | None, body: Manifest) -> None:
        """An event of a watch. What is already known, like our own writes, wakes nothing."""
        if event_type == "DELETED":
            self._known.remove(kind, body)
        elif not self._known.put(kind, body):
            return
        if kind in WATCHED_FOR_POOLS:
            self._wake_pools()
            return
        uid = owner_uid(kind, body)
        if uid is not None:
            self._queue.wake(uid)
            self._wake_pools()

    def check_health(self) -> dict[str, float]:
        """Raises Unhealthy if work stands still."""
        age = max(self._queue.oldest_age(), self._pool_queue.oldest_age())
        if age > STUCK_SECONDS:
            raise Unhealthy(f"A job or node pool has been waiting or in work for {age:.0f} s.")
        if not self._queue.alive() or not self._pool_queue.alive() or any(map(asyncio.Task.done, self._tasks)):
            raise Unhealthy("A background task of the operator has ended.")
        return {"oldestSeconds": round(age, 1), "queued": len(self._queue)}

    def _pool_reconciler(self) -> PoolReconciler:
        clients = PoolClients(self._client, self._settings.namespace, self._settings.oci_endpoint)
        self._open.push_async_callback(clients.close)
        rate = WriteRate(self._settings.progress_writes_per_second)
        return PoolReconciler(
            client=self._client,
            known=self._known,
            pools=self._pools,
            clients=clients,
            observer=PoolObserver(self._client, self._known),
            applier=PoolApplier(self._client, self._known),
            status=StatusWriter(self._client, self._known, rate, time.monotonic, NODE_POOLS),
            events=EventRecorder(self._client),
            wake_waiting_jobs=self._wake_waiting_jobs,
        )

    def _reconciler(self, session: aiohttp.ClientSession) -> Reconciler:
        progress = ProgressReader(session, self._settings.progress_interval_seconds)
        observer = Observer(self._known, self._client, progress, self._pools)
        rate = WriteRate(self._settings.progress_writes_per_second)
        return Reconciler(
            known=self._known,
            observer=observer,
            applier=Applier(self._client, self._known, observer.saw_foreign_job),
            status=StatusWriter(self._client, self._known, rate, time.monotonic),
            events=EventRecorder(self._client),
            settings=self._settings.for_plan,
            wake_pools=self._wake_pools,
        )

    async def _serve_metrics(self) -> None:
        collector = ClusterCollector(self._queue, self._known)
        self._metrics.registry.register(collector)
        self._open.callback(self._metrics.registry.unregister, collector)
        if self._settings.metrics_port:
            self._open.push_async_callback(await serve_metrics(self._metrics.registry, self._settings.metrics_port))

    def _start_work(self) -> None:
        for queue in (self._queue, self._pool_queue):
            queue.start()
            self._open.push_async_callback(queue.stop)
        self._wake_all()
        self._keep_doing(self._resync_for_ever(), "resync")
        if self._settings.node_pools:
            self._keep_doing(renew_for_ever(self._client, self._settings.namespace), "lease")

    def _keep_doing(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        self._open.push_async_callback(_cancelled, task)

    async def _resync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            try:
                await self._resync()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                logger.warning("The periodic listing failed and will be repeated. %s", refusal_sentence(error))

    async def _resync(self) -> None:
        """Correct the caches and look at every job anew: the repair of whatever a watch missed."""
        missed = await self._known.refresh(self._client, self._settings.watch_namespaces)
        if missed:
            self._metrics.missed_events.inc(len(missed))
            logger.info("A list showed changes of %s jobs ahead of the watch.", len(missed))
        for uid in missed:
            self._queue.wake(uid)
        self._wake_all()

    def _wake_all(self) -> None:
        for job in self._known.training_jobs:
            self._queue.wake(job["metadata"]["uid"])
        self._wake_pools()

    def _wake_pools(self) -> None:
        for pool in self._known.node_pools:
            self._pool_queue.wake(pool["metadata"]["uid"])

    def _wake_waiting_jobs(self) -> None:
        for uid in self._pools.waiting_jobs():
            self._queue.wake(uid)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
