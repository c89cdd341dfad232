"""Executes a pool's plan. Each call may be the last one before the operator dies: the next plan goes on from there."""

import logging

from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError

from masktrain_operator.api.pool_status import GPUNodePoolStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.inventory import record_removal
from masktrain_operator.core.pools.nodes import instance_of
from masktrain_operator.core.pools.scale_down import objection, uncordon
from masktrain_operator.core.pools.types import NodePatch, PoolPlan, Removal, Resize
from masktrain_operator.core.types import Manifest
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import NODES, KubernetesClient
from masktrain_operator.shell.oci.access import OciError, OciErrorKind
from masktrain_operator.shell.oci.client import NodePools
from masktrain_operator.shell.work_queue import RetryAfter

logger = logging.getLogger(__name__)


class PoolApplier:
    """Nothing of Oracle's is changed but the size of the pool and the nodes that the plan names."""

    def __init__(self, client: KubernetesClient, known: KnownObjects) -> None:
        self._client = client
        self._known = known

    async def apply(self, pool: GPUNodePool, plan: PoolPlan, oracle: NodePools) -> GPUNodePoolStatus | None:
        """Everything but the status, which comes back with what was done. Raises OciError, ApiError, RetryAfter."""
        for patch in plan.patches:
            await self._patch(patch)
        if plan.resize is not None:
            await self._resize(pool, plan.resize, oracle)
        return await self._remove_all(pool, plan, oracle)

    async def _patch(self, patch: NodePatch) -> None:
        guard = {"uid": patch.uid}
        if patch.resource_version is not None:
            guard["resourceVersion"] = patch.resource_version
        body = {**patch.body, "metadata": {**patch.body["metadata"], **guard}}
        try:
            self._known.put(NODES, await self._client.merge_patch(NODES, None, patch.name, body))
        except (ConflictError, NotFoundError):
            await self._read_again(patch)
            raise RetryAfter(0) from None

    async def _resize(self, pool: GPUNodePool, resize: Resize, oracle: NodePools) -> None:
        await oracle.resize(pool.spec.node_pool_id, resize.size, resize.etag)
        logger.info("Asked Oracle for size %d of node pool %s.", resize.size, pool.metadata.name)

    async def _remove_all(self, pool: GPUNodePool, plan: PoolPlan, oracle: NodePools) -> GPUNodePoolStatus | None:
        """A refusal after the first removal waits for the next look: what was done has to be written down first.

        So has what may have been done: until it is known, nobody may be put on a node that Oracle was asked to remove.
        """
        status = plan.status
        for removal in plan.removals:
            try:
                status = await self._remove(pool, removal, oracle, status)
            except OciError as error:
                if error.kind is OciErrorKind.UNAVAILABLE and status is not None:
                    status = record_removal(status, removal.instance_id, None)
                if status == plan.status:
                    raise
                logger.warning("%s", error.sentence)
                break
        return status

    async def _remove(
        self, pool: GPUNodePool, removal: Removal, oracle: NodePools, status: GPUNodePoolStatus | None
    ) -> GPUNodePoolStatus | None:
        """The last look is at the API server itself, never at a cache."""
        node = await self._live_node(removal)
        pods = () if node is None else await self._client.list_pods_on(node["metadata"]["name"])
        reason = objection(removal, node, pods)
        if reason is not None:
            logger.info("Instance %s of node pool %s stays: %s.", removal.instance_id, pool.metadata.name, reason)
            await self._give_back(removal, node)
            return status
        request = await oracle.delete_node(pool.spec.node_pool_id, removal.instance_id, removal.drain_seconds)
        logger.info("Asked Oracle to terminate instance %s of node pool %s.", removal.instance_id, pool.metadata.name)
        return None if status is None else record_removal(status, removal.instance_id, request)

    async def _live_node(self, removal: Removal) -> Manifest | None:
        if removal.node is not None:
            return await self._client.get(NODES, None, removal.node.name)
        nodes = (await self._client.list(NODES, None))["items"]
        return next((node for node in nodes if instance_of(node) == removal.instance_id), None)

    async def _give_back(self, removal: Removal, node: Manifest | None) -> None:
        if removal.node is not None and node is not None and node["metadata"]["uid"] == removal.node.uid:
            patch = uncordon(removal.node)
            await self._patch(NodePatch(patch.name, patch.uid, patch.body))

    async def _read_again(self, patch: NodePatch) -> None:
        newest = await self._client.get(NODES, None, patch.name)
        if newest is None or newest["metadata"]["uid"] != patch.uid:
            self._known.remove(NODES, {"metadata": {"uid": patch.uid}})
        else:
            self._known.put(NODES, newest)
