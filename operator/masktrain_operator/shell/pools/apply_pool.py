"""Executes a pool's plan. Each call may be the last one before the operator dies: the next plan goes on from there.

What the API server or Oracle does not accept is a result, not an error: whatever else can be done is done, and the
status is written in any case.
"""

import contextlib
import logging
from dataclasses import dataclass, field

from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError

from masktrain_operator.api.pool_status import GPUNodePoolStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.failures.outcomes import Denial, Outcome
from masktrain_operator.core.pools.inventory import record_removal
from masktrain_operator.core.pools.nodes import gpu_pod, instance_of
from masktrain_operator.core.pools.scale_down import doom, objection, spare, uncordon
from masktrain_operator.core.pools.types import NodePatch, PoolPlan, Removal
from masktrain_operator.core.types import Manifest
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import NODES, ApiError, KubernetesClient, api_message
from masktrain_operator.shell.oci.access import OciError, OciErrorKind
from masktrain_operator.shell.oci.client import NodePools
from masktrain_operator.shell.work_queue import RetryAfter

logger = logging.getLogger(__name__)


LASTING = (OciErrorKind.NOT_FOUND, OciErrorKind.DENIED, OciErrorKind.LIMIT, OciErrorKind.INVALID)
"""Of a change: the same request will be refused again, for as long as nobody changes anything else."""
MOST_SILENCES = 3
"""Calls that no answer comes to, each of which takes its time, before the rest is left to the next look."""


@dataclass(frozen=True)
class Applied:
    """What came of a plan. `status`: the plan's, with what Oracle has accepted."""

    status: GPUNodePoolStatus | None
    outcome: Outcome
    refused: tuple[str, ...] = ()
    """A sentence for each write that the API server did not accept."""
    denials: tuple[OciError, ...] = ()
    """Of Oracle's, in the order of the calls."""


