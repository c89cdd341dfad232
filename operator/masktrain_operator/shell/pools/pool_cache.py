"""All pools and all gangs as last observed: what admission and the planner are given.

Nothing is decided here. Caches show the operator's own writes at once, so a gang whose Job was just created takes its
slots from the next one. What admission answered is kept until a cache or an observation changes, or a moment comes that
it depends on: a thousand jobs that are looked at anew cost one admission, and finished ones none.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import ValidationError

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.pool_spec import START_TIMEOUT_SECONDS
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.gangs import Gang, Objection, gang_of
from masktrain_operator.core.pools.admission import Admissions
from masktrain_operator.core.pools.deadlines import is_due
from masktrain_operator.core.pools.nodes import GpuPod, KubeNode, gpu_pod, instance_of, kube_node
from masktrain_operator.core.pools.packing import PoolSlots
from masktrain_operator.core.pools.snapshot import Snapshot, capacity_of, node_rates, slots_of, unobserved_slots
from masktrain_operator.core.pools.types import ObservedPool, PoolContext
from masktrain_operator.core.types import Capacity, Manifest, NodeRate
from masktrain_operator.shell.caches import KnownObjects, ObjectCache, uid_of
from masktrain_operator.shell.events import display_name

from .observe_pool import PoolObservation

logger = logging.getLogger(__name__)

UNREADABLE = "what was observed of it cannot be read"
WAITS = (
    Reason.WAITING_FOR_CAPACITY,
    Reason.WAITING_FOR_NODES,
    Reason.NAMESPACE_LIMIT_REACHED,
    Reason.NAMESPACE_LIMIT_TOO_SMALL,
    Reason.NAMESPACE_NOT_ALLOWED,
    Reason.PRIORITY_CLASS_NOT_ALLOWED,
    Reason.POOL_NOT_FOUND,
    Reason.POOL_TOO_SMALL,
    Reason.SHAPE_NOT_SUPPORTED,
)
NOT_CHECKED = Objection(Reason.WAITING_FOR_CAPACITY, "The API server is asked whether it would take the job's pods.")
Derived = TypeVar("Derived")


class PoolCache:
    """What was observed is put here by the reconcile of each pool."""

    def __init__(self, known: KnownObjects, now: Callable[[], datetime], *, asks_first: bool = False) -> None:
        """`asks_first`: whether a gang gets nodes only once `put_check` has told that its pods would be taken."""
        self._known = known
        self._now = now
        self._checks: dict[str, Objection | None] = {}
        self._unchecked = NOT_CHECKED if asks_first else None
        self._observations: dict[str, PoolObservation] = {}
        self._silences: dict[str, str] = {}
        self._observed = 0
        """How often anything was observed: like the caches' own count of their changes."""
        self._pools = _PerBody(known.node_pools, _readable_pool)
        self._gpu_pods = _PerBody(known.pods, gpu_pod)
        self._gangs = _Gangs(known, lambda uid: self._checks.get(uid, self._unchecked), self._placed_in)
        self._snapshot = Snapshot()
        self._holds_at: tuple[int, ...] = ()
        self._holds_until: datetime | None = None

    def now(self) -> datetime:
        return self._now()

    @property
    def has_pools(self) -> bool:
        return len(self._known.node_pools) > 0

    # What Oracle shows

    def observation(self, pool_uid: str) -> PoolObservation | None:
        return self._observations.get(pool_uid)

    def put(self, pool_uid: str, observation: PoolObservation) -> None:
        self._observations[pool_uid] = observation
        self._silences.pop(pool_uid, None)
        self._observed += 1

    def put_silence(self, pool_uid: str, sentence: str) -> None:
        """Oracle does not answer for this pool; what was observed before counts on."""
        self._silences[pool_uid] = sentence
        self._observed += 1

    def expire(self, pool_uid: str) -> None:
        """What was observed was changed: Oracle is to be asked anew, and this is all there is until then."""
        observation = self._observations.get(pool_uid)
        if observation is not None:
            self._observations[pool_uid] = replace(observation, at=-math.inf)

    def forget(self, pool_uid: str) -> None:
        self._observations.pop(pool_uid, None)
        self._silences.pop(pool_uid, None)
        self._observed += 1

    # What the API server says of a gang's pods

    def put_check(self, job_uid: str, objection: Objection | None) -> bool:
        """Why they would be refused, None if they would not. Returns whether that is news."""
        if job_uid in self._checks and self._checks[job_uid] == objection:
            return False
        self._checks[job_uid] = objection
        self._observed += 1
        return True

    def forget_check(self, job_uid: str) -> None:
        if job_uid in self._checks:
            del self._checks[job_uid]
            self._observed += 1

    # What the planner and the jobs are given

    def context(self, pool: GPUNodePool, observation: PoolObservation) -> PoolContext:
        """The pool with the gangs that are to run on it."""
        context, admissions = self._bare_context(pool, observation), self.admissions()
        name = pool.metadata.name
        placements, waiting = admissions.of_pool(name), admissions.waiting_for(name)
        return replace(context, observed=replace(context.observed, placements=placements, waiting_jobs=waiting))

    def admissions(self) -> Admissions:
        """Of all gangs to all pools, at this moment."""
        known = self._known
        caches = (
            known.training_jobs,
            known.jobs,
            known.pods,
            known.nodes,
            known.node_pools,
            known.priority_classes,
            known.namespaces,
        )
        version = (self._observed, *(cache.changes for cache in caches))
        if version != self._holds_at or is_due(self._holds_until, self._now()):
            self._renew()
            self._holds_at = version
        return self._snapshot.admissions

    def capacity_of(self, job_uid: str) -> Capacity | None:
        """What the pools answer to the job; None if it is not for pools."""
        return capacity_of(job_uid, self.admissions(), self._pools(), self._now())

    def gangs_with_nodes(self, namespace: str) -> Iterator[Gang]:
        """Those of the namespace that are admitted, whether or not their pods are there yet."""
        gangs = (placement.gang for placement in self.admissions().placements.values())
        return (gang for gang in gangs if gang.namespace == namespace)

    def overspent(self, job_uid: str) -> str | None:
        """Why a job that has nodes has to stop: what its namespace may spend in this month is spent."""
        return self.admissions().overspent.get(job_uid)

    def start_timeout_seconds(self, pool_name: str | None) -> int:
        """How long the pool keeps nodes for workers that do not start; as unset where none of that name is known."""
        found = (pool.spec.start_timeout_seconds for pool in self._pools() if pool.metadata.name == pool_name)
        return next(found, None) or START_TIMEOUT_SECONDS

    def node_rates(self, names: Iterable[str]) -> Mapping[str, NodeRate]:
        """Of those Nodes that belong to a pool with a price."""
        return node_rates(names, self._pools())

    def waiting_jobs(self) -> Iterator[str]:
        """Uids of jobs that wait for nodes, or may have them no longer."""
        yield from self.admissions().overspent
        for job in self._known.training_jobs:
            conditions = job.get("status", {}).get("conditions", ())
            if any(condition.get("reason") in WAITS for condition in conditions):
                yield uid_of(job)

    def _placed_in(self, job_uid: str) -> str | None:
        """The pool that the last admission gave it."""
        if not self._holds_at:
            return None
        placement = self._snapshot.admissions.placements.get(job_uid)
        return None if placement is None else placement.pool

    def _renew(self) -> None:
        """Most changes, like the progress of a job, make no other snapshot: then the admissions stay, too."""
        gangs = self._gangs()
        by_uid = {gang.job_uid: gang for gang in gangs}
        snapshot = Snapshot(gangs, tuple(self._slots(pool, by_uid) for pool in self._pools()))
        if snapshot != self._snapshot:
            self._snapshot = snapshot
        self._holds_until = snapshot.changes

    def _slots(self, pool: GPUNodePool, gangs: Mapping[str, Gang]) -> PoolSlots:
        observation = self._observations.get(pool.metadata.uid)
        silence = self._silences.get(pool.metadata.uid)
        if observation is None:
            return unobserved_slots(pool, silence)
        try:
            return slots_of(self._bare_context(pool, observation), gangs, silence)
        except Exception:
            # The others go on; its own reconcile fails, too, and says so.
            logger.exception("GPUNodePool %s cannot be offered to any job.", pool.metadata.name)
            return unobserved_slots(pool, UNREADABLE)

    def _bare_context(self, pool: GPUNodePool, observation: PoolObservation) -> PoolContext:
        """Without placements: what they are made from."""
        oke = observation.oke
        wanted = {node.instance_id for node in oke.nodes} | {entry.instance_id for entry in pool.status.nodes}
        pods = self._pods_by_node()
        nodes = (
            _kube_node(node, observation, pods) for node in self._known.nodes if (instance_of(node) or "") in wanted
        )
        observed = ObservedPool(oke, tuple(nodes), instances=observation.instances, ended=observation.ended)
        return PoolContext(pool, observed, self._now())

    def _pods_by_node(self) -> Mapping[str, tuple[GpuPod, ...]]:
        found: defaultdict[str, tuple[GpuPod, ...]] = defaultdict(tuple)
        for pod in self._gpu_pods():
            found[pod.node] += (replace(pod, job_uid=self._known.job_of_pod(pod.uid)),)
        return found


