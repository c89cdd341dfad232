"""Runs the operator under kopf and owns its life: watches, connections, caches, work queue, periodic resync.

kopf brings the watches, the probe, the signals and the sign-in. Every handler does one thing, to wake the work queue.
Only `on.event` is used for objects: timers, daemons and `on.create/update/delete` would put finalizers and annotations
on them, and a deletion would hang while the operator is down.
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf
from pydantic import ValidationError

from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import plain_text

from .apply import Applier
from .caches import KnownObjects, owner_uid, uid_of
from .client import (
    CONNECTION_ERRORS,
    NODE_POOLS,
    PAGE_ITEMS,
    WATCHED_FOR_POOLS,
    ApiError,
    KubernetesClient,
    ResourceKind,
    connect,
    refusal_sentence,
)
from .events import EventRecorder
from .lease import Looks, renew_for_ever
from .metrics import ClusterCollector, Metrics, serve_metrics
from .observe import Observer
from .oci.client import PoolClients
from .pools.apply_pool import PoolApplier
from .pools.gang_check import GangCheck
from .pools.observe_pool import PoolObserver
from .pools.pool_cache import PoolCache
from .pools.reconcile_pool import PoolReconciler
from .progress import ProgressReader
from .reconcile import Reconciler
from .settings import LogFormat, LogLevel, Settings, wrong_variables
from .status_writer import WRITE_BURST, WRITES_PER_SECOND, Allowance, StatusWriter, WriteRate
from .work_queue import WorkQueue

logger = logging.getLogger(__name__)

POOL_WORKERS = 4
MOST_PODS_ASKED = 1024
"""At the same time: slow ones must not keep the others from being asked."""
FAILED_LOOKS = 8
"""In a row, at one node pool, for a reason that waiting does not cure: about a minute of tries."""
STUCK_SECONDS = 180
"""Work on one job that takes longer than this, past every timeout of its requests, means a stuck operator."""


WATCH_SECONDS = 300
"""The server ends a watch after this; a dead connection is noticed earlier, by the missing bookmarks (each 60 s)."""
# kopf's own 70 s leave a bookmark no more than 10 s to be late.
INACTIVITY_SECONDS = 90
CONNECT_SECONDS = 10
REQUEST_SECONDS = 60
START_AGAIN_SECONDS = 3
LONGEST_LOG_LINE = 8192
CHATTY_LOGGERS = ("kopf.objects", "kopf.activities", "aiohttp.access")
"""They would log every event and every probe; the operator's own lines say what was done."""
LOG_FORMATS = {LogFormat.TEXT: kopf.LogFormat.FULL, LogFormat.JSON: kopf.LogFormat.JSON}


class Unhealthy(Exception):
    """The operator should be restarted; the message says why."""


class CannotStart(Exception):
    """The API server could not be reached or refused; the message says why."""


class Controller:
    """Told of every event by the handlers; from there on everything goes through the work queue."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = KnownObjects(
            with_pools=settings.node_pools, with_network_policies=bool(settings.progress_clients)
        )
        self._pools = PoolCache(self._known, lambda: datetime.now(UTC), asks_first=True)
        self._metrics = Metrics()
        self._looks = Looks()
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
        # Those of a start that failed have ended, and the probe would take that for a fault.
        self._tasks.clear()
        api_client = await connect()
        self._open.push_async_callback(api_client.close)
        self._client = KubernetesClient(api_client)
        connector = aiohttp.TCPConnector(limit=MOST_PODS_ASKED)
        session = await self._open.enter_async_context(aiohttp.ClientSession(connector=connector))
        reconcile = self._metrics.measured(self._reconciler(session))
        self._queue = WorkQueue(reconcile, workers=self._settings.workers, lane_of=self._namespace_of)
        looks = self._metrics.measured_look(self._pool_reconciler())
        self._pool_queue = WorkQueue(looks, workers=POOL_WORKERS)
        # Before any work: to empty caches a job that trains would look like one without an attempt.
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
        """An event of a watch. What is already known, like our own writes, or not of ours wakes nothing."""
        if event_type == "DELETED":
            if not self._known.remove(kind, body):
                return
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
        standstill = max(self._queue.standstill(), self._pool_queue.standstill())
        if standstill > STUCK_SECONDS:
            raise Unhealthy(f"A job or node pool has been in work, or all have been waiting, for {standstill:.0f} s.")
        if not self._queue.alive() or not self._pool_queue.alive() or any(map(asyncio.Task.done, self._tasks)):
            raise Unhealthy("A background task of the operator has ended.")
        failed = self._pool_queue.most_faults()
        if failed >= FAILED_LOOKS:
            raise Unhealthy(f"The last {failed} looks at a node pool have failed; the log says why.")
        age = max(self._queue.oldest_age(), self._pool_queue.oldest_age())
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
            status=StatusWriter(self._client, self._known, rate, time.monotonic, kind=NODE_POOLS),
            events=EventRecorder(self._client),
            wake_waiting_jobs=self._wake_waiting_jobs,
            looked=self._looks.note,
        )

    def _reconciler(self, session: aiohttp.ClientSession) -> Reconciler:
        progress = ProgressReader(session, self._settings.progress_interval_seconds, wake=self._wake_job)
        self._open.callback(progress.close)
        check = GangCheck(self._client, self._pools, self._settings.for_plan, self._wake_pools)
        observer = Observer(self._known, self._client, progress, self._pools, check)
        rate = WriteRate(self._settings.progress_writes_per_second)
        return Reconciler(
            known=self._known,
            observer=observer,
            applier=Applier(self._client, self._known, observer.saw_foreign_job),
            status=StatusWriter(
                self._client, self._known, rate, time.monotonic, allowance=Allowance(WRITE_BURST, WRITES_PER_SECOND)
            ),
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
        # Its Lease holds off the sweeper: only an operator that looks after pools may renew it.
        if self._settings.node_pools:
            renewing = renew_for_ever(self._client, self._settings.namespace, self._tends_pools, self._last_looks)
            self._keep_doing(renewing, "lease")

    def _last_looks(self) -> Mapping[str, datetime]:
        return self._looks.of(uid_of(pool) for pool in self._known.node_pools)

    def _tends_pools(self) -> bool:
        """Whether the sweeper may stay out: one that lives and cannot look at its pools takes no idle node down."""
        if not self._pools.has_pools:
            return True
        return self._pool_queue.has_succeeded and self._pool_queue.most_faults() < FAILED_LOOKS

    def _keep_doing(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        self._open.push_async_callback(_cancelled, task)

    async def _resync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            try:
                await self._resync()
            # Anything else ends this task, and the probe then has the operator restarted.
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                logger.warning("The periodic listing failed and will be repeated. %s", refusal_sentence(error))

    async def _resync(self) -> None:
        """Correct the caches and look at every job anew: the repair of whatever a watch missed."""
        missed = await self._known.refresh(self._client, self._settings.watch_namespaces)
        if missed:
            self._metrics.missed_events.inc(len(missed))
            logger.info("A list showed changes of %s jobs ahead of the watch.", len(missed))
        # Those that are gone, too, which no cache names any more: what is kept for them has to be dropped.
        for uid in missed:
            self._queue.wake(uid)
        self._wake_all()

    def _namespace_of(self, uid: str) -> str:
        """Of that job; those that are gone share what is left."""
        job = self._known.training_jobs.get(uid)
        return "" if job is None else str(job["metadata"]["namespace"])

    def _wake_job(self, uid: str) -> None:
        self._queue.wake(uid)

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


def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Called again by kopf whenever the credentials were refused, so a rotated token is read anew."""
    return kopf.login_with_service_account(**arguments) or kopf.login_via_client(**arguments)


