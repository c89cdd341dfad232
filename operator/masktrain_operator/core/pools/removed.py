"""What the status keeps of a removal that Oracle has accepted, and what is known of one whose answer was lost."""

from datetime import datetime

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState, PoolNodeStatus

from .oke import OkePool


def record_removal(status: GPUNodePoolStatus, instance_id: str, work_request_id: str | None) -> GPUNodePoolStatus:
    """The instance is being terminated; its time is that of the plan, which counted the removal already."""
    nodes = [_removed(e, status, work_request_id) if e.instance_id == instance_id else e for e in status.nodes]
    return status.model_copy(update={"nodes": nodes})


def end_of_removal(oke: OkePool, entry: PoolNodeStatus) -> datetime | None:
    """When a removal ended of which the status has no work request; None if Oracle lists none.

    A work request that was accepted before the instance existed is the one that created it.
    """
    ends = [
        request.finished
        for request in oke.work_requests
        if entry.instance_id in request.resources and request.accepted > entry.created_time and not request.has_failed
    ]
    return next(filter(None, ends), None)


def _removed(entry: PoolNodeStatus, status: GPUNodePoolStatus, work_request_id: str | None) -> PoolNodeStatus:
    requested = status.recent_removals[-1] if status.recent_removals else entry.created_time
    return entry.model_copy(
        update={
            "state": NodeState.DELETING,
            "removal_requested_time": requested,
            "work_request_id": work_request_id,
        }
    )
