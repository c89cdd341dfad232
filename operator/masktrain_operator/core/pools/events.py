"""A pool's events: every node that came or went, why, and the money; every refusal of Oracle."""

from collections.abc import Iterator, Mapping

from masktrain_operator.api.pool_status import (
    GPUNodePoolStatus,
    NodeState,
    PoolConditionType,
    PoolNodeStatus,
    PoolReason,
)
from masktrain_operator.api.status import ConditionStatus
from masktrain_operator.core.status.conditions import find_condition
from masktrain_operator.core.types import Event

from . import billing
from .types import PoolContext, PoolPlan


def pool_events(context: PoolContext, plan: PoolPlan) -> tuple[Event, ...]:
    """What is worth telling of the step from the status last written to the plan's."""
    assert plan.status is not None
    before, after = context.status, plan.status
    return (
        *_growth(context, before, after),
        *_nodes(context, before, after),
        *_gone(context, before),
        *_refusals(before, after),
        *_opening(before, after),
        *_unsupported(before, after),
        *_stalled(before, after),
        *_abandoned(plan),
    )


def removal_events(plan: PoolPlan, status: GPUNodePoolStatus | None) -> list[Event]:
    """Of those removals of the plan that Oracle has accepted, as `status` says."""
    if plan.status is None or status is None:
        return []
    before = {entry.instance_id: entry for entry in plan.status.nodes}
    after = {entry.instance_id: entry for entry in status.nodes}
    return [
        _removal(before[removal.instance_id], plan.status.hourly_rate)
        for removal in plan.removals
        if removal.instance_id in before and _is_accepted(before, after.get(removal.instance_id))
    ]


def _is_accepted(before: Mapping[str, PoolNodeStatus], after: PoolNodeStatus | None) -> bool:
    if after is None or after.removal_requested_time is None:
        return False
    earlier = before[after.instance_id].removal_requested_time
    return earlier is None or earlier < after.removal_requested_time


def _removal(entry: PoolNodeStatus, rate: str | None) -> Event:
    name = entry.name or entry.instance_id
    if entry.removal_requested_time is not None:
        message = f"Node {name} still stands: Oracle was asked again to terminate it ({entry.removal_tries + 1} times)."
        return Event("Warning", "RemovalFailed", message)
    money = f", after {billing.for_people(entry.cost)}" if entry.cost and rate else ""
    return Event("Normal", "NodeRemoved", f"Removed node {name}: {_why(entry)}{money}.")


def _growth(context: PoolContext, before: GPUNodePoolStatus, after: GPUNodePoolStatus) -> Iterator[Event]:
    planned = after.scale_up
    if planned is None or planned == before.scale_up:
        return
    jobs = sorted({p.gang.title for p in context.observed.placements if any(slot.grown for slot in p.slots)})
    reason = f"for {', '.join(jobs)}" if jobs else "for minNodes"
    rate = f", {billing.for_people(after.hourly_rate)} an hour each" if after.hourly_rate else ""
    message = f"Growing from {context.observed.oke.size} to {planned.size} nodes {reason}{rate}."
    yield Event("Normal", "ScalingUp", message)


def _nodes(context: PoolContext, before: GPUNodePoolStatus, after: GPUNodePoolStatus) -> Iterator[Event]:
    known = {entry.instance_id: entry for entry in before.nodes}
    for entry in after.nodes:
        old = known.get(entry.instance_id)
        if old is None and not entry.added_by_operator:
            message = f"Instance {entry.instance_id} was not added by the operator: it is used, and never removed."
            yield Event("Normal", "NodeAddedByHand", message)
        elif entry.joined_time and (old is None or old.joined_time is None):
            seconds = round((context.now - entry.created_time).total_seconds())
            yield Event("Normal", "NodeAdded", f"Node {entry.name} has joined {seconds} s after its creation.")
        if entry.state is NodeState.LOST and old is not None and old.state is not NodeState.LOST:
            yield Event("Warning", "NodeLost", f"Kubernetes has not heard from node {entry.name} for a while.")
        if entry.failure and (old is None or old.failure is None):
            goes = " and is removed" if entry.added_by_operator else ""
            message = f"Node {entry.name or entry.instance_id} gets no jobs{goes}: {entry.failure}."
            yield Event("Warning", "NodeFailed", message)