@dataclass
class _Removals:
    """What has come of those tried so far."""

    status: GPUNodePoolStatus | None
    accepted: list[str] = field(default_factory=list)
    denials: list[tuple[str, OciError]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class PoolApplier:
    """Nothing of Oracle's is changed but the size of the pool and the nodes that the plan names."""

    def __init__(self, client: KubernetesClient, known: KnownObjects) -> None:
        self._client = client
        self._known = known

    async def apply(self, pool: GPUNodePool, plan: PoolPlan, oracle: NodePools) -> Applied:
        """Everything but the status. Raises RetryAfter if a Node is not what was observed.

        Removals come first, each for itself: what costs must not wait for anything that Oracle refuses.
        """
        refused = [sentence for patch in plan.patches if (sentence := await self._patch(patch)) is not None]
        done = await self._remove_all(pool, plan, oracle)
        resized, denied = await self._resize(pool, plan, oracle, done)
        denials = [_denial(error, instance_id) for instance_id, error in done.denials]
        if denied is not None:
            denials.append(_denial(denied))
        return Applied(
            done.status,
            Outcome(tuple(denials), tuple(done.accepted), resized),
            (*refused, *done.refused),
            tuple(error for _, error in done.denials) + ((denied,) if denied is not None else ()),
        )

    async def _patch(self, patch: NodePatch) -> str | None:
        """Why the API server refuses; None if it does not."""
        try:
            self._known.put(NODES, await self._merge(patch))
        except (ConflictError, NotFoundError):
            # The watch may be behind: from the same cache the next plan would make the same patch.
            await self._read_again(patch)
            raise RetryAfter(0) from None
        except ApiError as error:
            return _sentence(f"Node {patch.name} cannot be changed", error)
        return None

    async def _resize(
        self, pool: GPUNodePool, plan: PoolPlan, oracle: NodePools, done: _Removals
    ) -> tuple[bool, OciError | None]:
        """Whether it was accepted, and if not why."""
        resize = plan.resize
        # The etag is that of before the removals, and the next plan has a new one in seconds.
        if resize is None or done.accepted:
            return False, None
        try:
            await oracle.resize(pool.spec.node_pool_id, resize.size, resize.etag)
        except OciError as error:
            return False, error
        logger.info("Asked Oracle for size %d of node pool %s.", resize.size, pool.metadata.name)
        return True, None

    async def _remove_all(self, pool: GPUNodePool, plan: PoolPlan, oracle: NodePools) -> _Removals:
        """What may have been done counts as done: until it is known, nobody may be put on such a node."""
        done, silences = _Removals(plan.status), 0
        for removal in plan.removals:
            if silences >= MOST_SILENCES:
                break
            try:
                await self._remove(pool, removal, oracle, done)
            except OciError as error:
                logger.warning("%s", error.sentence)
                silences += error.kind in (OciErrorKind.UNAVAILABLE, OciErrorKind.THROTTLED)
                done.denials.append((removal.instance_id, error))
                if error.kind is OciErrorKind.UNAVAILABLE and done.status is not None:
                    done.status = record_removal(done.status, removal.instance_id, None)
            except (ConflictError, NotFoundError):
                # It has changed since the last look, or is gone: the next plan sees it as it is.
                logger.info("Instance %s stays for now: its Node has just changed.", removal.instance_id)
            except ApiError as error:
                # Without a last look nothing is removed, but the next node may be another matter.
                done.refused.append(_sentence(f"Instance {removal.instance_id} stays, it cannot be looked at", error))
        return done

    async def _remove(self, pool: GPUNodePool, removal: Removal, oracle: NodePools, done: _Removals) -> None:
        """The last look is at the API server itself, never at a cache. Raises OciError or ApiError."""
        node = await self._live_node(removal)
        holder = None if node is None else await self._client.first_pod_on(node["metadata"]["name"], gpu_pod)
        reason = objection(removal, node, holder)
        if reason is not None:
            logger.info("Instance %s of node pool %s stays: %s.", removal.instance_id, pool.metadata.name, reason)
            await self._give_back(removal, node)
            return
        mark = None if node is None else doom(removal, node)
        if mark is not None:
            self._known.put(NODES, await self._merge(mark))
        try:
            request = await oracle.delete_node(pool.spec.node_pool_id, removal.instance_id, removal.drain_seconds)
        except OciError as error:
            if mark is not None and node is not None and error.kind is not OciErrorKind.UNAVAILABLE:
                await self._spare(node)
            raise
        logger.info("Asked Oracle to terminate instance %s of node pool %s.", removal.instance_id, pool.metadata.name)
        done.accepted.append(removal.instance_id)
        if done.status is not None:
            done.status = record_removal(done.status, removal.instance_id, request)

    async def _spare(self, node: Manifest) -> None:
        """Oracle will not terminate it now: without that the node would be of use to nobody."""
        with contextlib.suppress(RetryAfter):
            await self._patch(spare(node))

    async def _merge(self, patch: NodePatch) -> Manifest:
        guard = {"uid": patch.uid}
        if patch.resource_version is not None:
            guard["resourceVersion"] = patch.resource_version
        body = {**patch.body, "metadata": {**patch.body["metadata"], **guard}}
        return await self._client.merge_patch(NODES, None, patch.name, body)

    async def _live_node(self, removal: Removal) -> Manifest | None:
        if removal.node is not None:
            return await self._client.get(NODES, None, removal.node.name)

        # All of them, because no selector of the API finds a Node by its provider id.
        def joined(node: Manifest) -> Manifest | None:
            return node if instance_of(node) == removal.instance_id else None

        return await self._client.first(NODES, None, joined)

    async def _give_back(self, removal: Removal, node: Manifest | None) -> None:
        if removal.is_repeated:
            return
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


def _denial(error: OciError, instance_id: str | None = None) -> Denial:
    return Denial(
        error.sentence,
        lasts=error.kind in LASTING,
        instance_id=instance_id,
        is_limit=error.kind is OciErrorKind.LIMIT,
        is_unknown=error.kind is OciErrorKind.UNAVAILABLE,
    )


def _sentence(problem: str, error: ApiError) -> str:
    return f"{problem}: {api_message(error).rstrip('.')}."
