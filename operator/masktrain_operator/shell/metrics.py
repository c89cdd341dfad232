"""What Prometheus reads: the operator's own work, and the jobs as its caches show them."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client import Counter as CounterMetric
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from masktrain_operator.core.times import read_time
from masktrain_operator.core.types import Manifest

from .caches import KnownObjects
from .work_queue import Reconcile, RetryAfter, WorkQueue

PREFIX = "masktrain_operator"
POOL_FIGURES = (
    ("size", "Size of the OKE node pool, as last seen.", ("size",)),
    ("demand", "Nodes that admitted jobs need.", ("demand",)),
    ("waiting_jobs", "Jobs that wait for the pool.", ("waitingJobs",)),
    ("cost_usd", "Cost of the pool since it is managed.", ("cost", "amount")),
    ("idle_cost_usd", "The part of it in which no pod had a GPU.", ("cost", "idleAmount")),
    ("gpu_seconds", "GPU seconds paid for.", ("cost", "gpuSeconds")),
)
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics that are counted as things happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._reconciles = self._timed(
            "reconcile", "Length of one reconcile.", "Reconciles that failed and were put off."
        )
        self._looks = self._timed(
            "pool_look", "Length of one look at a node pool.", "Looks at a node pool that failed and were put off."
        )
        self.missed_events = CounterMetric(
            f"{PREFIX}_missed_events", "Jobs of which a list showed what no watch had told.", registry=self.registry
        )

    def measured(self, reconcile: Reconcile) -> Reconcile:
        """The same reconcile of a job, timed and its failures counted."""
        return _measured(reconcile, *self._reconciles)

    def measured_look(self, reconcile: Reconcile) -> Reconcile:
        """The same reconcile of a node pool, timed and its failures counted."""
        return _measured(reconcile, *self._looks)

    def _timed(self, name: str, duration: str, errors: str) -> tuple[Histogram, CounterMetric]:
        return (
            Histogram(f"{PREFIX}_{name}_duration_seconds", duration, buckets=BUCKETS, registry=self.registry),
            CounterMetric(f"{PREFIX}_{name}_errors", errors, registry=self.registry),
        )


def _measured(reconcile: Reconcile, durations: Histogram, errors: CounterMetric) -> Reconcile:
    async def timed(key: str) -> float | None:
        started = time.monotonic()
        try:
            return await reconcile(key)
        # A wish to be called later is no failure.
        except RetryAfter:
            raise
        except Exception:
            errors.inc()
            raise
        finally:
            durations.observe(time.monotonic() - started)

    return timed


class ClusterCollector(Collector):
    """Computed when asked, from the queue and the caches; in the event loop that owns them."""

    def __init__(self, queue: WorkQueue, known: KnownObjects) -> None:
        self._queue = queue
        self._known = known

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(f"{PREFIX}_queue_length", "Jobs ready to be reconciled.", value=len(self._queue))
        yield GaugeMetricFamily(
            f"{PREFIX}_queue_oldest_seconds", "Age of the oldest entry.", value=self._queue.oldest_age()
        )
        yield self._jobs_by_state()
        yield self._restarts()
        yield self._job_costs()
        yield self._nodes_by_state()
        yield self._removals()
        yield from self._pool_figures()

    def _jobs_by_state(self) -> Metric:
        family = GaugeMetricFamily(
            "masktrain_jobs", "MaskTrainingJobs by namespace and state.", labels=("namespace", "state")
        )
        counts = Counter(
            (job["metadata"]["namespace"], job.get("status", {}).get("state", "Pending"))
            for job in self._known.training_jobs
        )
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        return family

    def _restarts(self) -> Metric:
        # From the statuses and not counted here: an operator that restarts would begin again at 0.
        family = CounterMetricFamily("masktrain_job_restarts", "Restarts of each job.", labels=("namespace", "name"))
        for job in self._known.training_jobs:
            metadata = job["metadata"]
            total = job.get("status", {}).get("restarts", {}).get("total", 0)
            family.add_metric((metadata["namespace"], metadata["name"]), total)
        return family

    def _job_costs(self) -> Metric:
        family = GaugeMetricFamily("masktrain_job_cost_usd", "Cost of each job.", labels=("namespace", "name"))
        for job in self._known.training_jobs:
            amount = job.get("status", {}).get("cost", {}).get("amount")
            if amount is not None:
                family.add_metric((job["metadata"]["namespace"], job["metadata"]["name"]), float(amount))
        return family

    def _nodes_by_state(self) -> Metric:
        family = GaugeMetricFamily(
            "masktrain_node_pool_nodes", "Nodes that are paid for, by what they do.", labels=("pool", "state")
        )
        for pool in self._known.node_pools:
            counts = Counter(node["state"] for node in pool.get("status", {}).get("nodes", ()))
            for state, count in sorted(counts.items()):
                family.add_metric((pool["metadata"]["name"], state), count)
        return family

    def _removals(self) -> Metric:
        """By instance, because what never ends costs for as long as nobody looks after that one."""
        family = GaugeMetricFamily(
            "masktrain_node_pool_removal_seconds",
            "Since Oracle was asked to terminate an instance that is not known to be gone.",
            labels=("pool", "instance"),
        )
        for pool in self._known.node_pools:
            for node in pool.get("status", {}).get("nodes", ()):
                since = read_time(node.get("doomedTime"))
                if since is not None:
                    names = (pool["metadata"]["name"], node["instanceId"])
                    family.add_metric(names, time.time() - since.timestamp())
        return family

    def _pool_figures(self) -> Iterator[Metric]:
        for name, meaning, path in POOL_FIGURES:
            family = GaugeMetricFamily(f"masktrain_node_pool_{name}", meaning, labels=("pool",))
            for pool in self._known.node_pools:
                value = _at(pool.get("status", {}), path)
                if value is not None:
                    family.add_metric((pool["metadata"]["name"],), float(value))
            yield family


def _at(status: Manifest, path: tuple[str, ...]) -> Any:
    found: Any = status
    for key in path:
        found = found.get(key, {})
    return None if found == {} else found


async def serve_metrics(registry: CollectorRegistry, port: int) -> Callable[[], Awaitable[None]]:
    """`GET /metrics` on every address of the pod. Returns what ends it."""
    application = web.Application()
    application.router.add_get("/metrics", make_aiohttp_handler(registry))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host=None, port=port).start()
    return runner.cleanup
