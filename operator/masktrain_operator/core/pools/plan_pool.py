"""Decides what one GPUNodePool needs next: growth, removals, status, and whether a deleted pool may go.

Pure: everything follows from what Oracle and Kubernetes show and from what the status remembers, so that an operator
killed between any two calls goes on where it was. The sweeper, which runs while no operator does, uses the same plan
without growth.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.types import Manifest

from .conditions import with_conditions
from .events import pool_events
from .inventory import take_inventory
from .scale_down import is_removable, learn_from_overdue, needed_nodes, removal_time, scale_down, seconds_held_up
from .scale_up import scale_up
from .types import PoolContext, PoolPlan

FLUX_SECONDS = 5.0
"""How often Oracle is asked while something is under way there."""
CALM_SECONDS = 60.0


def plan_pool(situation: PoolContext) -> PoolPlan:
    """What to do for the pool now."""
    status = learn_from_overdue(situation, take_inventory(situation))
    up = scale_up(situation, status)
    assert up.status is not None
    plan = up.and_also(scale_down(situation, up.status))
    assert plan.status is not None
    status = with_conditions(situation, _demand(situation, plan.status))
    plan = replace(plan, status=status, requeue_after=_next_look(situation, status, up.requeue_after))
    plan = release(situation, plan)
    return _without_asked(replace(plan, events=pool_events(situation, plan)))


def needs_finalizer(situation: PoolContext) -> bool:
    """Whether the pool is not yet protected from vanishing before its nodes."""
    return not situation.is_deleting and labels.POOL_FINALIZER not in situation.pool.metadata.finalizers


def _without_asked(plan: PoolPlan) -> PoolPlan:
    """Once Oracle has accepted an intention it is none any more, whatever the size is made afterwards."""
    assert plan.status is not None
    intended = plan.status.scale_up
    if plan.resize is None or intended is None or plan.resize.size != intended.size:
        return plan
    return replace(plan, status=plan.status.model_copy(update={"scale_up": None}))


def _demand(situation: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    return status.model_copy(update={"demand": len(needed_nodes(situation))})


def _next_look(situation: PoolContext, status: GPUNodePoolStatus, wish: float | None) -> float:
    if wish is not None:
        return wish
    if _in_flux(situation, status):
        return FLUX_SECONDS
    return min((CALM_SECONDS, *_seconds_to_removals(situation, status), *_seconds_to_backoff(situation, status)))


def _in_flux(situation: PoolContext, status: GPUNodePoolStatus) -> bool:
    oke = situation.observed.oke
    moving = (NodeState.BOOTING, NodeState.DRAINING, NodeState.DELETING, NodeState.LOST)
    return status.scale_up is not None or oke.coming + oke.phantoms > 0 or any(n.state in moving for n in status.nodes)


def _seconds_to_removals(situation: PoolContext, status: GPUNodePoolStatus) -> list[float]:
    """A removal that is due has begun, or is held up and must not make the operator ask Oracle every second."""
    needed, later = needed_nodes(situation), situation.now + timedelta(days=3650)
    in_time = replace(situation, now=later)
    idle = [n for n in status.nodes if n.state is NodeState.IDLE and is_removable(in_time, n, needed)]
    held_up = seconds_held_up(situation, status) if idle else None
    if held_up is None:
        return []
    return [max(1.0, held_up, _seconds_until(removal_time(situation, entry), situation.now)) for entry in idle]


def _seconds_to_backoff(situation: PoolContext, status: GPUNodePoolStatus) -> list[float]:
    if status.backoff is None or status.backoff.until <= situation.now:
        return []
    return [max(1.0, _seconds_until(status.backoff.until, situation.now))]


def _seconds_until(moment: datetime, now: datetime) -> float:
    return (moment - now).total_seconds()


RELEASE_LIMIT = timedelta(minutes=15)


def release(situation: PoolContext, plan: PoolPlan) -> PoolPlan:
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


LEAVING = (NodeState.DRAINING, NodeState.DELETING)


def sweepable(pools: Iterable[Manifest]) -> Iterator[Manifest]:
    """Those that an operator once looked after: it alone writes their status."""
    return (pool for pool in pools if pool.get("status"))


def is_stale(age: timedelta | None, limit: timedelta) -> bool:
    """Whether an operator with its last sign of life so long ago counts as gone; None is one that never gave any.

    A sign from the future is that of a faster clock.
    """
    return age is None or age > limit


def sweep_plan(situation: PoolContext) -> PoolPlan:
    """The planner's answer without growth, and without letting a deleted pool go, which only the operator may."""
    if _is_abandoned(situation):
        return PoolPlan()
    plan = plan_pool(_as_it_stands(situation))
    events = () if plan.finalize else plan.events  # they would tell that it goes
    return replace(plan, resize=None, finalize=False, events=events)


def is_under_way(situation: PoolContext, plan: PoolPlan, status: GPUNodePoolStatus) -> bool:
    """Whether another look soon would find more to do, or the end of what was begun."""
    leaving = any(entry.added_by_operator and entry.state in LEAVING for entry in status.nodes)
    begins = any(patch.body.get("spec", {}).get("unschedulable") for patch in plan.patches)
    return leaving or begins or (bool(status.recent_removals) and _is_any_due(situation, status))


def _as_it_stands(situation: PoolContext) -> PoolContext:
    """Gangs that wait will wait for the next operator; a pool that may have no node at all asks for none."""
    running = tuple(placement for placement in situation.observed.placements if placement.gang.admitted_to is not None)
    spec = situation.pool.spec.model_copy(update={"max_nodes": 0})
    pool = situation.pool.model_copy(update={"spec": spec})
    return replace(situation, pool=pool, observed=replace(situation.observed, placements=running))


def _is_abandoned(situation: PoolContext) -> bool:
    """Whether a person deleted the pool and asked for its nodes to be left running."""
    return situation.is_deleting and situation.pool.metadata.annotations.get(labels.ABANDON_ANNOTATION) == "true"


def _is_any_due(situation: PoolContext, status: GPUNodePoolStatus) -> bool:
    """Whether nodes wait until more removals may begin."""
    needed = needed_nodes(_as_it_stands(situation))
    return any(is_removable(situation, entry, needed) for entry in status.nodes)