def _gone(context: PoolContext, before: GPUNodePoolStatus) -> Iterator[Event]:
    for entry in before.nodes:
        ended = context.observed.ended.get(entry.instance_id)
        if ended is None:
            continue
        tariff = context.tariff
        seconds = billing.billed_seconds(entry, ended, tariff)
        money = f" and cost {billing.for_people(tariff.price_of(seconds))}" if tariff.hourly_rate is not None else ""
        message = f"Node {entry.name or entry.instance_id} is gone; it was billed for {seconds:.0f} s{money}."
        if entry.removal_requested_time is None:
            yield Event("Warning", "NodeVanished", f"{message} The operator had not removed it.")
        else:
            yield Event("Normal", "NodeGone", message)


def _refusals(before: GPUNodePoolStatus, after: GPUNodePoolStatus) -> Iterator[Event]:
    if after.backoff is not None and after.backoff != before.backoff:
        until = f"{after.backoff.until:%H:%M:%SZ}"
        yield Event("Warning", after.backoff.reason, f"{after.backoff.message} Trying again at {until}.")


def _opening(before: GPUNodePoolStatus, after: GPUNodePoolStatus) -> Iterator[Event]:
    """Told once, when the condition is first set or turns: whoever may create jobs may spend money here."""
    kind = PoolConditionType.NAMESPACES_RESTRICTED
    known, now = find_condition(before, kind), find_condition(after, kind)
    if now is not None and now.status == ConditionStatus.FALSE and (known is None or known.status != now.status):
        yield Event("Warning", now.reason, now.message)


def _unsupported(before: GPUNodePoolStatus, after: GPUNodePoolStatus) -> Iterator[Event]:
    """Told once: that no image runs on the nodes, or that nobody knows whether one does."""
    kind = PoolConditionType.SHAPE_SUPPORTED
    known, now = find_condition(before, kind), find_condition(after, kind)
    is_news = known is None or now is None or known.reason != now.reason
    if now is not None and now.status != ConditionStatus.TRUE and is_news:
        yield Event("Warning", now.reason, now.message)


TOLD = (
    PoolReason.REMOVAL_STUCK,
    PoolReason.INSTANCE_UNLISTED,
    PoolReason.REMOVAL_REFUSED,
    PoolReason.CHANGES_REFUSED,
)
"""Reasons of Stalled that have no event of their own."""


def _stalled(before: GPUNodePoolStatus, after: GPUNodePoolStatus) -> Iterator[Event]:
    """Told when it begins, and when it is about something else."""
    kind = PoolConditionType.STALLED
    known, now = find_condition(before, kind), find_condition(after, kind)
    if now is not None and now.reason in TOLD and (known is None or known.reason != now.reason):
        yield Event("Warning", now.reason, now.message)


def _abandoned(plan: PoolPlan) -> Iterator[Event]:
    instances = left_running(plan)
    if instances:
        message = f"The pool goes and leaves {len(instances)} nodes running, which cost: {', '.join(instances)}."
        yield Event("Warning", "NodesAbandoned", message)


def _why(entry: PoolNodeStatus) -> str:
    match entry.state:
        case NodeState.FAILED:
            return entry.failure or "it failed"
        case NodeState.BOOTING:
            return "it did not join in time"
        case NodeState.LOST:
            return "Kubernetes lost it"
        case _:
            return f"idle since {entry.idle_since:%H:%M:%SZ}" if entry.idle_since else "idle"


def left_running(plan: PoolPlan) -> list[str]:
    """Instances that the pool leaves behind, which go on costing."""
    assert plan.status is not None
    return [entry.instance_id for entry in plan.status.nodes if entry.added_by_operator] if plan.finalize else []
