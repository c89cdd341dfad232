"""What only Oracle, or the API server about pods of others, can say of a pool: asked, and kept as one observation."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from masktrain_operator.api.pool_status import PoolNodeStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.inventory import end_of_removal
from masktrain_operator.core.pools.nodes import GpuPod, gpu_pod, instance_of
from masktrain_operator.core.pools.oke import Instance, OkePool
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import KubernetesClient
from masktrain_operator.shell.oci.client import NodePools


@dataclass(frozen=True)
class PoolObservation:
    """`foreign_pods`: by Node, those with GPUs that no watch of the operator shows; other Nodes were not asked for."""

    oke: OkePool
    at: float
    foreign_pods: Mapping[str, tuple[GpuPod, ...]] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    ended: Mapping[str, datetime] = field(default_factory=dict)


TERMINATED = "TERMINATED"
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
        """Everything at this moment. Raises OciError or ApiError."""
        oke = await self._node_pool(pool, oracle)
        known = {entry.instance_id for entry in pool.status.nodes}
        new = sorted(oke.alive_instances - known)
        instances = await asyncio.gather(*(self._instance(oracle, instance) for instance in new))
        missing = [entry for entry in pool.status.nodes if _may_have_ended(entry, oke)]
        ends = await asyncio.gather(*(self._end(oracle, oke, entry) for entry in missing))
        return PoolObservation(
            oke=oke,
            at=self._clock(),
            foreign_pods=await self._foreign_pods(_instances(pool, oke)),
            instances={instance.id: instance for instance in instances},
            ended={entry.instance_id: end for entry, end in zip(missing, ends, strict=True) if end is not None},
        )

    def is_current(self, pool: GPUNodePool, observation: PoolObservation) -> bool:
        """Whether no Node of the pool has come or gone since: why, only Oracle can say."""
        return set(self._names(_instances(pool, observation.oke))) == observation.foreign_pods.keys()

    async def _node_pool(self, pool: GPUNodePool, oracle: NodePools) -> OkePool:
        """Work requests are worth their calls only while nodes are missing or the pool is not steady."""
        oke = await oracle.get_pool(pool.spec.node_pool_id)
        untold = any(_may_have_ended(e, oke) and e.work_request_id is None for e in pool.status.nodes)
        if oke.lifecycle_state == STEADY and oke.size == len(oke.alive_instances) and not untold:
            return oke
        return await oracle.get_pool(pool.spec.node_pool_id, with_work_requests=True)

    async def _instance(self, oracle: NodePools, instance_id: str) -> Instance:
        """Its creation is when billing began; without the right to read instances it is taken to be now."""
        found = await oracle.get_instance(instance_id)
        return found or Instance(instance_id, self._now(), STEADY, "", "", preemptible=False)

    async def _end(self, oracle: NodePools, oke: OkePool, entry: PoolNodeStatus) -> datetime | None:
        """When the instance was terminated, None while it is not."""
        instance = await oracle.get_instance(entry.instance_id)
        # TERMINATING still counts as billed: Oracle does not say which of the two ends the bill.
        if instance is not None and instance.lifecycle_state != TERMINATED:
            return None
        if entry.work_request_id is None:
            return end_of_removal(oke, entry) or self._now()
        return (await oracle.get_work_request(entry.work_request_id)).finished or self._now()

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


def _may_have_ended(entry: PoolNodeStatus, oke: OkePool) -> bool:
    """Oracle lists a node for a while after its instance is gone."""
    states = [node.lifecycle_state for node in oke.nodes if node.instance_id == entry.instance_id]
    return all(state in ("DELETED", "INACTIVE", "FAILING") for state in states)
