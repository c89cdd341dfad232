"""What may be done for a pool while no operator runs: take nodes down by the same rules, and nothing else."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState
from masktrain_operator.core.types import Manifest

from .plan_pool import plan_pool
from .scale_down import is_removable, needed_nodes
from .types import PoolPlan, PoolSituation

LEAVING = (NodeState.DRAINING, NodeState.DELETING)


def sweepable(pools: Iterable[Manifest]) -> Iterator[Manifest]:
    """Those that an operator once looked after: it alone writes their status."""
    return (pool for pool in pools if pool.get("status"))


def is_stale(age: timedelta | None, limit: timedelta) -> bool:
    """Whether an operator with its last sign of life so long ago counts as gone; None is one that never gave any.

    A sign from the future is that of a faster clock.
    """
    return age is None or age > limit


def sweep_plan(situation: PoolSituation) -> PoolPlan:
    """The planner's answer without growth, and without letting a deleted pool go, which only the operator may."""
    if _is_abandoned(situation):
        return PoolPlan()
    plan = plan_pool(_as_it_stands(situation))
    events = () if plan.finalize else plan.events  # they would tell that it goes
    return replace(plan, resize=None, finalize=False, events=events)


def is_under_way(situation: PoolSituation, plan: PoolPlan, status: GPUNodePoolStatus) -> bool:
    """Whether another look soon would find more to do, or the end of what was begun."""
    leaving = any(entry.added_by_operator and entry.state in LEAVING for entry in status.nodes)
    begins = any(patch.body.get("spec", {}).get("unschedulable") for patch in plan.patches)
    return leaving or begins or (bool(status.recent_removals) and _is_any_due(situation, status))


def _as_it_stands(situation: PoolSituation) -> PoolSituation:
    """Gangs that wait will wait for the next operator; a pool that may have no node at all asks for none."""
    running = tuple(placement for placement in situation.observed.placements if placement.gang.admitted_to is not None)
    spec = situation.pool.spec.model_copy(update={"max_nodes": 0})
    pool = situation.pool.model_copy(update={"spec": spec})
    return replace(situation, pool=pool, observed=replace(situation.observed, placements=running))


def _is_abandoned(situation: PoolSituation) -> bool:
    """Whether a person deleted the pool and asked for its nodes to be left running."""
    return situation.is_deleting and situation.pool.metadata.annotations.get(labels.ABANDON_ANNOTATION) == "true"


def _is_any_due(situation: PoolSituation, status: GPUNodePoolStatus) -> bool:
    """Whether nodes wait until more removals may begin."""
    needed = needed_nodes(_as_it_stands(situation))
    return any(is_removable(situation, entry, needed) for entry in status.nodes)
