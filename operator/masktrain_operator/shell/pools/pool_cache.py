"""All pools and all gangs as last observed: what admission and the planner are given.

Nothing is decided here. Caches show the operator's own writes at once, so a gang whose Job was just created takes its
slots from the next one.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from pydantic import ValidationError

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.pool_status import PoolNodeStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.admission import Admissions, Placement, Refusal, admit
from masktrain_operator.core.pools.inventory import take_inventory
from masktrain_operator.core.pools.nodes import GpuPod, KubeNode, gpu_pod, instance_of, kube_node
from masktrain_operator.core.pools.packing import Gang, PoolSlots, gang_of
from masktrain_operator.core.pools.snapshot import slots_of, unobserved_slots
from masktrain_operator.core.pools.types import ObservedPool, PoolContext
from masktrain_operator.core.types import Capacity, Manifest, NodeRate
from masktrain_operator.shell.caches import KnownObjects, uid_of

from .observe_pool import PoolObservation


class PoolCache:
    """Filled by the reconcile of each pool."""

    def __init__(self, known: KnownObjects, now: Callable[[], datetime]) -> None:
        self._known = known
        self._now = now
        self._seen: dict[str, PoolObservation] = {}
        self._obstacles: dict[str, str] = {}

    def now(self) -> datetime:
        return self._now()

    @property
    def has_pools(self) -> bool:
        return len(self._known.node_pools) > 0

    def seen(self, pool_uid: str) -> PoolObservation | None:
        return self._seen.get(pool_uid)

    def put(self, pool_uid: str, seen: PoolObservation) -> None:
        self._seen[pool_uid] = seen
        self._obstacles.pop(pool_uid, None)

    def put_obstacle(self, pool_uid: str, sentence: str) -> None:
        """Oracle does not answer for this pool; what was seen before counts on."""
        self._obstacles[pool_uid] = sentence

    def expire(self, pool_uid: str) -> None:
        """What was seen was changed: it is to be looked at anew, and is all there is until then."""
        seen = self._seen.get(pool_uid)
        if seen is not None:
            self._seen[pool_uid] = replace(seen, at=-math.inf)

    def forget(self, pool_uid: str) -> None:
        self._seen.pop(pool_uid, None)
        self._obstacles.pop(pool_uid, None)

    def situation(self, pool: GPUNodePool, seen: PoolObservation) -> PoolContext:
        """The pool without placements: what they are made from."""
        wanted = {node.instance_id for node in seen.oke.nodes} | {entry.instance_id for entry in pool.status.nodes}
        pods = self._pods_by_node()
        nodes = tuple(_kube_node(node, seen, pods) for node in self._known.nodes if (instance_of(node) or "") in wanted)
        return PoolContext(pool, ObservedPool(seen.oke, nodes, instances=seen.instances, ended=seen.ended), self._now())

    def planned_situation(self, pool: GPUNodePool, seen: PoolObservation) -> PoolContext:
        """The pool with the gangs that are to run on it."""
        situation = self.situation(pool, seen)
        admissions = self.admissions()
        name = pool.metadata.name
        observed = replace(
            situation.observed, placements=admissions.of_pool(name), waiting_jobs=admissions.waiting_for(name)
        )
        return replace(situation, observed=observed)

    def admissions(self) -> Admissions:
        gangs = tuple(self._gangs())
        uids = {gang.job_uid for gang in gangs}
        return admit(gangs, tuple(self._rooms(pool, uids) for pool in self._pools()))

    def capacity_of(self, job_uid: str) -> Capacity | None:
        """What the pools answer to the job; None if it is not for pools."""
        admissions = self.admissions()
        placement = admissions.placements.get(job_uid)
        if placement is not None:
            return self._capacity(placement)
        refusal = admissions.refusals.get(job_uid)
        return _refused(refusal) if refusal is not None else None

    def node_rates(self, names: Iterable[str]) -> Mapping[str, NodeRate]:
        """Of those Nodes that belong to a pool with a price."""
        wanted = set(names)
        return {
            entry.name: NodeRate(Decimal(pool.status.hourly_rate), pool.status.gpus_per_node, entry.created_time)
            for pool in self._pools()
            for entry in pool.status.nodes
            if entry.name in wanted and pool.status.hourly_rate and pool.status.gpus_per_node
        }

    def waiting_jobs(self) -> Iterator[str]:
        """Uids of jobs that wait for nodes."""
        waits = (Reason.WAITING_FOR_CAPACITY, Reason.WAITING_FOR_NODES, Reason.POOL_NOT_FOUND, Reason.POOL_TOO_SMALL)
        for job in self._known.training_jobs:
            conditions = job.get("status", {}).get("conditions", ())
            if any(condition["reason"] in waits for condition in conditions):
                yield uid_of(job)

    def _pools(self) -> Iterator[GPUNodePool]:
        """Those of which the API server holds something that this version can read."""
        for body in self._known.node_pools:
            try:
                yield GPUNodePool.parse(body)
            except ValidationError:
                continue

    def _rooms(self, pool: GPUNodePool, gang_uids: set[str]) -> PoolSlots:
        seen, obstacle = self._seen.get(pool.metadata.uid), self._obstacles.get(pool.metadata.uid)
        if seen is None:
            return unobserved_slots(pool, obstacle or "Oracle has not been asked yet")
        situation = self.situation(pool, seen)
        rooms = slots_of(situation, take_inventory(situation), gang_uids)
        return rooms if obstacle is None else replace(rooms, growable=0, obstacle=obstacle)

    def _gangs(self) -> Iterator[Gang]:
        priorities = {body["metadata"]["name"]: int(body["value"]) for body in self._known.priority_classes}
        default = next((int(b["value"]) for b in self._known.priority_classes if b.get("globalDefault")), 0)
        for job in self._known.training_jobs:
            uid = uid_of(job)
            name = job["spec"].get("compute", {}).get("priorityClassName", "")
            gang = gang_of(
                job, self._known.jobs.owned_by(uid), self._known.pods.owned_by(uid), priorities.get(name, default)
            )
            if gang is not None:
                yield gang

    def _pods_by_node(self) -> Mapping[str, tuple[GpuPod, ...]]:
        found: defaultdict[str, tuple[GpuPod, ...]] = defaultdict(tuple)
        for body in self._known.pods:
            pod = gpu_pod(body)
            if pod is not None:
                found[pod.node] += (pod,)
        return found

    def _capacity(self, placement: Placement) -> Capacity:
        pool = next(pool for pool in self._pools() if pool.metadata.name == placement.pool)
        rate = Decimal(pool.status.hourly_rate) if pool.status.hourly_rate else None
        booted = [self._boot_seconds(e, placement.gang) for e in pool.status.nodes if e.name in placement.rooms]
        price = (rate or Decimal(0)) / 3600
        return Capacity(
            is_ready=placement.is_present,
            reason=Reason.WAITING_FOR_NODES,
            message=f"{placement.gang.nodes} nodes of GPUNodePool {placement.pool} are being made ready.",
            pool=placement.pool,
            hourly_rate=rate,
            boot_cost=Decimal(str(sum(booted))) * price,
            boot_gpu_seconds=round(sum(booted)) * (pool.status.gpus_per_node or 0),
        )

    def _boot_seconds(self, entry: PoolNodeStatus, gang: Gang) -> float:
        """Since its creation, of a node that came after the job and that nobody has used yet."""
        used = entry.busy_seconds > 0 or entry.busy_since is not None
        if used or entry.created_time < gang.created:
            return 0.0
        return (self._now() - entry.created_time).total_seconds()


def _kube_node(node: Manifest, seen: PoolObservation, pods: Mapping[str, tuple[GpuPod, ...]]) -> KubeNode:
    name = node["metadata"]["name"]
    foreign, own = seen.foreign_pods.get(name), pods.get(name, ())
    if foreign is None and not own:
        return kube_node(node, None)
    return kube_node(node, (*(foreign or ()), *own))


def _refused(refusal: Refusal) -> Capacity:
    return Capacity(is_ready=False, reason=refusal.reason, message=refusal.message)