def registry_for(controller: Controller) -> kopf.OperatorRegistry:
    """Every handler of the operator, bound to that controller."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)
    _register_life(registry, controller)
    for kind in controller.watched:
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(_saw(controller, kind))
    return registry


def configure_watching(settings: kopf.OperatorSettings, watched: Iterable[ResourceKind]) -> None:
    """Explicit timeouts, server-side selection of our objects, no Kubernetes events by kopf, no watch of CRDs."""
    # kopf would post an Event for each log line of a handler.
    settings.posting.enabled = False
    # It would watch CustomResourceDefinitions, which takes a right on the whole cluster.
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    # After the server's own end, so that only a connection that is dead runs into it.
    settings.watching.client_timeout = WATCH_SECONDS + REQUEST_SECONDS
    settings.watching.inactivity_timeout = INACTIVITY_SECONDS
    settings.watching.connect_timeout = CONNECT_SECONDS
    # It lists before it watches, with bodies that somebody else has written.
    settings.watching.chunk_size = PAGE_ITEMS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    for kind in watched:
        if kind.selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector


def _register_life(registry: kopf.OperatorRegistry, controller: Controller) -> None:
    @kopf.on.startup(id="start", registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure_watching(settings, controller.watched)
        try:
            await controller.start()
        except CannotStart as reason:
            # Anything else would end the process: an API server that restarts is no reason for a crash loop.
            raise kopf.TemporaryError(str(reason), delay=START_AGAIN_SECONDS) from None

    @kopf.on.cleanup(id="stop", registry=registry)
    async def stop(**_: Any) -> None:
        await controller.stop()

    # Without a probe kopf answers as long as its HTTP server lives, also with dead watches and no work done.
    @kopf.on.probe(id="work", registry=registry)
    async def probe(**_: Any) -> dict[str, float]:
        try:
            return controller.check_health()
        except Unhealthy as finding:
            raise kopf.PermanentError(str(finding)) from None


def _saw(controller: Controller, kind: ResourceKind) -> Callable[..., Awaitable[None]]:
    async def saw(event: kopf.RawEvent, **_: Any) -> None:
        body = {**event["object"], "apiVersion": kind.api_version, "kind": kind.kind}
        controller.saw(kind, event["type"], body)

    return saw


def run() -> None:
    """Until a SIGTERM or SIGINT."""
    settings = _settings()
    _configure_logging(settings)
    kopf.run(
        registry=registry_for(Controller(settings)),
        # kopf's peering would take a CustomResourceDefinition of its own.
        standalone=True,
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        liveness_endpoint=f"http://0.0.0.0:{settings.liveness_port}/healthz",
    )


def _configure_logging(settings: Settings) -> None:
    kopf.configure(
        verbose=settings.log_level is LogLevel.DEBUG,
        quiet=settings.log_level is LogLevel.WARNING,
        log_format=LOG_FORMATS[settings.log_format],
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(one_line)
    if settings.log_level is not LogLevel.DEBUG:
        for name in CHATTY_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)


def one_line(record: logging.LogRecord) -> bool:
    """What others wrote, in a message, neither begins a line of its own nor moves the reader's cursor."""
    record.msg, record.args = plain_text(record.getMessage(), LONGEST_LOG_LINE), ()
    return True


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        sys.exit(wrong_variables(error))
