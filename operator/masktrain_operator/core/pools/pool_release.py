"""Letting a deleted GPUNodePool go: its idle added nodes are taken down first, in bounded time."""

from dataclasses import replace
from datetime import datetime, timedelta

from masktrain_operator.api import labels
from masktrain_operator.api.gpu_node_pool import GPUNodePool
from masktrain_operator.api.pool_status import GPUNodePoolStatus

from .types import PoolPlan, PoolSituation

RELEASE_LIMIT = timedelta(minutes=15)


def release(situation: PoolSituation, plan: PoolPlan) -> PoolPlan:
    """The plan, which also lets the pool go if nothing holds it any more."""
    if not situation.is_deleting:
        return plan
    assert plan.status is not None
    waits = has_nodes_to_remove(plan.status) and not is_out_of_patience(situation.pool, situation.now)
    return plan if waits else replace(plan, finalize=True, requeue_after=None)


def has_nodes_to_remove(status: GPUNodePoolStatus) -> bool:
    """Those that were asked for and are yet to come included."""
    return status.added_nodes > 0 or any(entry.added_by_operator for entry in status.nodes)


def is_out_of_patience(pool: GPUNodePool, now: datetime) -> bool:
    """Whether the limit is over, or a person asked to leave the nodes running."""
    deleted = pool.metadata.deletion_timestamp
    abandoned = pool.metadata.annotations.get(labels.ABANDON_ANNOTATION) == "true"
    return abandoned or (deleted is not None and now - deleted > RELEASE_LIMIT)


def left_running(plan: PoolPlan) -> list[str]:
    """Instances that the pool leaves behind, which go on costing."""
    assert plan.status is not None
    return [entry.instance_id for entry in plan.status.nodes if entry.added_by_operator] if plan.finalize else []
