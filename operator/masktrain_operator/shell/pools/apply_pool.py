"""Executes a pool's plan. Each call may be the last one before the operator dies: the next plan goes on from there.

What the API server or Oracle does not accept is a result, not an error: whatever else can be done is done, and the
status is written in any case.
"""

import contextlib
import logging
from dataclasses import dataclass

from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError

from masktrain_operator.api.pool_status import GPUNodePoolStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.inventory import record_removal
from masktrain_operator.core.pools.nodes import gpu_pod, instance_of
from masktrain_operator.core.pools.scale_down import objection, uncordon
from masktrain_operator.core.pools.types import NodePatch, PoolPlan, Removal, Resize
from masktrain_operator.core.types import Manifest
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import NODES, ApiError, KubernetesClient, api_message
from masktrain_operator.shell.oci.access import OciError, OciErrorKind
from masktrain_operator.shell.oci.client import NodePools
from masktrain_operator.shell.work_queue import RetryAfter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """What came of a plan. `status`: the plan's, with what Oracle has accepted."""

    status: GPUNodePoolStatus | None
    refused: tuple[str, ...] = ()
    """A sentence for each write that the API server did not accept."""
    denied: OciError | None = None
    """Why Oracle accepted nothing of what was asked of it last."""


class PoolApplier:
    """Nothing of Oracle's is changed but the size of the pool and the nodes that the plan names."""

    def __init__(self, client: KubernetesClient, known: KnownObjects) -> None:
        self._client = client
        self._known = known

    async def apply(self, pool: GPUNodePool, plan: PoolPlan, oracle: NodePools) -> Applied:
        """Everything but the status. Raises RetryAfter if a Node is not what was observed."""
        refused = [sentence for patch in plan.patches if (sentence := await self._patch(patch)) is not None]
        try:
            if plan.resize is not None:
                await self._resize(pool, plan.resize, oracle)
            status = await self._remove_all(pool, plan, oracle, refused)
        except OciError as error:
            return Applied(plan.status, tuple(refused), error)
        return Applied(status, tuple(refused))

    async def _patch(self, patch: NodePatch) -> str | None:
        """Why the API server refuses; None if it does not."""
        guard = {"uid": patch.uid}
        if patch.resource_version is not None:
            guard["resourceVersion"] = patch.resource_version
        body = {**patch.body, "metadata": {**patch.body["metadata"], **guard}}
        try:
            self._known.put(NODES, await self._client.merge_patch(NODES, None, patch.name, body))
        except (ConflictError, NotFoundError):
            # The watch may be behind: from the same cache the next plan would make the same patch.
            await self._read_again(patch)
            raise RetryAfter(0) from None
        except ApiError as error:
            return _sentence(f"Node {patch.name} cannot be changed", error)
        return None

    async def _resize(self, pool: GPUNodePool, resize: Resize, oracle: NodePools) -> None:
        await oracle.resize(pool.spec.node_pool_id, resize.size, resize.etag)
        logger.info("Asked Oracle for size %d of node pool %s.", resize.size, pool.metadata.name)

    async def _remove_all(
        self, pool: GPUNodePool, plan: PoolPlan, oracle: NodePools, refused: list[str]
    ) -> GPUNodePoolStatus | None:
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
            except ApiError as error:
                # Without a last look nothing is removed, but the next node may be another matter.
                refused.append(_sentence(f"Instance {removal.instance_id} stays, it cannot be looked at", error))
        return status

    async def _remove(
        self, pool: GPUNodePool, removal: Removal, oracle: NodePools, status: GPUNodePoolStatus | None
    ) -> GPUNodePoolStatus | None:
        """The last look is at the API server itself, never at a cache."""
        node = await self._live_node(removal)
        holder = None if node is None else await self._client.first_pod_on(node["metadata"]["name"], gpu_pod)
        reason = objection(removal, node, holder)
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

        # All of them, because no selector of the API finds a Node by its provider id.
        def joined(node: Manifest) -> Manifest | None:
            return node if instance_of(node) == removal.instance_id else None

        return await self._client.first(NODES, None, joined)

    async def _give_back(self, removal: Removal, node: Manifest | None) -> None:
        if removal.node is not None and node is not None and node["metadata"]["uid"] == removal.node.uid:
            patch = uncordon(removal.node)
            # A Node that was changed meanwhile is the next plan's business; removals before it have to be written down.
            with contextlib.suppress(RetryAfter):
                await self._patch(NodePatch(patch.name, patch.uid, patch.body))

    async def _read_again(self, patch: NodePatch) -> None:
        newest = await self._client.get(NODES, None, patch.name)
        if newest is None or newest["metadata"]["uid"] != patch.uid:
            self._known.remove(NODES, {"metadata": {"uid": patch.uid}})
        else:
            self._known.put(NODES, newest)


def _sentence(problem: str, error: ApiError) -> str:
    return f"{problem}: {api_message(error).rstrip('.')}."
