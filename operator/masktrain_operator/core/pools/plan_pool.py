"""Decides what one GPUNodePool needs next. Pure: the same question always has the same answer.

Everything follows from what Oracle and Kubernetes show and from what the status remembers, so that an operator killed
between any two calls goes on where it was.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState

from .pool_conditions import conditions
from .pool_release import release
from .pool_story import pool_story
from .scale_down import is_removable, learn_from_overdue, needed_nodes, removal_time, scale_down, seconds_held_up
from .scale_up import scale_up
from .stock import take_stock
from .types import PoolPlan, PoolSituation

FLUX_SECONDS = 5.0
"""How often Oracle is asked while something is under way there."""
CALM_SECONDS = 60.0


def plan_pool(situation: PoolSituation) -> PoolPlan:
    """What to do for the pool now."""
    status = learn_from_overdue(situation, take_stock(situation))
    up = scale_up(situation, status)
    assert up.status is not None
    plan = up.and_also(scale_down(situation, up.status))
    assert plan.status is not None
    status = conditions(situation, _demand(situation, plan.status))
    plan = replace(plan, status=status, requeue_after=_next_look(situation, status, up.requeue_after))
    plan = release(situation, plan)
    return _without_asked(replace(plan, events=pool_story(situation, plan)))


def needs_finalizer(situation: PoolSituation) -> bool:
    """Whether the pool is not yet protected from vanishing before its nodes."""
    return not situation.is_deleting and labels.POOL_FINALIZER not in situation.pool.metadata.finalizers


def _without_asked(plan: PoolPlan) -> PoolPlan:
    """Once Oracle has accepted an intention it is none any more, whatever the size is made afterwards."""
    assert plan.status is not None
    intended = plan.status.scale_up
    if plan.resize is None or intended is None or plan.resize.size != intended.size:
        return plan
    return replace(plan, status=plan.status.model_copy(update={"scale_up": None}))


def _demand(situation: PoolSituation, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    return status.model_copy(update={"demand": len(needed_nodes(situation))})


def _next_look(situation: PoolSituation, status: GPUNodePoolStatus, wish: float | None) -> float:
    if wish is not None:
        return wish
    if _in_flux(situation, status):
        return FLUX_SECONDS
    return min((CALM_SECONDS, *_seconds_to_removals(situation, status), *_seconds_to_backoff(situation, status)))


def _in_flux(situation: PoolSituation, status: GPUNodePoolStatus) -> bool:
    oke = situation.observed.oke
    moving = (NodeState.BOOTING, NodeState.DRAINING, NodeState.DELETING, NodeState.LOST)
    return status.scale_up is not None or oke.coming + oke.phantoms > 0 or any(n.state in moving for n in status.nodes)


def _seconds_to_removals(situation: PoolSituation, status: GPUNodePoolStatus) -> list[float]:
    """A removal that is due has begun, or is held up and must not make the operator ask Oracle every second."""
    needed, later = needed_nodes(situation), situation.now + timedelta(days=3650)
    in_time = replace(situation, now=later)
    idle = [n for n in status.nodes if n.state is NodeState.IDLE and is_removable(in_time, n, needed)]
    held_up = seconds_held_up(situation, status) if idle else None
    if held_up is None:
        return []
    return [max(1.0, held_up, _seconds_until(removal_time(situation, entry), situation.now)) for entry in idle]


def _seconds_to_backoff(situation: PoolSituation, status: GPUNodePoolStatus) -> list[float]:
    if status.backoff is None or status.backoff.until <= situation.now:
        return []
    return [max(1.0, _seconds_until(status.backoff.until, situation.now))]


def _seconds_until(moment: datetime, now: datetime) -> float:
    return (moment - now).total_seconds()