class _PerBody(Generic[Derived]):
    """What a function makes of each body of a cache, made anew only of bodies that have changed."""

    def __init__(self, cache: ObjectCache, derive: Callable[[Manifest], Derived | None]) -> None:
        self._cache = cache
        self._derive = derive
        self._made: dict[str, tuple[Manifest, Derived | None]] = {}
        self._values: tuple[Derived, ...] = ()
        self._at = -1

    def __call__(self) -> tuple[Derived, ...]:
        if self._at != self._cache.changes:
            # The cache replaces a body and never writes into it, so the same one is an unchanged one.
            made = {uid_of(body): (body, self._of(body)) for body in self._cache}
            self._made, self._at = made, self._cache.changes
            self._values = tuple(value for _, value in made.values() if value is not None)
        return self._values

    def _of(self, body: Manifest) -> Derived | None:
        known = self._made.get(uid_of(body))
        return known[1] if known is not None and known[0] is body else isolated(body, lambda: self._derive(body))


class _Gangs:
    """The gangs of all jobs, made anew only of jobs that have changed, or whose batch Jobs or pods have."""

    def __init__(
        self,
        known: KnownObjects,
        objection_to: Callable[[str], Objection | None],
        placed_in: Callable[[str], str | None],
    ) -> None:
        self._known = known
        self._placed_in = placed_in
        self._objection_to = objection_to
        self._made: dict[str, tuple[tuple[object, ...], Gang | None]] = {}

    def __call__(self) -> tuple[Gang, ...]:
        priority_of, labels_of = self._priorities(), self._namespace_labels()
        self._made = {
            uid_of(job): self._gang(job, priority_of(job), labels_of.get(job["metadata"]["namespace"]))
            for job in self._known.training_jobs
        }
        return tuple(gang for _, gang in self._made.values() if gang is not None)

    def _gang(
        self, job: Manifest, priority: int, namespace: Mapping[str, str] | None
    ) -> tuple[tuple[object, ...], Gang | None]:
        uid, jobs, pods = uid_of(job), self._known.jobs, self._known.pods
        objection, placed_in = self._objection_to(uid), self._placed_in(uid)
        at = (job["metadata"]["resourceVersion"], jobs.changed(uid), pods.changed(uid))
        version = (*at, priority, namespace, objection, placed_in)
        known = self._made.get(uid)
        if known is not None and known[0] == version:
            return known

        def read() -> Gang | None:
            return gang_of(
                job,
                self._known.jobs_of(job),
                self._known.pods_of(job),
                priority,
                namespace_labels=namespace,
                objection=objection,
                placed_in=placed_in,
            )

        return version, isolated(job, read)

    def _namespace_labels(self) -> Mapping[str, Mapping[str, str]]:
        return {body["metadata"]["name"]: body["metadata"].get("labels", {}) for body in self._known.namespaces}

    def _priorities(self) -> Callable[[Manifest], int]:
        """A job's priority, as its PriorityClass, or the default one, says."""
        classes = self._known.priority_classes
        values = {body["metadata"]["name"]: int(body["value"]) for body in classes}
        default = next((int(body["value"]) for body in classes if body.get("globalDefault")), 0)
        return lambda job: values.get(job["spec"].get("compute", {}).get("priorityClassName", ""), default)


def isolated(body: Manifest, derive: Callable[[], Derived | None]) -> Derived | None:
    """What `derive` makes of that one body, None if it fails: whatever is odd about one object, the others go on."""
    try:
        return derive()
    except Exception:
        logger.exception("%s %s is left out: it cannot be read.", body.get("kind"), display_name(body))
        return None


def _readable_pool(body: Manifest) -> GPUNodePool | None:
    """None for what this version cannot read."""
    try:
        return GPUNodePool.parse(body)
    except ValidationError:
        return None


def _kube_node(node: Manifest, observation: PoolObservation, pods: Mapping[str, tuple[GpuPod, ...]]) -> KubeNode:
    name = node["metadata"]["name"]
    foreign, own = observation.foreign_pods.get(name), pods.get(name, ())
    # Own pods keep a node by themselves; an empty one is unknown until the pods of others have been asked for.
    if foreign is None and not own:
        return kube_node(node, None)
    return kube_node(node, (*(foreign or ()), *own))
