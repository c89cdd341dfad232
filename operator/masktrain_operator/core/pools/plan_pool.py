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
from .deadlines import is_due, next_change, release_time
from .events import pool_events
from .failures.joining import learn_from_boots
from .inventory import take_inventory, with_holders
from .scale_down import is_removable, needed_nodes, scale_down
from .scale_up import scale_up
from .types import PoolContext, PoolPlan

FLUX_SECONDS = 5.0
"""How often Oracle is asked while something is under way there: it announces nothing."""
CALM_SECONDS = 60.0
"""How often it is asked otherwise: people may have changed the node pool."""
AFTER_PATCH_SECONDS = 1.0
"""The watch takes our own writes for old news, so the plan that goes on from them has to come by itself."""


def plan_pool(context: PoolContext) -> PoolPlan:
    """What to do for the pool now."""
    status = learn_from_boots(context, take_inventory(context))
    up = scale_up(context, status)
    assert up.status is not None
    plan = up.and_also(scale_down(context, up.status))
    assert plan.status is not None
    status = with_conditions(context, with_holders(context, _demand(context, plan.status)))
    plan = replace(plan, status=status, requeue_after=_requeue_after(context, plan, status))
    plan = release(context, plan)
    return _without_asked(replace(plan, events=pool_events(context, plan)))


def needs_finalizer(context: PoolContext) -> bool:
    """Whether the pool is not yet protected from vanishing before its nodes."""
    return not context.is_deleting and labels.POOL_FINALIZER not in context.pool.metadata.finalizers


def _without_asked(plan: PoolPlan) -> PoolPlan:
    """Once Oracle has accepted an intention it is none any more, whatever the size is made afterwards."""
    assert plan.status is not None
    intended = plan.status.scale_up
    if plan.resize is None or intended is None or plan.resize.size != intended.size:
        return plan
    return replace(plan, status=plan.status.model_copy(update={"scale_up": None}))


def _demand(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    slots = {slot for placement in context.observed.placements for slot in placement.slots}
    return status.model_copy(update={"demand": len(slots)})


def _requeue_after(context: PoolContext, plan: PoolPlan, status: GPUNodePoolStatus) -> float:
    """Until Oracle is to be asked again, or a rule's moment comes, whichever is first."""
    if plan.requeue_after is not None:
        return plan.requeue_after
    waits = [FLUX_SECONDS if _in_flux(context, status) else CALM_SECONDS]
    if plan.patches:
        waits.append(AFTER_PATCH_SECONDS)
    change = next_change(context, status)
    if change is not None:
        waits.append((change - context.now).total_seconds())
    return min(waits)


def _in_flux(context: PoolContext, status: GPUNodePoolStatus) -> bool:
    oke = context.observed.oke
    moving = (NodeState.BOOTING, NodeState.DRAINING, NodeState.DELETING, NodeState.LOST, NodeState.FAILED)
    return status.scale_up is not None or oke.coming + oke.phantoms > 0 or any(n.state in moving for n in status.nodes)


def release(context: PoolContext, plan: PoolPlan) -> PoolPlan:
    """The plan, which also lets the pool go if nothing holds it any more."""
    if not context.is_deleting:
        return plan
    assert plan.status is not None
    waits = has_nodes_to_remove(plan.status) and not is_out_of_patience(context.pool, context.now)
    return plan if waits else replace(plan, finalize=True, requeue_after=None)


def has_nodes_to_remove(status: GPUNodePoolStatus) -> bool:
    """Those that were asked for and are yet to come included."""
    return status.added_nodes > 0 or any(entry.added_by_operator for entry in status.nodes)


def is_out_of_patience(pool: GPUNodePool, now: datetime) -> bool:
    """Whether the limit is over, or a person asked to leave the nodes running."""
    abandoned = pool.metadata.annotations.get(labels.ABANDON_ANNOTATION) == "true"
    return abandoned or is_due(release_time(pool), now)


FASTEST_CLOCK = timedelta(minutes=5)
"""As far ahead as clocks of machines differ; a living operator renews its Lease within seconds."""
LEAVING = (NodeState.DRAINING, NodeState.DELETING, NodeState.FAILED)


def sweepable(pools: Iterable[Manifest]) -> Iterator[Manifest]:
    """Those that an operator once looked after: it alone writes their status."""
    return (pool for pool in pools if pool.get("status"))


def is_stale(age: timedelta | None, limit: timedelta) -> bool:
    """Whether an operator with its last sign of life so long ago counts as gone; None is one that never gave any.

    A sign from the near future is that of a faster clock. One from far ahead is none: it would hold for years.
    """
    # A clock that is wrong must not let both remove nodes; a dead operator's sign grows old by itself.
    return age is None or age > limit or age < -FASTEST_CLOCK


def is_stuck(age: timedelta | None, limit: timedelta) -> bool:
    """Whether a living operator no longer looks after a pool at which it looked last so long ago.

    None is one of which it says nothing: an older operator, or a pool that it has yet to see.
    """
    return age is not None and is_stale(age, limit)


def sweep_plan(context: PoolContext) -> PoolPlan:
    """The planner's answer without growth, and without letting a deleted pool go, which only the operator may."""
    if _is_abandoned(context):
        return PoolPlan()
    plan = plan_pool(_as_it_stands(context))
    events = () if plan.finalize else plan.events  # they would tell that it goes
    return replace(plan, resize=None, finalize=False, events=events)


def is_under_way(context: PoolContext, plan: PoolPlan, status: GPUNodePoolStatus) -> bool:
    """Whether another look soon would find more to do, or the end of what was begun."""
    leaving = any(entry.added_by_operator and entry.state in LEAVING for entry in status.nodes)
    begins = any(patch.body.get("spec", {}).get("unschedulable") for patch in plan.patches)
    return leaving or begins or (bool(status.recent_removals) and _is_any_due(context, status))


def _as_it_stands(context: PoolContext) -> PoolContext:
    """Gangs that wait will wait for the next operator; a pool that may have no node at all asks for none."""
    running = tuple(placement for placement in context.observed.placements if placement.gang.admitted_to is not None)
    spec = context.pool.spec.model_copy(update={"max_nodes": 0})
    pool = context.pool.model_copy(update={"spec": spec})
    return replace(context, pool=pool, observed=replace(context.observed, placements=running))


def _is_abandoned(context: PoolContext) -> bool:
    """Whether a person deleted the pool and asked for its nodes to be left running."""
    return context.is_deleting and context.pool.metadata.annotations.get(labels.ABANDON_ANNOTATION) == "true"


def _is_any_due(context: PoolContext, status: GPUNodePoolStatus) -> bool:
    """Whether nodes wait until more removals may begin."""
    needed = needed_nodes(_as_it_stands(context))
    return any(is_removable(context, entry, needed) for entry in status.nodes)
