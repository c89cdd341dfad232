"""Letting a deleted GPUNodePool go: its idle added nodes are taken down first, in bounded time."""

from dataclasses import replace
from datetime import timedelta

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import PoolNodeStatus

from .types import PoolPlan, PoolSituation

RELEASE_LIMIT = timedelta(minutes=15)


def release(situation: PoolSituation, plan: PoolPlan) -> PoolPlan:
    """The plan, which also lets the pool go if nothing holds it any more."""
    if not situation.is_deleting:
        return plan
    assert plan.status is not None
    waits = any(_waits_for(entry) for entry in plan.status.nodes) and not is_out_of_patience(situation)
    return plan if waits else replace(plan, finalize=True, requeue_after=None)


def is_out_of_patience(situation: PoolSituation) -> bool:
    """Whether the limit is over, or a person asked to leave the nodes running."""
    deleted = situation.pool.metadata.deletion_timestamp
    abandoned = situation.pool.metadata.annotations.get(labels.ABANDON_ANNOTATION) == "true"
    return abandoned or (deleted is not None and situation.now - deleted > RELEASE_LIMIT)


def left_running(plan: PoolPlan) -> list[str]:
    """Instances that the pool leaves behind, which go on costing."""
    assert plan.status is not None
    return [entry.instance_id for entry in plan.status.nodes if _waits_for(entry)] if plan.finalize else []


def _waits_for(entry: PoolNodeStatus) -> bool:
    return entry.added_by_operator
