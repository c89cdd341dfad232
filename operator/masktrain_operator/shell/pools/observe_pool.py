"""What only Oracle, or the API server about pods of others, can say of a pool: asked, and kept as one observation."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from masktrain_operator.api.pool_status import PoolNodeStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.deadlines import is_due, removal_is_stuck, unlisted_for_long
from masktrain_operator.core.pools.inventory import end_of_removal
from masktrain_operator.core.pools.nodes import GpuPod, gpu_pod, instance_of
from masktrain_operator.core.pools.oke import BROKEN_STATES, Instance, OkePool
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import KubernetesClient
from masktrain_operator.shell.oci.access import OciError
from masktrain_operator.shell.oci.client import NodePools


@dataclass(frozen=True)
class PoolObservation:
    """`foreign_pods`: by Node, those with GPUs that no watch of the operator shows; other Nodes were not asked for."""

    oke: OkePool
    at: float
    foreign_pods: Mapping[str, tuple[GpuPod, ...]] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    ended: Mapping[str, datetime] = field(default_factory=dict)


logger = logging.getLogger(__name__)

TERMINATED = "TERMINATED"
GONE = (TERMINATED, "TERMINATING")
"""Of an instance that the operator has never had, there is nothing to wait for."""
ENDED = ("DELETED", None)
"""States of a node in the pool's list; None is not to be in it."""
SUCCEEDED = "SUCCEEDED"
STEADY = "ACTIVE"


class PoolObserver:
    def __init__(
        self,
        client: KubernetesClient,
        known: KnownObjects,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._known = known
        self._clock = clock
        self._now = now

    async def look(self, pool: GPUNodePool, oracle: NodePools) -> PoolObservation:
        """Everything at this moment. Raises OciError if Oracle does not show the pool itself, or ApiError."""
        oke = await self._node_pool(pool, oracle)
        known = {entry.instance_id for entry in pool.status.nodes}
        new = sorted(oke.alive_instances - known)
        instances = await asyncio.gather(*(self._instance(oracle, instance) for instance in new))
        gone = {instance.id for instance in instances if instance.lifecycle_state in GONE}
        oke = oke.without(gone)
        missing = [entry for entry in pool.status.nodes if self._may_have_ended(pool, entry, oke)]
        ends = await asyncio.gather(*(self._end(oracle, oke, entry) for entry in missing))
        return PoolObservation(
            oke=oke,
            at=self._clock(),
            foreign_pods=await self._foreign_pods(_instances(pool, oke)),
            instances={instance.id: instance for instance in instances if instance.id not in gone},
            ended={entry.instance_id: end for entry, end in zip(missing, ends, strict=True) if end is not None},
        )

    def is_current(self, pool: GPUNodePool, observation: PoolObservation) -> bool:
        """Whether no Node of the pool has come or gone since: why, only Oracle can say."""
        return set(self._names(_instances(pool, observation.oke))) == observation.foreign_pods.keys()

    async def _node_pool(self, pool: GPUNodePool, oracle: NodePools) -> OkePool:
        """Work requests are worth their calls only while nodes are missing, going, or the pool is not steady."""
        oke = await oracle.get_pool(pool.spec.node_pool_id)
        untold = any(_is_doomed(entry) or _shown_state(entry, oke) in ENDED for entry in pool.status.nodes)
        if oke.lifecycle_state == STEADY and oke.size == len(oke.alive_instances) and not untold:
            return oke
        return await oracle.get_pool(pool.spec.node_pool_id, with_work_requests=True)

    async def _instance(self, oracle: NodePools, instance_id: str) -> Instance:
        """Its creation is when billing began; where Compute does not tell, that is taken to be now."""
        try:
            found = await oracle.get_instance(instance_id)
        except OciError as error:
            logger.warning("%s", error.sentence)
            found = None
        return found or Instance(instance_id, self._now(), STEADY, "", "", preemptible=False)

    def _may_have_ended(self, pool: GPUNodePool, entry: PoolNodeStatus, oke: OkePool) -> bool:
        """Oracle lists a node for a while after its instance is gone."""
        state = _shown_state(entry, oke)
        if state in BROKEN_STATES:
            # Until it was asked for, it is one to be removed: also a dead one has a place in the size.
            return _is_doomed(entry) or not entry.added_by_operator
        return state in ENDED or (state == "DELETING" and is_due(removal_is_stuck(pool, entry), self._now()))

    async def _end(self, oracle: NodePools, oke: OkePool, entry: PoolNodeStatus) -> datetime | None:
        """When the instance was terminated, None while it is not or nobody can tell."""
        try:
            instance = await oracle.get_instance(entry.instance_id)
        except OciError as error:
            logger.warning("%s", error.sentence)
            return None
        # TERMINATING still counts as billed: Oracle does not say which of the two ends the bill.
        if instance is not None:
            ended = instance.lifecycle_state == TERMINATED
            return await self._end_of_removal(oracle, oke, entry) or self._now() if ended else None
        # A missing policy and a moment's lag look the same: without another witness it may well run, and cost.
        return await self._end_of_removal(oracle, oke, entry) or self._end_by_absence(entry)

    async def _end_of_removal(self, oracle: NodePools, oke: OkePool, entry: PoolNodeStatus) -> datetime | None:
        request = oke.work_request(entry.work_request_id)
        if request is None and entry.work_request_id is not None:
            try:
                request = await oracle.get_work_request(entry.work_request_id)
            except OciError as error:
                logger.warning("%s", error.sentence)
        done = request is not None and request.status == SUCCEEDED
        return request.finished if done and request is not None else end_of_removal(oke, entry)

    def _end_by_absence(self, entry: PoolNodeStatus) -> datetime | None:
        """Neither Container Engine, nor Compute, nor Kubernetes has shown it for a quarter of an hour."""
        has_node = any(instance_of(node) == entry.instance_id for node in self._known.nodes)
        long_unlisted = is_due(unlisted_for_long(entry), self._now())
        return entry.unlisted_time if long_unlisted and not has_node else None

    async def _foreign_pods(self, instances: frozenset[str]) -> dict[str, tuple[GpuPod, ...]]:
        """Asked of the API server, because no watch of the operator follows pods of others."""
        names = self._names(instances)
        listed = await asyncio.gather(*map(self._holders, names))
        return dict(zip(names, listed, strict=True))

    async def _holders(self, node: str) -> tuple[GpuPod, ...]:
        holders = await self._client.list_pods_on(node, gpu_pod)
        return tuple(pod for pod in holders if not self._is_watched(pod))

    def _names(self, instances: frozenset[str]) -> list[str]:
        return [node["metadata"]["name"] for node in self._known.nodes if instance_of(node) in instances]

    def _is_watched(self, pod: GpuPod) -> bool:
        """Whether the operator's own caches show it, and show when it ends."""
        return self._known.pods.get(pod.uid) is not None


def _instances(pool: GPUNodePool, oke: OkePool) -> frozenset[str]:
    return oke.alive_instances | {entry.instance_id for entry in pool.status.nodes}


def _is_doomed(entry: PoolNodeStatus) -> bool:
    return entry.doomed_time is not None or entry.removal_requested_time is not None


def _shown_state(entry: PoolNodeStatus, oke: OkePool) -> str | None:
    states = [node.lifecycle_state for node in oke.nodes if node.instance_id == entry.instance_id]
    return states[0] if states else None
